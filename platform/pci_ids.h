/*
 * The database of PCI numbers and names (pci.ids, as pci-ids.ucw.cz gives it out): names of
 * vendors, devices and classes. Subsystems are not looked at.
 */
#ifndef PLATFORM_PCI_IDS_H
#define PLATFORM_PCI_IDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/cleanup.h"

struct pci_ids;

enum {
	PCI_NAME_SIZE = 256
};

/* Takes the text of a database (copied). Lines that are none of its form are looked past. */
struct pci_ids *pci_ids_parse(const void *text, size_t size);

/* Reads the first of the usual files that is there below the root prefix of sysfs.h
 * (/usr/share/misc/pci.ids, /usr/share/hwdata/pci.ids), compressed or not. NULL when there is none
 * that can be read. */
struct pci_ids *pci_ids_open(void);

void pci_ids_free(struct pci_ids *ids);
AUTO_DEFINE(pci_ids, struct pci_ids *, pci_ids_free)
#define auto_pci_ids __attribute__((cleanup(cleanup_pci_ids)))

/* Copies a name, valid UTF-8 without control characters. False when the number is not known, or ids
 * is NULL. */
bool pci_ids_vendor(const struct pci_ids *ids, unsigned vendor, char out[PCI_NAME_SIZE]);
bool pci_ids_device(const struct pci_ids *ids, unsigned vendor, unsigned device,
		    char out[PCI_NAME_SIZE]);
/* Of the base class: the upper byte of the three. */
bool pci_ids_class(const struct pci_ids *ids, unsigned base_class, char out[PCI_NAME_SIZE]);

#endif
