#include "coordinator/arbiters.h"

#include "coordinator/membership.h"

static uint32_t arbiters_alive(const struct coordinator *c, uint64_t asking, uint64_t *out)
{
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		bool here = m->id == asking || membership_alive(c, m);
		if (m->role == ROLE_ARBITER && here && count < LIMIT_MEMBERS)
			out[count++] = m->id;
	}
	return count;
}

void arbiters_on_lease(struct coordinator *c, const struct event *e, struct effects *fx)
{
	uint64_t asking = e->message.from.member;
	uint64_t arbiters[LIMIT_MEMBERS];
	uint32_t count = arbiters_alive(c, asking, arbiters);
	struct msg_arbiter_lease_ack ack = {.ttl_ms = ARBITER_LEASE_MS};
	ack.shards = arena_alloc(&c->arena, (c->shards.count + 1) * sizeof *ack.shards);
	size_t at = 0;
	for (struct map_entry *entry; count > 0 && (entry = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)entry->value)->placement.shard;
		placement_rank(s->id, arbiters, count);
		if (arbiters[0] == asking && !s->dropped)
			ack.shards[ack.shards_count++] = s->id;
	}
	fx_reply(fx, WHEN_DURABLE, e, MSG_arbiter_lease_ack, &ack);
}
