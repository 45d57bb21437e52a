/* Where the gateway keeps its calls (call.h), and what it has learnt from their answers. */
#ifndef PARLEY_GATEWAY_CALL_TABLE_H
#define PARLEY_GATEWAY_CALL_TABLE_H

#include <stdint.h>

#include "gateway/peer_clock.h"

struct call;

struct call_table {
	struct call **slots;
	uint32_t slots_count;
	uint32_t slots_cap;
	struct call *free;
	uint64_t sequence; /* of the last message sent */
	struct peer_clocks clocks;
};

#endif
