#include "coordinator/asked.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/probe.h"

struct asked {
	enum status status;
	bool kept; /* as a record on disk says it */
};

static void put(struct coordinator *c, uint64_t operation, enum status status, bool kept)
{
	struct asked *a = mem_alloc_zero(sizeof *a);
	*a = (struct asked){status, kept};
	free(map_put_u64(&c->asked, operation, a));
}

void asked_load(struct coordinator *c, uint64_t operation, enum status status)
{
	if (operation != 0)
		put(c, operation, status, true);
}

bool asked_before(const struct coordinator *c, struct asking asking, enum status *status)
{
	const struct asked *a = asking.operation ? map_get_u64(&c->asked, asking.operation) : NULL;
	if (MUTATION(asked_twice_done_twice))
		return false;
	if (a)
		REACHED(collection_asked_again);
	if (asking.until_ms > 0 &&
	    (asking.life != c->life || (uint64_t)c->now_ms > asking.until_ms))
		*status = STATUS_STALE;
	else if (a)
		*status = a->status;
	else
		return false;
	return true;
}

void asked_note(struct coordinator *c, struct asking asking, enum status status)
{
	if (asking.operation == 0 || map_get_u64(&c->asked, asking.operation))
		return;
	uint64_t *slot = &c->asked_last[c->asked_count++ % BOUND(coordinator_asked, ASKED_MAX)];
	const struct asked *oldest = *slot ? map_get_u64(&c->asked, *slot) : NULL;
	if (oldest && !oldest->kept)
		free(map_remove_u64(&c->asked, *slot));
	*slot = asking.operation;
	put(c, asking.operation, status, false);
}

void asked_close(struct coordinator *c)
{
	map_close_owned(&c->asked);
}
