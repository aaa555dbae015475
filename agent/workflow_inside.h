/* Between workflow_file.c (the whole), workflow_action.c (one action) and workflow_read.c (values
 * out of YAML). Not for others. */
#ifndef AGENT_WORKFLOW_INSIDE_H
#define AGENT_WORKFLOW_INSIDE_H

#include "agent/text_map.h"
#include "agent/workflow_file.h"
#include "platform/yaml.h"

struct reader {
	const struct text_map *map;
	const struct workflow_options *options;
	struct problems *problems;
	struct workflow *workflow;
};

/* What a task gives to each of its actions. */
struct task {
	const struct yaml_node *node;
	const char *name;
	const struct yaml_node *environment; /* may be NULL, or no map: that was said */
	const struct yaml_node *volumes;
};

/* workflow_read.c */

struct place place_in_file(const struct reader *reader, const struct yaml_node *node);
void wrong(struct reader *reader, const struct yaml_node *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
void doubtful(struct reader *reader, const struct yaml_node *node, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Complains about keys that are not known, but for those that begin with "x-" or ".", which people
 * hang anchors on. known is ended by NULL. */
void check_keys(struct reader *reader, const struct yaml_node *map, const char *const *known,
		const char *what);

/* The text at key: NULL when there is none, or it is none, which is said then. */
const char *read_text(struct reader *reader, const struct yaml_node *map, const char *key);

/* The name at "name", which must be there and short enough. NULL otherwise, which is said. */
const char *read_name(struct reader *reader, const struct yaml_node *map, const char *what);

/* A whole number from 0 to max; 0 when there is none. */
uint64_t read_number(struct reader *reader, const struct yaml_node *map, const char *key,
		     uint64_t max, const char *unit);

/* Checks that node (may be NULL) is a list of texts, and adds them to *list unless that is NULL. */
void read_text_list(struct reader *reader, const struct yaml_node *node, const char *key,
		    char ***list);

/* Checks that node (may be NULL) is a map of texts. */
void read_text_map(struct reader *reader, const struct yaml_node *node, const char *key);

/* Whether the text holds something that is not known because a value is not set, which was said:
 * where nothing is wrong the mark is a character as any other. */
bool is_unknown(const struct reader *reader, const char *text);

/* workflow_action.c */

/* Reads one action of a task, or of a list; first is the number of the task's first action. */
void read_action(struct reader *reader, const struct yaml_node *node, const struct task *task,
		 size_t first);
void read_listed_action(struct reader *reader, const struct yaml_node *node);

/* Complains about actions behind a reboot, and keys of the task that no action knows. */
void judge_order(struct reader *reader, size_t first);
void judge_unused(struct reader *reader, const struct task *task, size_t first);

/* Takes the actions from first on away again. */
void drop_actions(struct reader *reader, size_t first);

#endif
