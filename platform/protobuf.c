/* protobuf-c: see protobuf.h. */
#include "platform/protobuf.h"

#include <string.h>

int protobuf_pack(const ProtobufCMessage *message, struct buffer *out, struct error *err)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	if (buffer_reserve(out, size, err) < 0)
		return -1;
	if (size > 0)
		out->size += protobuf_c_message_pack(message, out->data + out->size);
	return 0;
}

enum wire_type {
	WIRE_VARINT,
	WIRE_FIXED64,
	WIRE_BYTES,
	WIRE_FIXED32 = 5
};

struct wire {
	const uint8_t *at;
	size_t left;
};

static uint64_t take_varint(struct wire *wire)
{
	uint64_t number = 0;
	for (unsigned shift = 0; wire->left > 0 && shift < 64; shift += 7) {
		uint8_t byte = *wire->at++;
		wire->left--;
		number |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			break;
	}
	return number;
}

static struct wire take_bytes(struct wire *wire, uint64_t size)
{
	struct wire taken = {wire->at, size < wire->left ? (size_t)size : wire->left};
	wire->at += taken.left;
	wire->left -= taken.left;
	return taken;
}

/* The name of a text with a NUL in it, or NULL. The message is known to be a valid one. */
static const char *cut_text(const ProtobufCMessageDescriptor *descriptor, struct wire wire)
{
	while (wire.left > 0) {
		uint64_t key = take_varint(&wire);
		enum wire_type type = (enum wire_type)(key & 7);
		if (type == WIRE_VARINT) {
			take_varint(&wire);
			continue;
		}
		uint64_t size = type == WIRE_FIXED64 ? 8 : 4;
		if (type == WIRE_BYTES)
			size = take_varint(&wire);
		struct wire content = take_bytes(&wire, size);
		const ProtobufCFieldDescriptor *field =
			protobuf_c_message_descriptor_get_field(descriptor, (unsigned)(key >> 3));
		if (!field || type != WIRE_BYTES)
			continue;
		if (field->type == PROTOBUF_C_TYPE_STRING && memchr(content.at, 0, content.left))
			return field->name;
		const char *below = field->type == PROTOBUF_C_TYPE_MESSAGE
					    ? cut_text(field->descriptor, content)
					    : NULL;
		if (below)
			return below;
	}
	return NULL;
}

int protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size,
		    ProtobufCMessage **ret_message, struct error *err)
{
	static const uint8_t nothing[1];
	const char *cut;
	ProtobufCMessage *message =
		protobuf_c_message_unpack(descriptor, NULL, size, size ? data : nothing);
	if (!message)
		return error_set(err, ERROR_PROTOCOL, "%zu bytes are no valid %s message", size,
				 descriptor->short_name);
	/* The library's texts end at a NUL: half of a file would be written as the whole. */
	cut = cut_text(descriptor, (struct wire){data, size});
	if (cut) {
		protobuf_c_message_free_unpacked(message, NULL);
		return error_set(
			err, ERROR_PROTOCOL,
			"a NUL byte stands in \"%s\" of a %s message: a text cannot hold it: "
			"take it out of the template",
			cut, descriptor->short_name);
	}
	*ret_message = message;
	return 0;
}
