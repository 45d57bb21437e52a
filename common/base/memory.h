/* Heap memory. Out of memory is fatal: no caller can do anything better than restart. */
#ifndef PARLEY_BASE_MEMORY_H
#define PARLEY_BASE_MEMORY_H

#include <stddef.h>

/* Never return NULL. Release with free(). */
void *mem_alloc(size_t bytes);
void *mem_alloc_zero(size_t bytes);
void *mem_realloc(void *old, size_t bytes);
char *mem_strdup(const char *text);

#endif
