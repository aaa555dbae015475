/* Any bytes as YAML: the whole tree is walked through; what is wrong has a place in the text. */
#include "tests/fuzz/fuzz.h"

#include "platform/yaml.h"

static size_t nodes;

static void walk(const struct yaml_node *node, unsigned depth)
{
	/* As deep as it may be written, and again at the end of every alias. */
	require(depth <= YAML_DEPTH_MOST * YAML_DEPTH_MOST);
	require(++nodes <= YAML_NODES_MOST + 1);
	require(node->place.line > 0 && node->place.column > 0);
	if (node->kind == YAML_SCALAR) {
		require(node->size == strlen(node->text) && node->count == 0);
		return;
	}
	require(node->kind == YAML_LIST || node->count <= YAML_KEYS_MOST);
	for (size_t i = 0; i < node->count; i++) {
		if (node->kind == YAML_MAP) {
			require(node->keys[i]->kind == YAML_SCALAR);
			require(yaml_get(node, node->keys[i]->text) == node->items[i]);
		}
		walk(node->items[i], depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct problems problems = {.count = 0};
	if (size > 64 << 10)
		return 0; /* maps are searched from their beginning */
	char *text = fuzz_text(data, size);
	struct yaml *yaml = yaml_parse(text, size, &problems);
	const struct yaml_node *document;
	require(yaml || problems.errors > 0);
	for (size_t i = 0; yaml && (document = yaml_document(yaml, i)) != NULL; i++) {
		nodes = 0;
		walk(document, 1);
	}
	for (size_t i = 0; i < problems.count; i++)
		require(problems.list[i].text[0] && !strchr(problems.list[i].text, '\n'));
	if (yaml)
		yaml_close(yaml);
	problems_free(&problems);
	free(text);
	return 0;
}
