/* The text of a template made into steps: see template.h and template_inside.h. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "agent/template_inside.h"
#include "platform/text.h"

enum token_kind {
	TOKEN_END, /* }} or the end of the text */
	TOKEN_WORD,
	TOKEN_FIELD,    /* .name */
	TOKEN_VARIABLE, /* $name */
	TOKEN_TEXT,
	TOKEN_NUMBER,
	TOKEN_SIGN /* one of ( ) | , = : (for :=) . */
};

struct token {
	enum token_kind kind;
	size_t offset;
	char sign;
	char *text;   /* of words, fields, variables, texts, numbers */
	bool touches; /* no blank before it */
};

struct parser {
	const struct text_map *source;
	struct problems *problems;
	const char *text;
	size_t size;
	size_t at;
	bool trim_next; /* the action ended with -}} */
	bool broken;
	struct token token;
	size_t stop_offset; /* of the action that ended a block last */
	unsigned depth;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       ((unsigned char)c & 0x80);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char char_at(const struct parser *parser, size_t at)
{
	return at < parser->size ? parser->text[at] : '\0';
}

static bool begins(const struct parser *parser, size_t at, const char *word)
{
	size_t size = strlen(word);
	return at + size <= parser->size && memcmp(parser->text + at, word, size) == 0;
}

/* One thing at a time: what follows a wrong action is read on behind it. */
static void __attribute__((format(printf, 3, 4)))
complain(struct parser *parser, size_t offset, const char *format, ...)
{
	char text[400];
	va_list args;
	if (parser->broken)
		return;
	parser->broken = true;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	problems_error(parser->problems, text_map_place(parser->source, offset), "%s", text);
}

/* Tokens */

static void take_while_name(struct parser *parser, size_t from, enum token_kind kind)
{
	size_t end = from;
	while (end < parser->size && (is_letter(parser->text[end]) || is_digit(parser->text[end])))
		end++;
	parser->token.kind = kind;
	parser->token.text = text_dup_size(parser->text + from, end - from);
	if (char_at(parser, end) == '-' && is_letter(char_at(parser, end + 1)))
		complain(parser, end,
			 "a name cannot hold \"-\": use index, as in {{ index .map \"my-key\" }}");
	parser->at = end;
}

static char unescaped(char c)
{
	static const char from[] = "abfnrtv\\\"'", to[] = "\a\b\f\n\r\t\v\\\"'";
	const char *found = c ? strchr(from, c) : NULL;
	return found ? to[found - from] : '\0';
}

static void take_quoted(struct parser *parser)
{
	size_t start = parser->at++, end = parser->at, used = 0;
	while (end < parser->size && parser->text[end] != '"' && parser->text[end] != '\n')
		end += parser->text[end] == '\\' ? 2 : 1;
	char *text = malloc(end - start + 1);
	if (!text)
		abort();
	while (parser->at < parser->size && parser->text[parser->at] != '"') {
		char c = parser->text[parser->at++];
		if (c == '\n')
			break;
		if (c == '\\') {
			c = unescaped(char_at(parser, parser->at));
			if (c == '\0')
				complain(parser, parser->at - 1,
					 "this escape is not understood (there are \\n \\t \\\\ "
					 "\\\" and their kin)");
			parser->at++;
		}
		text[used++] = c;
	}
	text[used] = '\0';
	if (char_at(parser, parser->at) != '"')
		complain(parser, start, "the text that begins here has no end");
	parser->at++;
	parser->token.kind = TOKEN_TEXT;
	parser->token.text = text;
}

static void take_raw(struct parser *parser)
{
	size_t start = ++parser->at;
	while (parser->at < parser->size && parser->text[parser->at] != '`')
		parser->at++;
	if (parser->at >= parser->size)
		complain(parser, start - 1, "the text that begins here has no end");
	parser->token.kind = TOKEN_TEXT;
	parser->token.text = text_dup_size(parser->text + start, parser->at - start);
	parser->at++;
}

static void take_number(struct parser *parser)
{
	size_t start = parser->at++;
	while (is_digit(char_at(parser, parser->at)) || is_letter(char_at(parser, parser->at)) ||
	       char_at(parser, parser->at) == '.')
		parser->at++;
	parser->token.kind = TOKEN_NUMBER;
	parser->token.text = text_dup_size(parser->text + start, parser->at - start);
}

/* "}}", or " -}}" with its blank before. */
static bool at_end(struct parser *parser, bool blank_before)
{
	if (begins(parser, parser->at, "}}")) {
		parser->trim_next = false;
		return true;
	}
	if (blank_before && begins(parser, parser->at, "-}}")) {
		parser->trim_next = true;
		parser->at++;
		return true;
	}
	return false;
}

static void next_token(struct parser *parser)
{
	size_t before = parser->at;
	free(parser->token.text);
	while (parser->at < parser->size && is_space(parser->text[parser->at]))
		parser->at++;
	parser->token = (struct token){
		.kind = TOKEN_END, .offset = parser->at, .touches = parser->at == before};
	if (parser->at >= parser->size || at_end(parser, parser->at > before))
		return;
	char c = parser->text[parser->at], behind = char_at(parser, parser->at + 1);
	if (c == '.' && is_letter(behind)) {
		take_while_name(parser, parser->at + 1, TOKEN_FIELD);
	} else if (c == '$') {
		take_while_name(parser, parser->at + 1, TOKEN_VARIABLE);
	} else if (is_digit(c) || ((c == '-' || c == '+') && is_digit(behind))) {
		take_number(parser);
	} else if (is_letter(c)) {
		take_while_name(parser, parser->at, TOKEN_WORD);
	} else if (c == '"') {
		take_quoted(parser);
	} else if (c == '`') {
		take_raw(parser);
	} else {
		if (!strchr("()|,=:.", c))
			complain(parser, parser->at, "this character is not understood");
		parser->token.kind = TOKEN_SIGN;
		parser->token.sign = c;
		parser->at++;
	}
}

static bool is_sign(const struct parser *parser, char sign)
{
	return parser->token.kind == TOKEN_SIGN && parser->token.sign == sign;
}

static bool is_word(const struct parser *parser, const char *word)
{
	return parser->token.kind == TOKEN_WORD && strcmp(parser->token.text, word) == 0;
}

/* Expressions */

static struct expression *expression(struct parser *parser, enum expression_kind kind)
{
	struct expression *made = calloc(1, sizeof(*made));
	if (!made)
		abort();
	made->kind = kind;
	made->offset = parser->token.offset;
	return made;
}

/* Whatever makes a tree high (parentheses, pipes, fields) is bounded here: it is walked by
 * recursion.
 */
static void add_argument(struct parser *parser, struct expression *call,
			 struct expression *argument)
{
	if (argument->height >= call->height)
		call->height = argument->height + 1;
	if (call->height > TEMPLATE_DEPTH_MOST)
		complain(parser, call->offset, "nested too deep");
	call->arguments = reallocarray(call->arguments, call->count + 1, sizeof(*call->arguments));
	if (!call->arguments)
		abort();
	call->arguments[call->count++] = argument;
}

static void expression_free(struct expression *expression)
{
	if (!expression)
		return;
	for (size_t i = 0; i < expression->count; i++)
		expression_free(expression->arguments[i]);
	free(expression->arguments);
	value_free(expression->literal);
	free(expression->name);
	free(expression);
}

static struct expression *pipeline(struct parser *parser);

static struct expression *number(struct parser *parser)
{
	struct expression *made = expression(parser, EXPRESSION_LITERAL);
	made->literal = value_from_word(parser->token.text + (parser->token.text[0] == '+'));
	if (made->literal->kind != VALUE_NUMBER)
		complain(parser, made->offset, "%s is not a whole decimal number",
			 parser->token.text);
	next_token(parser);
	return made;
}

static struct expression *constant(struct parser *parser, struct value *value)
{
	struct expression *made = expression(parser, EXPRESSION_LITERAL);
	made->literal = value;
	next_token(parser);
	return made;
}

static struct expression *function_name(struct parser *parser)
{
	struct expression *made = expression(parser, EXPRESSION_CALL);
	made->function = template_function_find(parser->token.text);
	if (!made->function) {
		const char *near = template_function_near(parser->token.text);
		auto_free char *text =
			near ? text_format("there is no function %s here, did you mean %s?",
					   parser->token.text, near)
			     : text_format("the function %s is not supported without a server",
					   parser->token.text);
		complain(parser, made->offset, "%s", text);
	}
	next_token(parser);
	return made;
}

static struct expression *in_parentheses(struct parser *parser)
{
	size_t offset = parser->token.offset;
	next_token(parser);
	struct expression *made = pipeline(parser);
	if (!is_sign(parser, ')'))
		complain(parser, offset, "this parenthesis has no end");
	else
		next_token(parser);
	return made;
}

/* A literal, a field, a variable, a function, or what stands in parentheses. NULL when there is
 * none. */
static struct expression *operand(struct parser *parser)
{
	struct expression *made = NULL;
	if (parser->token.kind == TOKEN_TEXT) {
		made = constant(parser, value_text(parser->token.text));
	} else if (parser->token.kind == TOKEN_NUMBER) {
		made = number(parser);
	} else if (is_word(parser, "true") || is_word(parser, "false")) {
		made = constant(parser, value_from_word(parser->token.text));
	} else if (is_word(parser, "nil")) {
		made = constant(parser, value_new(VALUE_NOTHING));
	} else if (parser->token.kind == TOKEN_WORD) {
		made = function_name(parser);
		return made;
	} else if (parser->token.kind == TOKEN_VARIABLE) {
		made = expression(parser, EXPRESSION_VARIABLE);
		made->name = text_dup(parser->token.text);
		next_token(parser);
	} else if (parser->token.kind == TOKEN_FIELD || is_sign(parser, '.')) {
		made = expression(parser, EXPRESSION_DOT);
		/* The dot itself; a field's own dot is taken below. */
		if (parser->token.kind == TOKEN_SIGN)
			next_token(parser);
		else
			parser->token.touches = true;
	} else if (is_sign(parser, '(')) {
		made = in_parentheses(parser);
	}
	while (made && parser->token.kind == TOKEN_FIELD && parser->token.touches &&
	       !parser->broken) {
		struct expression *field = expression(parser, EXPRESSION_FIELD);
		field->name = text_dup(parser->token.text);
		add_argument(parser, field, made);
		made = field;
		next_token(parser);
	}
	return made;
}

/* One operand, or a function with its arguments; piped (taken, may be NULL) is the last of them. */
static struct expression *command(struct parser *parser, struct expression *piped)
{
	size_t offset = parser->token.offset;
	struct expression *first = operand(parser);
	if (!first) {
		complain(parser, offset, "a value is missing here");
		return piped;
	}
	bool calls = first->kind == EXPRESSION_CALL && !first->arguments && first->offset == offset;
	while (!parser->broken) {
		size_t there = parser->token.offset;
		struct expression *argument = operand(parser);
		if (!argument)
			break;
		if (!calls)
			complain(parser, there,
				 "this stands behind a value, not behind a function");
		add_argument(parser, first, argument);
	}
	if (piped && !calls)
		complain(parser, offset, "a value can only be piped into a function");
	if (piped)
		add_argument(parser, first, piped);
	const struct template_function *function = first->function;
	if (calls && function &&
	    (first->count < function->least || (function->most && first->count > function->most))) {
		auto_free char *text =
			function->most == function->least
				? text_format("%s takes %u arguments, not %zu", function->name,
					      function->least, first->count)
				: text_format("%s does not take %zu arguments", function->name,
					      first->count);
		complain(parser, offset, "%s", text);
	}
	return first;
}

static struct expression *pipeline(struct parser *parser)
{
	if (++parser->depth > TEMPLATE_DEPTH_MOST) {
		complain(parser, parser->token.offset, "nested too deep");
		parser->depth--;
		return NULL;
	}
	struct expression *made = command(parser, NULL);
	while (is_sign(parser, '|') && !parser->broken) {
		next_token(parser);
		made = command(parser, made);
	}
	parser->depth--;
	return made;
}

/* Steps */

static struct step *new_step(enum step_kind kind, size_t offset)
{
	struct step *step = calloc(1, sizeof(*step));
	if (!step)
		abort();
	step->kind = kind;
	step->offset = offset;
	return step;
}

void step_free(struct step *step)
{
	while (step) {
		struct step *next = step->next;
		step_free(step->body);
		step_free(step->otherwise);
		expression_free(step->value);
		free(step->key);
		free(step->variable);
		free(step);
		step = next;
	}
}

/* Whether "$x :=", "$x =", "$k, $x :=" begins here: variables stand in many other places too. */
static bool is_assignment(const struct parser *parser)
{
	size_t at = parser->at;
	if (parser->token.kind != TOKEN_VARIABLE)
		return false;
	while (is_space(char_at(parser, at)))
		at++;
	return char_at(parser, at) == ',' || char_at(parser, at) == '=' || begins(parser, at, ":=");
}

static void assignment(struct parser *parser, struct step *step)
{
	if (!is_assignment(parser))
		return;
	step->variable = text_dup(parser->token.text);
	next_token(parser);
	if (is_sign(parser, ',')) {
		next_token(parser);
		if (parser->token.kind != TOKEN_VARIABLE || step->kind != STEP_RANGE) {
			complain(parser, parser->token.offset,
				 "two variables are for range: {{ range $key, $value := … }}");
			return;
		}
		step->key = step->variable;
		step->variable = text_dup(parser->token.text);
		next_token(parser);
	}
	step->declares = is_sign(parser, ':');
	if (step->declares)
		next_token(parser);
	if (!is_sign(parser, '='))
		complain(parser, parser->token.offset, "= or := belongs here");
	else
		next_token(parser);
}

/* To behind the action's }}. */
static void finish_action(struct parser *parser, size_t offset)
{
	if (parser->token.kind != TOKEN_END)
		complain(parser, parser->token.offset, "}} belongs here");
	while (parser->token.kind != TOKEN_END)
		next_token(parser);
	if (parser->at >= parser->size)
		complain(parser, offset, "this {{ has no }}");
	else
		parser->at += 2;
	parser->broken = false;
}

enum stop {
	STOP_TEXT_ENDS,
	STOP_END,
	STOP_ELSE,
	STOP_ELSE_IF
};

static struct step *steps(struct parser *parser, enum stop *ret_stop);

/* Behind the action that opens a block: its body, what else says, and the end. */
static void block(struct parser *parser, struct step *step)
{
	enum stop stop;
	step->body = steps(parser, &stop);
	if (stop == STOP_ELSE_IF) {
		/* As {{ else }}{{ if … }} with one end for both. */
		step->otherwise = new_step(STEP_IF, parser->token.offset);
		next_token(parser);
		step->otherwise->value = pipeline(parser);
		finish_action(parser, step->otherwise->offset);
		if (++parser->depth <= TEMPLATE_DEPTH_MOST)
			block(parser, step->otherwise);
		else
			complain(parser, step->otherwise->offset, "nested too deep");
		parser->depth--;
		return;
	}
	if (stop == STOP_ELSE)
		step->otherwise = steps(parser, &stop);
	if (stop != STOP_END)
		problems_error(parser->problems, text_map_place(parser->source, step->offset),
			       stop == STOP_TEXT_ENDS ? "this has no {{ end }}"
						      : "a second else belongs to this");
	while (stop == STOP_ELSE)
		step_free(steps(parser, &stop));
}

static void refuse(struct parser *parser)
{
	static const char *const words[] = {"define", "template", "block", "break", "continue"};
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (is_word(parser, words[i]))
			complain(parser, parser->token.offset,
				 "%s is not supported without a server", words[i]);
}

/* The action behind {{, whose first token is there. NULL with *ret_stop when it ends a block. */
static struct step *action(struct parser *parser, size_t offset, enum stop *ret_stop)
{
	static const struct {
		const char *word;
		enum step_kind kind;
	} blocks[] = {{"if", STEP_IF}, {"range", STEP_RANGE}, {"with", STEP_WITH}};
	*ret_stop = STOP_TEXT_ENDS;
	if (is_word(parser, "end") || is_word(parser, "else")) {
		*ret_stop = is_word(parser, "end") ? STOP_END : STOP_ELSE;
		parser->stop_offset = offset;
		next_token(parser);
		if (*ret_stop == STOP_ELSE && is_word(parser, "if")) {
			*ret_stop = STOP_ELSE_IF;
			return NULL;
		}
		finish_action(parser, offset);
		return NULL;
	}
	refuse(parser);
	struct step *step = new_step(STEP_PRINT, offset);
	for (size_t i = 0; i < sizeof(blocks) / sizeof(blocks[0]); i++)
		if (is_word(parser, blocks[i].word))
			step->kind = blocks[i].kind;
	if (step->kind != STEP_PRINT)
		next_token(parser);
	assignment(parser, step);
	step->value = pipeline(parser);
	finish_action(parser, offset);
	if (step->kind != STEP_PRINT && ++parser->depth <= TEMPLATE_DEPTH_MOST)
		block(parser, step);
	else if (step->kind != STEP_PRINT)
		problems_error(parser->problems, text_map_place(parser->source, offset),
			       "nested too deep");
	if (step->kind != STEP_PRINT)
		parser->depth--;
	return step;
}

/* The text up to the next {{, without what a trim on either side takes. NULL when it is empty. */
static struct step *plain_text(struct parser *parser, size_t end, bool trim_end)
{
	size_t start = parser->at;
	while (parser->trim_next && start < end && is_space(parser->text[start]))
		start++;
	while (trim_end && end > start && is_space(parser->text[end - 1]))
		end--;
	parser->trim_next = false;
	if (end == start)
		return NULL;
	struct step *step = new_step(STEP_TEXT, start);
	step->size = end - start;
	return step;
}

/* {{ was read: a comment or the action's first token. True: it was a comment. */
static bool comment(struct parser *parser, size_t offset)
{
	size_t at = parser->at;
	while (is_space(char_at(parser, at)))
		at++;
	if (!begins(parser, at, "/*"))
		return false;
	while (at < parser->size && !begins(parser, at, "*/"))
		at++;
	parser->at = at + 2 < parser->size ? at + 2 : parser->size;
	next_token(parser);
	finish_action(parser, offset);
	return true;
}

static struct step *steps(struct parser *parser, enum stop *ret_stop)
{
	struct step *first = NULL, **last = &first;
	*ret_stop = STOP_TEXT_ENDS;
	while (parser->at < parser->size) {
		const char *open =
			memmem(parser->text + parser->at, parser->size - parser->at, "{{", 2);
		size_t offset = open ? (size_t)(open - parser->text) : parser->size;
		bool trims = begins(parser, offset, "{{-") && is_space(char_at(parser, offset + 3));
		struct step *step = plain_text(parser, offset, trims);
		if (step) {
			*last = step;
			last = &step->next;
		}
		if (!open)
			parser->at = parser->size;
		if (!open)
			break;
		parser->at = offset + (trims ? 3 : 2);
		if (comment(parser, offset))
			continue;
		next_token(parser);
		enum stop stop;
		step = action(parser, offset, &stop);
		if (!step) {
			*ret_stop = stop;
			return first;
		}
		*last = step;
		last = &step->next;
	}
	return first;
}

struct step *template_parse(const struct text_map *source, struct problems *problems)
{
	struct parser parser = {
		.source = source, .problems = problems, .text = source->text, .size = source->size};
	enum stop stop;
	size_t errors = problems->errors;
	struct step *first = steps(&parser, &stop);
	if (stop != STOP_TEXT_ENDS)
		problems_error(problems, text_map_place(source, parser.stop_offset),
			       "this ends what was not begun (if, range, with)");
	free(parser.token.text);
	if (problems->errors == errors)
		return first;
	step_free(first);
	return NULL;
}
