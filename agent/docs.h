/* The texts that are made from the tables: --help, help ACTION, and the tables of the
 * documentation. */
#ifndef AGENT_DOCS_H
#define AGENT_DOCS_H

#include <stdio.h>

#include "actions/action.h"

void docs_usage(FILE *out);

/* For a human at a terminal. */
void docs_action(const struct action *action, FILE *out);

/* Markdown, as README.md holds it between its marks; a test keeps the two equal. */
void docs_actions_table(FILE *out);
void docs_parameters_tables(FILE *out);
void docs_settings_table(FILE *out);

#endif
