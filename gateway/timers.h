/* Timers of requests and calls: an intrusive binary heap, earliest first, equal times in the order
 * set. */
#ifndef PARLEY_GATEWAY_TIMERS_H
#define PARLEY_GATEWAY_TIMERS_H

#include <stdint.h>

/* Embedded in what waits. Zero-initialised: not set. Must be cleared before its owner goes. */
struct timer {
	int64_t at_ms;
	uint64_t order;
	uint32_t place; /* index in the heap + 1; 0: not set */
	uint8_t kind;   /* the owner's */
};

struct timers {
	struct timer **heap;
	uint32_t count;
	uint32_t cap;
	uint64_t order;
};

void timers_close(struct timers *t);
/* Sets, or moves if set already. */
void timers_set(struct timers *t, struct timer *timer, int64_t at_ms);
void timers_clear(struct timers *t, struct timer *timer);
/* The earliest, or NULL. */
struct timer *timers_first(const struct timers *t);

#endif
