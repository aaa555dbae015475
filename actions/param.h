/*
 * From the server's texts to an action's struct of parameters, checked.
 */
#ifndef ACTIONS_PARAM_H
#define ACTIONS_PARAM_H

#include "actions/action.h"

/*
 * Fills the struct that action->params describes from request->environment and, where parameters
 * have options, from request->command. The texts are borrowed from the request. Secret values are
 * made known to secret_add(). Errors are ERROR_INPUT (or ERROR_UNSUPPORTED) and name the key and
 * the value; all that is wrong is said in one text. strict: unknown keys are errors too
 * (`tink-worker run`); otherwise they are logged once with the nearest known name. *ret_params is
 * freed by the caller.
 */
int params_parse(const struct action *action, const struct action_request *request, bool strict,
		 void **ret_params, struct error *err);

/* Is told one thing that is wrong with the parameter key ("": with several together): a text that
 * names it. */
typedef void params_tell(void *context, const char *key, enum error_kind kind, const char *text);

/* The params_tell that appends to a struct error, the context: so a user sees all that is wrong. */
void params_collect(void *context, const char *key, enum error_kind kind, const char *text);

/* Tells all that params_parse() and the action's check() would find wrong, each by itself, but for
 * unknown keys. */
void params_check(const struct action *action, const struct action_request *request,
		  const struct action_policy *policy, params_tell *tell, void *context);

/* The parameter's name that a mistyped one may have meant, or NULL. */
const char *param_nearest(const struct action *action, const char *key);

/*
 * Makes known to secret_add() what is secret in the request's parameters: values so marked,
 * passwords and queries of URLs, and what variables are called PASSWORD, TOKEN or the like. The
 * agent calls it too, as the words of a failure pass through it. params_parse() does it by itself.
 */
void params_learn_secrets(const struct action *action, const struct action_request *request);

/* The value of KEY in a NULL-ended list of KEY=value; the later of two wins. NULL when it is not
 * there. */
const char *environment_get(char *const *environment, const char *key);

/* The text that the request gives for a parameter, by its option or in the environment; NULL when
 * there is none. */
const char *param_given(const struct param *param, const struct action_request *request);

/*
 * The URLs of a PARAM_URLS in their order: apart by blanks, or by a comma that another URL follows
 * (a comma may be part of one). *ret_urls is ended by NULL; free it and the texts with
 * param_urls_free(). False when one of them is no URL.
 */
bool param_urls(const char *text, char ***ret_urls);
void param_urls_free(char **urls);

/* The parameter of that name, or NULL. */
const struct param *param_find(const struct action *action, const char *name);

/* "text", "bool", "number" …: for the documentation. */
const char *param_type_name(enum param_type type);

#endif
