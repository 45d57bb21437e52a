#include "common/base/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/check.h"

void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, what);
	abort();
}

static void *or_die(void *memory)
{
	if (!memory) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return memory;
}

void *mem_alloc(size_t bytes)
{
	return or_die(malloc(bytes ? bytes : 1));
}

void *mem_alloc_zero(size_t bytes)
{
	return or_die(calloc(1, bytes ? bytes : 1));
}

void *mem_realloc(void *old, size_t bytes)
{
	return or_die(realloc(old, bytes ? bytes : 1));
}

char *mem_strdup(const char *text)
{
	size_t bytes = strlen(text) + 1;
	return memcpy(mem_alloc(bytes), text, bytes);
}
