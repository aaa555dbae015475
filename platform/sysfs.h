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

/* Where a symbolic link points. False when it is none. */
bool sysfs_read_link(char *out, size_t out_size, const char *path_format, ...)
	__attribute__((format(printf, 3, 4)));

/* Whether there is a folder of that name. */
bool sysfs_is_folder(const char *path);

/* The names in a folder, in the order of their bytes, with NULL behind them; those that begin with
 * a dot are left out. Allocated: free with sysfs_list_free(). An empty list when there is no
 * folder. */
char **sysfs_list(const char *folder);
void sysfs_list_free(char **names);

#endif
