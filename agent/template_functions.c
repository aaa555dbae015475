/* The functions of templates: Go's own, Tinkerbell's, and those of the sprig library that occur in
 * Templates. See template_inside.h. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/template_inside.h"
#include "platform/base64.h"
#include "platform/text.h"

typedef const struct value *result;

static result fail(struct template_call *call, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static result fail(struct template_call *call, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(call->error, sizeof(call->error), format, args);
	va_end(args);
	text_cut_utf8(call->error);
	return NULL;
}

static result keep(struct template_call *call, struct value *value)
{
	return arena_keep(call->arena, value);
}

static result give_bool(struct template_call *call, bool truth)
{
	struct value *value = value_new(VALUE_BOOL);
	value->truth = truth;
	return keep(call, value);
}

static result give_number(struct template_call *call, int64_t number)
{
	struct value *value = value_new(VALUE_NUMBER);
	value->number = number;
	return keep(call, value);
}

/* Takes text. */
static result give_text(struct template_call *call, char *text)
{
	struct value *value = value_new(VALUE_TEXT);
	value->text = text;
	return keep(call, value);
}

static result give_buffer(struct template_call *call, const struct buffer *buffer)
{
	return give_text(
		call, text_dup_size(buffer->data ? (const char *)buffer->data : "", buffer->size));
}

static const char *kind_name(const struct value *value)
{
	static const char *const names[] = {"nothing", "a truth value", "a number",
					    "a text",  "a list",        "a map"};
	return names[value->kind];
}

/* Argument i as a text: a text itself, or a number or truth value as it prints. NULL: failed. */
static const char *text_of(struct template_call *call, size_t i)
{
	const struct value *value = call->arguments[i];
	if (value->kind == VALUE_TEXT)
		return value->text;
	if (value->kind == VALUE_BOOL)
		return value->truth ? "true" : "false";
	if (value->kind == VALUE_NUMBER)
		return give_text(call, text_format("%" PRId64, value->number))->text;
	fail(call, "argument %zu is %s, not a text", i + 1, kind_name(value));
	return NULL;
}

static bool number_of(struct template_call *call, size_t i, int64_t *ret_number)
{
	const struct value *value = call->arguments[i];
	auto_value struct value *read = NULL;
	if (value->kind == VALUE_TEXT)
		value = read = value_from_word(value->text);
	*ret_number = value->number;
	if (value->kind == VALUE_NUMBER)
		return true;
	fail(call, "argument %zu is %s, not a number", i + 1, kind_name(value));
	return false;
}

static const struct value *last_argument(const struct template_call *call)
{
	return call->arguments[call->count - 1];
}

/* Comparing */

/* -1, 0, 1 as for strcmp(); 2: they cannot be compared. A number and its digits are the same. */
static int compare(const struct value *a, const struct value *b)
{
	if (a->kind == VALUE_NUMBER && b->kind == VALUE_NUMBER)
		return a->number < b->number ? -1 : a->number > b->number;
	if (a->kind == VALUE_BOOL && b->kind == VALUE_BOOL)
		return (int)a->truth - (int)b->truth;
	if (a->kind == VALUE_NOTHING || b->kind == VALUE_NOTHING)
		return a->kind == b->kind ? 0 : 1;
	if (a->kind >= VALUE_LIST || b->kind >= VALUE_LIST)
		return 2;
	struct error err;
	auto_buffer struct buffer first = {.cap = TEMPLATE_TEXT_MOST};
	auto_buffer struct buffer second = {.cap = TEMPLATE_TEXT_MOST};
	if (value_print(a, &first, &err) < 0 || value_print(b, &second, &err) < 0)
		return 2;
	size_t size = first.size < second.size ? first.size : second.size;
	int order = size ? memcmp(first.data, second.data, size) : 0;
	if (order == 0)
		order = first.size < second.size ? -1 : first.size > second.size;
	return order < 0 ? -1 : order > 0;
}

static result compared(struct template_call *call, int *ret_order)
{
	*ret_order = compare(call->arguments[0], call->arguments[1]);
	if (*ret_order == 2)
		return fail(call, "%s and %s cannot be compared", kind_name(call->arguments[0]),
			    kind_name(call->arguments[1]));
	return call->arguments[0];
}

static result run_eq(struct template_call *call)
{
	for (size_t i = 1; i < call->count; i++) {
		int order = compare(call->arguments[0], call->arguments[i]);
		if (order == 2)
			return fail(call, "%s and %s cannot be compared",
				    kind_name(call->arguments[0]), kind_name(call->arguments[i]));
		if (order == 0)
			return give_bool(call, true);
	}
	return give_bool(call, false);
}

static result run_ne(struct template_call *call)
{
	int order;
	return compared(call, &order) ? give_bool(call, order != 0) : NULL;
}

static result run_lt(struct template_call *call)
{
	int order;
	return compared(call, &order) ? give_bool(call, order < 0) : NULL;
}

static result run_le(struct template_call *call)
{
	int order;
	return compared(call, &order) ? give_bool(call, order <= 0) : NULL;
}

static result run_gt(struct template_call *call)
{
	int order;
	return compared(call, &order) ? give_bool(call, order > 0) : NULL;
}

static result run_ge(struct template_call *call)
{
	int order;
	return compared(call, &order) ? give_bool(call, order >= 0) : NULL;
}

static result run_not(struct template_call *call)
{
	return give_bool(call, !value_is_true(call->arguments[0]));
}

static result run_default(struct template_call *call)
{
	return value_is_true(call->arguments[1]) ? call->arguments[1] : call->arguments[0];
}

static result run_coalesce(struct template_call *call)
{
	for (size_t i = 0; i < call->count; i++)
		if (value_is_true(call->arguments[i]))
			return call->arguments[i];
	return keep(call, value_new(VALUE_NOTHING));
}

static result run_empty(struct template_call *call)
{
	return give_bool(call, !value_is_true(call->arguments[0]));
}

static result run_ternary(struct template_call *call)
{
	return call->arguments[value_is_true(call->arguments[2]) ? 0 : 1];
}

static result run_fail(struct template_call *call)
{
	const char *text = text_of(call, 0);
	return text ? fail(call, "%s", text) : NULL;
}

/* Lists and maps */

/* As in the language: nothing, for default and if to see. Only printing it is an error. */
static result missing(struct template_call *call, const char *key)
{
	struct value *nothing = value_new(VALUE_NOTHING);
	nothing->text = text_format("index: there is no \"%.100s\"", key);
	return keep(call, nothing);
}

static result at_index(struct template_call *call, const struct value *of, size_t i)
{
	int64_t number;
	const char *key;
	switch (of->kind) {
	case VALUE_MAP:
		key = text_of(call, i);
		if (!key)
			return NULL;
		of = value_get(of, key);
		return of ? of : missing(call, key);
	case VALUE_LIST:
		if (!number_of(call, i, &number))
			return NULL;
		if (number < 0 || (uint64_t)number >= of->count)
			return fail(call, "there is no number %" PRId64 ": the list has %zu",
				    number, of->count);
		return of->items[number];
	case VALUE_NOTHING:
	case VALUE_BOOL:
	case VALUE_NUMBER:
	case VALUE_TEXT:
		break;
	}
	return fail(call, "%s has nothing in it", kind_name(of));
}

static result run_index(struct template_call *call)
{
	result found = call->arguments[0];
	for (size_t i = 1; i < call->count && found; i++)
		found = at_index(call, found, i);
	return found;
}

/* dig "a" "b" DEFAULT MAP */
static result run_dig(struct template_call *call)
{
	result found = last_argument(call);
	for (size_t i = 0; i + 2 < call->count && found; i++) {
		const char *key = text_of(call, i);
		if (!key)
			return NULL;
		found = value_get(found, key);
	}
	return found ? found : call->arguments[call->count - 2];
}

static result run_len(struct template_call *call)
{
	const struct value *of = call->arguments[0];
	if (of->kind == VALUE_TEXT)
		return give_number(call, (int64_t)strlen(of->text));
	if (of->kind < VALUE_LIST)
		return fail(call, "%s has no length", kind_name(of));
	return give_number(call, (int64_t)of->count);
}

static result run_list(struct template_call *call)
{
	size_t weight = 0;
	for (size_t i = 0; i < call->count; i++)
		weight += value_weight(call->arguments[i]);
	if (weight > TEMPLATE_TEXT_MOST)
		return fail(call, "the list is too large");
	struct value *list = value_new(VALUE_LIST);
	for (size_t i = 0; i < call->count; i++)
		value_add(list, value_copy(call->arguments[i]));
	return keep(call, list);
}

static const struct value *list_of(struct template_call *call, size_t i)
{
	const struct value *list = call->arguments[i];
	if (list->kind == VALUE_LIST)
		return list;
	fail(call, "argument %zu is %s, not a list", i + 1, kind_name(list));
	return NULL;
}

static result run_first(struct template_call *call)
{
	const struct value *list = list_of(call, 0);
	if (!list)
		return NULL;
	return list->count > 0 ? list->items[0] : fail(call, "the list is empty");
}

static result run_last(struct template_call *call)
{
	const struct value *list = list_of(call, 0);
	if (!list)
		return NULL;
	return list->count > 0 ? list->items[list->count - 1] : fail(call, "the list is empty");
}

static result run_has(struct template_call *call)
{
	const struct value *list = list_of(call, 1);
	for (size_t i = 0; list && i < list->count; i++)
		if (compare(call->arguments[0], list->items[i]) == 0)
			return give_bool(call, true);
	return list ? give_bool(call, false) : NULL;
}

static result run_has_key(struct template_call *call)
{
	const char *key = text_of(call, 1);
	return key ? give_bool(call, value_get(call->arguments[0], key) != NULL) : NULL;
}

static result run_get(struct template_call *call)
{
	const char *key = text_of(call, 1);
	if (!key)
		return NULL;
	result found = value_get(call->arguments[0], key);
	return found ? found : keep(call, value_text(""));
}

static result run_keys(struct template_call *call)
{
	const struct value *map = call->arguments[0];
	if (map->kind != VALUE_MAP)
		return fail(call, "%s has no keys", kind_name(map));
	struct value *list = value_new(VALUE_LIST);
	for (size_t i = 0; i < map->count; i++)
		value_add(list, value_text(map->keys[i]));
	return keep(call, list);
}

static int order_of(const void *a, const void *b)
{
	const struct value *const *first = a, *const *second = b;
	int order = compare(*first, *second);
	return order == 2 ? 0 : order;
}

static result run_sort_alpha(struct template_call *call)
{
	const struct value *list = list_of(call, 0);
	if (!list)
		return NULL;
	struct value *sorted = value_copy(list);
	if (sorted->count > 1)
		qsort(sorted->items, sorted->count, sizeof(struct value *), order_of);
	return keep(call, sorted);
}

static result run_join(struct template_call *call)
{
	struct error err;
	const char *between = text_of(call, 0);
	const struct value *list = between ? list_of(call, 1) : NULL;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	for (size_t i = 0; list && i < list->count; i++)
		if ((i > 0 && buffer_add(&out, between, strlen(between), &err) < 0) ||
		    value_print(list->items[i], &out, &err) < 0)
			return fail(call, "%s", err.text);
	return list ? give_buffer(call, &out) : NULL;
}

static result run_split_list(struct template_call *call)
{
	const char *at = text_of(call, 0), *text = at ? text_of(call, 1) : NULL;
	if (!text)
		return NULL;
	struct value *list = value_new(VALUE_LIST);
	size_t size = strlen(at);
	const char *found;
	while (size > 0 && (found = strstr(text, at)) != NULL) {
		auto_free char *part = text_dup_size(text, (size_t)(found - text));
		value_add(list, value_text(part));
		text = found + size;
	}
	value_add(list, value_text(text));
	return keep(call, list);
}

/* Texts */

static bool holds(const char *text, const char *part)
{
	return strstr(text, part) != NULL;
}

static bool begins(const char *text, const char *part)
{
	return strncmp(text, part, strlen(part)) == 0;
}

static bool ends(const char *text, const char *part)
{
	size_t size = strlen(text), part_size = strlen(part);
	return size >= part_size && strcmp(text + size - part_size, part) == 0;
}

/*
 * The part comes first, as in the present server. Servers before it had the text first. Where the
 * order makes the difference it cannot be told which of them a Template was written for, and a
 * wrong guess could name a wrong disk.
 */
static result ask_part(struct template_call *call, bool (*test)(const char *, const char *))
{
	const char *part = text_of(call, 0), *text = part ? text_of(call, 1) : NULL;
	if (!text)
		return NULL;
	bool truth = test(text, part);
	if (!truth && text[0] && part[0] && test(part, text))
		return fail(call,
			    "the part that is looked for comes first, then the text, as in "
			    "%s \"%.60s\" \"%.60s\" (it was the other way round in old servers)",
			    call->function->name, text, part);
	return give_bool(call, truth);
}

static result run_contains(struct template_call *call)
{
	return ask_part(call, holds);
}

static result run_has_prefix(struct template_call *call)
{
	return ask_part(call, begins);
}

static result run_has_suffix(struct template_call *call)
{
	return ask_part(call, ends);
}

/* Only ASCII: names of devices, hosts and architectures. */
static result change_case(struct template_call *call, char from, int shift)
{
	const char *text = text_of(call, 0);
	if (!text)
		return NULL;
	char *changed = text_dup(text);
	for (char *p = changed; *p; p++)
		if (*p >= from && *p <= from + 25)
			*p = (char)(*p + shift);
	return give_text(call, changed);
}

static result run_lower(struct template_call *call)
{
	return change_case(call, 'A', 'a' - 'A');
}

static result run_upper(struct template_call *call)
{
	return change_case(call, 'a', 'A' - 'a');
}

static result trimmed(struct template_call *call, const char *set, size_t i)
{
	const char *text = set ? text_of(call, i) : NULL;
	if (!text)
		return NULL;
	text += strspn(text, set);
	size_t size = strlen(text);
	while (size > 0 && strchr(set, text[size - 1]))
		size--;
	return give_text(call, text_dup_size(text, size));
}

static result run_trim(struct template_call *call)
{
	return trimmed(call, " \t\r\n\v\f", 0);
}

static result run_trim_all(struct template_call *call)
{
	return trimmed(call, text_of(call, 0), 1);
}

static result run_trim_prefix(struct template_call *call)
{
	const char *part = text_of(call, 0), *text = part ? text_of(call, 1) : NULL;
	if (!text)
		return NULL;
	return give_text(call, text_dup(text + (begins(text, part) ? strlen(part) : 0)));
}

static result run_trim_suffix(struct template_call *call)
{
	const char *part = text_of(call, 0), *text = part ? text_of(call, 1) : NULL;
	if (!text)
		return NULL;
	return give_text(call,
			 text_dup_size(text, strlen(text) - (ends(text, part) ? strlen(part) : 0)));
}

static result run_replace(struct template_call *call)
{
	struct error err;
	const char *from = text_of(call, 0), *to = from ? text_of(call, 1) : NULL,
		   *text = to ? text_of(call, 2) : NULL, *found;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	if (!text)
		return NULL;
	while (from[0] && (found = strstr(text, from)) != NULL) {
		if (buffer_add(&out, text, (size_t)(found - text), &err) < 0 ||
		    buffer_add(&out, to, strlen(to), &err) < 0)
			return fail(call, "%s", err.text);
		text = found + strlen(from);
	}
	if (buffer_add(&out, text, strlen(text), &err) < 0)
		return fail(call, "%s", err.text);
	return give_buffer(call, &out);
}

static result run_repeat(struct template_call *call)
{
	struct error err;
	int64_t times;
	const char *text = number_of(call, 0, &times) ? text_of(call, 1) : NULL;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	if (!text)
		return NULL;
	for (int64_t i = 0; i < times && text[0]; i++)
		if (buffer_add(&out, text, strlen(text), &err) < 0)
			return fail(call, "%s", err.text);
	return give_buffer(call, &out);
}

/* substr FROM TO TEXT, in bytes, cut on characters. */
static result run_substr(struct template_call *call)
{
	int64_t from, to;
	if (!number_of(call, 0, &from) || !number_of(call, 1, &to))
		return NULL;
	const char *text = text_of(call, 2);
	if (!text)
		return NULL;
	int64_t size = (int64_t)strlen(text);
	from = from < 0 ? 0 : from > size ? size : from;
	to = to < 0 || to > size ? size : to;
	char *part = text_dup_size(text + from, (size_t)(to > from ? to - from : 0));
	text_cut_utf8(part);
	return give_text(call, part);
}

static result run_trunc(struct template_call *call)
{
	int64_t size;
	const char *text = number_of(call, 0, &size) ? text_of(call, 1) : NULL;
	if (!text)
		return NULL;
	int64_t whole = (int64_t)strlen(text);
	if (size < 0)
		return give_text(call, text_dup(-size < whole ? text + whole + size : text));
	char *part = text_dup_size(text, (size_t)(size < whole ? size : whole));
	text_cut_utf8(part);
	return give_text(call, part);
}

static int add_quoted(struct buffer *out, const char *text, char quote, struct error *err)
{
	if (buffer_add(out, &quote, 1, err) < 0)
		return -1;
	for (; *text; text++) {
		char escape[8];
		if (quote == '"' && (*text == '"' || *text == '\\'))
			snprintf(escape, sizeof(escape), "\\%c", *text);
		else if (quote == '"' && *text == '\n')
			snprintf(escape, sizeof(escape), "\\n");
		else if (quote == '"' && *text == '\t')
			snprintf(escape, sizeof(escape), "\\t");
		else if (quote == '"' && (unsigned char)*text < 32)
			snprintf(escape, sizeof(escape), "\\x%02x", *text);
		else
			snprintf(escape, sizeof(escape), "%c", *text);
		if (buffer_add(out, escape, strlen(escape), err) < 0)
			return -1;
	}
	return buffer_add(out, &quote, 1, err);
}

static result quoted(struct template_call *call, char quote)
{
	struct error err;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	for (size_t i = 0; i < call->count; i++) {
		const char *text = text_of(call, i);
		if (!text)
			return NULL;
		if ((i > 0 && buffer_add(&out, " ", 1, &err) < 0) ||
		    add_quoted(&out, text, quote, &err) < 0)
			return fail(call, "%s", err.text);
	}
	return give_buffer(call, &out);
}

static result run_quote(struct template_call *call)
{
	return quoted(call, '"');
}

static result run_squote(struct template_call *call)
{
	return quoted(call, '\'');
}

static result indented(struct template_call *call, bool on_new_line)
{
	struct error err;
	int64_t blanks;
	const char *text = number_of(call, 0, &blanks) ? text_of(call, 1) : NULL;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	if (!text)
		return NULL;
	if (blanks < 0 || blanks > 100)
		return fail(call, "an indent is a number from 0 to 100");
	if (on_new_line && buffer_add(&out, "\n", 1, &err) < 0)
		return fail(call, "%s", err.text);
	for (bool more = true; more;) {
		size_t size = strcspn(text, "\n");
		more = text[size] == '\n';
		if (buffer_add(&out,
			       "                                                                 "
			       "                                   ",
			       (size_t)blanks, &err) < 0 ||
		    buffer_add(&out, text, size + more, &err) < 0)
			return fail(call, "%s", err.text);
		text += size + more;
	}
	return give_buffer(call, &out);
}

static result run_indent(struct template_call *call)
{
	return indented(call, false);
}

static result run_nindent(struct template_call *call)
{
	return indented(call, true);
}

static result run_b64dec(struct template_call *call)
{
	struct error err;
	const char *text = text_of(call, 0);
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	if (!text)
		return NULL;
	if (base64_decode(text, &out, &err) < 0)
		return fail(call, "%s", err.text);
	if (!text_is_utf8(out.data ? (const char *)out.data : "", out.size))
		return fail(call, "what was encoded is not text");
	return give_buffer(call, &out);
}

static result run_b64enc(struct template_call *call)
{
	const char *text = text_of(call, 0);
	return text ? give_text(call, base64_encode(text, strlen(text))) : NULL;
}

static result run_to_string(struct template_call *call)
{
	struct error err;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	if (value_print(call->arguments[0], &out, &err) < 0)
		return fail(call, "%s", err.text);
	return give_buffer(call, &out);
}

/* Numbers */

static result run_int(struct template_call *call)
{
	int64_t number;
	return number_of(call, 0, &number) ? give_number(call, number) : NULL;
}

static bool step_of(struct template_call *call, char operation, int64_t *total, int64_t number)
{
	bool over = false;
	if ((operation == '/' || operation == '%') &&
	    (number == 0 || (number == -1 && *total == INT64_MIN))) {
		fail(call, "division by %" PRId64, number);
		return false;
	}
	if (operation == '+')
		over = __builtin_add_overflow(*total, number, total);
	else if (operation == '-')
		over = __builtin_sub_overflow(*total, number, total);
	else if (operation == '*')
		over = __builtin_mul_overflow(*total, number, total);
	else
		*total = operation == '/' ? *total / number : *total % number;
	if (over)
		fail(call, "the number is too large");
	return !over;
}

static result calculate(struct template_call *call, char operation)
{
	int64_t total, number;
	if (!number_of(call, 0, &total))
		return NULL;
	for (size_t i = 1; i < call->count; i++)
		if (!number_of(call, i, &number) || !step_of(call, operation, &total, number))
			return NULL;
	return give_number(call, total);
}

static result run_add(struct template_call *call)
{
	return calculate(call, '+');
}

static result run_sub(struct template_call *call)
{
	return calculate(call, '-');
}

static result run_mul(struct template_call *call)
{
	return calculate(call, '*');
}

static result run_div(struct template_call *call)
{
	return calculate(call, '/');
}

static result run_mod(struct template_call *call)
{
	return calculate(call, '%');
}

static result run_add1(struct template_call *call)
{
	int64_t number;
	if (!number_of(call, 0, &number) || !step_of(call, '+', &number, 1))
		return NULL;
	return give_number(call, number);
}

/* Printing */

static result run_print(struct template_call *call)
{
	struct error err;
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	for (size_t i = 0; i < call->count; i++) {
		bool texts = i > 0 && (call->arguments[i]->kind == VALUE_TEXT ||
				       call->arguments[i - 1]->kind == VALUE_TEXT);
		if ((i > 0 && !texts && buffer_add(&out, " ", 1, &err) < 0) ||
		    value_print(call->arguments[i], &out, &err) < 0)
			return fail(call, "%s", err.text);
	}
	return give_buffer(call, &out);
}

/* One conversion: flags, width, letter. Returns false when it failed. */
static bool convert(struct template_call *call, const char *spec, size_t size, size_t argument,
		    struct buffer *out, struct error *err)
{
	char format[16], text[128];
	int64_t number;
	char letter = spec[size - 1];
	if (argument >= call->count) {
		fail(call, "no argument for %%%.*s", (int)size, spec);
		return false;
	}
	if (letter == 'v')
		return value_print(call->arguments[argument], out, err) == 0;
	if (letter == 's' && size == 1)
		return value_print(call->arguments[argument], out, err) == 0;
	if (letter == 'q') {
		const char *word = text_of(call, argument);
		return word && add_quoted(out, word, '"', err) == 0;
	}
	if ((letter != 'd' && letter != 'x') || size > 4) {
		fail(call, "%%%.*s is not supported (there are %%s, %%d, %%v, %%q, %%x, %%%%)",
		     (int)size, spec);
		return false;
	}
	if (!number_of(call, argument, &number))
		return false;
	/* Its width has at most three digits and signs, and its letter is ours. */
	snprintf(format, sizeof(format), "%.*s", (int)size - 1, spec);
	bool zero = format[0] == '0', left = format[0] == '-';
	int width = (int)strtol(format + (zero || left), NULL, 10);
	if (letter == 'x')
		snprintf(text, sizeof(text), zero ? "%0*" PRIx64 : "%*" PRIx64,
			 left ? -width : width, (uint64_t)number);
	else
		snprintf(text, sizeof(text), zero ? "%0*" PRId64 : "%*" PRId64,
			 left ? -width : width, number);
	return buffer_add(out, text, strlen(text), err) == 0;
}

static result run_printf(struct template_call *call)
{
	struct error err = {.text = ""};
	const char *format = text_of(call, 0);
	auto_buffer struct buffer out = {.cap = TEMPLATE_TEXT_MOST};
	size_t argument = 1;
	if (!format)
		return NULL;
	for (bool ok = true; *format;) {
		size_t size = strcspn(format, "%");
		ok = buffer_add(&out, format, size, &err) == 0;
		format += size;
		if (*format == '%' && format[1] == '%') {
			ok = ok && buffer_add(&out, "%", 1, &err) == 0;
			format += 2;
		} else if (*format == '%') {
			size = strspn(format + 1, "-0123456789") + 1;
			if (format[size] == '\0')
				return fail(call, "the format ends in the middle of a %%");
			ok = ok && convert(call, format + 1, size, argument++, &out, &err);
			format += size + 1;
		}
		if (!ok)
			return call->error[0] ? NULL : fail(call, "%s", err.text);
	}
	if (argument < call->count)
		return fail(call, "more arguments than the format has places for");
	return give_buffer(call, &out);
}

/* Tinkerbell's own */

static result run_format_partition(struct template_call *call)
{
	int64_t number;
	const char *device = text_of(call, 0);
	if (!device || !number_of(call, 1, &number))
		return NULL;
	size_t size = strlen(device);
	bool digit = size > 0 && device[size - 1] >= '0' && device[size - 1] <= '9';
	const char *between = begins(device, "/dev/disk/") ? "-part" : digit ? "p" : "";
	return give_text(call, text_format("%s%s%" PRId64, device, between, number));
}

static result run_netmask_to_prefix_length(struct template_call *call)
{
	const char *text = text_of(call, 0);
	uint32_t mask = 0;
	if (!text)
		return NULL;
	const char *at = text;
	for (unsigned i = 0; i < 4; i++) {
		char part[4];
		uint64_t byte;
		size_t size = strcspn(at, ".");
		if (size == 0 || size >= sizeof(part) || (at[size] == '.') != (i < 3))
			return fail(call, "\"%.50s\" is not an IPv4 netmask", text);
		memcpy(part, at, size);
		part[size] = '\0';
		if (!text_parse_uint(part, 10, 255, &byte))
			return fail(call, "\"%.50s\" is not an IPv4 netmask", text);
		mask = mask << 8 | (uint32_t)byte;
		at += size + (i < 3);
	}
	int ones = __builtin_popcount(mask);
	if (ones > 0 && ones < 32 && mask != ~UINT32_C(0) << (32 - ones))
		return fail(call, "\"%.50s\" is not an IPv4 netmask", text);
	return give_text(call, text_format("%d", ones));
}

/* By name. */
static const struct template_function functions[] = {
	{"add", 1, 0, run_add},
	{"add1", 1, 1, run_add1},
	{"and", 1, 0, NULL},
	{"atoi", 1, 1, run_int},
	{"b64dec", 1, 1, run_b64dec},
	{"b64enc", 1, 1, run_b64enc},
	{"coalesce", 1, 0, run_coalesce},
	{"contains", 2, 2, run_contains},
	{"default", 2, 2, run_default},
	{"dig", 3, 0, run_dig},
	{"div", 2, 2, run_div},
	{"empty", 1, 1, run_empty},
	{"eq", 2, 0, run_eq},
	{"fail", 1, 1, run_fail},
	{"first", 1, 1, run_first},
	{"formatPartition", 2, 2, run_format_partition},
	{"ge", 2, 2, run_ge},
	{"get", 2, 2, run_get},
	{"gt", 2, 2, run_gt},
	{"has", 2, 2, run_has},
	{"hasKey", 2, 2, run_has_key},
	{"hasPrefix", 2, 2, run_has_prefix},
	{"hasSuffix", 2, 2, run_has_suffix},
	{"indent", 2, 2, run_indent},
	{"index", 1, 0, run_index},
	{"int", 1, 1, run_int},
	{"join", 2, 2, run_join},
	{"keys", 1, 1, run_keys},
	{"last", 1, 1, run_last},
	{"le", 2, 2, run_le},
	{"len", 1, 1, run_len},
	{"list", 0, 0, run_list},
	{"lower", 1, 1, run_lower},
	{"lt", 2, 2, run_lt},
	{"mod", 2, 2, run_mod},
	{"mul", 1, 0, run_mul},
	{"ne", 2, 2, run_ne},
	{"netmaskToPrefixLength", 1, 1, run_netmask_to_prefix_length},
	{"nindent", 2, 2, run_nindent},
	{"not", 1, 1, run_not},
	{"or", 1, 0, NULL},
	{"print", 0, 0, run_print},
	{"printf", 1, 0, run_printf},
	{"quote", 1, 0, run_quote},
	{"repeat", 2, 2, run_repeat},
	{"replace", 3, 3, run_replace},
	{"sortAlpha", 1, 1, run_sort_alpha},
	{"splitList", 2, 2, run_split_list},
	{"squote", 1, 0, run_squote},
	{"sub", 2, 2, run_sub},
	{"substr", 3, 3, run_substr},
	{"ternary", 3, 3, run_ternary},
	{"toString", 1, 1, run_to_string},
	{"trim", 1, 1, run_trim},
	{"trimAll", 2, 2, run_trim_all},
	{"trimPrefix", 2, 2, run_trim_prefix},
	{"trimSuffix", 2, 2, run_trim_suffix},
	{"trunc", 2, 2, run_trunc},
	{"upper", 1, 1, run_upper},
};

enum {
	FUNCTION_COUNT = sizeof(functions) / sizeof(functions[0])
};

const struct template_function *template_function_find(const char *name)
{
	for (size_t i = 0; i < FUNCTION_COUNT; i++)
		if (strcmp(functions[i].name, name) == 0)
			return &functions[i];
	return NULL;
}

const char *template_function_near(const char *name)
{
	const char *best = NULL;
	unsigned best_distance = 3;
	for (size_t i = 0; i < FUNCTION_COUNT; i++) {
		unsigned distance = text_distance(name, functions[i].name);
		if (distance < best_distance && distance < strlen(functions[i].name) / 2) {
			best_distance = distance;
			best = functions[i].name;
		}
	}
	return best;
}

char *template_functions(char *out, size_t out_size)
{
	size_t used = 0;
	out[0] = '\0';
	for (size_t i = 0; i < FUNCTION_COUNT && used < out_size; i++)
		used += (size_t)snprintf(out + used, out_size - used, "%s%s", i ? ", " : "",
					 functions[i].name);
	return out;
}
