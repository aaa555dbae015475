/* cJSON behind a narrower door: see json.h. */
#include "platform/json.h"

#include <cjson/cJSON.h>
#include <string.h>

#include "platform/text.h"

enum {
	EXACT_BITS = 53
};

/* A struct json is a cJSON; nobody else knows. */
static const cJSON *inner(const struct json *json)
{
	return (const cJSON *)(const void *)json;
}

static const struct json *outer(const cJSON *item)
{
	return (const struct json *)(const void *)item;
}

/* Each value but the first stands behind one of these; those within texts count too, to be quick.
 */
static bool has_too_many_values(const char *text, size_t size)
{
	size_t values = 1;
	for (size_t i = 0; i < size; i++)
		values += text[i] == ',' || text[i] == '[' || text[i] == '{';
	return values > JSON_VALUES_MOST;
}

int json_parse(const void *data, size_t size, struct json **ret_json, struct error *err)
{
	const char *text = data;
	if (!text_is_utf8(text, size))
		return error_set(err, ERROR_INPUT, "no JSON: it is not UTF-8 text");
	if (has_too_many_values(text, size))
		return error_set(err, ERROR_INPUT, "the JSON has more than %d values",
				 JSON_VALUES_MOST);
	const char *end = text;
	cJSON *item = size > 0 ? cJSON_ParseWithLengthOpts(text, size, &end, false) : NULL;
	if (!item)
		return error_set(err, ERROR_INPUT, "no JSON at byte %zu of %zu",
				 (size_t)(end - text) + 1, size);
	while (end < text + size && strchr(" \t\r\n", *end))
		end++;
	if (end < text + size) {
		cJSON_Delete(item);
		return error_set(err, ERROR_INPUT,
				 "no JSON at byte %zu of %zu: more than one value",
				 (size_t)(end - text) + 1, size);
	}
	*ret_json = (struct json *)(void *)item;
	return 0;
}

void json_free(struct json *json)
{
	cJSON_Delete((cJSON *)(void *)json);
}

const struct json *json_get(const struct json *object, const char *name)
{
	if (!json_is_object(object))
		return NULL;
	return outer(cJSON_GetObjectItemCaseSensitive(inner(object), name));
}

const char *json_text(const struct json *value)
{
	return cJSON_GetStringValue(inner(value));
}

bool json_uint(const struct json *value, uint64_t max, uint64_t *ret_number)
{
	if (!cJSON_IsNumber(inner(value)))
		return false;
	double number = inner(value)->valuedouble;
	if (!(number >= 0) || number > (double)(UINT64_C(1) << EXACT_BITS))
		return false;
	uint64_t whole = (uint64_t)number;
	if ((double)whole != number || whole > max)
		return false;
	*ret_number = whole;
	return true;
}

bool json_is_object(const struct json *value)
{
	return cJSON_IsObject(inner(value));
}

bool json_is_array(const struct json *value)
{
	return cJSON_IsArray(inner(value));
}

const struct json *json_first(const struct json *value)
{
	if (!json_is_object(value) && !json_is_array(value))
		return NULL;
	return outer(inner(value)->child);
}

const struct json *json_next(const struct json *value)
{
	return value ? outer(inner(value)->next) : NULL;
}

const char *json_name(const struct json *member)
{
	return member ? inner(member)->string : NULL;
}
