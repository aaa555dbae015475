/*
 * Mounting file systems, and finding files in them without leaving them.
 */
#ifndef PLATFORM_MOUNT_H
#define PLATFORM_MOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "platform/cleanup.h"
#include "platform/error.h"

struct mount_point {
	char device[256];
	char path[256]; /* "" when nothing is mounted */
	bool made_directory;
};

/*
 * Mounts device (named as disk_find() takes it, and waited for) at path, which is made when it is
 * missing. type NULL or "": found by signature. A file system that is already damaged or read-only
 * is an error, never quietly read-only.
 */
int mount_open(struct mount_point *mount_point, const char *device, const char *type,
	       const char *path, struct error *err);

/* Writes everything to the device and unmounts; both are checked. */
int mount_finish(struct mount_point *mount_point, struct error *err);

/* The same for a mount with others below it, and loop devices on its files: these go first. */
int mount_finish_tree(struct mount_point *mount_point, struct error *err);

/* Unmounts without a word, lazily: for the way out on failure. */
void mount_abandon(struct mount_point *mount_point);
#define auto_mount __attribute__((cleanup(mount_abandon)))

/* Opens path (as seen with root_fd as the root directory: "..", links and absolute links stay
 * inside) with openat2(2). Returns the descriptor. */
int open_in_root(int root_fd, const char *path, int flags, mode_t mode, struct error *err);

/*
 * Opens the directory that holds path's last component inside root_fd, following links of the last
 * component too, so that writing the name in the directory writes what path means. Missing
 * directories are made with dir_mode and owner when make is given. ret_name (NAME_MAX + 1 bytes)
 * gets the last component. Returns the descriptor.
 */
struct directory_maker {
	mode_t mode;
	uid_t uid;
	gid_t gid;
};
int open_parent_in_root(int root_fd, const char *path, const struct directory_maker *make,
			char *ret_name, struct error *err);

/* Whether the file system of an open file keeps owners and modes at all: the FAT family does not.
 */
bool filesystem_has_owners(int fd);

/*
 * Gives an open file or directory its owner and exact mode. A file system that has none (vfat,
 * exfat) is no error: *ret_kept (may be NULL) says whether they hold.
 */
int set_owner_and_mode(int fd, uid_t uid, gid_t gid, mode_t mode, bool *ret_kept,
		       struct error *err);

#endif
