/* What the files of the inventory share. For platform/inventory*.c only. */
#ifndef PLATFORM_INVENTORY_INSIDE_H
#define PLATFORM_INVENTORY_INSIDE_H

#include "platform/inventory.h"

/* Keeps a copy, made valid UTF-8 on a line, with no blanks around. */
char *inventory_text(struct inventory *inventory, const char *text);
char *inventory_text_size(struct inventory *inventory, const char *text, size_t size);

/* inventory_text() of a file of the kernel, or of fallback when it cannot be read. */
char *inventory_file(struct inventory *inventory, const char *fallback, const char *path_format,
		     ...) __attribute__((format(printf, 3, 4)));

/* list with room for one element more, zeroed; *count is raised. */
void *inventory_grow(void *list, size_t *count, size_t element_size);

/* Keeps the words of a text. */
void inventory_words(struct inventory *inventory, const char *text, size_t size, char ***ret_words,
		     size_t *ret_count);

/* The parts. */
void inventory_read_cpu(struct inventory *inventory);
void inventory_read_memory(struct inventory *inventory);
void inventory_read_disks(struct inventory *inventory);
void inventory_read_interfaces(struct inventory *inventory);
void inventory_read_pci(struct inventory *inventory);
void inventory_read_identity(struct inventory *inventory);

/* A text of the device tree: "model", "serial-number", "compatible" (its texts are ended by NULs).
 * Returns its size, 0 when there is none; out ends with NUL. */
size_t inventory_device_tree(char *out, size_t out_size, const char *property);

#define INVENTORY_UNKNOWN "unknown"

#endif
