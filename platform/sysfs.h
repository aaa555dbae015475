/*
 * Reading /sys and /proc below a root prefix, so that tests run on captured machines.
 */
#ifndef PLATFORM_SYSFS_H
#define PLATFORM_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the prefix once at start ("" by default; borrowed for the life of the process). */
void sysfs_set_root(const char *root);
const char *sysfs_root(void);

/* Reads a small file, path from "/sys/…" or "/proc/…" by printf, without its trailing blanks. False
 * when it cannot be read. */
bool sysfs_read(char *out, size_t out_size, const char *path_format, ...)
	__attribute__((format(printf, 3, 4)));

/* The same as a number (decimal). */
bool sysfs_read_uint(uint64_t *ret_value, const char *path_format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a file of any bytes. Returns how many; 0 when it cannot be read. What is behind
 * out_size is left. */
size_t sysfs_read_bytes(void *out, size_t out_size, const char *path_format, ...)
	__attribute__((format(printf, 3, 4)));

#endif
