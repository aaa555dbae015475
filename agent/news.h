/*
 * What was already said of a trouble that lasts: it fails in turns in several ways, and none of
 * them is news twice.
 */
#ifndef AGENT_NEWS_H
#define AGENT_NEWS_H

#include <stdbool.h>

#include "platform/error.h"

enum {
	NEWS_MOST = 4
};

struct news {
	char said[NEWS_MOST][ERROR_TEXT_SIZE];
	unsigned count;
};

/* Whether err is worth a line: nothing like it (numbers of ports, streams or bytes aside) was said
 * since news_forget(), and not yet NEWS_MOST things. Remembers it. */
bool news_is(struct news *news, const struct error *err);

/* The state has changed. */
void news_forget(struct news *news);

#endif
