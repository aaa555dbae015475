/* Templates in their Kubernetes objects: see workflow_objects.h. */
#include "agent/workflow_objects.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "platform/text.h"

static bool is_kind(const struct yaml_node *document, const char *kind)
{
	const struct yaml_node *node = yaml_get(document, "kind");
	return node && node->kind == YAML_SCALAR && strcmp(node->text, kind) == 0;
}

/* The document, or the item of a List (as kubectl get prints it), with that number. */
static const struct yaml_node *object(const struct yaml *yaml, size_t number)
{
	const struct yaml_node *document;
	for (size_t i = 0; (document = yaml_document(yaml, i)) != NULL; i++) {
		const struct yaml_node *items = yaml_get(document, "items");
		size_t count = is_kind(document, "List") && items && items->kind == YAML_LIST
				       ? items->count
				       : 0;
		if (number < count)
			return items->items[number];
		if (count == 0 && number == 0)
			return document;
		number -= count ? count : 1;
	}
	return NULL;
}

bool objects_have_template(const struct yaml *yaml)
{
	const struct yaml_node *document;
	for (size_t i = 0; (document = object(yaml, i)) != NULL; i++)
		if (is_kind(document, "Template"))
			return true;
	return false;
}

/* Where line (of size bytes) of a block stands in the file: at the end of a line there. */
static size_t offset_in_file(const struct text_map *file, unsigned number, const char *line,
			     size_t size, size_t otherwise)
{
	if (number == 0 || number > file->line_count)
		return otherwise;
	size_t start = file->lines[number - 1];
	size_t end = number < file->line_count ? file->lines[number] : file->size;
	while (end > start && (file->text[end - 1] == '\n' || file->text[end - 1] == '\r'))
		end--;
	if (end - start < size || memcmp(file->text + end - size, line, size) != 0)
		return otherwise;
	return end - size;
}

/* A block keeps its lines; a text in quotes or folded comes from its beginning, as far as can be
 * said. */
static void map_data(const struct yaml_node *data, const struct text_map *file,
		     struct text_map *map)
{
	size_t origin = text_map_offset(file, data->place);
	text_map_init(map, data->text, data->size, file);
	if (!data->literal) {
		text_map_add(map, (struct text_span){.at = 0, .from = origin});
		return;
	}
	for (size_t i = 0; i < map->line_count; i++) {
		size_t start = map->lines[i];
		size_t end = i + 1 < map->line_count ? map->lines[i + 1] : map->size;
		while (end > start && data->text[end - 1] == '\n')
			end--;
		size_t from = offset_in_file(file, data->place.line + 1 + (unsigned)i,
					     data->text + start, end - start, origin);
		text_map_add(map, (struct text_span){
					  .at = start, .from = from, .verbatim = from != origin});
	}
}

const char *objects_template(const struct yaml *yaml, const struct text_map *file,
			     struct text_map *ret_map, struct problems *problems)
{
	const struct yaml_node *document, *found = NULL;
	for (size_t i = 0; (document = object(yaml, i)) != NULL; i++) {
		if (!is_kind(document, "Template"))
			continue;
		if (found) {
			problems_error(problems, document->place,
				       "a second Template: a file holds one");
			return NULL;
		}
		found = document;
	}
	const struct yaml_node *data = yaml_get(yaml_get(found, "spec"), "data");
	if (yaml_is_null(data) || data->kind != YAML_SCALAR) {
		problems_error(problems, found ? found->place : (struct place){.line = 0},
			       "the Template has no text in spec.data");
		return NULL;
	}
	map_data(data, file, ret_map);
	return data->text;
}

/* "lease_time" -> LeaseTime, "mac" -> MAC: as the fields are called in Go, which .Hardware shows.
 */
static char *go_name(const char *name)
{
	static const char *const upper[] = {"dhcp", "mac",  "ip",  "uefi", "ipxe",
					    "osie", "vlan", "url", "id"};
	char *out = text_dup(name);
	size_t used = 0;
	while (*name) {
		size_t size = strcspn(name, "_");
		bool whole = false;
		for (size_t i = 0; i < sizeof(upper) / sizeof(upper[0]); i++)
			whole = whole || (strlen(upper[i]) == size &&
					  strncasecmp(upper[i], name, size) == 0);
		for (size_t i = 0; i < size; i++)
			out[used++] =
				(char)(i == 0 || whole ? toupper((unsigned char)name[i]) : name[i]);
		name += size + (name[size] == '_');
	}
	out[used] = '\0';
	return out;
}

static struct value *go_names(const struct value *value)
{
	if (value->kind != VALUE_MAP && value->kind != VALUE_LIST)
		return value_copy(value);
	struct value *named = value_new(value->kind);
	for (size_t i = 0; i < value->count; i++) {
		struct value *item = go_names(value->items[i]);
		if (value->kind == VALUE_LIST) {
			value_add(named, item);
			continue;
		}
		auto_free char *name = go_name(value->keys[i]);
		value_put(named, name, item);
	}
	return named;
}

/* .Hardware: Disks as a list of their devices, Interfaces, Metadata, UserData, VendorData. */
static struct value *legacy_hardware(const struct value *spec)
{
	static const struct {
		const char *from, *to;
	} names[] = {{"interfaces", "Interfaces"},
		     {"metadata", "Metadata"},
		     {"userData", "UserData"},
		     {"vendorData", "VendorData"}};
	struct value *hardware = value_new(VALUE_MAP), *devices = value_new(VALUE_LIST);
	const struct value *disks = value_get(spec, "disks");
	for (size_t i = 0; disks && disks->kind == VALUE_LIST && i < disks->count; i++) {
		const struct value *device = value_get(disks->items[i], "device");
		value_add(devices, device ? value_copy(device) : value_text(""));
	}
	value_put(hardware, "Disks", devices);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct value *found = value_get(spec, names[i].from);
		if (found)
			value_put(hardware, names[i].to, go_names(found));
	}
	return hardware;
}

void objects_values(const struct yaml *yaml, struct value *root)
{
	const struct yaml_node *document;
	bool have_hardware = false;
	for (size_t i = 0; (document = object(yaml, i)) != NULL; i++) {
		if (is_kind(document, "Workflow")) {
			auto_value struct value *map = value_from_yaml(
				yaml_get(yaml_get(document, "spec"), "hardwareMap"));
			value_merge(root, map);
		} else if (is_kind(document, "Hardware") && !have_hardware) {
			struct value *hardware = value_from_yaml(document);
			value_put(root, "Hardware", legacy_hardware(value_get(hardware, "spec")));
			value_put(root, "hardware", hardware);
			have_hardware = true;
		}
	}
}
