/* CRC-32 as in IEEE 802.3, gzip and Android sparse images; by ISA-L. */
#ifndef PLATFORM_CRC32_H
#define PLATFORM_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* The checksum of what crc is of (0: of nothing), and size bytes more. */
uint32_t crc32_add(uint32_t crc, const void *data, size_t size);

/* The same with count bytes of zero, however many: their time grows with the logarithm. */
uint32_t crc32_add_zeros(uint32_t crc, uint64_t count);

#endif
