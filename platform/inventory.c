/* The inventory: memory, and what its parts share. See inventory.h. */
#include "platform/inventory.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/buffer.h"
#include "platform/inventory_inside.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	TEXT_SIZE = 512
};

void *inventory_grow(void *list, size_t *count, size_t element_size)
{
	char *grown = reallocarray(list, *count + 1, element_size);
	if (!grown)
		abort();
	memset(grown + *count * element_size, 0, element_size);
	++*count;
	return grown;
}

char *inventory_text_size(struct inventory *inventory, const char *text, size_t size)
{
	char clean[TEXT_SIZE];
	while (size > 0 && isspace((unsigned char)text[size - 1]))
		size--;
	while (size > 0 && isspace((unsigned char)text[0]))
		text++, size--;
	text_sanitize(text, size, clean, sizeof(clean));
	inventory->texts =
		inventory_grow(inventory->texts, &inventory->text_count, sizeof(*inventory->texts));
	return inventory->texts[inventory->text_count - 1] = text_dup(clean);
}

char *inventory_text(struct inventory *inventory, const char *text)
{
	return inventory_text_size(inventory, text, strlen(text));
}

char *inventory_file(struct inventory *inventory, const char *fallback, const char *path_format,
		     ...)
{
	char path[512], text[TEXT_SIZE];
	va_list args;
	va_start(args, path_format);
	vsnprintf(path, sizeof(path), path_format, args);
	va_end(args);
	if (!sysfs_read(text, sizeof(text), "%s", path))
		return inventory_text(inventory, fallback);
	return inventory_text(inventory, text);
}

void inventory_words(struct inventory *inventory, const char *text, size_t size, char ***ret_words,
		     size_t *ret_count)
{
	const char *end = text + size;
	while (text < end) {
		const char *word = text;
		while (text < end && !isspace((unsigned char)*text))
			text++;
		if (text > word) {
			*ret_words = inventory_grow(*ret_words, ret_count, sizeof(**ret_words));
			(*ret_words)[*ret_count - 1] =
				inventory_text_size(inventory, word, (size_t)(text - word));
		}
		text += text < end;
	}
}

char *inventory_size(uint64_t bytes, char *out, size_t out_size)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB", "PB", "EB"};
	size_t unit = 0;
	while (unit + 1 < sizeof(units) / sizeof(units[0]) && bytes >> (10 * (unit + 1)) > 0)
		unit++;
	uint64_t rest = bytes & ((UINT64_C(1) << (10 * unit)) - 1);
	snprintf(out, out_size, "%" PRIu64 "%s", (bytes >> (10 * unit)) + (rest > 0), units[unit]);
	if (bytes == 0)
		out[0] = '\0';
	return out;
}

/* The memory that is plugged in and used, in the units in which the kernel takes it; what the
 * kernel leaves to programs. */
void inventory_read_memory(struct inventory *inventory)
{
	char text[256], size[32];
	uint64_t block_bytes = 0, usable_bytes, total_bytes = 0;
	if (!sysfs_read(text, sizeof(text), "/proc/meminfo") || strncmp(text, "MemTotal:", 9) != 0)
		return;
	usable_bytes = strtoull(text + 9, NULL, 10) * 1024;
	if (usable_bytes == 0)
		return;
	if (sysfs_read(text, sizeof(text), "/sys/devices/system/memory/block_size_bytes") &&
	    text_parse_uint(text, 16, UINT64_C(1) << 50, &block_bytes)) {
		char **names = sysfs_list("/sys/devices/system/memory");
		for (size_t i = 0; names[i]; i++)
			if (strncmp(names[i], "memory", 6) == 0 &&
			    isdigit((unsigned char)names[i][6]) &&
			    sysfs_read(text, sizeof(text), "/sys/devices/system/memory/%s/state",
				       names[i]) &&
			    strcmp(text, "online") == 0)
				total_bytes += block_bytes;
		sysfs_list_free(names);
	}
	if (total_bytes == 0)
		total_bytes = usable_bytes;
	inventory->memory_total =
		inventory_text(inventory, inventory_size(total_bytes, size, sizeof(size)));
	inventory->memory_usable =
		inventory_text(inventory, inventory_size(usable_bytes, size, sizeof(size)));
}

void inventory_read(struct inventory *ret_inventory)
{
	*ret_inventory = (struct inventory){.total_cores = 0};
	inventory_read_cpu(ret_inventory);
	inventory_read_memory(ret_inventory);
	inventory_read_disks(ret_inventory);
	inventory_read_interfaces(ret_inventory);
	inventory_read_pci(ret_inventory);
	inventory_read_identity(ret_inventory);
}

void inventory_free(struct inventory *inventory)
{
	for (size_t i = 0; i < inventory->processor_count; i++)
		free(inventory->processors[i].capabilities);
	for (size_t i = 0; i < inventory->interface_count; i++)
		free(inventory->interfaces[i].capabilities);
	for (size_t i = 0; i < inventory->text_count; i++)
		free(inventory->texts[i]);
	free(inventory->processors);
	free(inventory->disks);
	free(inventory->interfaces);
	free(inventory->devices);
	free(inventory->gpus);
	free(inventory->texts);
	*inventory = (struct inventory){.total_cores = 0};
}

char *inventory_signature(void)
{
	static const char *const folders[] = {"/sys/block", "/sys/class/net",
					      "/sys/bus/pci/devices", "/sys/class/drm"};
	struct buffer buffer = {.cap = 0};
	struct error err;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		char **names = sysfs_list(folders[i]);
		for (size_t j = 0; names[j]; j++)
			if (buffer_add(&buffer, names[j], strlen(names[j]), &err) < 0 ||
			    buffer_add(&buffer, " ", 1, &err) < 0)
				abort();
		sysfs_list_free(names);
	}
	char *text = text_dup_size(buffer.data ? (const char *)buffer.data : "", buffer.size);
	buffer_free(&buffer);
	return text;
}
