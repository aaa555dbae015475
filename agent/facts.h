/* What the status page says of the machine itself: read from /sys, and asked of the kernel. */
#ifndef AGENT_FACTS_H
#define AGENT_FACTS_H

#include <stdbool.h>
#include <stddef.h>

enum {
	FACTS_TEXT_SIZE = 256,
	FACTS_INTERFACES_MOST = 32,
	FACTS_ADDRESSES_SIZE = 160
};

struct facts_interface {
	char name[32];
	char mac[32];
	bool link;
	char speed[24];                       /* "10 Gbit/s", "" when the kernel does not say */
	char addresses[FACTS_ADDRESSES_SIZE]; /* "10.0.2.15/24 fec0::5/64", "" none */
	char state[80];                       /* what the initramfs does with it, "" none */
};

struct facts {
	char machine[FACTS_TEXT_SIZE]; /* vendor, model, serial */
	char system[FACTS_TEXT_SIZE];  /* memory, processors, firmware */
	struct facts_interface interfaces[FACTS_INTERFACES_MOST];
	size_t interface_count;
};

/* What does not change: the machine (DMI, else the device tree) and the system. */
void facts_machine(struct facts *facts);

/* The wired interfaces: those with a device behind, and those on top of them that have an address.
 * First those with an address, then those with a link. */
void facts_network(struct facts *facts);

#endif
