/*
 * Which disk is meant: a path, or selectors that all must match, and exactly one disk.
 *
 * A path is absolute: /dev/sda, /dev/disk/by-id/…; where udev makes no links those below
 * /dev/disk/by-* are computed. Selectors stand apart by blanks or commas: "serial=S45N,
 * size>=100G", values with blanks in quotes: model="SAMSUNG MZ7LH*". Case does not count, '*' and
 * '?' stand for any text and any character, '_' equals a blank. != excludes.
 *
 *   serial wwn model vendor by-id by-path name hctl
 *   type        nvme ata scsi virtio mmc, or a transport
 *   transport   pcie tcp rdma fc sata sas usb iscsi virtio mmc
 *   rotational removable   0 or 1
 *   size        = != >= <= > <; bytes, or with a unit. K M G T P stand for both the decimal and the
 *               binary unit, whichever fits; KB … and KiB … for exactly one. = means within 1 %.
 *
 * These select a partition of the disks that the others leave:
 *
 *   partition   its number
 *   partlabel partuuid     of the partition table (also by-partlabel, by-partuuid)
 *   label uuid  of the file system (also by-label, by-uuid), on a partition or a whole disk
 *
 * Only what holds data by itself is looked at (see disk_facts.h: ordinary), unless name= or by-id=
 * without wildcards, or type= with the kind, asks for another kind; label and uuid also on arrays
 * and mappings, and then not on their members. Several paths to one disk (same wwn and size) count
 * as one: the multipath device when there is one, else the first.
 */
#ifndef PLATFORM_DISK_SELECT_H
#define PLATFORM_DISK_SELECT_H

#include <stddef.h>
#include <stdint.h>

#include "platform/disk.h"
#include "platform/error.h"

/* Whether text is a path or well-formed selectors. ERROR_INPUT says what is wrong and lists the
 * keys. */
int disk_select_check(const char *text, struct error *err);

/*
 * Finds the disk or partition that is there now. ret_path (256 bytes) gets the path as given, or
 * "/dev/NAME". ERROR_NOT_FOUND when nothing matches, ERROR_DENIED when only a read-only disk does,
 * ERROR_INPUT when several do; both list the candidates and who uses each. The node in /dev is not
 * looked at.
 */
int disk_select(const char *text, char *ret_path, size_t path_size, struct error *err);

/*
 * The same, and waits at most timeout_ms for a disk that comes late, for its node in /dev, and
 * while udev still works on new devices. ERROR_INPUT when it is no block device.
 */
int disk_find(const char *text, int64_t timeout_ms, char *ret_path, size_t path_size,
	      struct error *err);

/*
 * Guards: whether the disk (of a partition: the disk it is on) has this serial number and the
 * device this size, as the values of selectors ("480G", ">=1T"). NULL or "": no matter. ERROR_INPUT
 * says what it has.
 */
int disk_expect(const struct disk *disk, const char *serial, const char *size, struct error *err);

#endif
