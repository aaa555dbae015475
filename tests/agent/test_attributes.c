/* The inventory of captured machines (tests/fixtures/machines), as a server is told it. */
#include "tests/sysfs_tree.h"

#include "agent/attributes.h"
#include "platform/buffer.h"
#include "platform/json.h"
#include "platform/text.h"

#define MACHINES TESTS_FOLDER "/fixtures/machines/"

static char *root;

static int set_up(void **state)
{
	(void)state;
	root = directory_make();
	sysfs_set_root(root);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	sysfs_set_root("");
	directory_remove(root);
	return 0;
}

static char *read_file(const char *path)
{
	auto_buffer struct buffer buffer = {.cap = 1 << 20};
	struct error err;
	assert_ok(buffer_read_file(&buffer, path, &err));
	return text_dup_size((const char *)buffer.data, buffer.size);
}

static void build(const char *name, bool with_database)
{
	auto_free char *fixture = text_format("../machines/%s.txt", name);
	tree_add_fixture(root, fixture);
	if (!with_database)
		return;
	auto_free char *database = read_file(MACHINES "pci.ids");
	auto_free char *path = text_format("%s/usr/share/misc/pci.ids", root);
	tree_make_folders(path, strlen(root) + 1);
	file_write(path, database, strlen(database));
}

/* Allocated. */
static char *inventory_json(size_t most_bytes, char *dropped, size_t dropped_size)
{
	auto_inventory struct inventory inventory;
	inventory_read(&inventory);
	struct attributes *attributes =
		attributes_make(&inventory, most_bytes, dropped, dropped_size);
	char *text = attributes_json(attributes, true);
	/* What goes over the wire says the same. */
	Proto__AgentAttributes *message = attributes_message(attributes);
	size_t size = proto__agent_attributes__get_packed_size(message);
	uint8_t *packed = malloc(size);
	proto__agent_attributes__pack(message, packed);
	Proto__AgentAttributes *again = proto__agent_attributes__unpack(NULL, size, packed);
	assert_non_null(again);
	assert_int_equal(again->n_block, inventory.disk_count < message->n_block
						 ? inventory.disk_count
						 : message->n_block);
	assert_int_equal(again->n_pci, message->n_pci);
	assert_string_equal(again->product->name, inventory.product_name);
	proto__agent_attributes__free_unpacked(again, NULL);
	free(packed);
	attributes_free(attributes);
	return text;
}

static void is_as_expected(const char *name)
{
	char dropped[256];
	build(name, true);
	auto_free char *path = text_format(MACHINES "%s.json", name);
	auto_free char *expected = read_file(path);
	auto_free char *json = inventory_json(ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	auto_free char *line = text_format("%s\n", json);
	assert_string_equal(dropped, "");
	assert_string_equal(line, expected);
}

static void tells_of_two_sockets(void **state)
{
	(void)state;
	is_as_expected("two-sockets");
}

static void tells_of_one_socket_with_sata(void **state)
{
	(void)state;
	is_as_expected("one-socket-sata");
}

static void tells_of_virtio(void **state)
{
	(void)state;
	is_as_expected("virtio");
}

static void tells_of_a_board_without_smbios(void **state)
{
	(void)state;
	is_as_expected("arm-board");
}

static void says_unknown_without_a_database(void **state)
{
	(void)state;
	char dropped[256];
	build("virtio", false);
	auto_free char *json = inventory_json(ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	assert_contains(json, "\"driver\": \"virtio-pci\",\n      \"product\": \"unknown\"");
}

static void finds_an_empty_machine_unknown(void **state)
{
	(void)state;
	char dropped[256];
	auto_free char *json = inventory_json(ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	assert_contains(json, "\"product\": {\n    \"name\": \"unknown\"");
	assert_lacks(json, "cpu");
	assert_lacks(json, "memory");
	assert_lacks(json, "[");
}

static void keeps_what_fits(void **state)
{
	(void)state;
	struct error err;
	struct json *document;
	char dropped[256];
	build("two-sockets", true);
	for (size_t most = 0; most < 4500; most += 50) {
		auto_free char *json = inventory_json(most, dropped, sizeof(dropped));
		assert_ok(json_parse(json, strlen(json), &document, &err));
		if (strstr(dropped, "processors'"))
			assert_null(json_get(document, "pciDevices"));
		if (strstr(dropped, "disks"))
			assert_null(json_get(document, "networkInterfaces"));
		assert_non_null(json_get(document, "product"));
		json_free(document);
	}
	assert_string_equal(dropped, "");
}

static void takes_a_text_with_quotes_and_strange_bytes(void **state)
{
	(void)state;
	struct error err;
	struct json *document;
	char dropped[256];
	tree_add(root, "/sys/class/dmi/id/product_name = a \"b\\\\ \\x01\\xff\\x1b[31mc <&>\\n\n");
	auto_free char *json = inventory_json(ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	assert_ok(json_parse(json, strlen(json), &document, &err));
	assert_string_equal(json_text(json_get(json_get(document, "product"), "name")),
			    "a \"b\\ ?\xef\xbf\xbd"
			    "c <&>");
	json_free(document);
}

static void reads_the_tables_where_the_kernel_shows_nothing(void **state)
{
	(void)state;
	char dropped[256];
	tree_add(root,
		 "/sys/firmware/dmi/tables/DMI = "
		 "\\x00\\x18\\x00\\x00\\x01\\x02\\x00\\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00"
		 "\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00Maker\\x00V1\\x0001/02/2020\\x00\\x00"
		 "\\x01\\x08\\x01\\x00\\x01\\x02\\x00\\x03Vendor\\x00Box  \\x00S1\\x00\\x00"
		 "\\x7f\\x04\\x02\\x00\\x00\\x00\n");
	auto_free char *json = inventory_json(ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	assert_contains(json, "\"releaseDate\": \"01/02/2020\",\n    \"vendor\": \"Maker\",\n    "
			      "\"version\": \"V1\"");
	assert_contains(json, "\"name\": \"Box\",\n    \"serialNumber\": \"S1\",\n    "
			      "\"vendor\": \"Vendor\"");
	assert_contains(json, "\"chassis\": {\n    \"serial\": \"unknown\"");
}

static void rounds_sizes_up(void **state)
{
	(void)state;
	static const struct {
		uint64_t bytes;
		const char *text;
	} sizes[] = {{0, ""},
		     {1, "1B"},
		     {1023, "1023B"},
		     {1024, "1KB"},
		     {1025, "2KB"},
		     {(1 << 20) - 1, "1024KB"},
		     {4096, "4KB"},
		     {UINT64_C(480103981056), "448GB"},
		     {UINT64_MAX, "16EB"}};
	char text[32];
	for (size_t i = 0; i < COUNT(sizes); i++)
		assert_string_equal(inventory_size(sizes[i].bytes, text, sizeof(text)),
				    sizes[i].text);
}

static void notices_hardware_that_comes(void **state)
{
	(void)state;
	build("virtio", false);
	auto_free char *before = inventory_signature();
	auto_free char *again = inventory_signature();
	assert_string_equal(before, again);
	tree_add(root, "/sys/block/sdz/size = 1\\n\n");
	auto_free char *after = inventory_signature();
	assert_string_not_equal(before, after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(tells_of_two_sockets, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tells_of_one_socket_with_sata, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tells_of_virtio, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tells_of_a_board_without_smbios, set_up, tear_down),
		cmocka_unit_test_setup_teardown(says_unknown_without_a_database, set_up, tear_down),
		cmocka_unit_test_setup_teardown(finds_an_empty_machine_unknown, set_up, tear_down),
		cmocka_unit_test_setup_teardown(keeps_what_fits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(takes_a_text_with_quotes_and_strange_bytes, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(reads_the_tables_where_the_kernel_shows_nothing,
						set_up, tear_down),
		cmocka_unit_test(rounds_sizes_up),
		cmocka_unit_test_setup_teardown(notices_hardware_that_comes, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
