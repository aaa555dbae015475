/* Processors: sockets and cores from /sys, their words from /proc/cpuinfo. See inventory.h. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"
#include "platform/inventory_inside.h"
#include "platform/sysfs.h"
#include "platform/text.h"

/* A logical processor of /proc/cpuinfo: the lines about it. */
struct block {
	const char *text;
	size_t size;
};

/* The cores seen so far. */
struct core {
	int64_t package, core;
};

struct cpus {
	struct buffer text;
	struct core *cores;
	size_t core_count;
};

/* The value of the key in a block; false when there is none, or it is empty. */
static bool block_get(const struct block *block, const char *key, const char **ret_value,
		      size_t *ret_size)
{
	const char *end = block->text + block->size;
	for (const char *line = block->text, *next; line < end; line = next) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		const char *line_end = newline ? newline : end;
		next = newline ? newline + 1 : end;
		const char *colon = memchr(line, ':', (size_t)(line_end - line));
		if (!colon || strncmp(line, key, strlen(key)) != 0)
			continue;
		const char *at = line + strlen(key);
		while (at < colon && isspace((unsigned char)*at))
			at++;
		if (at != colon)
			continue;
		for (at = colon + 1; at < line_end && isspace((unsigned char)*at);)
			at++;
		while (line_end > at && isspace((unsigned char)line_end[-1]))
			line_end--;
		*ret_value = at;
		*ret_size = (size_t)(line_end - at);
		return *ret_size > 0;
	}
	return false;
}

/* The lines about the processor of this number: blocks are parted by empty lines. */
static bool find_block(const struct buffer *buffer, unsigned long number, struct block *ret_block)
{
	const char *text = (const char *)buffer->data, *end = text + buffer->size;
	while (text < end) {
		const char *gap = memmem(text, (size_t)(end - text), "\n\n", 2);
		const char *value;
		size_t size;
		*ret_block = (struct block){text, (size_t)((gap ? gap : end) - text)};
		if (block_get(ret_block, "processor", &value, &size) &&
		    isdigit((unsigned char)value[0]) && strtoul(value, NULL, 10) == number)
			return true;
		text = gap ? gap + 2 : end;
	}
	return false;
}

/* The value of the first key that has one. */
static char *first_of(struct inventory *inventory, const struct block *block,
		      const char *const *keys)
{
	const char *value;
	size_t size;
	for (; *keys; keys++)
		if (block_get(block, *keys, &value, &size))
			return inventory_text_size(inventory, value, size);
	return NULL;
}

/* Boards whose kernel names no model: the system on chip, the last and least special word. */
static char *model_of_board(struct inventory *inventory)
{
	char text[512];
	size_t size = inventory_device_tree(text, sizeof(text), "compatible");
	const char *last = "";
	for (size_t at = 0; at < size; at += strlen(text + at) + 1)
		if (text[at])
			last = text + at;
	return inventory_text(inventory, last);
}

static char *vendor_of(struct inventory *inventory, const struct block *block)
{
	static const char *const keys[] = {"vendor_id", "isa", NULL};
	const char *value;
	size_t size;
	char *vendor = first_of(inventory, block, keys);
	if (vendor)
		return vendor;
	bool arm = block_get(block, "CPU implementer", &value, &size) && size == 4 &&
		   memcmp(value, "0x41", 4) == 0;
	return inventory_text(inventory, arm ? "ARM" : "");
}

static void describe(struct inventory *inventory, struct inventory_processor *processor,
		     const struct block *block)
{
	static const char *const flags[] = {"flags", "Features", "features", NULL};
	static const char *const models[] = {"model name", "Processor", "cpu model", "Model Name",
					     "uarch",      "machine",   NULL};
	const char *value;
	size_t size;
	for (size_t i = 0; flags[i]; i++) {
		if (block_get(block, flags[i], &value, &size)) {
			inventory_words(inventory, value, size, &processor->capabilities,
					&processor->capability_count);
			break;
		}
	}
	processor->model = first_of(inventory, block, models);
	if (!processor->model)
		processor->model = model_of_board(inventory);
	processor->vendor = vendor_of(inventory, block);
}

static int64_t read_number(unsigned long cpu, const char *file)
{
	char text[32];
	if (!sysfs_read(text, sizeof(text), "/sys/devices/system/cpu/cpu%lu/%s", cpu, file))
		return -1;
	return strtoll(text, NULL, 10);
}

/* Whether no logical processor of this core was seen before. */
static bool is_new_core(struct cpus *cpus, int64_t package, int64_t core)
{
	for (size_t i = cpus->core_count; i-- > 0;)
		if (cpus->cores[i].package == package && cpus->cores[i].core == core)
			return false;
	cpus->cores = inventory_grow(cpus->cores, &cpus->core_count, sizeof(*cpus->cores));
	cpus->cores[cpus->core_count - 1] = (struct core){package, core};
	return true;
}

static void add_cpu(struct inventory *inventory, struct cpus *cpus, unsigned long cpu)
{
	int64_t package = read_number(cpu, "topology/physical_package_id");
	int64_t core = read_number(cpu, "topology/core_id");
	uint32_t id = package < 0 ? 0 : (uint32_t)package;
	struct inventory_processor *processor = NULL;
	for (size_t i = 0; i < inventory->processor_count; i++)
		if (inventory->processors[i].id == id)
			processor = &inventory->processors[i];
	if (!processor) {
		struct block block;
		if (!find_block(&cpus->text, cpu, &block))
			return;
		inventory->processors =
			inventory_grow(inventory->processors, &inventory->processor_count,
				       sizeof(*inventory->processors));
		processor = &inventory->processors[inventory->processor_count - 1];
		processor->id = id;
		describe(inventory, processor, &block);
	}
	processor->threads++;
	inventory->total_threads++;
	if (is_new_core(cpus, package, core)) {
		processor->cores++;
		inventory->total_cores++;
	}
}

static int compare_numbers(const void *a, const void *b)
{
	const unsigned long *left = a, *right = b;
	return (*left > *right) - (*left < *right);
}

static int compare_processors(const void *a, const void *b)
{
	const struct inventory_processor *left = a, *right = b;
	return (left->id > right->id) - (left->id < right->id);
}

void inventory_read_cpu(struct inventory *inventory)
{
	struct cpus cpus = {.text = {.cap = 0}};
	struct error err;
	unsigned long *numbers = NULL;
	size_t count = 0;
	auto_free char *path = text_format("%s/proc/cpuinfo", sysfs_root());
	/* Without it there are no words for any processor. */
	if (buffer_read_file(&cpus.text, path, &err) < 0)
		return;
	char **names = sysfs_list("/sys/devices/system/cpu");
	for (size_t i = 0; names[i]; i++) {
		uint64_t number;
		if (strncmp(names[i], "cpu", 3) != 0 ||
		    !text_parse_uint(names[i] + 3, 10, UINT32_MAX, &number))
			continue;
		numbers = inventory_grow(numbers, &count, sizeof(*numbers));
		numbers[count - 1] = (unsigned long)number;
	}
	sysfs_list_free(names);
	if (count > 0)
		qsort(numbers, count, sizeof(*numbers), compare_numbers);
	for (size_t i = 0; i < count; i++)
		if (read_number(numbers[i], "online") != 0)
			add_cpu(inventory, &cpus, numbers[i]);
	if (inventory->processor_count > 0)
		qsort(inventory->processors, inventory->processor_count,
		      sizeof(*inventory->processors), compare_processors);
	free(numbers);
	free(cpus.cores);
	buffer_free(&cpus.text);
}
