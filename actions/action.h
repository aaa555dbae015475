/*
 * What an action is: one descriptor with its names, its parameters and a run function. One file
 * each; actions.c lists them.
 *
 * To write an action: a struct for the parameters, a table that says how each is called and where
 * it goes, a run function, a descriptor, and one line in actions.c. writefile.c is the model. From
 * the table come the checks, `tink-worker help ACTION` and the tables in the documentation.
 *
 * run() is called in a process of its own, alone in its mount namespace: it may mount, chroot and
 * leak as it likes, and can be killed at any instruction. It must be safe to run again after that.
 * It returns 0 only for what it has verified.
 */
#ifndef ACTIONS_ACTION_H
#define ACTIONS_ACTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/digest.h"
#include "platform/error.h"
#include "platform/http.h"
#include "platform/registry.h"

/* What the server (or the user at the prompt) asked for, in the server's words. Owned by whoever
 * made it; see action_request_free(). */
struct action_request {
	char *workflow_id;
	char *id;
	char *name;         /* the template's name of this step */
	char *image;        /* what is to be run; names the action */
	char **command;     /* ended by NULL, never NULL itself; so are the next two */
	char **environment; /* "KEY=value" */
	char **volumes;     /* "source:destination[:options]" */
	char *pid;          /* namespace: "" or "host" */
	char *network;
	uint64_t timeout_s; /* 0: the action's own default */
};

enum param_type {
	PARAM_TEXT,     /* const char *, as it came */
	PARAM_BOOL,     /* bool: what Go's ParseBool takes */
	PARAM_NONEMPTY, /* bool: any text means yes */
	PARAM_UINT,     /* uint64_t, decimal, within min and max */
	PARAM_OCTAL,    /* uint64_t, octal, within min and max */
	PARAM_DEVICE,   /* const char *, path of a block device or selectors, see disk_select.h */
	PARAM_PATH,     /* const char *, absolute path */
	PARAM_URL,      /* const char *, http://, https:// or file:/// */
	PARAM_URLS, /* const char *, several of them apart by blanks or commas, see param_urls() */
	PARAM_CHOICE,   /* const char *, one of the words in choices */
	PARAM_CHECKSUM, /* struct digest: sha256:<hex> or sha512:<hex> */
};

enum param_flags {
	PARAM_REQUIRED = 1, /* missing or empty: an error */
	PARAM_SECRET = 2,   /* its value appears nowhere */
	PARAM_UNSUPPORTED =
		4, /* known, not supported by this version: a value is an error that says so */
	PARAM_NO_EFFECT = 8, /* taken for compatibility: checked, then not used */
};

struct param {
	const char *name; /* the environment's key */
	enum param_type type;
	size_t offset;        /* where in the action's struct it goes */
	unsigned flags;       /* enum param_flags */
	const char *fallback; /* what holds when it is missing or empty; NULL: "", false, 0, none */
	uint64_t min, max;    /* of numbers; max 0: no limit */
	const char *option;   /* how a command-line flag of the original is called ("block-device");
				 NULL: none */
	const char *doc;      /* one line for people */
	const char *choices;  /* PARAM_CHOICE: the words, apart by "|" */
};

/* Where a parameter goes: PARAM_AT(struct writefile, mode). */
#define PARAM_AT(type, member) offsetof(type, member)

/* What is to happen after the server has acknowledged the action's SUCCESS. */
enum after_kind {
	AFTER_NOTHING,
	AFTER_REBOOT,
	AFTER_POWEROFF,
	AFTER_RUN
};

enum {
	AFTER_IMAGE_SIZE = 512,
	RESULT_TEXT_SIZE = 1024,
	PHASE_SIZE = 48
};

struct action_after {
	enum after_kind kind;
	uint32_t delay_s;             /* to wait first */
	char image[AFTER_IMAGE_SIZE]; /* AFTER_RUN: run the same request with this image */
};

struct action_progress {
	char phase[PHASE_SIZE]; /* "writing", "verifying" */
	uint64_t bytes_in;      /* received */
	uint64_t bytes_out;     /* written */
	uint64_t done;          /* of total, in the unit that total has */
	uint64_t total;         /* 0: not known */
	uint64_t rate_bytes_s;  /* of bytes_out; 0: not known */
	int64_t left_ms;        /* estimated; 0: not known */
};

/* What an action's run function gets. */
struct action_policy;

struct action_context {
	const struct action_request *request;
	const void *params; /* the struct that the parameter table describes, filled in */
	struct http_options http;
	struct registry_site registries;
	const struct action_policy *policy; /* which images mean native actions, see actions.h */
	const char *mount_root; /* a directory to mount things in, the action's own, gone with it */

	/* Set by run(). */
	char summary[RESULT_TEXT_SIZE]; /* what was done: "wrote 2.1 GiB of 4.0 GiB to /dev/sda in 9
					   s" */
	struct action_after after;

	void (*report)(void *reporter, const struct action_progress *progress);
	void *reporter;
};

/* Tells how far the action is. Cheap enough to be called for every block: it is thinned out below.
 */
void action_report(struct action_context *context, const struct action_progress *progress);

/* "writing: 300.1 MiB received, 1.2 GiB done (30%), 410.0 MiB/s, left 7s", as far as it is known.
 * Returns out. */
char *action_progress_text(const struct action_progress *progress, char *out, size_t out_size);

/* Sets the summary. */
void action_summary(struct action_context *context, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

struct action {
	const char *name;
	const char *const *aliases; /* further names of the same, ended by NULL; may be NULL */
	bool published; /* a name in the field: matched by the last component under any registry */
	const char *summary;        /* one line for people */
	const struct param *params; /* ended by one without a name */
	size_t params_size;         /* of the struct they fill */
	bool passes_environment;    /* keys it does not know are not worth a word: they go to the
				       user's program */
	uint64_t default_timeout_s; /* when the request has none; 0: no limit */
	/*
	 * Judges the parameters together, once each was found right by itself: what is missing
	 * beside another, what does not go with it. Touches nothing, and is called in the worker
	 * itself before a workflow file is begun, and before run(). context has request, params and
	 * policy, no more. The text of the error begins with the name of a parameter. May be NULL.
	 */
	int (*check)(const struct action_context *context, struct error *err);
	int (*run)(struct action_context *context, struct error *err);
};

#endif
