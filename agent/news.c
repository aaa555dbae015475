/* See news.h. */
#include "agent/news.h"

#include <ctype.h>
#include <string.h>

static void without_numbers(const char *text, char *out)
{
	for (; *text; text++)
		if (!isdigit((unsigned char)*text))
			*out++ = *text;
	*out = '\0';
}

bool news_is(struct news *news, const struct error *err)
{
	char text[ERROR_TEXT_SIZE] = "";
	without_numbers(err->text, text);
	for (unsigned i = 0; i < news->count; i++)
		if (strcmp(news->said[i], text) == 0)
			return false;
	if (news->count == NEWS_MOST)
		return false;
	memcpy(news->said[news->count++], text, sizeof(text));
	return true;
}

void news_forget(struct news *news)
{
	news->count = 0;
}
