/* Runs a fuzz target without libFuzzer: over each file named, or in each folder named. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <errno.h>

#include "platform/buffer.h"
#include "platform/cleanup.h"

static unsigned inputs;

static void run_file(const char *path)
{
	struct error err;
	auto_buffer struct buffer buffer = {.cap = 0};
	if (buffer_read_file(&buffer, path, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(2);
	}
	/* Named first, so that a crash tells its input. */
	printf("%s\n", path);
	fflush(stdout);
	uint8_t *exact = malloc(buffer.size ? buffer.size : 1);
	require(exact != NULL);
	if (buffer.size > 0)
		memcpy(exact, buffer.data, buffer.size);
	LLVMFuzzerTestOneInput(exact, buffer.size);
	free(exact);
	inputs++;
}

static void run_path(const char *path)
{
	DIR *dir = opendir(path);
	if (!dir && errno == ENOTDIR) {
		run_file(path);
		return;
	}
	if (!dir) {
		fprintf(stderr, "%s cannot be opened\n", path);
		exit(2);
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		if (entry->d_name[0] == '.')
			continue;
		char file[4096];
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		run_file(file);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		run_path(argv[i]);
	LLVMFuzzerTestOneInput((const uint8_t *)"", 0);
	printf("%u inputs\n", inputs);
	return inputs > 0 ? 0 : 2;
}
