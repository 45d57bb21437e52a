/* Randomness from the kernel: seeds, ids. Never fails: without it the process must not run. */
#ifndef PARLEY_RUN_ENTROPY_H
#define PARLEY_RUN_ENTROPY_H

#include <stddef.h>
#include <stdint.h>

void entropy_fill(void *out, size_t len);
/* Never 0. */
uint64_t entropy_u64(void);

#endif
