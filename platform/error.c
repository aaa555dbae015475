/* Filling in struct error. Texts are cut on a character so that they stay valid UTF-8. */
#include "platform/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "platform/text.h"

__attribute__((format(printf, 2, 0))) static void put(struct error *err, const char *format,
						      va_list args)
{
	/* By way of a text of our own: an argument may point into err->text. */
	char text[ERROR_TEXT_SIZE];
	vsnprintf(text, sizeof(text), format, args);
	text_cut_utf8(text);
	memcpy(err->text, text, strlen(text) + 1);
}

static enum error_kind kind_of_errno(int errnum)
{
	switch (errnum) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
	case ENOTDIR:
		return ERROR_NOT_FOUND;
	case EBUSY:
	case ETXTBSY:
		return ERROR_BUSY;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERROR_DENIED;
	case ENOMEM:
		return ERROR_MEMORY;
	case EINTR:
	case ECANCELED:
		return ERROR_CANCELLED;
	case ETIMEDOUT:
		return ERROR_TIMEOUT;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case ENETUNREACH:
	case EHOSTUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return ERROR_NETWORK;
	case ENOSYS:
	case EOPNOTSUPP:
		return ERROR_UNSUPPORTED;
	default:
		return ERROR_IO;
	}
}

int error_set(struct error *err, enum error_kind kind, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	put(err, format, args);
	va_end(args);
	err->kind = kind;
	err->code = 0;
	return -1;
}

__attribute__((format(printf, 3, 0))) static void put_errno(struct error *err, int errnum,
							    const char *format, va_list args)
{
	put(err, format, args);
	error_append(err, ": %s", strerror(errnum));
	err->kind = kind_of_errno(errnum);
	err->code = errnum;
}

int error_sys(struct error *err, const char *format, ...)
{
	int errnum = errno;
	va_list args;
	va_start(args, format);
	put_errno(err, errnum, format, args);
	va_end(args);
	return -1;
}

int error_errno(struct error *err, int errnum, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	put_errno(err, errnum, format, args);
	va_end(args);
	return -1;
}

int error_wrap(struct error *err, const char *format, ...)
{
	char inner[ERROR_TEXT_SIZE];
	memcpy(inner, err->text, sizeof(inner));
	va_list args;
	va_start(args, format);
	put(err, format, args);
	va_end(args);
	return error_append(err, ": %s", inner);
}

int error_append(struct error *err, const char *format, ...)
{
	size_t used = strnlen(err->text, sizeof(err->text) - 1);
	va_list args;
	va_start(args, format);
	vsnprintf(err->text + used, sizeof(err->text) - used, format, args);
	va_end(args);
	text_cut_utf8(err->text);
	return -1;
}

static const char *const kind_names[] = {
	[ERROR_NONE] = "none",
	[ERROR_INPUT] = "input",
	[ERROR_NOT_FOUND] = "not found",
	[ERROR_DENIED] = "denied",
	[ERROR_BUSY] = "busy",
	[ERROR_NETWORK] = "network",
	[ERROR_IO] = "i/o",
	[ERROR_CORRUPT] = "corrupt",
	[ERROR_TIMEOUT] = "timeout",
	[ERROR_CANCELLED] = "cancelled",
	[ERROR_PROTOCOL] = "protocol",
	[ERROR_FAILED] = "failed",
	[ERROR_CRASHED] = "crashed",
	[ERROR_MEMORY] = "memory",
	[ERROR_UNSUPPORTED] = "unsupported",
	[ERROR_BUG] = "bug",
};

bool error_kind_is_valid(int kind)
{
	return kind >= 0 && (size_t)kind < sizeof(kind_names) / sizeof(kind_names[0]);
}

const char *error_kind_name(enum error_kind kind)
{
	return error_kind_is_valid((int)kind) ? kind_names[kind] : "unknown";
}

bool error_is_retryable(const struct error *err)
{
	return err->kind == ERROR_NETWORK || err->kind == ERROR_TIMEOUT;
}
