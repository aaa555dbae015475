/* Time: the monotonic clock for durations and deadlines, the wall clock for what people read. */
#ifndef PLATFORM_CLOCK_H
#define PLATFORM_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Milliseconds of CLOCK_MONOTONIC (or BOOTTIME): never goes back. */
int64_t clock_monotonic_ms(void);

/* The wall clock. */
struct timespec clock_wall(void);

/* "2026-11-22T23:14:05.123Z" (RFC 3339, UTC). Returns out. */
char *clock_format_utc(struct timespec when, char *out, size_t out_size);

/* A duration as people and the server's users read it, two units: 63 s -> "1m3s", 45.012 s ->
 * "45s12ms". Returns out. */
char *clock_format_duration(int64_t duration_ms, char *out, size_t out_size);

/*
 * The pause before try number attempt (0 is the first repeat): exponential from base_ms, at most
 * max_ms, of which a random half is taken off ("equal jitter"), so that a fleet does not knock in
 * step.
 */
int64_t clock_backoff_ms(unsigned attempt, int64_t base_ms, int64_t max_ms);

#endif
