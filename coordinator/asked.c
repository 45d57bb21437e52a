#include "coordinator/asked.h"

#include <stdlib.h>

#include "common/base/memory.h"

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

bool asked_before(const struct coordinator *c, const struct msg_collection_create *m,
		  enum status *status)
{
	const struct asked *a = m->operation ? map_get_u64(&c->asked, m->operation) : NULL;
	if (MUTATION(asked_twice_done_twice))
		return false;
	if (a)
		REACHED(collection_asked_again);
	if (m->until_ms > 0 && (m->life != c->life || (uint64_t)c->now_ms > m->until_ms))
		*status = STATUS_STALE;
	else if (a)
		*status = a->status;
	else
		return false;
	return true;
}

void asked_note(struct coordinator *c, const struct msg_collection_create *m, enum status status)
{
	if (m->operation == 0 || map_get_u64(&c->asked, m->operation))
		return;
	uint64_t *slot = &c->asked_last[c->asked_count++ % ASKED_MAX];
	const struct asked *oldest = *slot ? map_get_u64(&c->asked, *slot) : NULL;
	if (oldest && !oldest->kept)
		free(map_remove_u64(&c->asked, *slot));
	*slot = m->operation;
	put(c, m->operation, status, false);
}

void asked_close(struct coordinator *c)
{
	map_close_owned(&c->asked);
}
