/* protobuf-c: see protobuf.h. */
#include "platform/protobuf.h"

int protobuf_pack(const ProtobufCMessage *message, struct buffer *out, struct error *err)
{
	size_t size = protobuf_c_message_get_packed_size(message);
	if (buffer_reserve(out, size, err) < 0)
		return -1;
	if (size > 0)
		out->size += protobuf_c_message_pack(message, out->data + out->size);
	return 0;
}

int protobuf_unpack(const ProtobufCMessageDescriptor *descriptor, const uint8_t *data, size_t size,
		    ProtobufCMessage **ret_message, struct error *err)
{
	static const uint8_t nothing[1];
	ProtobufCMessage *message =
		protobuf_c_message_unpack(descriptor, NULL, size, size ? data : nothing);
	if (!message)
		return error_set(err, ERROR_PROTOCOL, "%zu bytes are no valid %s message", size,
				 descriptor->short_name);
	*ret_message = message;
	return 0;
}
