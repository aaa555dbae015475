/* Compression in several threads: see compress.h. The reader of the stage fills pieces in turn,
 * threads compress them, and they come out in the same turn. */
#include "platform/compress.h"
#include "platform/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "platform/disk_io.h"

enum {
	GZIP_LEVEL = 3,
	ZSTD_LEVEL = 3,            /* the release has the fast strategies only */
	GZIP_WINDOW_BITS = 15 + 16 /* 16: with gzip's header and trailer */
};

enum piece_state {
	PIECE_FREE,
	PIECE_FILLED,
	PIECE_TAKEN, /* by a thread */
	PIECE_DONE
};

struct piece {
	enum piece_state state;
	uint8_t *in, *out;
	size_t in_size, out_size;
	bool failed;
};

struct compressor {
	struct stream stream;
	struct stream *below;
	enum compression compression;
	pthread_t threads[COMPRESS_THREADS_MOST];
	unsigned thread_count;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stop;
	bool below_ended;
	unsigned piece_count;
	unsigned next_fill, next_take, next_give; /* all go round */
	size_t given;                             /* of the piece that is given now */
	uint64_t filled;
	size_t bound; /* of what a piece can become */
	/* A whole piece of zeros, compressed once. */
	uint8_t *zeros;
	size_t zeros_size;
	struct piece pieces[];
};

/* A thread's own encoder. */
struct encoder {
	enum compression compression;
	z_stream zlib;
	ZSTD_CCtx *zstd;
};

static bool encoder_open(struct encoder *encoder, enum compression compression)
{
	*encoder = (struct encoder){.compression = compression};
	if (compression == COMPRESSION_GZIP)
		return deflateInit2(&encoder->zlib, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, 9,
				    Z_DEFAULT_STRATEGY) == Z_OK;
	encoder->zstd = ZSTD_createCCtx();
	return encoder->zstd &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_compressionLevel,
						    ZSTD_LEVEL)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(encoder->zstd, ZSTD_c_checksumFlag, 1));
}

static void encoder_close(struct encoder *encoder)
{
	if (encoder->compression == COMPRESSION_GZIP)
		deflateEnd(&encoder->zlib);
	ZSTD_freeCCtx(encoder->zstd);
}

/* One member or frame. False when it fails, for lack of memory. */
static bool encode(struct encoder *encoder, const uint8_t *in, size_t in_size, uint8_t *out,
		   size_t bound, size_t *ret_size)
{
	if (encoder->compression == COMPRESSION_ZSTD) {
		*ret_size = ZSTD_compress2(encoder->zstd, out, bound, in, in_size);
		return !ZSTD_isError(*ret_size);
	}
	z_stream *zlib = &encoder->zlib;
	if (deflateReset(zlib) != Z_OK)
		return false;
	zlib->next_in = (z_const Bytef *)(uintptr_t)in;
	zlib->avail_in = (unsigned)in_size;
	zlib->next_out = out;
	zlib->avail_out = (unsigned)bound;
	if (deflate(zlib, Z_FINISH) != Z_STREAM_END)
		return false;
	*ret_size = bound - zlib->avail_out;
	return true;
}

static bool encode_piece(struct compressor *self, struct encoder *encoder, struct piece *piece)
{
	if (piece->in_size == COMPRESS_PIECE_BYTES && memory_is_zero(piece->in, piece->in_size)) {
		memcpy(piece->out, self->zeros, self->zeros_size);
		piece->out_size = self->zeros_size;
		return true;
	}
	return encode(encoder, piece->in, piece->in_size, piece->out, self->bound,
		      &piece->out_size);
}

static void *work(void *context)
{
	struct compressor *self = context;
	struct encoder encoder;
	bool ready = encoder_open(&encoder, self->compression);
	pthread_mutex_lock(&self->lock);
	for (;;) {
		struct piece *piece = &self->pieces[self->next_take];
		if (self->stop)
			break;
		if (piece->state != PIECE_FILLED) {
			pthread_cond_wait(&self->changed, &self->lock);
			continue;
		}
		piece->state = PIECE_TAKEN;
		self->next_take = (self->next_take + 1) % self->piece_count;
		pthread_mutex_unlock(&self->lock);
		bool done = ready && encode_piece(self, &encoder, piece);
		pthread_mutex_lock(&self->lock);
		piece->failed = !done;
		piece->state = PIECE_DONE;
		pthread_cond_broadcast(&self->changed);
	}
	pthread_mutex_unlock(&self->lock);
	encoder_close(&encoder);
	return NULL;
}

static enum piece_state state_of(struct compressor *self, const struct piece *piece)
{
	pthread_mutex_lock(&self->lock);
	enum piece_state state = piece->state;
	pthread_mutex_unlock(&self->lock);
	return state;
}

static void set_state(struct compressor *self, struct piece *piece, enum piece_state state)
{
	pthread_mutex_lock(&self->lock);
	piece->state = state;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
}

/* Reads the next piece from below. Nothing at all is a piece too, an empty one. */
static int fill(struct compressor *self, struct error *err)
{
	struct piece *piece = &self->pieces[self->next_fill];
	ssize_t got = stream_read_full(self->below, piece->in, COMPRESS_PIECE_BYTES, err);
	if (got < 0)
		return -1;
	self->below_ended = got < COMPRESS_PIECE_BYTES;
	if (got == 0 && self->filled > 0)
		return 0;
	piece->in_size = (size_t)got;
	self->filled++;
	self->next_fill = (self->next_fill + 1) % self->piece_count;
	set_state(self, piece, PIECE_FILLED);
	return 0;
}

/* Waits for the next piece that is to be given; NULL at the end. */
static struct piece *next_done(struct compressor *self)
{
	struct piece *piece = &self->pieces[self->next_give];
	pthread_mutex_lock(&self->lock);
	while (piece->state == PIECE_FILLED || piece->state == PIECE_TAKEN)
		pthread_cond_wait(&self->changed, &self->lock);
	bool done = piece->state == PIECE_DONE;
	pthread_mutex_unlock(&self->lock);
	return done ? piece : NULL;
}

static ssize_t compress_read(struct stream *stream, void *data, size_t size, struct error *err)
{
	struct compressor *self = (struct compressor *)stream;
	while (!self->below_ended && state_of(self, &self->pieces[self->next_give]) != PIECE_DONE &&
	       state_of(self, &self->pieces[self->next_fill]) == PIECE_FREE)
		if (fill(self, err) < 0)
			return -1;
	struct piece *piece = next_done(self);
	if (!piece)
		return 0;
	if (piece->failed)
		return error_set(err, ERROR_MEMORY, "no memory for compressing by %s",
				 compression_name(self->compression));
	size_t left = piece->out_size - self->given;
	size_t count = left < size ? left : size;
	memcpy(data, piece->out + self->given, count);
	self->given += count;
	if (self->given == piece->out_size) {
		self->given = 0;
		self->next_give = (self->next_give + 1) % self->piece_count;
		set_state(self, piece, PIECE_FREE);
	}
	return (ssize_t)count;
}

static void compress_close(struct stream *stream)
{
	struct compressor *self = (struct compressor *)stream;
	pthread_mutex_lock(&self->lock);
	self->stop = true;
	pthread_cond_broadcast(&self->changed);
	pthread_mutex_unlock(&self->lock);
	for (unsigned i = 0; i < self->thread_count; i++)
		pthread_join(self->threads[i], NULL);
	for (unsigned i = 0; i < self->piece_count; i++) {
		free(self->pieces[i].in);
		free(self->pieces[i].out);
	}
	free(self->zeros);
	pthread_mutex_destroy(&self->lock);
	pthread_cond_destroy(&self->changed);
	stream_close(self->below);
	free(self);
}

static bool allocate(struct compressor *self)
{
	struct encoder encoder;
	bool ready = encoder_open(&encoder, self->compression);
	/* Made once: it may take its time. */
	if (ready && self->compression == COMPRESSION_GZIP)
		ready = deflateParams(&encoder.zlib, Z_BEST_COMPRESSION, Z_DEFAULT_STRATEGY) ==
			Z_OK;
	self->bound = self->compression == COMPRESSION_ZSTD
			      ? ZSTD_compressBound(COMPRESS_PIECE_BYTES)
			      : compressBound(COMPRESS_PIECE_BYTES) + 64;
	self->zeros = malloc(self->bound);
	for (unsigned i = 0; i < self->piece_count; i++) {
		self->pieces[i].in = disk_memory(COMPRESS_PIECE_BYTES);
		self->pieces[i].out = malloc(self->bound);
		ready = ready && self->pieces[i].in && self->pieces[i].out;
	}
	ready = ready && self->zeros &&
		encode(&encoder, self->pieces[0].in, COMPRESS_PIECE_BYTES, self->zeros, self->bound,
		       &self->zeros_size);
	encoder_close(&encoder);
	return ready;
}

static unsigned choose_threads(unsigned wanted)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned threads = wanted > 0 ? wanted : processors > 0 ? (unsigned)processors : 1;
	return threads > COMPRESS_THREADS_MOST ? COMPRESS_THREADS_MOST : threads;
}

int compress_stream(struct stream *below, enum compression compression, unsigned threads,
		    struct stream **ret_stream, struct error *err)
{
	static const struct stream_operations operations = {.read = compress_read,
							    .close = compress_close};
	unsigned count = choose_threads(threads), pieces = count + 2;
	struct compressor *self = calloc(1, sizeof(*self) + pieces * sizeof(self->pieces[0]));
	if (!self)
		abort();
	self->stream =
		(struct stream){.operations = &operations, .size_bytes = STREAM_SIZE_UNKNOWN};
	self->below = below;
	self->compression = compression;
	self->piece_count = pieces;
	pthread_mutex_init(&self->lock, NULL);
	pthread_cond_init(&self->changed, NULL);
	auto_stream struct stream *stream = &self->stream;
	if (compression != COMPRESSION_GZIP && compression != COMPRESSION_ZSTD)
		return error_set(err, ERROR_UNSUPPORTED, "compressing by %s is not supported",
				 compression_name(compression));
	if (!allocate(self))
		return error_set(err, ERROR_MEMORY, "no memory for compressing by %s",
				 compression_name(compression));
	for (; self->thread_count < count; self->thread_count++) {
		int errnum = pthread_create(&self->threads[self->thread_count], NULL, work, self);
		if (errnum != 0)
			return error_errno(err, errnum, "start a thread");
	}
	*ret_stream = take_pointer(stream);
	return 0;
}
