/*
 * Decoders of compressed data in memory, side by side: for each FILE the project's own stage, with
 * one thread and with several, and the libraries one could have taken. No disk and no network: the
 * file is read before. One line a decoder: MB/s of output (the best of the rounds) and processor
 * seconds.
 *
 * Usage: decode [-r ROUNDS] [-t THREADS] FILE...
 */
#include <bzlib.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <lz4frame.h>
#include <lzma.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>
#ifdef HAVE_LIBDEFLATE
#include <libdeflate.h>
#endif

#include "platform/decompress.h"

enum {
	OUT_SIZE = 1 << 20
};

struct file {
	const uint8_t *data;
	size_t size;
};

static uint8_t *out;

static void die(const char *what)
{
	fprintf(stderr, "decode: %s\n", what);
	exit(1);
}

/* Each of these returns the number of bytes that came out. */

static uint64_t by_ours(const struct file *file, unsigned threads)
{
	struct error err;
	struct stream *stream;
	struct decompress_options options = {.threads = threads};
	if (decompress_stream_with(stream_from_memory(file->data, file->size), &options, &stream,
				   NULL, &err) < 0)
		die(err.text);
	ssize_t got;
	while ((got = stream_read(stream, out, OUT_SIZE, &err)) > 0)
		;
	if (got < 0)
		die(err.text);
	uint64_t total = stream->read_bytes;
	stream_close(stream);
	return total;
}

static uint64_t by_zlib(const struct file *file)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)file->data, .avail_in = (uInt)file->size};
	uint64_t total = 0;
	if (inflateInit2(&z, 15 + 16) != Z_OK)
		die("zlib");
	while (z.avail_in > 0) {
		z.next_out = out;
		z.avail_out = OUT_SIZE;
		int result = inflate(&z, Z_NO_FLUSH);
		total += OUT_SIZE - z.avail_out;
		if (result == Z_STREAM_END)
			inflateReset(&z);
		else if (result != Z_OK)
			die("zlib: corrupt");
	}
	inflateEnd(&z);
	return total;
}

#ifdef HAVE_LIBDEFLATE
/* Whole buffers only: it needs all of the output in memory. */
static uint64_t by_libdeflate(const struct file *file)
{
	struct libdeflate_decompressor *decoder = libdeflate_alloc_decompressor();
	const size_t room = (size_t)8 << 30;
	uint8_t *whole = mmap(NULL, room, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!decoder || whole == MAP_FAILED)
		die("libdeflate: no memory");
	size_t at = 0, total = 0;
	while (at < file->size) {
		size_t read, written;
		if (libdeflate_gzip_decompress_ex(decoder, file->data + at, file->size - at, whole,
						  room, &read, &written) != LIBDEFLATE_SUCCESS)
			die("libdeflate: corrupt");
		at += read;
		total += written;
	}
	munmap(whole, room);
	libdeflate_free_decompressor(decoder);
	return total;
}
#endif

static uint64_t by_zstd(const struct file *file)
{
	ZSTD_DStream *zstd = ZSTD_createDStream();
	ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax, 27);
	ZSTD_inBuffer input = {file->data, file->size, 0};
	uint64_t total = 0;
	for (;;) {
		ZSTD_outBuffer output = {out, OUT_SIZE, 0};
		size_t result = ZSTD_decompressStream(zstd, &output, &input);
		total += output.pos;
		if (ZSTD_isError(result))
			die(ZSTD_getErrorName(result));
		if (result == 0 && input.pos == input.size)
			break;
	}
	ZSTD_freeDStream(zstd);
	return total;
}

static uint64_t by_liblzma(const struct file *file)
{
	lzma_stream lzma = LZMA_STREAM_INIT;
	if (lzma_stream_decoder(&lzma, UINT64_MAX, LZMA_CONCATENATED) != LZMA_OK)
		die("liblzma");
	lzma.next_in = file->data;
	lzma.avail_in = file->size;
	lzma_ret result;
	do {
		lzma.next_out = out;
		lzma.avail_out = OUT_SIZE;
		result = lzma_code(&lzma, LZMA_FINISH);
	} while (result == LZMA_OK);
	if (result != LZMA_STREAM_END)
		die("liblzma: corrupt");
	uint64_t total = lzma.total_out;
	lzma_end(&lzma);
	return total;
}

static uint64_t by_libbz2(const struct file *file)
{
	uint64_t total = 0;
	bz_stream bz = {.next_in = (char *)(uintptr_t)file->data, .avail_in = (unsigned)file->size};
	while (bz.avail_in > 0) {
		if (BZ2_bzDecompressInit(&bz, 0, 0) != BZ_OK)
			die("libbz2");
		int result;
		do {
			bz.next_out = (char *)out;
			bz.avail_out = OUT_SIZE;
			result = BZ2_bzDecompress(&bz);
			total += OUT_SIZE - bz.avail_out;
		} while (result == BZ_OK);
		if (result != BZ_STREAM_END)
			die("libbz2: corrupt");
		BZ2_bzDecompressEnd(&bz);
	}
	return total;
}

static uint64_t by_liblz4(const struct file *file)
{
	LZ4F_dctx *context;
	if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
		die("liblz4");
	uint64_t total = 0;
	for (size_t at = 0; at < file->size;) {
		size_t read = file->size - at, written = OUT_SIZE;
		if (LZ4F_isError(
			    LZ4F_decompress(context, out, &written, file->data + at, &read, NULL)))
			die("liblz4: corrupt");
		at += read;
		total += written;
	}
	LZ4F_freeDecompressionContext(context);
	return total;
}

static const struct library {
	const char *name;
	enum compression format;
	uint64_t (*decode)(const struct file *file);
} libraries[] = {
	{"zlib", COMPRESSION_GZIP, by_zlib},
#ifdef HAVE_LIBDEFLATE
	{"libdeflate (whole)", COMPRESSION_GZIP, by_libdeflate},
#endif
	{"libzstd", COMPRESSION_ZSTD, by_zstd},
	{"liblzma", COMPRESSION_XZ, by_liblzma},
	{"libbz2", COMPRESSION_BZIP2, by_libbz2},
	{"liblz4", COMPRESSION_LZ4, by_liblz4},
};

static double seconds_of(struct timeval time)
{
	return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* One line: library, or ours with threads when library is NULL. */
static void measure(const struct file *file, const struct library *library, unsigned threads,
		    unsigned rounds)
{
	double best = 0, processor = 0;
	uint64_t bytes = 0;
	for (unsigned i = 0; i < rounds; i++) {
		struct rusage before, after;
		getrusage(RUSAGE_SELF, &before);
		double begin = now();
		bytes = library ? library->decode(file) : by_ours(file, threads);
		double took = now() - begin;
		getrusage(RUSAGE_SELF, &after);
		if (best == 0 || took < best) {
			best = took;
			processor = seconds_of(after.ru_utime) + seconds_of(after.ru_stime) -
				    seconds_of(before.ru_utime) - seconds_of(before.ru_stime);
		}
	}
	char name[40];
	snprintf(name, sizeof(name), "tink-worker, %u thread%s", threads, threads == 1 ? "" : "s");
	printf("  %-24s %8.0f MB/s  %6.2f s  processor %6.2f s  (%" PRIu64 " bytes)\n",
	       library ? library->name : name, (double)bytes / 1e6 / best, best, processor, bytes);
	fflush(stdout);
}

static void bench(const char *path, unsigned threads, unsigned rounds)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;
	if (fd < 0 || fstat(fd, &status) < 0 || status.st_size == 0)
		die(path);
	struct file file = {.size = (size_t)status.st_size};
	void *data = mmap(NULL, file.size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	if (data == MAP_FAILED)
		die(path);
	file.data = data;
	enum compression format = compression_detect(file.data, file.size);
	printf("%s: %s, %zu bytes\n", path, compression_name(format), file.size);
	measure(&file, NULL, 1, rounds);
	if (threads > 1)
		measure(&file, NULL, threads, rounds);
	for (size_t i = 0; i < sizeof(libraries) / sizeof(libraries[0]); i++)
		if (libraries[i].format == format)
			measure(&file, &libraries[i], 1, rounds);
	munmap(data, file.size);
	close(fd);
}

int main(int argc, char **argv)
{
	unsigned rounds = 1, threads = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	int option;
	while ((option = getopt(argc, argv, "r:t:")) != -1) {
		unsigned value = (unsigned)strtoul(optarg ? optarg : "", NULL, 10);
		if (value == 0 || (option != 'r' && option != 't')) {
			fprintf(stderr, "Usage: decode [-r ROUNDS] [-t THREADS] FILE...\n");
			return 2;
		}
		*(option == 'r' ? &rounds : &threads) = value;
	}
	void *memory;
	if (posix_memalign(&memory, 4096, OUT_SIZE) != 0)
		die("no memory");
	out = memory;
	for (int i = optind; i < argc; i++)
		bench(argv[i], threads, rounds);
	free(memory);
	return 0;
}
