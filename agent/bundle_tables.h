/* Tables of the machine's disks and interfaces, for people. Used by bundle.c. */
#ifndef AGENT_BUNDLE_TABLES_H
#define AGENT_BUNDLE_TABLES_H

#include <stdio.h>

#include "agent/config.h"

/* Disks and their partitions: size, what they are, who holds them, where they are mounted. */
void bundle_print_disks(const struct config *config, FILE *out);

/* Interfaces: state, hardware address, driver, addresses. */
void bundle_print_network(const struct config *config, FILE *out);

#endif
