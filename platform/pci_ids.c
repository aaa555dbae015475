/* pci.ids: see pci_ids.h. Lines are "vvvv  vendor", below it "<tab>dddd  device"; "C cc  class",
 * below it subclasses, which look like devices of it. */
#include "platform/pci_ids.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "platform/buffer.h"
#include "platform/decompress.h"
#include "platform/sysfs.h"
#include "platform/text.h"

enum {
	VENDORS = 0x10000,
	CLASSES = 0x100,
	FILE_MOST = 8 << 20,
	CHUNK = 64 << 10
};

/* A line of the text: offset + 1, 0 for none. */
struct pci_ids {
	char *text;
	size_t size;
	uint32_t vendors[VENDORS];
	uint32_t classes[CLASSES];
};

/* The end of the line that begins there. */
static size_t line_end(const struct pci_ids *ids, size_t at)
{
	const char *end = memchr(ids->text + at, '\n', ids->size - at);
	return end ? (size_t)(end - ids->text) : ids->size;
}

/* Whether the text there is digits hexadecimal ones and a blank. */
static bool number_at(const struct pci_ids *ids, size_t at, size_t end, unsigned digits,
		      unsigned *ret_number)
{
	unsigned number = 0;
	if (end - at < digits + 1 || ids->text[at + digits] != ' ')
		return false;
	for (unsigned i = 0; i < digits; i++) {
		int value = text_hex_value(ids->text[at + i]);
		if (value < 0)
			return false;
		number = number << 4 | (unsigned)value;
	}
	*ret_number = number;
	return true;
}

static void index_lines(struct pci_ids *ids)
{
	for (size_t at = 0, end; at < ids->size; at = end + 1) {
		unsigned number;
		end = line_end(ids, at);
		if (ids->text[at] == '\t' || ids->text[at] == '#')
			continue;
		if (number_at(ids, at, end, 4, &number)) {
			if (!ids->vendors[number])
				ids->vendors[number] = (uint32_t)at + 1;
		} else if (end - at > 2 && ids->text[at] == 'C' && ids->text[at + 1] == ' ' &&
			   number_at(ids, at + 2, end, 2, &number)) {
			if (!ids->classes[number])
				ids->classes[number] = (uint32_t)at + 1;
		}
	}
}

struct pci_ids *pci_ids_parse(const void *text, size_t size)
{
	if (size > FILE_MOST)
		size = FILE_MOST;
	struct pci_ids *ids = calloc(1, sizeof(*ids));
	if (!ids)
		abort();
	/* It may have NULs in it. */
	ids->text = malloc(size + 1);
	if (!ids->text)
		abort();
	if (size > 0)
		memcpy(ids->text, text, size);
	ids->size = size;
	index_lines(ids);
	return ids;
}

static int read_all(struct stream *stream, struct buffer *buffer, struct error *err)
{
	for (;;) {
		if (buffer_reserve(buffer, CHUNK, err) < 0)
			return -1;
		ssize_t got = stream_read(stream, buffer->data + buffer->size, CHUNK, err);
		if (got <= 0)
			return (int)got;
		buffer->size += (size_t)got;
	}
}

struct pci_ids *pci_ids_open(void)
{
	static const char *const paths[] = {"/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids",
					    "/usr/share/misc/pci.ids.zst",
					    "/usr/share/misc/pci.ids.gz"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct error err;
		auto_buffer struct buffer buffer = {.cap = FILE_MOST};
		auto_free char *path = text_format("%s%s", sysfs_root(), paths[i]);
		auto_stream struct stream *stream = NULL;
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		const struct decompress_options options = {.threads = 1};
		if (fd >= 0 &&
		    decompress_stream_with(stream_from_fd(fd, STREAM_SIZE_UNKNOWN, path), &options,
					   &stream, NULL, &err) == 0 &&
		    read_all(stream, &buffer, &err) == 0)
			return pci_ids_parse(buffer.data, buffer.size);
	}
	return NULL;
}

void pci_ids_free(struct pci_ids *ids)
{
	if (ids)
		free(ids->text);
	free(ids);
}

/* The name behind the number at at, which has so many characters. */
static bool take_name(const struct pci_ids *ids, size_t at, size_t skip, char out[PCI_NAME_SIZE])
{
	size_t end = line_end(ids, at);
	at += skip;
	while (at < end && ids->text[at] == ' ')
		at++;
	while (end > at && (ids->text[end - 1] == ' ' || ids->text[end - 1] == '\r'))
		end--;
	text_sanitize(ids->text + at, end - at, out, PCI_NAME_SIZE);
	return true;
}

bool pci_ids_vendor(const struct pci_ids *ids, unsigned vendor, char out[PCI_NAME_SIZE])
{
	if (!ids || vendor >= VENDORS || !ids->vendors[vendor])
		return false;
	return take_name(ids, ids->vendors[vendor] - 1, 4, out);
}

bool pci_ids_device(const struct pci_ids *ids, unsigned vendor, unsigned device,
		    char out[PCI_NAME_SIZE])
{
	if (!ids || vendor >= VENDORS || !ids->vendors[vendor])
		return false;
	size_t at = line_end(ids, ids->vendors[vendor] - 1) + 1;
	for (size_t end; at < ids->size; at = end + 1) {
		unsigned number;
		end = line_end(ids, at);
		if (ids->text[at] == '#' || ids->text[at] == '\r' || end == at)
			continue;
		if (ids->text[at] != '\t')
			return false;
		if (number_at(ids, at + 1, end, 4, &number) && number == device)
			return take_name(ids, at, 5, out);
	}
	return false;
}

bool pci_ids_class(const struct pci_ids *ids, unsigned base_class, char out[PCI_NAME_SIZE])
{
	if (!ids || base_class >= CLASSES || !ids->classes[base_class])
		return false;
	return take_name(ids, ids->classes[base_class] - 1, 4, out);
}
