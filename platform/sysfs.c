/* Small files of the kernel: see sysfs.h. */
#include "platform/sysfs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/text.h"

static const char *root = "";

void sysfs_set_root(const char *new_root)
{
	root = new_root;
}

const char *sysfs_root(void)
{
	return root;
}

/* Returns how many bytes, -1 when the file cannot be read. */
__attribute__((format(printf, 3, 0))) static ssize_t
read_path(void *out, size_t out_size, const char *path_format, va_list args)
{
	char path[1024], whole[2048];
	vsnprintf(path, sizeof(path), path_format, args);
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	auto_close int fd = open(whole, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t used = 0;
	while (used < out_size) {
		ssize_t got = read(fd, (char *)out + used, out_size - used);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		used += (size_t)got;
	}
	return (ssize_t)used;
}

__attribute__((format(printf, 3, 0))) static bool read_text(char *out, size_t out_size,
							    const char *path_format, va_list args)
{
	ssize_t size = read_path(out, out_size - 1, path_format, args);
	if (size < 0)
		return false;
	while (size > 0 && isspace((unsigned char)out[size - 1]))
		size--;
	out[size] = '\0';
	return true;
}

bool sysfs_read(char *out, size_t out_size, const char *path_format, ...)
{
	va_list args;
	va_start(args, path_format);
	bool ok = read_text(out, out_size, path_format, args);
	va_end(args);
	return ok;
}

bool sysfs_read_uint(uint64_t *ret_value, const char *path_format, ...)
{
	char text[32];
	va_list args;
	va_start(args, path_format);
	bool ok = read_text(text, sizeof(text), path_format, args);
	va_end(args);
	return ok && text_parse_uint(text, 10, UINT64_MAX, ret_value);
}

size_t sysfs_read_bytes(void *out, size_t out_size, const char *path_format, ...)
{
	va_list args;
	va_start(args, path_format);
	ssize_t size = read_path(out, out_size, path_format, args);
	va_end(args);
	return size < 0 ? 0 : (size_t)size;
}

bool sysfs_read_link(char *out, size_t out_size, const char *path_format, ...)
{
	char path[1024], whole[2048];
	va_list args;
	va_start(args, path_format);
	vsnprintf(path, sizeof(path), path_format, args);
	va_end(args);
	snprintf(whole, sizeof(whole), "%s%s", root, path);
	ssize_t size = readlink(whole, out, out_size - 1);
	if (size < 0)
		return false;
	out[size] = '\0';
	return true;
}

bool sysfs_is_folder(const char *path)
{
	struct stat status;
	auto_free char *whole = text_format("%s%s", root, path);
	return stat(whole, &status) == 0 && S_ISDIR(status.st_mode);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **sysfs_list(const char *folder)
{
	auto_free char *path = text_format("%s%s", root, folder);
	size_t count = 0;
	char **names = NULL;
	DIR *dir = opendir(path);
	for (struct dirent *entry = NULL; !names || entry;) {
		while (dir && (entry = readdir(dir)) != NULL && entry->d_name[0] == '.')
			;
		names = reallocarray(names, count + 2, sizeof(*names));
		if (!names)
			abort();
		if (entry)
			names[count++] = text_dup(entry->d_name);
		names[count] = NULL;
	}
	if (dir)
		closedir(dir);
	qsort(names, count, sizeof(*names), compare_names);
	return names;
}

void sysfs_list_free(char **names)
{
	for (size_t i = 0; names && names[i]; i++)
		free(names[i]);
	free(names);
}
