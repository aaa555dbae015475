/* Values in the first line, apart by blanks, and a template behind it: what comes out leads back to
 * the template. */
#include "tests/fuzz/fuzz.h"

#include "agent/template.h"

static struct value *values_of(char *line)
{
	struct error err;
	struct value *values = value_new(VALUE_MAP);
	for (char *word = strtok(line, " "); word; word = strtok(NULL, " "))
		if (values_set(values, word, &err) < 0)
			require(err.kind == ERROR_INPUT && err.text[0]);
	return values;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems = {.count = 0};
	struct text_map source, map;
	struct buffer out = {.cap = TEMPLATE_OUTPUT_MOST};
	char *text = fuzz_text(data, size);
	char *template = strchr(text, '\n');
	if (template)
		*template ++ = '\0';
	else
		template = text + strlen(text);
	size_t template_size = strlen(template);
	struct value *values = values_of(text);
	text_map_init(&source, template, template_size, NULL);
	if (template_render(&source, values, &out, &map, &problems)) {
		require(out.size <= TEMPLATE_OUTPUT_MOST);
		for (size_t i = 0; i <= out.size; i += 1 + out.size / 16) {
			struct place place = text_map_place(&map, i);
			require(place.line > 0 && place.column > 0);
			require(text_map_offset(&source, place) <= template_size);
		}
		text_map_free(&map);
	} else {
		require(problems.errors > 0);
	}
	problems_free(&problems);
	text_map_free(&source);
	value_free(values);
	buffer_free(&out);
	free(text);
	return 0;
}
