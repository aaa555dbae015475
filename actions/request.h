/*
 * struct action_request in memory, and its way to the child that runs it. And the records that come
 * back.
 */
#ifndef ACTIONS_REQUEST_H
#define ACTIONS_REQUEST_H

#include "actions/action.h"
#include "platform/buffer.h"

void action_request_free(struct action_request *request);
#define auto_request __attribute__((cleanup(action_request_free)))

/* A deep copy. */
void action_request_copy(const struct action_request *from, struct action_request *ret_copy);

/* Adds a copy of text to a NULL-ended list (NULL: an empty one). */
void text_list_add(char ***list, const char *text);

/* What a child needs besides the request. Texts are borrowed. */
struct child_settings {
	const char *action;            /* name of the descriptor */
	const char *tls_ca;            /* "" for the default */
	const char *log_level;         /* "debug" … */
	const char *native_registries; /* see struct action_policy */
	struct registry_site registries;
	bool strict; /* unknown parameters are errors */
};

/* Packs both for the child; unpacks what child_pack() made (texts in settings then borrow from
 * data, which must live on). */
int child_pack(const struct action_request *request, const struct child_settings *settings,
	       struct buffer *out, struct error *err);
int child_unpack(const uint8_t *data, size_t size, struct action_request *ret_request,
		 struct child_settings *ret_settings, struct error *err);

/*
 * A descriptor of a memory file with what child_pack() makes, to be inherited: no secret is seen in
 * the child's command line or environment.
 */
int child_request_fd(const struct action_request *request, const struct child_settings *settings,
		     struct error *err);

/* The records that a child writes to its parent, each in one write: smaller than PIPE_BUF, so never
 * torn. */
enum record_type {
	RECORD_PROGRESS = 1,
	RECORD_RESULT = 2
};

struct record {
	uint32_t magic; /* RECORD_MAGIC */
	uint32_t type;
	union {
		struct action_progress progress;
		struct {
			struct error error; /* kind ERROR_NONE: success */
			char summary[RESULT_TEXT_SIZE];
			struct action_after after;
		} result;
	} as;
};

#define RECORD_MAGIC 0x544b5743u

_Static_assert(sizeof(struct record) <= 4096, "a record must fit into PIPE_BUF");

/* Checks a record that came from a pipe, and makes its texts safe (ended, valid UTF-8).
 * ERROR_PROTOCOL when it is none. */
int record_check(struct record *record, struct error *err);

#endif
