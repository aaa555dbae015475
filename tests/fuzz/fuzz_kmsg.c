/* A record of /dev/kmsg: any program may write there. */
#include "tests/fuzz/fuzz.h"

#include "platform/kmsg.h"
#include "platform/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *exact = malloc(size ? size : 1);
	struct kmsg_record record;
	require(exact != NULL);
	if (size > 0)
		memcpy(exact, data, size);
	if (kmsg_parse(exact, size, &record)) {
		require(record.severity < 8 && record.facility < 128);
		require(record.program[0] != '\0');
		require(strlen(record.text) < sizeof(record.text));
		require(text_is_utf8(record.text, strlen(record.text)));
		require(!strchr(record.text, '\n') && !strchr(record.text, '\033'));
	}
	free(exact);
	return 0;
}
