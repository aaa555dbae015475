/* Any bytes as JSON: all of what was parsed is walked through and asked everything. */
#include "tests/fuzz/fuzz.h"

#include "platform/json.h"

static void walk(const struct json *value, unsigned depth)
{
	uint64_t number = 0;
	require(depth <= 1001);
	const char *text = json_text(value);
	if (text)
		require(!json_first(value) && !json_uint(value, UINT64_MAX, &number));
	if (json_uint(value, 1000, &number))
		require(number <= 1000);
	require(!(json_is_array(value) && json_is_object(value)));
	const struct json *item = json_first(value);
	for (; item; item = json_next(item)) {
		require((json_name(item) != NULL) == json_is_object(value));
		if (json_name(item))
			require(json_get(value, json_name(item)) != NULL);
		walk(item, depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json *json;
	struct error err;
	if (size > 64 << 10)
		return 0; /* a name is looked for by walking: quadratic, and known to be */
	if (json_parse(data, size, &json, &err) < 0) {
		require(err.kind == ERROR_INPUT && err.text[0]);
		return 0;
	}
	walk(json, 1);
	json_free(json);
	return 0;
}
