/* CRC-32: see crc32.h. */
#include "platform/crc32.h"

#include <isa-l/crc.h>

/* A polynomial over GF(2) of degree below 32 has its lowest coefficient in bit 31. */
#define POLYNOMIAL UINT32_C(0xedb88320)
#define ONE        (UINT32_C(1) << 31)
#define X_TO_8     (UINT32_C(1) << 23)

uint32_t crc32_add(uint32_t crc, const void *data, size_t size)
{
	return crc32_gzip_refl(crc, data, size);
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	for (int bit = 31; bit >= 0; bit--) {
		if (a >> bit & 1)
			product ^= b;
		b = b >> 1 ^ (b & 1 ? POLYNOMIAL : 0);
	}
	return product;
}

/* Zeros shift the register: each byte multiplies it by x^8. */
uint32_t crc32_add_zeros(uint32_t crc, uint64_t count)
{
	uint32_t power = ONE, square = X_TO_8;
	for (; count > 0; count >>= 1) {
		if (count & 1)
			power = multiply(power, square);
		square = multiply(square, square);
	}
	return ~multiply(~crc, power);
}
