/* Templates evaluated: see template.h. Their text is read by template_parse.c. */
#include "agent/template.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/template_inside.h"
#include "platform/text.h"

struct arena {
	struct value **values;
	size_t count;
	size_t weight;
};

struct variable {
	const char *name; /* borrowed from the step */
	const struct value *value;
};

enum {
	VARIABLES_MOST = 200
};

struct rendering {
	const struct text_map *source;
	const struct value *root;
	struct buffer *out;
	struct text_map *map;
	struct problems *problems;
	struct arena arena;
	struct variable variables[VARIABLES_MOST];
	size_t variable_count;
	unsigned steps;
	bool stopped; /* a bound was met, which was said */
	char **unset; /* the names that were complained about; ended by NULL */
	size_t unset_count;
	size_t offset;   /* of the action that is evaluated */
	bool wants_list; /* what is evaluated is for a function that takes a list */
};

/* What has no value, and what comes of it: it makes no further complaints. */
static const struct value unknown = {.kind = VALUE_NOTHING};

const struct value *arena_keep(void *arena_pointer, struct value *value)
{
	struct arena *arena = arena_pointer;
	if ((arena->count & (arena->count - 1)) == 0) {
		size_t room = arena->count ? arena->count * 2 : 1;
		arena->values = reallocarray(arena->values, room, sizeof(*arena->values));
		if (!arena->values)
			abort();
	}
	arena->values[arena->count++] = value;
	arena->weight += value_weight(value);
	return value;
}

size_t value_weight(const struct value *value)
{
	size_t weight = sizeof(*value) + (value->text ? strlen(value->text) : 0);
	for (size_t i = 0; i < value->count; i++)
		weight +=
			value_weight(value->items[i]) + (value->keys ? strlen(value->keys[i]) : 0);
	return weight;
}

bool value_is_true(const struct value *value)
{
	switch (value->kind) {
	case VALUE_NOTHING:
		return false;
	case VALUE_BOOL:
		return value->truth;
	case VALUE_NUMBER:
		return value->number != 0;
	case VALUE_TEXT:
		return value->text[0] != '\0';
	case VALUE_LIST:
	case VALUE_MAP:
		return value->count > 0;
	}
	return false;
}

static const struct value *complain(struct rendering *rendering, size_t offset, const char *format,
				    ...) __attribute__((format(printf, 3, 4)));

static const struct value *complain(struct rendering *rendering, size_t offset, const char *format,
				    ...)
{
	char text[600];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	text_cut_utf8(text);
	problems_error(rendering->problems, text_map_place(rendering->source, offset), "%s", text);
	return &unknown;
}

static bool may_go_on(struct rendering *rendering)
{
	if (rendering->stopped)
		return false;
	if (++rendering->steps <= TEMPLATE_STEPS_MOST)
		return true;
	rendering->stopped = true;
	complain(rendering, rendering->offset, "the template takes too long: more than %d steps",
		 TEMPLATE_STEPS_MOST);
	return false;
}

/* ".Hardware.Disks" as it was written, as far as it is made of names. */
static void write_name(const struct expression *expression, char *out, size_t out_size)
{
	out[0] = '\0';
	if (expression->kind == EXPRESSION_FIELD) {
		write_name(expression->arguments[0], out, out_size);
		size_t used = strlen(out);
		snprintf(out + used, out_size - used, ".%s", expression->name);
	} else if (expression->kind == EXPRESSION_VARIABLE && expression->name[0]) {
		snprintf(out, out_size, "$%s", expression->name);
	} else if (expression->kind == EXPRESSION_CALL) {
		snprintf(out, out_size, "(%s …)",
			 expression->function ? expression->function->name : "");
	}
}

/* Whether the name is one that --set can give: made of names from the root on. */
static bool is_from_root(const struct rendering *rendering, const struct expression *expression,
			 const struct value *dot)
{
	while (expression->kind == EXPRESSION_FIELD)
		expression = expression->arguments[0];
	return (expression->kind == EXPRESSION_DOT && dot == rendering->root) ||
	       (expression->kind == EXPRESSION_VARIABLE && !expression->name[0]);
}

static void not_set(struct rendering *rendering, const struct expression *expression,
		    const struct value *dot)
{
	char name[300];
	write_name(expression, name, sizeof(name));
	for (size_t i = 0; i < rendering->unset_count; i++)
		if (strcmp(rendering->unset[i], name) == 0)
			return;
	rendering->unset = reallocarray(rendering->unset, rendering->unset_count + 1,
					sizeof(*rendering->unset));
	if (!rendering->unset)
		abort();
	rendering->unset[rendering->unset_count++] = text_dup(name);
	if (is_from_root(rendering, expression, dot))
		complain(rendering, expression->offset,
			 "%s has no value: give it by --set %s%s=VALUE or in the file of --values",
			 name, name + 1, rendering->wants_list ? "[0]" : "");
	else
		complain(rendering, expression->offset, "%s has no value", name);
}

static const struct value *evaluate(struct rendering *rendering,
				    const struct expression *expression, const struct value *dot);

/* whole is the expression that this is the beginning of: what is complained about. */
static const struct value *field(struct rendering *rendering, const struct expression *expression,
				 const struct expression *whole, const struct value *dot)
{
	const struct expression *below = expression->arguments[0];
	const struct value *of = below->kind == EXPRESSION_FIELD
					 ? field(rendering, below, whole, dot)
					 : evaluate(rendering, below, dot);
	if (of == &unknown)
		return of;
	if (of->kind == VALUE_MAP) {
		const struct value *found = value_get(of, expression->name);
		if (!found)
			not_set(rendering, whole, dot);
		return found ? found : &unknown;
	}
	char name[300];
	write_name(expression->arguments[0], name, sizeof(name));
	return complain(rendering, expression->offset, "%s has no fields, so no %s",
			name[0] ? name : "this value", expression->name);
}

static const struct value *variable(struct rendering *rendering,
				    const struct expression *expression)
{
	if (!expression->name[0])
		return rendering->root;
	for (size_t i = rendering->variable_count; i-- > 0;)
		if (strcmp(rendering->variables[i].name, expression->name) == 0)
			return rendering->variables[i].value;
	return complain(rendering, expression->offset, "there is no variable $%s here",
			expression->name);
}

/* and, or: what decides is the result; the rest is not looked at. */
static const struct value *decide(struct rendering *rendering, const struct expression *call,
				  const struct value *dot, bool is_and)
{
	const struct value *result = &unknown;
	for (size_t i = 0; i < call->count; i++) {
		result = evaluate(rendering, call->arguments[i], dot);
		if (result == &unknown || value_is_true(result) != is_and)
			break;
	}
	return result;
}

/* index LIST NUMBER, first LIST and their kin: the words for a missing list say how to give one. */
static bool wants_list(const struct expression *call)
{
	const char *name = call->function->name;
	if (strcmp(name, "index") == 0)
		return call->count > 1 && call->arguments[1]->kind == EXPRESSION_LITERAL &&
		       call->arguments[1]->literal->kind == VALUE_NUMBER;
	return strcmp(name, "first") == 0 || strcmp(name, "last") == 0;
}

static const struct value *call(struct rendering *rendering, const struct expression *expression,
				const struct value *dot)
{
	const struct template_function *function = expression->function;
	if (expression->count < function->least)
		return complain(rendering, expression->offset, "%s needs %u arguments",
				function->name, function->least);
	if (!function->run)
		return decide(rendering, expression, dot, strcmp(function->name, "and") == 0);
	struct template_call call = {.function = function,
				     .count = expression->count,
				     .arena = &rendering->arena,
				     .error = ""};
	const struct value *result = NULL;
	bool known = true;
	call.arguments = calloc(call.count + 1, sizeof(*call.arguments));
	if (!call.arguments)
		abort();
	for (size_t i = 0; i < call.count; i++) {
		rendering->wants_list = i == 0 && wants_list(expression);
		call.arguments[i] = evaluate(rendering, expression->arguments[i], dot);
		known = known && call.arguments[i] != &unknown;
	}
	rendering->wants_list = false;
	if (known)
		result = function->run(&call);
	free(call.arguments);
	if (rendering->arena.weight > TEMPLATE_MEMORY_MOST && !rendering->stopped) {
		rendering->stopped = true;
		return complain(rendering, expression->offset,
				"the template takes too much memory");
	}
	if (!known)
		return &unknown;
	if (!result)
		return complain(rendering, expression->offset, "%s: %s", function->name,
				call.error);
	return result;
}

static const struct value *evaluate(struct rendering *rendering,
				    const struct expression *expression, const struct value *dot)
{
	if (!may_go_on(rendering))
		return &unknown;
	switch (expression->kind) {
	case EXPRESSION_LITERAL:
		return expression->literal;
	case EXPRESSION_DOT:
		return dot;
	case EXPRESSION_VARIABLE:
		return variable(rendering, expression);
	case EXPRESSION_FIELD:
		return field(rendering, expression, expression, dot);
	case EXPRESSION_CALL:
		return call(rendering, expression, dot);
	}
	return &unknown;
}

static void emit(struct rendering *rendering, const char *text, size_t size, size_t from,
		 bool verbatim)
{
	struct error err;
	if (size == 0 || rendering->stopped)
		return;
	text_map_add(
		rendering->map,
		(struct text_span){.at = rendering->out->size, .from = from, .verbatim = verbatim});
	if (rendering->out->size + size <= TEMPLATE_OUTPUT_MOST &&
	    buffer_add(rendering->out, text, size, &err) == 0)
		return;
	rendering->stopped = true;
	complain(rendering, from, "the template makes more than %d KiB",
		 TEMPLATE_OUTPUT_MOST >> 10);
}

static void print(struct rendering *rendering, const struct step *step, const struct value *value)
{
	struct error err;
	auto_buffer struct buffer text = {.cap = TEMPLATE_OUTPUT_MOST};
	if (value == &unknown) {
		emit(rendering, TEMPLATE_UNKNOWN, strlen(TEMPLATE_UNKNOWN), step->offset, false);
		return;
	}
	if (value_print(value, &text, &err) < 0)
		complain(rendering, step->value->offset, "%s", err.text);
	else
		emit(rendering, (const char *)text.data, text.size, step->offset, false);
}

static void declare(struct rendering *rendering, size_t offset, const char *name,
		    const struct value *value)
{
	if (rendering->variable_count == VARIABLES_MOST) {
		complain(rendering, offset, "more than %d variables", VARIABLES_MOST);
		return;
	}
	rendering->variables[rendering->variable_count++] =
		(struct variable){.name = name, .value = value};
}

static void assign(struct rendering *rendering, const struct step *step, const struct value *value)
{
	if (step->declares) {
		declare(rendering, step->offset, step->variable, value);
		return;
	}
	for (size_t i = rendering->variable_count; i-- > 0;) {
		if (strcmp(rendering->variables[i].name, step->variable) == 0) {
			rendering->variables[i].value = value;
			return;
		}
	}
	complain(rendering, step->offset,
		 "there is no variable $%s here: declare it by :=", step->variable);
}

static void execute(struct rendering *rendering, const struct step *step, const struct value *dot);

/* One round of a range; its variables live so long. */
static void round_of(struct rendering *rendering, const struct step *step, const struct value *key,
		     const struct value *value)
{
	size_t variables = rendering->variable_count;
	if (step->key && step->declares)
		declare(rendering, step->offset, step->key, key);
	if (step->variable && step->declares)
		declare(rendering, step->offset, step->variable, value);
	execute(rendering, step->body, value);
	rendering->variable_count = variables;
}

static void range(struct rendering *rendering, const struct step *step, const struct value *over,
		  const struct value *dot)
{
	if (over == &unknown)
		return;
	if (step->variable && !step->declares) {
		complain(rendering, step->offset, "range declares its variables by :=");
		return;
	}
	size_t count = over->count;
	if (over->kind == VALUE_NUMBER)
		count = over->number > 0 ? (size_t)over->number : 0;
	else if (over->kind == VALUE_TEXT || over->kind == VALUE_BOOL)
		complain(rendering, step->offset, "range goes over a list or a map, not a text");
	for (size_t i = 0; i < count && may_go_on(rendering); i++) {
		struct value *number = value_new(VALUE_NUMBER);
		number->number = (int64_t)i;
		const struct value *key = arena_keep(&rendering->arena, number);
		if (over->kind == VALUE_MAP)
			key = arena_keep(&rendering->arena, value_text(over->keys[i]));
		round_of(rendering, step, key, over->kind == VALUE_NUMBER ? key : over->items[i]);
	}
	if (count == 0)
		execute(rendering, step->otherwise, dot);
}

static void execute_one(struct rendering *rendering, const struct step *step,
			const struct value *dot)
{
	rendering->offset = step->offset;
	if (step->kind == STEP_TEXT) {
		emit(rendering, rendering->source->text + step->offset, step->size, step->offset,
		     true);
		return;
	}
	size_t variables = rendering->variable_count;
	const struct value *value = evaluate(rendering, step->value, dot);
	if (step->kind == STEP_RANGE) {
		range(rendering, step, value, dot);
		rendering->variable_count = variables;
		return;
	}
	if (step->variable)
		assign(rendering, step, value);
	else if (step->kind == STEP_PRINT)
		print(rendering, step, value);
	/* A variable that is declared by an action lives to the end of the block around it. */
	if (step->kind == STEP_PRINT)
		return;
	/* What is not known decides nothing: the first branch is looked through for more. */
	if (value == &unknown || value_is_true(value))
		execute(rendering, step->body, step->kind == STEP_WITH ? value : dot);
	else
		execute(rendering, step->otherwise, dot);
	rendering->variable_count = variables;
}

static void execute(struct rendering *rendering, const struct step *step, const struct value *dot)
{
	size_t variables = rendering->variable_count;
	for (; step && may_go_on(rendering); step = step->next)
		execute_one(rendering, step, dot);
	rendering->variable_count = variables;
}

bool template_render(const struct text_map *source, const struct value *values, struct buffer *out,
		     struct text_map *ret_map, struct problems *problems)
{
	size_t errors = problems->errors;
	struct step *first = template_parse(source, problems);
	if (problems->errors != errors)
		return false;
	struct text_map spans = {.text = NULL};
	struct rendering rendering = {
		.source = source, .root = values, .out = out, .map = &spans, .problems = problems};
	execute(&rendering, first, values);
	step_free(first);
	for (size_t i = 0; i < rendering.arena.count; i++)
		value_free(rendering.arena.values[i]);
	free(rendering.arena.values);
	for (size_t i = 0; i < rendering.unset_count; i++)
		free(rendering.unset[i]);
	free(rendering.unset);
	text_map_init(ret_map, out->data ? (const char *)out->data : "", out->size, source);
	ret_map->spans = spans.spans;
	ret_map->span_count = spans.span_count;
	return true;
}
