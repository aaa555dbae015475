/* Two files that take turns: see log_file.h. */
#include "platform/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "platform/cleanup.h"
#include "platform/text.h"

struct log_file {
	int folder; /* locked: two processes would rotate each other's lines away */
	int fd;     /* -1: it could not be opened anew */
	uint64_t size, limit;
	char *name, *name_before;
};

static void open_file(struct log_file *file)
{
	struct stat status;
	file->fd = openat(file->folder, file->name,
			  O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	file->size = file->fd >= 0 && fstat(file->fd, &status) == 0 ? (uint64_t)status.st_size : 0;
}

static int make_folders(const char *path, struct error *err)
{
	auto_free char *part = text_dup(path);
	for (char *at = part + 1; at[-1]; at++) {
		if (*at != '/' && *at != '\0')
			continue;
		char was = *at;
		*at = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return error_sys(err, "make the folder %s", part);
		*at = was;
	}
	return 0;
}

int log_file_open(const char *folder, const char *name, uint64_t limit_bytes,
		  struct log_file **ret_file, struct error *err)
{
	if (folder[0] != '/')
		return error_set(err, ERROR_INPUT, "%s is no absolute path", folder);
	if (make_folders(folder, err) < 0)
		return -1;
	auto_close int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_sys(err, "open %s", folder);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? error_set(err, ERROR_BUSY, "another worker writes its log in %s",
					   folder)
			       : error_sys(err, "lock %s", folder);
	struct log_file *file = calloc(1, sizeof(*file));
	if (!file)
		abort();
	*file = (struct log_file){.folder = take_fd(&fd),
				  .limit = limit_bytes,
				  .name = text_format("%s.log", name),
				  .name_before = text_format("%s.log.1", name)};
	open_file(file);
	if (file->fd < 0) {
		error_sys(err, "open %s/%s", folder, file->name);
		log_file_close(file);
		return -1;
	}
	*ret_file = file;
	return 0;
}

void log_file_take(void *context, const struct log_event *event)
{
	struct log_file *file = context;
	if (file->fd < 0 || (file->size > 0 && file->size + event->line_size > file->limit)) {
		cleanup_close(&file->fd);
		renameat(file->folder, file->name, file->folder, file->name_before);
		open_file(file);
	}
	/* The log is on standard error too; a folder that is full is no reason to stop. */
	ssize_t written =
		file->fd >= 0 ? write(file->fd, event->line, event->line_size) : (ssize_t)-1;
	if (written == (ssize_t)event->line_size)
		file->size += (uint64_t)written;
	else if (written > 0 && ftruncate(file->fd, (off_t)file->size) < 0)
		cleanup_close(&file->fd); /* half a line stays: the next file begins */
}

void log_file_close(struct log_file *file)
{
	cleanup_close(&file->fd);
	cleanup_close(&file->folder);
	free(file->name);
	free(file->name_before);
	free(file);
}
