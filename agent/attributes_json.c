/* The inventory's message as JSON, by the description that the message has of itself. See
 * attributes.h. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/attributes.h"

struct writer {
	FILE *out;
	bool indented;
	unsigned depth;
};

static void new_line(const struct writer *writer)
{
	if (!writer->indented)
		return;
	fputc('\n', writer->out);
	for (unsigned i = 0; i < writer->depth; i++)
		fputs("  ", writer->out);
}

/* Opens with a bracket, or parts from the one before. */
static void part(struct writer *writer, bool *first, char bracket)
{
	fputc(*first ? bracket : ',', writer->out);
	writer->depth += *first;
	*first = false;
	new_line(writer);
}

/* Closes what was opened; nothing in it: both brackets. */
static void close_part(struct writer *writer, bool first, const char *brackets)
{
	if (first) {
		fputs(brackets, writer->out);
		return;
	}
	writer->depth--;
	new_line(writer);
	fputc(brackets[1], writer->out);
}

static void write_text(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fprintf(out, "\\%c", *text);
		else if ((unsigned char)*text < 0x20)
			fprintf(out, "\\u%04x", *text);
		else
			fputc(*text, out);
	}
	fputc('"', out);
}

/* serial_number -> serialNumber; four lists have names of their own there. */
static void write_name(struct writer *writer, const char *name)
{
	static const char *const own[][2] = {{"block", "blockDevices"},
					     {"network", "networkInterfaces"},
					     {"pci", "pciDevices"},
					     {"gpu", "gpuDevices"}};
	const char *shown = name;
	for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(name, own[i][0]) == 0)
			shown = own[i][1];
	fputc('"', writer->out);
	for (; *shown; shown++) {
		bool up = *shown == '_' && shown[1];
		shown += up;
		fputc(up ? toupper((unsigned char)*shown) : *shown, writer->out);
	}
	fputs(writer->indented ? "\": " : "\":", writer->out);
}

static void write_message(struct writer *writer, const ProtobufCMessage *message);

static void write_value(struct writer *writer, const ProtobufCFieldDescriptor *field,
			const void *value)
{
	if (field->type == PROTOBUF_C_TYPE_STRING)
		write_text(writer->out, *(char *const *)value);
	else if (field->type == PROTOBUF_C_TYPE_MESSAGE)
		write_message(writer, *(ProtobufCMessage *const *)value);
	else
		fprintf(writer->out, "%" PRIu32, *(const uint32_t *)value);
}

static void write_list(struct writer *writer, const ProtobufCFieldDescriptor *field,
		       void *const *list, size_t count)
{
	bool first = true;
	for (size_t i = 0; i < count; i++) {
		part(writer, &first, '[');
		write_value(writer, field, &list[i]);
	}
	close_part(writer, first, "[]");
}

static void write_message(struct writer *writer, const ProtobufCMessage *message)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;
	const char *base = (const char *)message;
	bool first = true;
	for (unsigned i = 0; i < type->n_fields; i++) {
		const ProtobufCFieldDescriptor *field =
			&type->fields[type->fields_sorted_by_name[i]];
		const void *value = base + field->offset,
			   *quantity = base + field->quantifier_offset;
		bool list = field->label == PROTOBUF_C_LABEL_REPEATED;
		bool there = list ? *(const size_t *)quantity > 0
			     : field->type == PROTOBUF_C_TYPE_UINT32
				     ? *(const protobuf_c_boolean *)quantity != 0
				     : *(void *const *)value != NULL;
		if (!there)
			continue;
		part(writer, &first, '{');
		write_name(writer, field->name);
		if (list)
			write_list(writer, field, *(void **const *)value,
				   *(const size_t *)quantity);
		else
			write_value(writer, field, value);
	}
	close_part(writer, first, "{}");
}

char *attributes_json(const struct attributes *attributes, bool indented)
{
	char *text = NULL;
	size_t size = 0;
	struct writer writer = {.out = open_memstream(&text, &size), .indented = indented};
	if (!writer.out)
		abort();
	/* The message is the first member. */
	write_message(&writer, (const ProtobufCMessage *)(const void *)attributes);
	if (fclose(writer.out) != 0)
		abort();
	return text;
}
