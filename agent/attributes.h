/*
 * The hardware inventory as a Tink server of the current generation takes it (AgentAttributes), and
 * as JSON, in the spelling in which servers keep it.
 */
#ifndef AGENT_ATTRIBUTES_H
#define AGENT_ATTRIBUTES_H

#include "agent/config.h"
#include "platform/inventory.h"
#include "workflow.pb-c.h"

enum {
	/* What a server takes as JSON, with its own spelling of '<', '>' and '&'. */
	ATTRIBUTES_MOST_BYTES = 64 << 10
};

struct attributes;

/*
 * The message of an inventory (borrowed, as long as it is used). What would make it larger than
 * most_bytes as JSON is left out, in this order, each from its end: PCI devices, capabilities of
 * interfaces, interfaces, capabilities of processors, GPUs, disks, processors. What that was is
 * written to ret_dropped ("12 PCI devices"), "" when all fits.
 */
struct attributes *attributes_make(const struct inventory *inventory, size_t most_bytes,
				   char *ret_dropped, size_t dropped_size);
Proto__AgentAttributes *attributes_message(struct attributes *attributes);
void attributes_free(struct attributes *attributes);

/* JSON with sorted names; indented, or on a line. Allocated. */
char *attributes_json(const struct attributes *attributes, bool indented);

/*
 * What goes with GetAction: read anew when a disk, an interface or a PCI device has come or gone
 * since the last call, and valid until the next. NULL when attribute-detection is off. The first
 * call waits for disks that come late (inventory-wait; cancel_fd readable ends that). For one
 * thread.
 */
Proto__AgentAttributes *attributes_now(const struct config *config, int cancel_fd);

/* `tink-worker inventory`: prints the JSON of this machine. */
int attributes_main(void);

#endif
