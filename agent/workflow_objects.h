/* Kubernetes objects around a Template: what kubectl gets and applies. */
#ifndef AGENT_WORKFLOW_OBJECTS_H
#define AGENT_WORKFLOW_OBJECTS_H

#include "agent/text_map.h"
#include "agent/values.h"
#include "platform/yaml.h"

/* Whether there is a Template object among the documents. */
bool objects_have_template(const struct yaml *yaml);

/*
 * The text of the one Template (spec.data): borrowed from yaml; NULL with problems when there is
 * none or more than one. *ret_map (to be freed) leads from it to the file.
 */
const char *objects_template(const struct yaml *yaml, const struct text_map *file,
			     struct text_map *ret_map, struct problems *problems);

/* The values that Hardware objects (hardware, Hardware) and Workflow objects (hardwareMap) give to
 * a template: into root, a map. */
void objects_values(const struct yaml *yaml, struct value *root);

#endif
