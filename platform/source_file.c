/*
 * file:/// URLs with the contract of a web server: parts, a validator, and an end that is verified.
 * A file that changes while it is read is noticed.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "platform/source_inside.h"
#include "platform/text.h"

struct file_stream {
	struct stream stream;
	int fd;
	char *path;
	struct stat opened;
	uint64_t offset, end;
};

static int check_unchanged(const struct file_stream *self, struct error *err)
{
	struct stat now;
	if (fstat(self->fd, &now) < 0)
		return error_sys(err, "%s", self->path);
	if (now.st_size != self->opened.st_size ||
	    now.st_mtim.tv_sec != self->opened.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != self->opened.st_mtim.tv_nsec)
		return error_set(err, ERROR_CORRUPT, "%s has changed while it was read",
				 self->path);
	return 0;
}

static ssize_t file_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct file_stream *self = (struct file_stream *)stream;
	uint64_t left = self->end - self->offset;
	if (left < size)
		size = (size_t)left;
	ssize_t got = size > 0 ? pread(self->fd, data, size, (off_t)self->offset) : 0;
	if (got < 0)
		return error_sys(err, "read %s", self->path);
	if (check_unchanged(self, err) < 0)
		return -1;
	if (got == 0 && size > 0)
		return error_set(err, ERROR_CORRUPT, "%s ends after %" PRIu64 " bytes", self->path,
				 self->offset);
	self->offset += (uint64_t)got;
	return got;
}

static void file_close(struct stream *stream)
{
	struct file_stream *self = (struct file_stream *)stream;
	if (self->fd >= 0)
		close(self->fd);
	free(self->path);
	free(self);
}

static void describe(const struct file_stream *self, struct http_answer *answer)
{
	const struct stat *status = &self->opened;
	uint64_t size = (uint64_t)status->st_size;
	*answer = (struct http_answer){.status = 200,
				       .has_end = true,
				       .size_bytes = size,
				       .total_bytes = size,
				       .accepts_ranges = true,
				       .etag_strong = true,
				       .retry_after_ms = -1};
	snprintf(answer->etag, sizeof(answer->etag), "\"file-%jx-%jx-%jx-%jx.%lx\"",
		 (uintmax_t)status->st_dev, (uintmax_t)status->st_ino, (uintmax_t)size,
		 (uintmax_t)status->st_mtim.tv_sec, (unsigned long)status->st_mtim.tv_nsec);
}

/* Like a server: the part if the version is right, the whole if it is another. */
static int take_range(struct file_stream *self, const struct http_range *range,
		      struct http_answer *answer, struct error *err)
{
	if (range->if_range && strcmp(range->if_range, answer->etag) != 0)
		return 0;
	if (range->start >= answer->total_bytes)
		return error_set(err, ERROR_INPUT, "%s has only %" PRIu64 " bytes", self->path,
				 answer->total_bytes);
	self->offset = range->start;
	if (range->end < self->end)
		self->end = range->end;
	answer->status = 206;
	answer->start = self->offset;
	answer->size_bytes = self->end - self->offset;
	return 0;
}

int source_file_open(const char *url, const struct http_range *range, struct stream **ret_stream,
		     struct http_answer *ret_answer, struct error *err)
{
	static const struct stream_operations operations = {.read = file_read, .close = file_close};
	*ret_answer = (struct http_answer){.retry_after_ms = -1};
	struct file_stream *self = calloc(1, sizeof(*self));
	if (!self)
		abort();
	self->stream.operations = &operations;
	auto_stream struct stream *stream = &self->stream;
	self->path = text_dup(url + strlen("file://"));
	self->fd = open(self->path, O_RDONLY | O_CLOEXEC);
	if (self->fd < 0 || fstat(self->fd, &self->opened) < 0)
		return error_sys(err, "open %s", self->path);
	if (!S_ISREG(self->opened.st_mode))
		return error_set(err, ERROR_INPUT, "%s is not a file", self->path);
	describe(self, ret_answer);
	self->end = ret_answer->total_bytes;
	if (range && take_range(self, range, ret_answer, err) < 0)
		return -1;
	posix_fadvise(self->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	stream->size_bytes = stream->least_bytes = ret_answer->size_bytes;
	*ret_stream = take_pointer(stream);
	return 0;
}
