/*
 * Unpacking tar archives (v7, ustar, pax, GNU, star, Solaris; by libarchive) below a directory.
 */
#ifndef PLATFORM_ARCHIVE_H
#define PLATFORM_ARCHIVE_H

#include "platform/stream.h"
#include "platform/unpack.h"

struct archive_facts {
	const char *form; /* "POSIX pax interchange format"; lives as long as the program */
	/* The archive's own end mark, blocks of zeros, was there: some writers leave it out. */
	bool has_end_mark;
};

/*
 * Reads the archive (borrowed) to its verified end and makes its entries by unpack, which is not
 * settled yet. Several archives one after the other are one. ERROR_CORRUPT when it is no tar, is
 * damaged, holds nothing, has something behind its end, or an entry wants to be outside; else as
 * the stream and unpack_begin().
 */
int archive_unpack(struct stream *stream, struct unpack *unpack, struct archive_facts *ret_facts,
		   struct error *err);

#endif
