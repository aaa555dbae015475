/* The ladder of ways to erase, and reading what they left. See wipe.h. */
#include "platform/wipe.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>

#include "platform/disk_facts.h"
#include "platform/disk_io.h"
#include "platform/memory.h"
#include "platform/partition.h"
#include "platform/text.h"

enum {
	SAMPLES = 64,
	DRAWS = 4, /* of places for one that holds something */
	SAMPLE_BYTES = 1 << 20,
	DISCARD_STEP_MIB = 1024,
	MIB = 1 << 20,
};

/* One piece that was read. */
struct sample {
	uint64_t offset;
	uint64_t hash;
	bool zero, uniform; /* zeros; one byte all over */
};

struct wipe {
	const struct disk *disk;
	const struct wipe_options *options;
	struct wipe_result *result;
	struct disk_facts facts; /* of the whole disk */
	struct disk_io io;
	struct disk_scratch scratch;
	unsigned count;
	struct sample before[SAMPLES];
};

/* Small things */

static void say(struct wipe *wipe, const char *phase)
{
	atomic_store(&wipe->options->progress->done, 0);
	atomic_store(&wipe->options->progress->total, 0);
	wipe->options->phase(wipe->options->context, phase);
}

static void tell(struct wipe *wipe, uint64_t done, uint64_t total)
{
	atomic_store(&wipe->options->progress->done, done);
	atomic_store(&wipe->options->progress->total, total);
}

/* Adds "name: why" to a list. */
static void add(char *list, size_t size, const char *name, const char *why)
{
	size_t used = strlen(list);
	snprintf(list + used, size - used, "%s%s%s%s", used ? "; " : "", name, why[0] ? ": " : "",
		 why);
	text_cut_utf8(list);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Reading */

/* FNV-1a, by words: to tell whether a piece has changed. */
static uint64_t hash_of(const uint8_t *data, size_t size)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325), word;
	for (size_t at = 0; at + sizeof(word) <= size; at += sizeof(word)) {
		memcpy(&word, data + at, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0x100000001b3);
		hash ^= hash >> 29;
	}
	return hash;
}

static int sample_read(struct wipe *wipe, struct sample *sample, struct error *err)
{
	const uint8_t *data;
	uint64_t size = least(SAMPLE_BYTES, wipe->disk->size_bytes - sample->offset);
	if (disk_io_read(&wipe->io, &wipe->scratch, sample->offset, size, &data, err) < 0)
		return -1;
	sample->zero = memory_is_zero(data, size);
	sample->uniform = memcmp(data, data + 1, size - 1) == 0;
	sample->hash = hash_of(data, size);
	return 0;
}

/* A place that nobody can foresee. */
static uint64_t choose_piece(uint64_t pieces, unsigned fallback)
{
	uint64_t random = 0;
	return getrandom(&random, sizeof(random), 0) == sizeof(random) ? random % pieces : fallback;
}

/* The ends, and places by chance; rather such that hold something, for what was zeros before does
 * not tell. What cannot be read counts as something else than what comes after. */
static void read_before(struct wipe *wipe)
{
	struct error ignored;
	uint64_t pieces = (wipe->disk->size_bytes + SAMPLE_BYTES - 1) / SAMPLE_BYTES;
	wipe->count = (unsigned)least(SAMPLES, pieces);
	for (unsigned i = 0; i < wipe->count; i++) {
		struct sample *sample = &wipe->before[i];
		bool by_chance = pieces > SAMPLES && i >= 2;
		sample->offset = (pieces > SAMPLES && i == 1 ? pieces - 1 : i) * SAMPLE_BYTES;
		for (unsigned draw = 0; draw < (by_chance ? DRAWS : 1); draw++) {
			if (by_chance)
				sample->offset = choose_piece(pieces, i) * SAMPLE_BYTES;
			if (sample_read(wipe, sample, &ignored) < 0)
				sample->zero = true;
			if (!sample->zero)
				break;
		}
	}
}

/* noise: anything but what was there is erased enough. */
static int check_samples(struct wipe *wipe, bool noise, unsigned *ret_zero, struct error *err)
{
	*ret_zero = 0;
	for (unsigned i = 0; i < wipe->count; i++) {
		struct sample now = {.offset = wipe->before[i].offset};
		tell(wipe, now.offset, 0);
		if (sample_read(wipe, &now, err) < 0)
			return -1;
		bool same = !wipe->before[i].zero && wipe->before[i].hash == now.hash;
		*ret_zero += now.zero;
		if (now.zero || (noise && (!same || now.uniform)))
			continue;
		return error_set(err, ERROR_CORRUPT, "the MiB at %" PRIu64 " %s", now.offset,
				 same ? "is what it was before" : "is not zeros");
	}
	return 0;
}

static int check_everything(struct wipe *wipe, struct error *err)
{
	uint64_t size = wipe->disk->size_bytes;
	for (uint64_t at = 0; at < size; at += SAMPLE_BYTES) {
		struct sample now = {.offset = at};
		tell(wipe, at, size);
		if (sample_read(wipe, &now, err) < 0)
			return -1;
		if (!now.zero)
			return error_set(err, ERROR_CORRUPT,
					 "the MiB at %" PRIu64 " does not read as zeros", at);
	}
	return 0;
}

/* Writing zeros */

static int write_zeros(struct wipe *wipe, uint64_t offset, uint64_t size, bool counted,
		       struct error *err)
{
	auto_free uint8_t *zeros = disk_memory(DISK_BUFFER_BYTES);
	if (!zeros)
		return error_set(err, ERROR_MEMORY, "no memory for %d bytes", DISK_BUFFER_BYTES);
	for (uint64_t done = 0; done < size;) {
		uint64_t part = least(DISK_BUFFER_BYTES, size - done);
		if (disk_io_put(&wipe->io, zeros, part, offset + done, err) < 0)
			return -1;
		done += part;
		if (counted)
			tell(wipe, done, size);
	}
	return disk_io_flush(&wipe->io, err);
}

static int clear_ends(struct wipe *wipe, uint64_t offset, uint64_t size, struct error *err)
{
	uint64_t part = least(MIB, size);
	if (write_zeros(wipe, offset, part, false, err) < 0)
		return -1;
	return write_zeros(wipe, offset + size - part, part, false, err);
}

/* The ways */

static int only_nvme(struct wipe *wipe, struct nvme_erase *erase, struct error *err)
{
	if (strcmp(wipe->facts.type, "nvme") != 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is no NVMe disk");
	if (strcmp(wipe->facts.transport, "pcie") != 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is attached by a network (%s)",
				 wipe->facts.transport);
	return nvme_erase_read(wipe->disk->fd, erase, err);
}

static int not_offered(struct error *err)
{
	return error_set(err, ERROR_UNSUPPORTED, "the disk does not offer it");
}

static int sanitize(struct wipe *wipe, bool crypto, struct error *err)
{
	struct nvme_erase erase = {.namespaces = 0};
	if (only_nvme(wipe, &erase, err) < 0)
		return -1;
	if (!(crypto ? erase.sanitize_crypto : erase.sanitize_block))
		return not_offered(err);
	if (erase.namespaces > 1)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the disk has %u namespaces, all would be erased",
				 erase.namespaces);
	return nvme_sanitize(wipe->disk->fd, crypto, wipe->options->progress, err);
}

static int sanitize_crypto(struct wipe *wipe, struct error *err)
{
	return sanitize(wipe, true, err);
}

static int sanitize_block(struct wipe *wipe, struct error *err)
{
	return sanitize(wipe, false, err);
}

static int format(struct wipe *wipe, bool crypto, struct error *err)
{
	struct nvme_erase erase = {.namespaces = 0};
	if (only_nvme(wipe, &erase, err) < 0)
		return -1;
	if (!(crypto ? erase.format_crypto : erase.format))
		return not_offered(err);
	if (erase.namespaces > 1 && erase.format_hits_all)
		return error_set(err, ERROR_UNSUPPORTED,
				 "the disk has %u namespaces, all would be erased",
				 erase.namespaces);
	return nvme_format(wipe->disk->fd, &erase, crypto, err);
}

static int format_crypto(struct wipe *wipe, struct error *err)
{
	return format(wipe, true, err);
}

static int format_data(struct wipe *wipe, struct error *err)
{
	return format(wipe, false, err);
}

static int secure_erase(struct wipe *wipe, bool enhanced, struct error *err)
{
	struct ata_security security = {.supported = false};
	if (strcmp(wipe->facts.type, "ata") != 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is no ATA disk");
	/* Bridges cut the command off in the middle, and leave the disk locked. */
	if (strcmp(wipe->facts.transport, "usb") == 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is behind a USB bridge");
	if (ata_security_read(wipe->disk->fd, &security, err) < 0)
		return -1;
	return ata_secure_erase(wipe->disk->fd, &security, enhanced, err);
}

static int secure_erase_enhanced(struct wipe *wipe, struct error *err)
{
	return secure_erase(wipe, true, err);
}

static int secure_erase_plain(struct wipe *wipe, struct error *err)
{
	return secure_erase(wipe, false, err);
}

static int discard_by(struct wipe *wipe, unsigned long request, struct error *err)
{
	const uint64_t step = (uint64_t)DISCARD_STEP_MIB * MIB, size = wipe->disk->size_bytes;
	for (uint64_t at = 0; at < size; at += step) {
		uint64_t range[2] = {at, least(step, size - at)};
		tell(wipe, at, size);
		if (erase_ioctl(wipe->disk->fd, request, range) == 0)
			continue;
		if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EINVAL)
			return not_offered(err);
		return error_sys(err, "discard at %" PRIu64, at);
	}
	return 0;
}

static int discard_secure(struct wipe *wipe, struct error *err)
{
	return discard_by(wipe, BLKSECDISCARD, err);
}

static int discard(struct wipe *wipe, struct error *err)
{
	return discard_by(wipe, BLKDISCARD, err);
}

static int zero(struct wipe *wipe, struct error *err)
{
	return write_zeros(wipe, 0, wipe->disk->size_bytes, true, err);
}

static const struct way {
	const char *mode;
	const char *name;
	int (*run)(struct wipe *wipe, struct error *err);
	bool whole; /* of whole disks only */
	bool noise; /* what is read afterwards need not be zeros */
} ways[] = {
	{"sanitize", "NVMe sanitize (crypto erase)", sanitize_crypto, true, true},
	{"sanitize", "NVMe sanitize (block erase)", sanitize_block, true, true},
	{"format", "NVMe format with crypto erase", format_crypto, true, true},
	{"format", "NVMe format with user data erase", format_data, true, true},
	{"secure-erase", "ATA enhanced secure erase", secure_erase_enhanced, true, true},
	{"secure-erase", "ATA secure erase", secure_erase_plain, true, true},
	{"discard", "secure discard", discard_secure, false, false},
	{"discard", "discard", discard, false, false},
	{"zero", "zeros written", zero, false, false},
};

/* Judging */

static int check(struct wipe *wipe, const struct way *way, struct error *err)
{
	unsigned zeros;
	say(wipe, "verifying");
	disk_forget_cache(wipe->disk);
	if (check_samples(wipe, way->noise, &zeros, err) < 0)
		return -1;
	snprintf(wipe->result->read, sizeof(wipe->result->read),
		 zeros == wipe->count
			 ? "%u samples of 1 MiB read as zeros"
			 : "%u samples of 1 MiB read, none is what it was, %u are zeros",
		 wipe->count, zeros);
	if (!wipe->options->full)
		return 0;
	if (check_everything(wipe, err) < 0)
		return -1;
	snprintf(wipe->result->read, sizeof(wipe->result->read), "everything read as zeros");
	return 0;
}

static int try_way(struct wipe *wipe, const struct way *way, struct error *err)
{
	if (way->whole && wipe->disk->is_partition)
		return error_set(err, ERROR_UNSUPPORTED, "it is a partition");
	say(wipe, way->name);
	if (way->run(wipe, err) < 0)
		return -1;
	if (way->noise) {
		/* Before the ends are cleared: on a disk that is mostly empty they alone tell. */
		unsigned zeros;
		say(wipe, "verifying");
		disk_forget_cache(wipe->disk);
		if (check_samples(wipe, true, &zeros, err) < 0)
			return error_wrap(err, "done, but");
		say(wipe, "clearing both ends");
		if (clear_ends(wipe, 0, wipe->disk->size_bytes, err) < 0)
			return error_wrap(err, "done, but");
	}
	return check(wipe, way, err) < 0 ? error_wrap(err, "done, but") : 0;
}

/* Down the ladder. A way that has failed, or left something, is told and the next one is tried. */
static int run_ladder(struct wipe *wipe, struct error *err)
{
	const char *mode = wipe->options->mode;
	bool automatic = strcmp(mode, "auto") == 0;
	struct wipe_result *result = wipe->result;
	enum error_kind kind = ERROR_UNSUPPORTED;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		if (!automatic && strcmp(mode, ways[i].mode) != 0)
			continue;
		if (try_way(wipe, &ways[i], err) == 0) {
			add(result->used, sizeof(result->used), ways[i].name, "");
			return 0;
		}
		if (err->kind == ERROR_CANCELLED)
			return -1;
		if (err->kind != ERROR_UNSUPPORTED)
			kind = err->kind;
		add(result->skipped, sizeof(result->skipped), ways[i].name, err->text);
	}
	return error_set(err, kind, "not wiped: %s", result->skipped);
}

/* Signatures */

static int check_zeros(struct wipe *wipe, uint64_t offset, uint64_t size, struct error *err)
{
	const uint8_t *data;
	if (disk_io_read(&wipe->io, &wipe->scratch, offset, size, &data, err) < 0)
		return -1;
	return memory_is_zero(data, size)
		       ? 0
		       : error_set(err, ERROR_CORRUPT,
				   "what was cleared at %" PRIu64 " does not read as zeros",
				   offset);
}

static int clear_and_check(struct wipe *wipe, uint64_t offset, uint64_t size, struct error *err)
{
	uint64_t part = least(MIB, size);
	if (size == 0)
		return 0;
	if (clear_ends(wipe, offset, size, err) < 0)
		return -1;
	disk_forget_cache(wipe->disk);
	if (check_zeros(wipe, offset, part, err) < 0)
		return -1;
	return check_zeros(wipe, offset + size - part, part, err);
}

/* The partitions first: without the table the next run would not know where they were. */
static int clear_signatures(struct wipe *wipe, struct error *err)
{
	struct partition_table table = {.count = 0};
	struct error unreadable;
	uint64_t size = wipe->disk->size_bytes;
	say(wipe, "clearing signatures");
	if (!wipe->disk->is_partition &&
	    partition_table_read(wipe->disk->fd, &table, &unreadable) < 0)
		add(wipe->result->skipped, sizeof(wipe->result->skipped), "partitions",
		    unreadable.text);
	for (unsigned i = 0; i < table.count; i++) {
		const struct partition *at = &table.partitions[i];
		if (at->start_bytes >= size || at->size_bytes > size - at->start_bytes)
			continue;
		if (clear_and_check(wipe, at->start_bytes, at->size_bytes, err) < 0)
			return error_wrap(err, "partition %u", at->number);
	}
	if (clear_and_check(wipe, 0, size, err) < 0)
		return -1;
	snprintf(wipe->result->used, sizeof(wipe->result->used),
		 "zeros over the first and last MiB of the %s%s",
		 wipe->disk->is_partition ? "partition" : "disk",
		 table.count ? " and of its partitions" : "");
	snprintf(wipe->result->read, sizeof(wipe->result->read), "read again: zeros");
	return 0;
}

/* Other paths */

struct paths {
	const struct disk_facts *disk;
	char other[64];
};

static void compare_path(void *context, const struct disk_facts *facts)
{
	struct paths *paths = context;
	const struct disk_facts *disk = paths->disk;
	if (strcmp(facts->name, disk->name) != 0 && disk->wwns[0][0] &&
	    strcmp(facts->wwns[0], disk->wwns[0]) == 0 && facts->size_bytes == disk->size_bytes)
		snprintf(paths->other, sizeof(paths->other), "%s", facts->name);
}

/* A disk that several paths lead to may be another machine's, too. */
static int refuse_shared(const struct wipe *wipe, struct error *err)
{
	struct paths paths = {.disk = &wipe->facts, .other = ""};
	char uuid[160];
	disk_facts_each(compare_path, &paths);
	if (paths.other[0])
		return error_set(err, ERROR_BUSY,
				 "it is also /dev/%s (the same wwn %s): a disk with several paths "
				 "may be shared and is not wiped",
				 paths.other, wipe->facts.wwns[0]);
	if (disk_facts_dm_uuid(wipe->facts.name, uuid, sizeof(uuid)) &&
	    strncmp(uuid, "mpath-", 6) == 0)
		return error_set(err, ERROR_BUSY,
				 "it is a multipath device: a disk with several paths may be "
				 "shared and is not wiped");
	return 0;
}

static int run(struct wipe *wipe, struct error *err)
{
	struct disk_facts facts;
	if (!disk_facts_read(wipe->disk->name, &facts) ||
	    !disk_facts_read(facts.disk, &wipe->facts))
		return error_set(err, ERROR_NOT_FOUND, "it is not in /sys");
	if (refuse_shared(wipe, err) < 0)
		return -1;
	if (strcmp(wipe->options->mode, "signatures") == 0)
		return clear_signatures(wipe, err);
	say(wipe, "looking at what is there");
	read_before(wipe);
	return run_ladder(wipe, err);
}

int wipe_disk(const struct disk *disk, const struct wipe_options *options,
	      struct wipe_result *ret_result, struct error *err)
{
	struct wipe wipe = {.disk = disk, .options = options, .result = ret_result};
	*ret_result = (struct wipe_result){.used = ""};
	disk_io_open(&wipe.io, disk, false);
	int result = run(&wipe, err);
	disk_io_close(&wipe.io);
	disk_scratch_free(&wipe.scratch);
	return result < 0 ? error_wrap(err, "wipe %s", disk->path) : 0;
}
