/* AgentAttributes from the inventory: see attributes.h. */
#include "agent/attributes.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "platform/cleanup.h"
#include "platform/disk_facts.h"
#include "platform/log.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	QUIET_MS = 2000,  /* without a new disk */
	YOUNG_MS = 60000, /* a machine that has just booted */
	LOOK_EVERY_MS = 200
};

/* Lists are arrays of messages, and of pointers to them as the library wants them. */
struct attributes {
	Proto__AgentAttributes message;
	Proto__CPU cpu;
	Proto__Memory memory;
	Proto__Chassis chassis;
	Proto__BIOS bios;
	Proto__Baseboard baseboard;
	Proto__Product product;
	Proto__Processor *processors;
	Proto__Block *blocks;
	Proto__Network *networks;
	Proto__PCI *devices;
	Proto__GPU *gpus;
};

static void *many(size_t count, size_t size)
{
	void *memory = calloc(count ? count : 1, size);
	if (!memory)
		abort();
	return memory;
}

static void set_cpu(struct attributes *to, const struct inventory *from)
{
	if (from->processor_count == 0)
		return;
	to->cpu = (Proto__CPU)PROTO__CPU__INIT;
	to->cpu.has_total_cores = to->cpu.has_total_threads = 1;
	to->cpu.total_cores = from->total_cores;
	to->cpu.total_threads = from->total_threads;
	to->cpu.n_processors = from->processor_count;
	to->processors = many(from->processor_count, sizeof(*to->processors));
	to->cpu.processors = many(from->processor_count, sizeof(*to->cpu.processors));
	for (size_t i = 0; i < from->processor_count; i++) {
		const struct inventory_processor *processor = &from->processors[i];
		Proto__Processor *message = to->cpu.processors[i] = &to->processors[i];
		*message = (Proto__Processor)PROTO__PROCESSOR__INIT;
		message->has_id = message->has_cores = message->has_threads = 1;
		message->id = processor->id;
		message->cores = processor->cores;
		message->threads = processor->threads;
		message->vendor = processor->vendor;
		message->model = processor->model;
		message->capabilities = processor->capabilities;
		message->n_capabilities = processor->capability_count;
	}
	to->message.cpu = &to->cpu;
}

static void set_blocks(struct attributes *to, const struct inventory *from)
{
	to->blocks = many(from->disk_count, sizeof(*to->blocks));
	to->message.block = many(from->disk_count, sizeof(*to->message.block));
	to->message.n_block = from->disk_count;
	for (size_t i = 0; i < from->disk_count; i++) {
		const struct inventory_disk *disk = &from->disks[i];
		Proto__Block *message = to->message.block[i] = &to->blocks[i];
		*message = (Proto__Block)PROTO__BLOCK__INIT;
		message->name = disk->name;
		message->controller_type = disk->controller;
		message->drive_type = disk->drive;
		message->size = disk->size;
		message->physical_block_size = disk->physical_block;
		message->vendor = disk->vendor;
		message->model = disk->model;
		message->wwn = disk->wwn;
		message->serial_number = disk->serial;
	}
}

static void set_networks(struct attributes *to, const struct inventory *from)
{
	to->networks = many(from->interface_count, sizeof(*to->networks));
	to->message.network = many(from->interface_count, sizeof(*to->message.network));
	to->message.n_network = from->interface_count;
	for (size_t i = 0; i < from->interface_count; i++) {
		const struct inventory_interface *interface = &from->interfaces[i];
		Proto__Network *message = to->message.network[i] = &to->networks[i];
		*message = (Proto__Network)PROTO__NETWORK__INIT;
		message->name = interface->name;
		message->mac = interface->mac;
		message->speed = interface->speed;
		message->enabled_capabilities = interface->capabilities;
		message->n_enabled_capabilities = interface->capability_count;
	}
}

static void set_devices(struct attributes *to, const struct inventory *from)
{
	to->devices = many(from->device_count, sizeof(*to->devices));
	to->message.pci = many(from->device_count, sizeof(*to->message.pci));
	to->message.n_pci = from->device_count;
	for (size_t i = 0; i < from->device_count; i++) {
		const struct inventory_device *device = &from->devices[i];
		Proto__PCI *message = to->message.pci[i] = &to->devices[i];
		*message = (Proto__PCI)PROTO__PCI__INIT;
		message->vendor = device->vendor;
		message->product = device->product;
		message->class_ = device->class;
		message->driver = device->driver;
	}
	to->gpus = many(from->gpu_count, sizeof(*to->gpus));
	to->message.gpu = many(from->gpu_count, sizeof(*to->message.gpu));
	to->message.n_gpu = from->gpu_count;
	for (size_t i = 0; i < from->gpu_count; i++) {
		const struct inventory_device *device = &from->gpus[i];
		Proto__GPU *message = to->message.gpu[i] = &to->gpus[i];
		*message = (Proto__GPU)PROTO__GPU__INIT;
		message->vendor = device->vendor;
		message->product = device->product;
		message->class_ = device->class;
		message->driver = device->driver;
	}
}

static void set_identity(struct attributes *to, const struct inventory *from)
{
	to->chassis = (Proto__Chassis)PROTO__CHASSIS__INIT;
	to->chassis.serial = from->chassis_serial;
	to->chassis.vendor = from->chassis_vendor;
	to->message.chassis = &to->chassis;
	to->bios = (Proto__BIOS)PROTO__BIOS__INIT;
	to->bios.vendor = from->bios_vendor;
	to->bios.version = from->bios_version;
	to->bios.release_date = from->bios_date;
	to->message.bios = &to->bios;
	to->baseboard = (Proto__Baseboard)PROTO__BASEBOARD__INIT;
	to->baseboard.vendor = from->board_vendor;
	to->baseboard.product = from->board_product;
	to->baseboard.version = from->board_version;
	to->baseboard.serial_number = from->board_serial;
	to->message.baseboard = &to->baseboard;
	to->product = (Proto__Product)PROTO__PRODUCT__INIT;
	to->product.name = from->product_name;
	to->product.vendor = from->product_vendor;
	to->product.serial_number = from->product_serial;
	to->message.product = &to->product;
}

void attributes_free(struct attributes *attributes)
{
	if (!attributes)
		return;
	free(attributes->cpu.processors);
	free(attributes->message.block);
	free(attributes->message.network);
	free(attributes->message.pci);
	free(attributes->message.gpu);
	free(attributes->processors);
	free(attributes->blocks);
	free(attributes->networks);
	free(attributes->devices);
	free(attributes->gpus);
	free(attributes);
}

/* The server's spelling takes six letters for these. */
static size_t size_at_server(const struct attributes *attributes)
{
	auto_free char *text = attributes_json(attributes, false);
	size_t size = 0;
	for (const char *at = text; *at; at++)
		size += strchr("<>&", *at) ? 6 : 1;
	return size;
}

/* What one step of cutting takes away: false when nothing of that kind is left. */
static bool drop_capabilities_of_interface(struct attributes *attributes)
{
	for (size_t i = attributes->message.n_network; i-- > 0;) {
		if (attributes->networks[i].n_enabled_capabilities == 0)
			continue;
		attributes->networks[i].n_enabled_capabilities = 0;
		return true;
	}
	return false;
}

static bool drop_capabilities_of_processor(struct attributes *attributes)
{
	for (size_t i = attributes->cpu.n_processors; i-- > 0;) {
		if (attributes->processors[i].n_capabilities == 0)
			continue;
		attributes->processors[i].n_capabilities = 0;
		return true;
	}
	return false;
}

static bool drop_last(size_t *count)
{
	if (*count == 0)
		return false;
	--*count;
	return true;
}

static bool drop_pci(struct attributes *attributes)
{
	return drop_last(&attributes->message.n_pci);
}

static bool drop_interface(struct attributes *attributes)
{
	return drop_last(&attributes->message.n_network);
}

static bool drop_gpu(struct attributes *attributes)
{
	return drop_last(&attributes->message.n_gpu);
}

static bool drop_disk(struct attributes *attributes)
{
	return drop_last(&attributes->message.n_block);
}

static bool drop_processor(struct attributes *attributes)
{
	return drop_last(&attributes->cpu.n_processors);
}

static void cut(struct attributes *attributes, size_t most_bytes, char *ret_dropped,
		size_t dropped_size)
{
	static const struct {
		bool (*drop)(struct attributes *attributes);
		const char *what;
	} steps[] = {
		{drop_pci, "PCI devices"},
		{drop_capabilities_of_interface, "interfaces' capabilities"},
		{drop_interface, "interfaces"},
		{drop_capabilities_of_processor, "processors' capabilities"},
		{drop_gpu, "GPUs"},
		{drop_disk, "disks"},
		{drop_processor, "processors"},
	};
	size_t used = 0;
	ret_dropped[0] = '\0';
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		size_t dropped = 0;
		while (size_at_server(attributes) > most_bytes && steps[i].drop(attributes))
			dropped++;
		if (dropped > 0 && used < dropped_size)
			used += (size_t)snprintf(ret_dropped + used, dropped_size - used,
						 "%s%zu %s", used ? ", " : "", dropped,
						 steps[i].what);
	}
}

struct attributes *attributes_make(const struct inventory *inventory, size_t most_bytes,
				   char *ret_dropped, size_t dropped_size)
{
	struct attributes *attributes = many(1, sizeof(*attributes));
	attributes->message = (Proto__AgentAttributes)PROTO__AGENT_ATTRIBUTES__INIT;
	set_cpu(attributes, inventory);
	if (inventory->memory_total) {
		attributes->memory = (Proto__Memory)PROTO__MEMORY__INIT;
		attributes->memory.total = inventory->memory_total;
		attributes->memory.usable = inventory->memory_usable;
		attributes->message.memory = &attributes->memory;
	}
	set_blocks(attributes, inventory);
	set_networks(attributes, inventory);
	set_devices(attributes, inventory);
	set_identity(attributes, inventory);
	cut(attributes, most_bytes, ret_dropped, dropped_size);
	return attributes;
}

Proto__AgentAttributes *attributes_message(struct attributes *attributes)
{
	return &attributes->message;
}

static int64_t monotonic_ms(clockid_t clock)
{
	struct timespec now;
	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* How long the newest disk has been there; -1 when there is none. */
struct newest {
	int64_t now_ms, age_ms;
};

/* udev's record has a line with the microseconds since boot at which it knew the device first. */
static void take_age(void *context, const struct disk_facts *facts)
{
	struct newest *newest = context;
	char number[32], record[8192];
	if (!facts->ordinary ||
	    !sysfs_read(number, sizeof(number), "/sys/block/%s/dev", facts->name))
		return;
	int64_t age_ms = 0;
	if (sysfs_read(record, sizeof(record), "/run/udev/data/b%s", number)) {
		const char *line = strncmp(record, "I:", 2) == 0 ? record : strstr(record, "\nI:");
		if (line)
			age_ms = newest->now_ms - strtoll(strchr(line, ':') + 1, NULL, 10) / 1000;
	}
	if (newest->age_ms < 0 || age_ms < newest->age_ms)
		newest->age_ms = age_ms > 0 ? age_ms : 0;
}

/* Controllers take their time to find disks. A machine that has been up for long has found them. */
static void wait_for_disks(const struct config *config, int cancel_fd)
{
	int64_t most_ms = config_duration_ms(config, SETTING_INVENTORY_WAIT);
	int64_t start_ms = monotonic_ms(CLOCK_MONOTONIC), changed_ms = start_ms;
	auto_free char *last = NULL;
	if (sysfs_root()[0] || monotonic_ms(CLOCK_BOOTTIME) > YOUNG_MS)
		return;
	for (;;) {
		struct newest newest = {monotonic_ms(CLOCK_MONOTONIC), -1};
		char *names = inventory_signature();
		if (last && strcmp(last, names) != 0)
			changed_ms = newest.now_ms;
		free(last);
		last = names;
		disk_facts_each(take_age, &newest);
		if (newest.age_ms >= QUIET_MS ||
		    (newest.age_ms >= 0 && newest.now_ms - changed_ms >= QUIET_MS) ||
		    newest.now_ms - start_ms >= most_ms)
			break;
		struct pollfd cancel = {.fd = cancel_fd, .events = POLLIN};
		if (poll(&cancel, 1, LOOK_EVERY_MS) > 0)
			break;
	}
	int64_t waited_ms = monotonic_ms(CLOCK_MONOTONIC) - start_ms;
	if (waited_ms >= LOOK_EVERY_MS) {
		char text[32];
		snprintf(text, sizeof(text), "%" PRId64, waited_ms);
		log_info("waited for disks before the inventory", "milliseconds", text);
	}
}

/* One line about it: what people look for first when a rule does not match. */
static void log_inventory(const struct inventory *inventory, const char *dropped)
{
	char cores[16], disks[16], interfaces[16], devices[16];
	snprintf(cores, sizeof(cores), "%" PRIu32, inventory->total_cores);
	snprintf(disks, sizeof(disks), "%zu", inventory->disk_count);
	snprintf(interfaces, sizeof(interfaces), "%zu", inventory->interface_count);
	snprintf(devices, sizeof(devices), "%zu", inventory->device_count);
	log_info("inventory", "vendor", inventory->product_vendor, "product",
		 inventory->product_name, "serial", inventory->product_serial, "cores", cores,
		 "memory", inventory->memory_total ? inventory->memory_total : "", "disks", disks,
		 "interfaces", interfaces, "pci_devices", devices);
	if (dropped[0])
		log_warning("the inventory is larger than a server takes (64 KiB): a part is left "
			    "out",
			    "left_out", dropped);
}

Proto__AgentAttributes *attributes_now(const struct config *config, int cancel_fd)
{
	static struct inventory inventory;
	static struct attributes *attributes;
	static char *signature;
	char dropped[256];
	if (!config_bool(config, SETTING_ATTRIBUTE_DETECTION))
		return NULL;
	if (!attributes)
		wait_for_disks(config, cancel_fd);
	char *now = inventory_signature();
	if (attributes && strcmp(now, signature) == 0) {
		free(now);
		return &attributes->message;
	}
	free(signature);
	signature = now;
	attributes_free(attributes);
	inventory_free(&inventory);
	inventory_read(&inventory);
	attributes = attributes_make(&inventory, ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	log_inventory(&inventory, dropped);
	return &attributes->message;
}

int attributes_main(void)
{
	auto_inventory struct inventory inventory;
	char dropped[256];
	inventory_read(&inventory);
	struct attributes *attributes =
		attributes_make(&inventory, ATTRIBUTES_MOST_BYTES, dropped, sizeof(dropped));
	auto_free char *text = attributes_json(attributes, true);
	attributes_free(attributes);
	if (dropped[0])
		fprintf(stderr,
			"tink-worker: left out, as the whole is larger than a server takes (64 "
			"KiB): %s\n",
			dropped);
	return puts(text) < 0 || fflush(stdout) != 0;
}
