/*
 * Loop devices that others have attached and left behind. Nothing here attaches any.
 */
#ifndef PLATFORM_LOOP_H
#define PLATFORM_LOOP_H

/*
 * Detaches every loop device that lies on this block device: attached to a file of its file system,
 * or to itself. A file system that is mounted in this mount namespace is somebody else's, and left
 * alone. Returns how many were detached. (On btrfs none is found: its files' device numbers are its
 * own.)
 */
unsigned loop_detach_from(const char *device);

/* The same for a file system that is mounted at path, and nowhere else in this mount namespace. */
unsigned loop_detach_below(const char *path);

#endif
