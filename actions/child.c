/* The process that runs one action: see child.h. Its mount namespace is its own already. */
#include "actions/child.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actions/actions.h"
#include "actions/param.h"
#include "actions/request.h"
#include "platform/clock.h"
#include "platform/log.h"
#include "platform/secret.h"

enum {
	PROGRESS_EVERY_MS = 200
};

static const char mount_root[] = "/run/tink-worker/mnt";

static int send_record(const struct record *record)
{
	ssize_t written;
	do {
		written = write(CHILD_RECORD_FD, record, sizeof(*record));
	} while (written < 0 && errno == EINTR);
	return written == (ssize_t)sizeof(*record) ? 0 : -1;
}

struct thinning {
	int64_t last_ms;
	char phase[PHASE_SIZE];
};

/* Progress that nobody could read anyway is left out; a new phase always goes. */
static void send_progress(void *reporter, const struct action_progress *progress)
{
	struct thinning *thinning = reporter;
	int64_t now = clock_monotonic_ms();
	if (now - thinning->last_ms < PROGRESS_EVERY_MS &&
	    strcmp(thinning->phase, progress->phase) == 0)
		return;
	thinning->last_ms = now;
	memcpy(thinning->phase, progress->phase, sizeof(thinning->phase));
	struct record record = {
		.magic = RECORD_MAGIC, .type = RECORD_PROGRESS, .as.progress = *progress};
	send_record(&record);
}

void action_report(struct action_context *context, const struct action_progress *progress)
{
	if (context->report)
		context->report(context->reporter, progress);
}

void action_summary(struct action_context *context, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(context->summary, sizeof(context->summary), format, args);
	va_end(args);
}

/* A tmpfs of the action's own, so that no directory of the machine is touched and nothing is left.
 */
static int make_mount_root(struct error *err)
{
	if ((mkdir("/run/tink-worker", 0755) < 0 && errno != EEXIST) ||
	    (mkdir(mount_root, 0700) < 0 && errno != EEXIST))
		return error_sys(err, "make %s", mount_root);
	if (mount("tmpfs", mount_root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0700,size=1m") < 0)
		return error_sys(err, "mount a tmpfs at %s", mount_root);
	return 0;
}

static int run_action(const struct child_settings *settings, const struct action_request *request,
		      struct action_context *context, struct error *err)
{
	const struct action *action = action_by_name(settings->action);
	if (!action)
		return error_set(err, ERROR_BUG, "no action is called \"%s\"", settings->action);
	auto_free void *params = NULL;
	if (params_parse(action, request, settings->strict, &params, err) < 0 ||
	    make_mount_root(err) < 0 || http_setup(err) < 0)
		return -1;
	const struct action_policy policy = {settings->native_registries};
	context->policy = &policy;
	context->params = params;
	context->mount_root = mount_root;
	if (action->check && action->check(context, err) < 0)
		return -1;
	return action->run(context, err);
}

int child_main(void)
{
	struct error err = {.kind = ERROR_NONE};
	auto_buffer struct buffer packed = {.cap = 64 << 20};
	auto_request struct action_request request = {.timeout_s = 0};
	struct child_settings settings;
	/* What the action starts must not have these. */
	fcntl(CHILD_REQUEST_FD, F_SETFD, FD_CLOEXEC);
	fcntl(CHILD_RECORD_FD, F_SETFD, FD_CLOEXEC);
	struct thinning thinning = {.last_ms = 0};
	struct action_context context = {
		.request = &request, .report = send_progress, .reporter = &thinning};
	int result = -1;
	if (buffer_read_fd(&packed, CHILD_REQUEST_FD, "the request", &err) == 0 &&
	    child_unpack(packed.data, packed.size, &request, &settings, &err) == 0) {
		enum log_level level = LOG_LEVEL_INFO;
		log_parse_level(settings.log_level, &level);
		log_setup(level, LOG_FORMAT_PLAIN);
		if (settings.tls_ca[0])
			context.http.ca_file = settings.tls_ca;
		context.registries = settings.registries;
		secret_add_login(settings.registries.username, settings.registries.password);
		result = run_action(&settings, &request, &context, &err);
	}
	struct record record = {.magic = RECORD_MAGIC, .type = RECORD_RESULT};
	/* Tokens that a server gave are known here only. */
	secret_redact(err.text);
	secret_redact(context.summary);
	if (result < 0) {
		record.as.result.error = err;
	} else {
		memcpy(record.as.result.summary, context.summary, sizeof(context.summary));
		record.as.result.after = context.after;
	}
	if (send_record(&record) < 0)
		return 2;
	return result < 0 ? 1 : 0;
}
