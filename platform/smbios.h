/*
 * SMBIOS tables (DMTF DSP0134) as the kernel gives them in /sys/firmware/dmi/tables/DMI: the texts
 * of the structures that tell who made a machine.
 */
#ifndef PLATFORM_SMBIOS_H
#define PLATFORM_SMBIOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum smbios_type {
	SMBIOS_BIOS = 0,
	SMBIOS_SYSTEM = 1,
	SMBIOS_BOARD = 2,
	SMBIOS_CHASSIS = 3,
	SMBIOS_END = 127
};

/*
 * Copies the text whose number stands at offset of the first structure of that type (6.1.3), made
 * valid UTF-8 on a line. False when there is no such structure, field or text. The bytes may be
 * anything.
 */
bool smbios_text(const uint8_t *tables, size_t size, uint8_t type, uint8_t offset, char *out,
		 size_t out_size);

#endif
