#include "tests/sim/external_leases.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "gateway/arbiter.h"

/* What was asked for, by request. */
struct asked {
	uint64_t shard;
	uint8_t lease[ARBITER_LEASE_BYTES];
	uint64_t epoch;
};

/* Who has it, by shard and document. */
struct granted {
	uint64_t lease;
	uint64_t since_ms; /* of the conflict: when it is resolved by others, the next one is new */
	uint64_t epoch;    /* of the lead, in which it remembers */
	uint64_t life;
	int from;
	int64_t until_us; /* as fast as a clock may run */
};

struct external_leases {
	struct map asked;
	struct map granted;
	struct map over;  /* lease as its client knows it, digest -> milliseconds */
	struct map ended; /* lease and conflict: its holder has said his last word, which may come
			     to the lead at any time */
	struct arena arena;
};

struct external_leases *external_leases_new(void)
{
	return mem_alloc_zero(sizeof(struct external_leases));
}

void external_leases_free(struct external_leases *l)
{
	map_close_owned(&l->asked);
	map_close_owned(&l->granted);
	map_close(&l->over);
	map_close(&l->ended);
	arena_close(&l->arena);
	free(l);
}

static uint64_t digest(struct slice bytes)
{
	return XXH3_64bits(bytes.data, bytes.len);
}

static uint64_t conflict_key(uint64_t shard, struct slice id)
{
	return shard ^ digest(id);
}

/* Of all that were or will be taken under the lease nobody has heard. */
static void forget_all(struct external_leases *l, struct slice lease)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&l->granted, &at));)
		if (((const struct granted *)e->value)->lease == digest(lease))
			free(map_remove_u64(&l->granted, map_key_u64(e)));
	map_put_u64(&l->ended, digest(lease), l);
}

/* Given back or answered: whether the lead hears of it or not, it may be another's now. */
static void forget(struct external_leases *l, uint64_t shard, struct slice id, struct slice lease)
{
	uint64_t key = conflict_key(shard, id);
	if (id.len == 0) {
		forget_all(l, lease);
		return;
	}
	free(map_remove_u64(&l->granted, key));
	if (lease.len > 0)
		map_put_u64(&l->ended, key ^ digest(lease), l);
}

static void take(struct external_leases *l, const struct envelope *envelope,
		 const struct msg_conflict_take *m)
{
	struct asked *asked = mem_alloc_zero(sizeof *asked);
	*asked = (struct asked){.shard = m->shard, .epoch = envelope->epoch};
	memcpy(asked->lease, m->lease.data, sizeof asked->lease);
	free(map_put_u64(&l->asked, envelope->request_id, asked));
}

static void begin(struct external_leases *l, const struct sim *sim, const struct asked *asked,
		  struct slice id, uint64_t lease_ms)
{
	struct buf text = {0};
	struct arbiter_lease lease = {.shard = asked->shard, .id = id};
	memcpy(lease.token, asked->lease, sizeof lease.token);
	arbiter_lease_print(&lease, &text);
	uintptr_t over_ms = (uintptr_t)(sim->now_us / 1000) + lease_ms * 12 / 10 + 1;
	map_put_u64(&l->over, digest(buf_slice(&text)), (void *)over_ms);
	buf_close(&text);
}

int64_t external_leases_over_us(const struct external_leases *l, struct slice lease)
{
	return (int64_t)(uintptr_t)map_get_u64(&l->over, digest(lease)) * 1000;
}

static void give(struct external_leases *l, struct sim *sim, int from, const struct asked *asked,
		 const struct msg_conflict_take_ack *m)
{
	const struct sim_node *node = &sim->nodes[from];
	uint64_t lease = digest(slice_of(asked->lease, sizeof asked->lease));
	for (uint32_t i = 0; i < m->offers_count; i++) {
		uint64_t key = conflict_key(asked->shard, m->offers[i].id);
		begin(l, sim, asked, m->offers[i].id, m->lease_ms);
		if (map_get_u64(&l->ended, key ^ lease) || map_get_u64(&l->ended, lease))
			continue; /* asked again, late */
		struct granted *g = map_get_u64(&l->granted, key);
		if (!g) {
			g = mem_alloc_zero(sizeof *g);
			map_put_u64(&l->granted, key, g);
		}
		if (g->from == from && g->life == node->life && g->epoch == asked->epoch &&
		    g->since_ms == m->offers[i].since_ms && g->lease != lease &&
		    sim->now_us < g->until_us)
			sim_violation(sim, "external: %.*s was leased to two at once",
				      (int)m->offers[i].id.len, (const char *)m->offers[i].id.data);
		*g = (struct granted){.lease = lease,
				      .since_ms = m->offers[i].since_ms,
				      .epoch = asked->epoch,
				      .life = node->life,
				      .from = from,
				      .until_us = sim->now_us + (int64_t)m->lease_ms * 900};
	}
}

void external_leases_on_send(struct external_leases *l, struct sim *sim, int from,
			     const struct effect *effect)
{
	const struct envelope *envelope = &effect->send.envelope;
	struct slice body = effect->send.body;
	struct msg_conflict_take t;
	struct msg_conflict_take_ack ack;
	struct msg_conflict_lease about;
	struct msg_conflict_resolve resolve;
	struct msg_conflict_resolve_ack resolved;
	const struct asked *asked;
	if (envelope->type == MSG_conflict_take &&
	    schema_decode(&schema_msg_conflict_take, body, &l->arena, &t))
		take(l, envelope, &t);
	else if (envelope->type == MSG_conflict_take_ack &&
		 (asked = map_get_u64(&l->asked, envelope->request_id)) != NULL &&
		 schema_decode(&schema_msg_conflict_take_ack, body, &l->arena, &ack))
		give(l, sim, from, asked, &ack);
	else if (envelope->type == MSG_conflict_lease &&
		 schema_decode(&schema_msg_conflict_lease, body, &l->arena, &about) &&
		 (about.op == LEASE_RELEASE || about.op == LEASE_DEFER))
		forget(l, about.shard, about.id, about.lease);
	else if (envelope->type == MSG_conflict_resolve &&
		 schema_decode(&schema_msg_conflict_resolve, body, &l->arena, &resolve))
		forget(l, resolve.shard, resolve.id, resolve.lease);
	else if (envelope->type == MSG_conflict_resolve_ack &&
		 schema_decode(&schema_msg_conflict_resolve_ack, body, &l->arena, &resolved) &&
		 resolved.status == STATUS_OK) /* perhaps leased after that was sent */
		forget(l, resolved.shard, resolved.id, slice_of(NULL, 0));
	arena_reset(&l->arena);
}
