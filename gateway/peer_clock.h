/* Clocks of those who take writes. A write that the network delivers late must not land on what
 * came since. So it says until when, on its receiver's own clock, it may be taken: reckoned from a
 * time that the receiver told. How long its answer travelled only makes that earlier. */
#ifndef PARLEY_GATEWAY_PEER_CLOCK_H
#define PARLEY_GATEWAY_PEER_CLOCK_H

#include <stdint.h>

#include "proto/enums.h"

struct turn;

/* What a peer's clock shows beside ours, from its answers. */
struct peer_clock {
	uint64_t member;
	uint64_t life;    /* of the process; another one has another clock */
	int64_t ahead_ms; /* at least so much */
	int64_t seen_ms;  /* when that was learnt */
};

/* All zero is valid, and empty. */
struct peer_clocks {
	struct peer_clock items[LIMIT_MEMBERS];
	uint32_t count;
};

/* From the answer that has come, if it tells a time. */
void peer_clock_learn(struct turn *t);
/* Says in `message`, struct msg_* of this type, until when `member` may take it, if it has a member
 * for that; until_ms: by our clock. */
void peer_clock_bound(const struct turn *t, uint64_t member, int64_t until_ms, uint16_t type,
		      void *message);

#endif
