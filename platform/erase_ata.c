/* ATA Security through SG_IO. See erase.h. */
#include "platform/erase.h"

#include <errno.h>
#include <scsi/sg.h>
#include <stddef.h>
#include <string.h>

enum {
	SECTOR_BYTES = 512,
	CDB_BYTES = 16,
	ATA_PASS_THROUGH_16 = 0x85,
	PROTOCOL_NONE = 3, /* no data */
	PROTOCOL_IN = 4,
	PROTOCOL_OUT = 5,
	TRANSFER_IN = 0x0e, /* one sector, by the count */
	TRANSFER_OUT = 0x06,
	IDENTIFY = 0xec,
	SET_PASSWORD = 0xf1,
	UNLOCK = 0xf2,
	ERASE_PREPARE = 0xf3,
	ERASE_UNIT = 0xf4,
	DISABLE_PASSWORD = 0xf6,
	ENHANCED = 2, /* in the first word of the erase command's data */
	SENSE_ILLEGAL_REQUEST = 5,
	SENSE_ABORTED = 11,
	SHORT_MS = 30 * 1000,
	UNKNOWN_MINUTES = 12 * 60,
	SLACK_MINUTES = 30,
	MINUTE_MS = 60 * 1000,
};

static const char password[32] = "tink-worker";

struct command {
	uint8_t code;
	const char *name;
	int protocol;
	uint8_t *data; /* of a sector; NULL with PROTOCOL_NONE */
	unsigned timeout_ms;
};

/* The sense data are in one of two formats (SPC-4, 4.5). */
static unsigned sense_key(const uint8_t *sense)
{
	return (sense[0] & 0x7f) >= 0x72 ? sense[1] & 0x0f : sense[2] & 0x0f;
}

static int judge(const sg_io_hdr_t *header, const struct command *command, struct error *err)
{
	if (header->status == 0 && header->host_status == 0 && (header->driver_status & 0x0f) == 0)
		return 0;
	unsigned key = header->sb_len_wr > 2 ? sense_key(header->sbp) : 0;
	if (key == SENSE_ILLEGAL_REQUEST)
		return error_set(err, ERROR_UNSUPPORTED,
				 "ATA %s: it takes no ATA commands (no ATA disk, or a bridge that "
				 "keeps them off)",
				 command->name);
	if (key == SENSE_ABORTED)
		return error_set(err, ERROR_IO, "ATA %s: the disk refuses it", command->name);
	return error_set(err, ERROR_IO, "ATA %s failed (status %02x, host %02x, sense key %u)",
			 command->name, header->status, header->host_status, key);
}

static int run(int fd, const struct command *command, struct error *err)
{
	uint8_t sense[64] = {0}, cdb[CDB_BYTES] = {0};
	cdb[0] = ATA_PASS_THROUGH_16;
	cdb[1] = (uint8_t)(command->protocol << 1);
	if (command->protocol != PROTOCOL_NONE) {
		cdb[2] = command->protocol == PROTOCOL_IN ? TRANSFER_IN : TRANSFER_OUT;
		cdb[6] = 1;
	}
	cdb[14] = command->code;
	sg_io_hdr_t header = {
		.interface_id = 'S',
		.dxfer_direction = command->protocol == PROTOCOL_NONE ? SG_DXFER_NONE
				   : command->protocol == PROTOCOL_IN ? SG_DXFER_FROM_DEV
								      : SG_DXFER_TO_DEV,
		.cmd_len = CDB_BYTES,
		.mx_sb_len = sizeof(sense),
		.dxfer_len = command->protocol == PROTOCOL_NONE ? 0 : SECTOR_BYTES,
		.dxferp = command->data,
		.cmdp = cdb,
		.sbp = sense,
		.timeout = command->timeout_ms,
	};
	if (erase_ioctl(fd, SG_IO, &header) == 0)
		return judge(&header, command, err);
	if (errno == ENOTTY || errno == EINVAL || errno == EOPNOTSUPP)
		return error_set(err, ERROR_UNSUPPORTED, "it takes no SCSI commands");
	return error_sys(err, "ATA %s", command->name);
}

static unsigned word(const uint8_t *data, size_t number)
{
	return data[2 * number] | (unsigned)data[2 * number + 1] << 8;
}

/* In units of two minutes; all ones: more than can be said. Bit 15 tells the longer form. */
static unsigned minutes(unsigned value)
{
	return (value & 0x8000 ? value & 0x7fff : value & 0xff) * 2;
}

int ata_security_read(int fd, struct ata_security *ret_security, struct error *err)
{
	uint8_t data[SECTOR_BYTES] = {0};
	const struct command command = {IDENTIFY, "identify", PROTOCOL_IN, data, SHORT_MS};
	if (run(fd, &command, err) < 0)
		return -1;
	unsigned status = word(data, 128);
	*ret_security = (struct ata_security){
		.supported = (word(data, 82) & 2) != 0 && (status & 1) != 0,
		.enabled = (status & 2) != 0,
		.locked = (status & 4) != 0,
		.frozen = (status & 8) != 0,
		.expired = (status & 16) != 0,
		.enhanced = (status & 32) != 0,
		.minutes = minutes(word(data, 89)),
		.enhanced_minutes = minutes(word(data, 90)),
	};
	return 0;
}

/* A command with the password as data. flags: in the first word. */
static int run_with_password(int fd, uint8_t code, const char *name, uint8_t flags,
			     unsigned timeout_ms, struct error *err)
{
	uint8_t data[SECTOR_BYTES] = {flags};
	memcpy(data + 2, password, sizeof(password));
	const struct command command = {code, name, PROTOCOL_OUT, data, timeout_ms};
	return run(fd, &command, err);
}

static int set_password(int fd, const struct ata_security *security, struct error *err)
{
	if (!security->enabled)
		return run_with_password(fd, SET_PASSWORD, "set password", 0, SHORT_MS, err);
	if (security->locked && run_with_password(fd, UNLOCK, "unlock", 0, SHORT_MS, err) < 0) {
		err->kind = ERROR_DENIED;
		return error_append(err, "; it is locked by somebody else's password");
	}
	return 0;
}

static int erase_unit(int fd, const struct ata_security *security, bool enhanced, struct error *err)
{
	static const struct command prepare = {ERASE_PREPARE, "erase prepare", PROTOCOL_NONE, NULL,
					       SHORT_MS};
	unsigned estimate = enhanced ? security->enhanced_minutes : security->minutes;
	unsigned most = estimate ? 2 * estimate + SLACK_MINUTES : UNKNOWN_MINUTES;
	if (run(fd, &prepare, err) < 0)
		return -1;
	return run_with_password(fd, ERASE_UNIT, "erase unit", enhanced ? ENHANCED : 0,
				 most * MINUTE_MS, err);
}

int ata_secure_erase(int fd, const struct ata_security *security, bool enhanced, struct error *err)
{
	if (!security->supported || (enhanced && !security->enhanced))
		return error_set(err, ERROR_UNSUPPORTED, "the disk does not offer it");
	if (security->frozen)
		return error_set(err, ERROR_DENIED,
				 "the firmware has frozen the disk's security: suspend and resume "
				 "the machine, or plug the disk while it runs");
	if (security->expired)
		return error_set(err, ERROR_DENIED,
				 "too many wrong passwords were tried: cut the disk's power");
	if (set_password(fd, security, err) < 0)
		return -1;
	if (erase_unit(fd, security, enhanced, err) == 0)
		return 0;
	/* It would be locked after the next power-on. */
	struct error left;
	if (run_with_password(fd, DISABLE_PASSWORD, "disable password", 0, SHORT_MS, &left) < 0)
		error_append(err, "; the password \"%s\" stays set", password);
	return -1;
}
