/*
 * Whole trees of files: removing one, and moving the content of one into another.
 */
#ifndef PLATFORM_TREE_H
#define PLATFORM_TREE_H

#include "platform/error.h"

/* Removes what has that name in the directory, with all below it, however deep. None there is no
 * error. Mounts are not crossed: ERROR_BUSY. */
int tree_remove(int directory, const char *name, struct error *err);

/*
 * Moves all that is in the directory `name` of root into root itself, by renaming. What has the
 * same name there gives way; two directories become one, and a directory goes into the one that a
 * link there leads to (as seen with root as its root). Names and content only: owner, mode and
 * times of directories that were there stay. Nothing is moved when something cannot be:
 * ERROR_INPUT names the directory with content that a file would have to replace. A failure of the
 * file system in the middle leaves a part moved: *ret_begun says so.
 */
int tree_merge(int root, const char *name, bool *ret_begun, struct error *err);

#endif
