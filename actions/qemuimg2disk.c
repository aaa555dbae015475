/*
 * qemuimg2disk: what the published one does by qemu-img convert: a disk image, mostly qcow2, from a
 * web server onto a disk. The form is told by the content. The run is that of imaging.c.
 */
#include <string.h>

#include "actions/imaging.h"

struct qemuimg2disk {
	const char *urls;
	struct imaging_params imaging;
	const char *format;
	const char *extra_args;
};

static const struct param params[] = {
	{"IMG_URL", PARAM_URLS, PARAM_AT(struct qemuimg2disk, urls), .flags = PARAM_REQUIRED,
	 .doc = "the image: qcow2, or any other form that image2disk takes. Several URLs are "
		"mirrors"},
	IMAGING_PARAMS(struct qemuimg2disk, imaging),
	CREDENTIAL_PARAMS(struct qemuimg2disk, imaging.download),
	{"FORMAT", PARAM_CHOICE, PARAM_AT(struct qemuimg2disk, format), .fallback = "host_device",
	 .choices = "host_device|raw",
	 .doc = "what is written to the disk: its bytes, by either name"},
	{"EXTRA_ARGS", PARAM_TEXT, PARAM_AT(struct qemuimg2disk, extra_args),
	 .doc = "options of qemu-img convert: those that mean nothing here are taken (-p -q -U -W "
		"-n -C -m -t -T -S -f qcow2, -f raw, --target-is-zero), others are an error"},
	{.name = NULL},
};

enum {
	ARGUMENT_SIZE = 128
};

/* The next word of text: moves it on. False at its end. A word too long is cut, and fits nothing.
 */
static bool next_word(const char **text, char *word, size_t size)
{
	*text += strspn(*text, " \t\r\n");
	size_t length = strcspn(*text, " \t\r\n");
	size_t copied = length < size ? length : size - 1;
	memcpy(word, *text, copied);
	word[copied] = '\0';
	*text += length;
	return length > 0;
}

static bool is_one_of(const char *word, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(word, *words) == 0)
			return true;
	return false;
}

/* Progress, caches, how many at the same time, which zeros to look for: how, not what. */
static int check_arguments(const char *text, struct error *err)
{
	static const char *const plain[] = {"-p", "-q", "-U", "-W", "-n", "-C", "--target-is-zero",
					    NULL};
	static const char *const with_value[] = {"-m", "-t", "-T", "-S", "-f", NULL};
	static const char *const formats[] = {"qcow2", "raw", NULL};
	char word[ARGUMENT_SIZE], option[3], value[ARGUMENT_SIZE];
	while (next_word(&text, word, sizeof(word))) {
		if (is_one_of(word, plain))
			continue;
		snprintf(option, sizeof(option), "%s", word);
		if (!is_one_of(option, with_value))
			return error_set(err, ERROR_UNSUPPORTED,
					 "EXTRA_ARGS: \"%s\" is an option of qemu-img that is not "
					 "known here",
					 word);
		/* -m8 and -m 8 are the same. */
		if (word[2] != '\0')
			memcpy(value, word + 2, sizeof(word) - 2);
		else if (!next_word(&text, value, sizeof(value)))
			return error_set(err, ERROR_INPUT, "EXTRA_ARGS: \"%s\" needs a value",
					 option);
		if (strcmp(option, "-f") == 0 && !is_one_of(value, formats))
			return error_set(err, ERROR_UNSUPPORTED,
					 "EXTRA_ARGS: images of the format \"%s\" are not read: "
					 "convert it (qemu-img convert -O qcow2)",
					 value);
	}
	return 0;
}

static int check(const struct action_context *context, struct error *err)
{
	const struct qemuimg2disk *qemuimg2disk = context->params;
	return check_arguments(qemuimg2disk->extra_args, err);
}

static int run(struct action_context *context, struct error *err)
{
	const struct qemuimg2disk *qemuimg2disk = context->params;
	return imaging_run_urls(context, &qemuimg2disk->imaging, qemuimg2disk->urls, err);
}

const struct action action_qemuimg2disk;
const struct action action_qemuimg2disk = {
	.name = "qemuimg2disk",
	.published = true,
	.summary = "Stream a qcow2 image from a web server onto a disk, without a copy of it.",
	.params = params,
	.params_size = sizeof(struct qemuimg2disk),
	.check = check,
	.run = run,
};
