/* Requests: copying, packing for the child, and the check of its records. See request.h. */
#include "actions/request.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "platform/cleanup.h"
#include "platform/text.h"

static void list_free(char **list)
{
	for (char **entry = list; entry && *entry; entry++)
		free(*entry);
	free(list);
}

void action_request_free(struct action_request *request)
{
	free(request->workflow_id);
	free(request->id);
	free(request->name);
	free(request->image);
	list_free(request->command);
	list_free(request->environment);
	list_free(request->volumes);
	free(request->pid);
	free(request->network);
	*request = (struct action_request){.timeout_s = 0};
}

void text_list_add(char ***list, const char *text)
{
	size_t count = 0;
	while (*list && (*list)[count])
		count++;
	size_t need = count + (text ? 2 : 1);
	char **longer = realloc(*list, need * sizeof(char *));
	if (!longer)
		abort();
	if (text)
		longer[count++] = text_dup(text);
	longer[count] = NULL;
	*list = longer;
}

static char **list_copy(char *const *list)
{
	char **copy = NULL;
	text_list_add(&copy, NULL);
	for (char *const *entry = list; entry && *entry; entry++)
		text_list_add(&copy, *entry);
	return copy;
}

static char *text_or_empty(const char *text)
{
	return text_dup(text ? text : "");
}

void action_request_copy(const struct action_request *from, struct action_request *ret_copy)
{
	*ret_copy = (struct action_request){
		.workflow_id = text_or_empty(from->workflow_id),
		.id = text_or_empty(from->id),
		.name = text_or_empty(from->name),
		.image = text_or_empty(from->image),
		.command = list_copy(from->command),
		.environment = list_copy(from->environment),
		.volumes = list_copy(from->volumes),
		.pid = text_or_empty(from->pid),
		.network = text_or_empty(from->network),
		.timeout_s = from->timeout_s,
	};
}

/* The packed form: texts ended by NUL, lists as their count in decimal and then their texts. */

static int pack_text(struct buffer *out, const char *text, struct error *err)
{
	return buffer_add(out, text ? text : "", strlen(text ? text : "") + 1, err);
}

static int pack_number(struct buffer *out, uint64_t number, struct error *err)
{
	char text[24];
	snprintf(text, sizeof(text), "%" PRIu64, number);
	return pack_text(out, text, err);
}

static int pack_list(struct buffer *out, char *const *list, struct error *err)
{
	uint64_t count = 0;
	while (list && list[count])
		count++;
	if (pack_number(out, count, err) < 0)
		return -1;
	for (uint64_t i = 0; i < count; i++)
		if (pack_text(out, list[i], err) < 0)
			return -1;
	return 0;
}

int child_pack(const struct action_request *request, const struct child_settings *settings,
	       struct buffer *out, struct error *err)
{
	if (pack_text(out, settings->action, err) < 0 ||
	    pack_text(out, settings->tls_ca, err) < 0 ||
	    pack_text(out, settings->log_level, err) < 0 ||
	    pack_text(out, settings->native_registries, err) < 0 ||
	    pack_text(out, settings->registries.name, err) < 0 ||
	    pack_text(out, settings->registries.username, err) < 0 ||
	    pack_text(out, settings->registries.password, err) < 0 ||
	    pack_text(out, settings->registries.insecure, err) < 0 ||
	    pack_number(out, settings->strict, err) < 0 ||
	    pack_text(out, request->workflow_id, err) < 0 || pack_text(out, request->id, err) < 0 ||
	    pack_text(out, request->name, err) < 0 || pack_text(out, request->image, err) < 0 ||
	    pack_text(out, request->pid, err) < 0 || pack_text(out, request->network, err) < 0 ||
	    pack_number(out, request->timeout_s, err) < 0 ||
	    pack_list(out, request->command, err) < 0 ||
	    pack_list(out, request->environment, err) < 0 ||
	    pack_list(out, request->volumes, err) < 0)
		return error_wrap(err, "action request");
	return 0;
}

int child_request_fd(const struct action_request *request, const struct child_settings *settings,
		     struct error *err)
{
	auto_buffer struct buffer packed = {.cap = 64 << 20};
	if (child_pack(request, settings, &packed, err) < 0)
		return -1;
	auto_close int fd = memfd_create("request", MFD_CLOEXEC);
	if (fd < 0 || write(fd, packed.data, packed.size) != (ssize_t)packed.size ||
	    lseek(fd, 0, SEEK_SET) < 0)
		return error_sys(err, "memory for the request");
	return take_fd(&fd);
}

struct reader {
	const char *at;
	size_t left;
};

static const char *unpack_text(struct reader *reader)
{
	const char *end = reader->left ? memchr(reader->at, '\0', reader->left) : NULL;
	if (!end)
		return NULL;
	const char *text = reader->at;
	reader->left -= (size_t)(end + 1 - reader->at);
	reader->at = end + 1;
	return text;
}

static bool unpack_copy(struct reader *reader, char **out)
{
	const char *text = unpack_text(reader);
	*out = text ? text_dup(text) : NULL;
	return text != NULL;
}

static bool unpack_number(struct reader *reader, uint64_t *out)
{
	const char *text = unpack_text(reader);
	return text && text_parse_uint(text, 10, UINT64_MAX, out);
}

static bool unpack_list(struct reader *reader, char ***out)
{
	uint64_t count;
	text_list_add(out, NULL);
	if (!unpack_number(reader, &count))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		const char *text = unpack_text(reader);
		if (!text)
			return false;
		text_list_add(out, text);
	}
	return true;
}

int child_unpack(const uint8_t *data, size_t size, struct action_request *ret_request,
		 struct child_settings *ret_settings, struct error *err)
{
	struct reader reader = {(const char *)data, size};
	auto_request struct action_request request = {.timeout_s = 0};
	uint64_t strict = 0;
	struct child_settings settings = {.action = unpack_text(&reader)};
	settings.tls_ca = unpack_text(&reader);
	settings.log_level = unpack_text(&reader);
	settings.native_registries = unpack_text(&reader);
	settings.registries.name = unpack_text(&reader);
	settings.registries.username = unpack_text(&reader);
	settings.registries.password = unpack_text(&reader);
	settings.registries.insecure = unpack_text(&reader);
	if (!unpack_number(&reader, &strict) || !unpack_copy(&reader, &request.workflow_id) ||
	    !unpack_copy(&reader, &request.id) || !unpack_copy(&reader, &request.name) ||
	    !unpack_copy(&reader, &request.image) || !unpack_copy(&reader, &request.pid) ||
	    !unpack_copy(&reader, &request.network) ||
	    !unpack_number(&reader, &request.timeout_s) ||
	    !unpack_list(&reader, &request.command) ||
	    !unpack_list(&reader, &request.environment) ||
	    !unpack_list(&reader, &request.volumes) || reader.left != 0)
		return error_set(err, ERROR_BUG, "the request for the child is damaged");
	settings.strict = strict != 0;
	*ret_settings = settings;
	*ret_request = request;
	request = (struct action_request){.timeout_s = 0};
	return 0;
}

static void make_safe(char *text, size_t size)
{
	char clean[4096];
	text_sanitize(text, strnlen(text, size), clean,
		      size < sizeof(clean) ? size : sizeof(clean));
	strcpy(text, clean);
}

int record_check(struct record *record, struct error *err)
{
	if (record->magic != RECORD_MAGIC)
		return error_set(err, ERROR_PROTOCOL, "a record without its mark");
	if (record->type == RECORD_PROGRESS) {
		make_safe(record->as.progress.phase, sizeof(record->as.progress.phase));
		return 0;
	}
	if (record->type != RECORD_RESULT ||
	    !error_kind_is_valid((int)record->as.result.error.kind) ||
	    (unsigned)record->as.result.after.kind > AFTER_RUN)
		return error_set(err, ERROR_PROTOCOL, "a record of an unknown kind");
	make_safe(record->as.result.error.text, sizeof(record->as.result.error.text));
	make_safe(record->as.result.summary, sizeof(record->as.result.summary));
	make_safe(record->as.result.after.image, sizeof(record->as.result.after.image));
	return 0;
}
