/*
 * Cleanup by the scope: auto_close, auto_free, auto_fclose, and the macro that makes such a word
 * for a type with a free function. They are for the way out on failure; what was written ends with
 * an explicit, checked finish.
 */
#ifndef PLATFORM_CLEANUP_H
#define PLATFORM_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

/* Gives the descriptor away: returns it and leaves -1 behind, so that auto_close does nothing. */
static inline int take_fd(int *fd)
{
	int taken = *fd;
	*fd = -1;
	return taken;
}

/* Gives a pointer away, of whatever type: returns it and leaves NULL behind. */
#define take_pointer(pointer)                                                                      \
	__extension__({                                                                            \
		__typeof__(pointer) taken = (pointer);                                             \
		(pointer) = NULL;                                                                  \
		taken;                                                                             \
	})

#define auto_close  __attribute__((cleanup(cleanup_close)))
#define auto_free   __attribute__((cleanup(cleanup_free)))
#define auto_fclose __attribute__((cleanup(cleanup_fclose)))

/* AUTO_DEFINE(stream, struct stream *, stream_close) makes cleanup_stream(); the header adds
 * `#define auto_stream …`. */
#define AUTO_DEFINE(name, type, free_function)                                                     \
	static inline void cleanup_##name(type *variable)                                          \
	{                                                                                          \
		if (*variable)                                                                     \
			free_function(*variable);                                                  \
	}

#endif
