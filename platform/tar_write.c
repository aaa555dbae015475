/* ustar headers: see tar_write.h. */
#include "platform/tar_write.h"

#include <stdio.h>
#include <string.h>

enum {
	BLOCK_BYTES = 512
};

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100];
	char magic[8], user[32], group[32], device[16], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK_BYTES, "a header is a block");

static int add_zeros(struct buffer *out, size_t size, struct error *err)
{
	static const char zeros[2 * BLOCK_BYTES];
	return buffer_add(out, zeros, size, err);
}

int tar_write_file(struct buffer *out, const char *name, const void *data, size_t size, time_t when,
		   struct error *err)
{
	struct header header = {.type = '0', .magic = "ustar"};
	unsigned sum = 0;
	if (strlen(name) >= sizeof(header.name))
		return error_set(err, ERROR_BUG, "%s is too long a name for an archive", name);
	snprintf(header.name, sizeof(header.name), "%s", name);
	snprintf(header.mode, sizeof(header.mode), "%07o", 0600u);
	snprintf(header.uid, sizeof(header.uid), "%07o", 0u);
	snprintf(header.gid, sizeof(header.gid), "%07o", 0u);
	snprintf(header.size, sizeof(header.size), "%011llo",
		 (unsigned long long)size & 077777777777ull);
	snprintf(header.mtime, sizeof(header.mtime), "%011llo",
		 (unsigned long long)(when > 0 ? when : 0) & 077777777777ull);
	memcpy(header.magic + 6, "00", 2);
	memset(header.checksum, ' ', sizeof(header.checksum));
	for (size_t i = 0; i < sizeof(header); i++)
		sum += ((const unsigned char *)&header)[i];
	snprintf(header.checksum, sizeof(header.checksum), "%06o", sum & 0777777);
	if (buffer_add(out, &header, sizeof(header), err) < 0 ||
	    (size > 0 && buffer_add(out, data, size, err) < 0))
		return -1;
	size_t over = size % BLOCK_BYTES;
	return over ? add_zeros(out, BLOCK_BYTES - over, err) : 0;
}

int tar_write_end(struct buffer *out, struct error *err)
{
	return add_zeros(out, (size_t)2 * BLOCK_BYTES, err);
}
