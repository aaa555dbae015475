/*
 * struct error: why something failed, as plain data.
 *
 * The caller owns it, it holds no pointers, so that a child process can send it through a pipe. A
 * function that can fail returns 0 or more on success and -1 on failure, and takes a struct error
 * last, which is filled in on failure only.
 */
#ifndef PLATFORM_ERROR_H
#define PLATFORM_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

/* What a caller can branch on. The order is part of the records that a child sends to its parent of
 * the same build. */
enum error_kind {
	ERROR_NONE = 0,
	ERROR_INPUT,     /* the user's input is wrong: trying again cannot help */
	ERROR_NOT_FOUND, /* a thing that was named does not exist */
	ERROR_DENIED,    /* not permitted: credentials, permissions, read-only */
	ERROR_BUSY,      /* the thing is in use */
	ERROR_NETWORK,   /* connection, name resolution, server trouble: trying again can help */
	ERROR_IO,        /* a device or file system failed */
	ERROR_CORRUPT,   /* data arrived, and it is not what it must be: checksum, format, length */
	ERROR_TIMEOUT,   /* the time allowed is over */
	ERROR_CANCELLED, /* ended on request */
	ERROR_PROTOCOL,  /* the other side does not speak as agreed */
	ERROR_FAILED,    /* a program that was run failed */
	ERROR_CRASHED,   /* a process ended by a signal nobody sent on purpose */
	ERROR_MEMORY,    /* memory ran out */
	ERROR_UNSUPPORTED,
	ERROR_BUG,
};

enum {
	ERROR_TEXT_SIZE = 1536
};

struct error {
	enum error_kind kind;
	int code; /* errno, exit status, HTTP or gRPC status, whatever belongs to kind; 0 if none */
	char text[ERROR_TEXT_SIZE];
};

/* Sets kind and text (printf-style; a text too long is cut on a UTF-8 character). Returns -1. */
int error_set(struct error *err, enum error_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Sets the error from errno, which must be the one of the system call that just failed: text is
 * "<format>: <strerror>". kind follows from errno (ENOENT: NOT_FOUND, EBUSY: BUSY, EACCES, EPERM,
 * EROFS: DENIED, ENOMEM: MEMORY, network ones: NETWORK, EINTR and ECANCELED: CANCELLED, ETIMEDOUT:
 * TIMEOUT, else IO). Returns -1.
 */
int error_sys(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As error_sys() for an errno kept in a variable (pthread functions, negative returns). */
int error_errno(struct error *err, int errnum, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "<format>: " before the text. kind and code stay. Returns -1. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends text after what is there. kind and code stay. Returns -1. */
int error_append(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The field's word for a kind, lower case: "input", "not found", … Never NULL. */
const char *error_kind_name(enum error_kind kind);

/* Whether trying the same again can succeed. */
bool error_is_retryable(const struct error *err);

/* True for the kinds a record may carry: what arrives from a pipe is not trusted to be in range. */
bool error_kind_is_valid(int kind);

#endif
