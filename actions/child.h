/*
 * The child's side: what happens in the process that runs one action.
 */
#ifndef ACTIONS_CHILD_H
#define ACTIONS_CHILD_H

/* The descriptors that the parent gives to the child. */
enum {
	CHILD_REQUEST_FD = 3,
	CHILD_RECORD_FD = 4
};

/*
 * Reads the packed request from CHILD_REQUEST_FD, runs the action, writes progress and at last one
 * result to CHILD_RECORD_FD. Standard output and error are the action's log. Returns the exit
 * status: 0 when the result says success, else 1; 2 when not even a result could be written.
 */
int child_main(void);

#endif
