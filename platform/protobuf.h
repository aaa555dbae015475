/*
 * Protocol buffers by protobuf-c: the step between a generated message and its bytes. The messages
 * themselves are generated from the .proto of whoever uses this.
 */
#ifndef PLATFORM_PROTOBUF_H
#define PLATFORM_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>

#include "platform/buffer.h"

/* Adds the message's bytes to out. */
int protobuf_pack(const ProtobufCMessage *message, struct buffer *out, struct error *err);

/* Reads a message; *ret_message is freed with protobuf_c_message_free_unpacked(message, NULL).
 * ERROR_PROTOCOL when it is none, or has a text with a NUL in it, which would be cut there. */
int protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size,
		    ProtobufCMessage **ret_message, struct error *err);

#endif
