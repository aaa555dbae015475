/* Base64 (RFC 4648, section 4) as people paste it: line ends and blanks are ignored, padding is
 * checked. */
#ifndef PLATFORM_BASE64_H
#define PLATFORM_BASE64_H

#include "platform/buffer.h"

/* Decodes text behind what is in out. ERROR_INPUT says where it is not base64. */
int base64_decode(const char *text, struct buffer *out, struct error *err);

/* Encodes bytes, padded, on one line. Allocated. */
char *base64_encode(const void *data, size_t size);

#endif
