/* Where the gateway keeps its calls (call.h), and what it has learnt from their answers. */
#ifndef PARLEY_GATEWAY_CALL_TABLE_H
#define PARLEY_GATEWAY_CALL_TABLE_H

#include <stdint.h>

#include "proto/enums.h"

struct call;

/* What a storage node's clock shows beside ours, from its answers. */
struct peer_clock {
	uint64_t member;
	uint64_t life;    /* of the process; another one has another clock */
	int64_t ahead_ms; /* at least so much */
	int64_t seen_ms;  /* when that was learnt */
};

struct call_table {
	struct call **slots;
	uint32_t slots_count;
	uint32_t slots_cap;
	struct call *free;
	uint64_t sequence; /* of the last message sent */
	struct peer_clock clocks[LIMIT_MEMBERS];
	uint32_t clocks_count;
};

#endif
