/*
 * What igzip_inflate.c calls and ISA-L has several variants of: each call takes the best that the
 * processor has. Instead of the library's own dispatchers, which name every function it has.
 */
#include <stdint.h>
#include <string.h>

#include "igzip_lib.h"

#if defined(__aarch64__)
#include <sys/auxv.h>
#endif

int decode_huffman_code_block_stateless(struct inflate_state *state, uint8_t *start_out);
int decode_huffman_code_block_stateless_base(struct inflate_state *state, uint8_t *start_out);
uint32_t crc32_gzip_refl(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_gzip_refl_base(uint32_t seed, uint8_t *data, uint64_t size);
uint32_t crc32_ieee(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_ieee_base(uint32_t seed, uint8_t *data, uint64_t size);
uint32_t isal_adler32_bam1(uint32_t seed, const uint8_t *data, uint64_t size);

#if defined(__x86_64__)

int decode_huffman_code_block_stateless_01(struct inflate_state *state, uint8_t *start_out);
int decode_huffman_code_block_stateless_04(struct inflate_state *state, uint8_t *start_out);
uint32_t crc32_gzip_refl_by8(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_gzip_refl_by8_02(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_gzip_refl_by16_10(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_ieee_01(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_ieee_02(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_ieee_by16_10(uint32_t seed, const uint8_t *data, uint64_t size);

int decode_huffman_code_block_stateless(struct inflate_state *state, uint8_t *start_out)
{
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
		return decode_huffman_code_block_stateless_04(state, start_out);
	if (__builtin_cpu_supports("sse4.1"))
		return decode_huffman_code_block_stateless_01(state, start_out);
	return decode_huffman_code_block_stateless_base(state, start_out);
}

static int has_carryless_multiplication(void)
{
	return __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
}

static int has_wide_carryless_multiplication(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
	       __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
	       __builtin_cpu_supports("vpclmulqdq");
}

uint32_t crc32_gzip_refl(uint32_t seed, const uint8_t *data, uint64_t size)
{
	if (!has_carryless_multiplication())
		return crc32_gzip_refl_base(seed, (uint8_t *)(uintptr_t)data, size);
	if (!__builtin_cpu_supports("avx"))
		return crc32_gzip_refl_by8(seed, data, size);
	if (has_wide_carryless_multiplication())
		return crc32_gzip_refl_by16_10(seed, data, size);
	return crc32_gzip_refl_by8_02(seed, data, size);
}

uint32_t crc32_ieee(uint32_t seed, const uint8_t *data, uint64_t size)
{
	if (!has_carryless_multiplication())
		return crc32_ieee_base(seed, (uint8_t *)(uintptr_t)data, size);
	if (!__builtin_cpu_supports("avx"))
		return crc32_ieee_01(seed, data, size);
	if (has_wide_carryless_multiplication())
		return crc32_ieee_by16_10(seed, data, size);
	return crc32_ieee_02(seed, data, size);
}

#elif defined(__aarch64__)

int decode_huffman_code_block_stateless_aarch64(struct inflate_state *state, uint8_t *start_out);
uint32_t crc32_gzip_refl_pmull(uint32_t seed, const uint8_t *data, uint64_t size);
uint32_t crc32_ieee_norm_pmull(uint32_t seed, const uint8_t *data, uint64_t size);

int decode_huffman_code_block_stateless(struct inflate_state *state, uint8_t *start_out)
{
	return decode_huffman_code_block_stateless_aarch64(state, start_out);
}

uint32_t crc32_gzip_refl(uint32_t seed, const uint8_t *data, uint64_t size)
{
	if (getauxval(AT_HWCAP) & (1u << 4)) /* HWCAP_PMULL */
		return crc32_gzip_refl_pmull(seed, data, size);
	return crc32_gzip_refl_base(seed, (uint8_t *)(uintptr_t)data, size);
}

uint32_t crc32_ieee(uint32_t seed, const uint8_t *data, uint64_t size)
{
	if (getauxval(AT_HWCAP) & (1u << 4))
		return crc32_ieee_norm_pmull(seed, data, size);
	return crc32_ieee_base(seed, (uint8_t *)(uintptr_t)data, size);
}

#endif

/* Adler-32 (RFC 1950) of zlib streams, which nobody reads here; its lower half is kept less one,
 * as igzip_inflate.c wants it. */
uint32_t isal_adler32_bam1(uint32_t seed, const uint8_t *data, uint64_t size)
{
	enum {
		BASE = 65521
	};
	uint32_t b = seed >> 16, a = (seed & 0xffff) == BASE - 1 ? 0 : (seed & 0xffff) + 1;
	for (uint64_t i = 0; i < size; i++) {
		a = (a + data[i]) % BASE;
		b = (b + a) % BASE;
	}
	return b << 16 | (a == 0 ? BASE - 1 : a - 1);
}

/* The rest of these two is in igzip.c, with all of the compression. */
void isal_gzip_header_init(struct isal_gzip_header *header)
{
	memset(header, 0, sizeof(*header));
}

void isal_zlib_header_init(struct isal_zlib_header *header)
{
	memset(header, 0, sizeof(*header));
}
