/* NVMe: Sanitize and Format NVM. See erase.h. */
#include "platform/erase.h"

#include <errno.h>
#include <linux/nvme_ioctl.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>

enum {
	ADMIN_GET_LOG = 0x02,
	ADMIN_IDENTIFY = 0x06,
	ADMIN_FORMAT = 0x80,
	ADMIN_SANITIZE = 0x84,
	IDENTIFY_BYTES = 4096,
	IDENTIFY_NAMESPACE = 0,
	IDENTIFY_CONTROLLER = 1,
	IDENTIFY_ACTIVE_LIST = 2,
	LOG_SANITIZE = 0x81,
	SANITIZE_BLOCK = 2,
	SANITIZE_CRYPTO = 4,
	SANITIZE_MAY_LEAVE_FAILURE = 1 << 3, /* a failed one does not lock the disk for good */
	STATE_COMPLETED = 1,
	STATE_IN_PROGRESS = 2,
	STATE_FAILED = 3,
	STATE_COMPLETED_FORCED = 4, /* and deallocated although asked not to */
	ERASE_DATA = 1,
	ERASE_KEY = 2,
	FORMAT_TIMEOUT_MS = 4 * 60 * 60 * 1000,
	POLL_FIRST_MS = 20,
	POLL_LAST_MS = 1000,
};

static int (*call)(int fd, unsigned long request, void *argument);

void erase_set_ioctl(int (*function)(int fd, unsigned long request, void *argument))
{
	call = function;
}

int erase_ioctl(int fd, unsigned long request, void *argument)
{
	/* int is what musl takes; the kernel looks at 32 bits. */
	return call ? call(fd, request, argument) : ioctl(fd, (int)request, argument);
}

static uint32_t get16(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at)
{
	return get16(at) | get16(at + 2) << 16;
}

static int command(int fd, struct nvme_admin_cmd *command, const char *what, struct error *err)
{
	int result = erase_ioctl(fd, NVME_IOCTL_ADMIN_CMD, command);
	if (result < 0 && (errno == ENOTTY || errno == EINVAL || errno == EOPNOTSUPP))
		return error_set(err, ERROR_UNSUPPORTED, "it takes no NVMe commands");
	if (result < 0)
		return error_sys(err, "%s", what);
	/* Bits 0 to 10: the kind of status and the status; invalid opcode, field or format. */
	unsigned status = (unsigned)result & 0x7ff;
	if (status == 0x001 || status == 0x002 || status == 0x10a)
		return error_set(err, ERROR_UNSUPPORTED, "%s: the disk refuses it (status %03x)",
				 what, status);
	if (status != 0)
		return error_set(err, ERROR_IO, "%s: the disk answers with status %03x", what,
				 status);
	return 0;
}

static int identify(int fd, unsigned what, unsigned namespace, uint8_t *data, struct error *err)
{
	struct nvme_admin_cmd cmd = {.opcode = ADMIN_IDENTIFY,
				     .nsid = namespace,
				     .addr = (uint64_t)(uintptr_t)data,
				     .data_len = IDENTIFY_BYTES,
				     .cdw10 = what};
	memset(data, 0, IDENTIFY_BYTES);
	return command(fd, &cmd, "identify", err);
}

/* The bits that say how the namespace is formatted now: size of sectors, metadata, protection. */
static uint32_t present_format(const uint8_t *data)
{
	uint32_t format = data[26], protection = data[29];
	return (format & 0x0f) | (format >> 5 & 3) << 12 | (format >> 4 & 1) << 4 |
	       (protection & 7) << 5 | (protection >> 3 & 1) << 8;
}

int nvme_erase_read(int fd, struct nvme_erase *ret_erase, struct error *err)
{
	uint8_t data[IDENTIFY_BYTES];
	struct nvme_erase erase = {.namespaces = 0};
	int namespace = erase_ioctl(fd, NVME_IOCTL_ID, NULL);
	if (namespace <= 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is no NVMe disk");
	if (identify(fd, IDENTIFY_CONTROLLER, 0, data, err) < 0)
		return -1;
	uint32_t sanitize = get32(data + 328);
	erase.sanitize_crypto = (sanitize & 1) != 0;
	erase.sanitize_block = (sanitize & 2) != 0;
	erase.format = (get16(data + 256) & 2) != 0;
	erase.format_hits_all = (data[524] & 3) != 0;
	erase.format_crypto = erase.format && (data[524] & 4) != 0;
	if (identify(fd, IDENTIFY_NAMESPACE, (unsigned)namespace, data, err) < 0)
		return -1;
	erase.format_word = present_format(data);
	/* Disks of the first specifications have no such list, and one namespace. */
	struct error ignored;
	if (identify(fd, IDENTIFY_ACTIVE_LIST, 0, data, &ignored) < 0)
		erase.namespaces = 1;
	else
		while (erase.namespaces < IDENTIFY_BYTES / 4 &&
		       get32(data + (size_t)4 * erase.namespaces) != 0)
			erase.namespaces++;
	*ret_erase = erase;
	return 0;
}

/* Returns the state; how far it is goes into progress. */
static int sanitize_state(int fd, struct erase_progress *progress, struct error *err)
{
	uint8_t log[512] = {0};
	struct nvme_admin_cmd cmd = {.opcode = ADMIN_GET_LOG,
				     .nsid = UINT32_MAX,
				     .addr = (uint64_t)(uintptr_t)log,
				     .data_len = sizeof(log),
				     .cdw10 = LOG_SANITIZE | (sizeof(log) / 4 - 1) << 16};
	if (command(fd, &cmd, "sanitize status", err) < 0)
		return -1;
	atomic_store(&progress->total, 65535);
	atomic_store(&progress->done, get16(log));
	return (int)(get16(log + 2) & 7);
}

static int wait_for_sanitize(int fd, struct erase_progress *progress, struct error *err)
{
	for (int pause_ms = POLL_FIRST_MS;;
	     pause_ms = pause_ms < POLL_LAST_MS ? pause_ms * 2 : POLL_LAST_MS) {
		int state = sanitize_state(fd, progress, err);
		if (state < 0)
			return -1;
		if (state == STATE_COMPLETED || state == STATE_COMPLETED_FORCED)
			return 0;
		if (state == STATE_FAILED)
			return error_set(err, ERROR_IO, "the disk says that its sanitize failed");
		if (state != STATE_IN_PROGRESS)
			return error_set(
				err, ERROR_IO,
				"the disk took the command and did not sanitize (state %d)", state);
		poll(NULL, 0, pause_ms);
	}
}

int nvme_sanitize(int fd, bool crypto, struct erase_progress *progress, struct error *err)
{
	int state = sanitize_state(fd, progress, err);
	if (state < 0)
		return -1;
	struct nvme_admin_cmd cmd = {.opcode = ADMIN_SANITIZE,
				     .cdw10 =
					     SANITIZE_MAY_LEAVE_FAILURE |
					     (uint32_t)(crypto ? SANITIZE_CRYPTO : SANITIZE_BLOCK)};
	if (state != STATE_IN_PROGRESS && command(fd, &cmd, "sanitize", err) < 0)
		return -1;
	return wait_for_sanitize(fd, progress, err);
}

int nvme_format(int fd, const struct nvme_erase *erase, bool crypto, struct error *err)
{
	int namespace = erase_ioctl(fd, NVME_IOCTL_ID, NULL);
	if (namespace <= 0)
		return error_set(err, ERROR_UNSUPPORTED, "it is no NVMe disk");
	struct nvme_admin_cmd cmd = {.opcode = ADMIN_FORMAT,
				     .nsid = (uint32_t) namespace,
				     .cdw10 = erase->format_word |
					      (uint32_t)(crypto ? ERASE_KEY : ERASE_DATA) << 9,
				     .timeout_ms = FORMAT_TIMEOUT_MS};
	return command(fd, &cmd, "format", err);
}
