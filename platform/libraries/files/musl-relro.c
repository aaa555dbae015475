// Makes a static position-independent program's relocated data (RELRO) read-only. musl's start code
// relocates such a program but leaves this to the dynamic loader, which it does not have. Linked into
// every such program by the compiler's specs; not part of the worker's sources.

#include <elf.h>
#include <link.h>
#include <stdint.h>
#include <sys/auxv.h>
#include <sys/mman.h>

// The program's own ELF header, from the linker.
extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

// Before all other constructors; relocation is done by then.
__attribute__((constructor(101))) static void protect_relro(void)
{
	const uintptr_t base = (uintptr_t)&__ehdr_start;
	const uintptr_t page = getauxval(AT_PAGESZ);
	const ElfW(Phdr) *phdr = (const void *)(base + __ehdr_start.e_phoff);

	for (unsigned int i = 0; i < __ehdr_start.e_phnum; i++) {
		if (phdr[i].p_type != PT_GNU_RELRO)
			continue;
		uintptr_t start = (base + phdr[i].p_vaddr) & ~(page - 1);
		uintptr_t end = (base + phdr[i].p_vaddr + phdr[i].p_memsz) & ~(page - 1);
		if (end > start && mprotect((void *)start, end - start, PROT_READ) < 0)
			__builtin_trap();
	}
}
