#include "storage-node/offer.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/policy.h"
#include "common/doc/revision.h"
#include "common/probe.h"
#include "storage-node/conflict.h"

enum { TOKEN_BYTES = 16 };

enum offer_state { OFFER_LEASED, OFFER_DEFERRED, OFFER_ANSWERED };

struct offer {
	enum offer_state state;
	uint8_t lease[TOKEN_BYTES];
	uint8_t leaves[TOKEN_BYTES]; /* digest of those that were live when it was offered */
	uint64_t since_ms;
	int64_t length_ms;
	int64_t until_ms;
	uint64_t number; /* ANSWERED: of its entry */
};

/* What a client said under its lease, and it counted: it may come again when the document has long
 * been offered to another. */
struct given {
	uint64_t number; /* of its entry */
	int64_t until_ms;
	uint8_t answer[TOKEN_BYTES];
	uint8_t resolution_id[TOKEN_BYTES];
	uint64_t generation;
	uint8_t hash[LIMIT_REV_HASH_BYTES];
	size_t hash_len;
};

struct offers {
	struct map by_id;  /* document id -> struct offer* */
	struct map given;  /* lease, document id -> struct given* */
	struct map spent;  /* lease -> until when (not a pointer): it was given something */
	struct buf after;  /* the next look at the queue begins behind this document */
	bool came_round;   /* looks have come to the queue's end, and given nothing since */
	uint64_t settings; /* version that `external` and `lease_ms` are of */
	bool external;
	uint64_t lease_ms;
	int64_t sweep_ms;
	/* for the metrics */
	int64_t asked_ms; /* somebody asked, or there was nothing to ask for */
	int64_t look_ms;
	uint64_t open;
	uint64_t oldest_ms; /* wall time; 0: none */
};

static struct offers *offers_of(struct storage *s, struct shard_copy *c)
{
	struct offers *o = c->offers;
	if (!o) {
		o = c->offers = mem_alloc_zero(sizeof *o);
		o->asked_ms = s->now_ms;
	}
	if (o->settings != c->settings.version || c->settings.version == 0) {
		struct policy policy;
		struct policy_error error;
		bool read = policy_parse(c->settings.policy, &s->arena, &policy, &error);
		o->settings = c->settings.version;
		o->external = read && policy.strategy == POLICY_EXTERNAL;
		o->lease_ms = o->external ? policy.lease_ms : 0;
	}
	return o;
}

void offer_free(struct shard_copy *c)
{
	struct offers *o = c->offers;
	if (!o)
		return;
	map_close_owned(&o->by_id);
	map_close_owned(&o->given);
	map_close(&o->spent);
	buf_close(&o->after);
	free(o);
	c->offers = NULL;
}

static int64_t bounded_ms(uint64_t wanted_ms)
{
	if (wanted_ms < OFFER_LEAST_MS)
		return OFFER_LEAST_MS;
	return wanted_ms > OFFER_MOST_MS ? OFFER_MOST_MS : (int64_t)wanted_ms;
}

static bool same_lease(const struct offer *o, struct slice lease)
{
	return slice_equal(slice_of(o->lease, TOKEN_BYTES), lease);
}

/* The client's, as long as the lease runs. */
static struct offer *held(const struct storage *s, const struct shard_copy *c, struct slice id,
			  struct slice lease)
{
	struct offer *o = c->offers ? map_get(&c->offers->by_id, id) : NULL;
	bool holds = o && o->state == OFFER_LEASED && o->until_ms > s->now_ms;
	if (o && !(holds && same_lease(o, lease)))
		REACHED(lease_lost);
	if (MUTATION(lease_never_lost) && o && o->state == OFFER_LEASED)
		return o;
	return holds && same_lease(o, lease) ? o : NULL;
}

static void names_digest(const struct revision *names, uint32_t count, uint8_t out[TOKEN_BYTES])
{
	struct buf form = {0};
	for (uint32_t i = 0; i < count; i++) {
		revision_print(&names[i], &form);
		buf_append_byte(&form, ',');
	}
	digest16(buf_slice(&form), out);
	buf_close(&form);
}

/* Of the leaves as they are applied, since these are what the client will be shown: a version that
 * is still under way may not be passed over by its answer. False: no conflict is left. */
static bool live_digest(struct storage *s, struct shard_copy *c, struct slice id,
			uint8_t out[TOKEN_BYTES])
{
	struct document_view view;
	uint32_t *leaves;
	if (MUTATION(offered_unseen))
		document_load_pending(s, c, id, &view);
	else
		document_load(s, c, id, &view);
	if (!view.exists)
		return false;
	uint32_t count = graph_sides(&view.doc, &s->arena, &leaves);
	struct revision *names = arena_alloc(&s->arena, (count + 1) * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(&view.doc, leaves[i]);
	revision_sort(names, count);
	names_digest(names, count, out);
	return count > 1;
}

/* ---- taking ---- */

struct taking {
	const struct msg_conflict_take *m;
	struct msg_conflict_take_ack *ack;
	uint64_t limit;
	int64_t lease_ms;
};

static void give(struct storage *s, struct taking *k, struct slice id, uint64_t since_ms)
{
	struct conflict_offer *row = &k->ack->offers[k->ack->offers_count++];
	*row = (struct conflict_offer){.id = arena_copy(&s->arena, id), .since_ms = since_ms};
}

/* Those given before, if the answer was lost: for as long as this one says. */
static void give_again(struct storage *s, struct offers *o, struct taking *k)
{
	size_t at = 0;
	for (struct map_entry *e;
	     k->ack->offers_count < k->limit && (e = map_next(&o->by_id, &at));) {
		struct offer *offer = e->value;
		if (offer->state != OFFER_LEASED || offer->until_ms <= s->now_ms ||
		    !same_lease(offer, k->m->lease))
			continue;
		offer->length_ms = k->lease_ms;
		offer->until_ms = s->now_ms + k->lease_ms;
		give(s, k, slice_of(e->key, e->key_len), offer->since_ms);
	}
}

static void offer_to(struct storage *s, struct shard_copy *c, struct taking *k, struct slice id)
{
	struct offers *o = c->offers;
	struct offer *offer = map_get(&o->by_id, id);
	uint8_t leaves[TOKEN_BYTES];
	struct slice value;
	struct conflict open;
	if (offer && offer->until_ms > s->now_ms && offer->state != OFFER_ANSWERED &&
	    !MUTATION(leased_to_two))
		return;
	if (offer && offer->state == OFFER_ANSWERED && ring_at(&c->pending, offer->number))
		return;
	/* the walk may show what is gone in this turn */
	if ((!offer && o->by_id.count >= BOUND(offers, OFFERS_MAX)) ||
	    store_get(s->store, STORE_CONFLICTS, key_conflict_open(&s->key, c->id, id), &value) !=
		STORE_OK ||
	    !schema_decode(&schema_conflict, arena_copy(&s->arena, value), &s->arena, &open) ||
	    open.held || !live_digest(s, c, id, leaves) ||
	    (MUTATION(external_forgotten) && open.number < c->epoch_start))
		return;
	if (!offer) {
		offer = mem_alloc_zero(sizeof *offer);
		map_put(&o->by_id, id, offer);
	}
	*offer = (struct offer){.state = OFFER_LEASED,
				.since_ms = open.since_ms,
				.length_ms = k->lease_ms,
				.until_ms = s->now_ms + k->lease_ms};
	memcpy(offer->lease, k->m->lease.data, TOKEN_BYTES);
	memcpy(offer->leaves, leaves, TOKEN_BYTES);
	give(s, k, id, open.since_ms);
}

/* Walks on where the last request stopped, to the end of the queue. Where nothing is given, who
 * asks on is told before long that there is no more, however long the queue is. */
static void walk(struct storage *s, struct shard_copy *c, struct taking *k)
{
	struct offers *o = c->offers;
	uint32_t rows = 0;
	bool from_start = o->after.len == 0;
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	store_seek(s->store, it,
		   o->after.len > 0 ? key_document_end(&s->key, c->id, buf_slice(&o->after))
				    : key_conflicts(&s->key, c->id));
	for (; store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		struct slice id;
		struct slice rest;
		if (key.len < KEY_SHARD_BYTES || be64_read(key.data + 1) != c->id ||
		    !key_split(key, &id, &rest))
			break;
		if (rows++ == OFFER_ROWS_TAKE || k->ack->offers_count == k->limit) {
			k->ack->more = true;
			break;
		}
		buf_clear(&o->after);
		buf_append_slice(&o->after, id);
		offer_to(s, c, k, buf_slice(&o->after));
	}
	store_iterator_free(s->store, it);
	o->came_round = o->came_round && k->ack->offers_count == 0;
	if (k->ack->more)
		return;
	/* what is before the place where this began comes next */
	buf_clear(&o->after);
	k->ack->more = o->came_round = !from_start && !o->came_round;
}

/* Under one lease conflicts are given once. A late copy of its request would have them as they are
 * by then, and an answer of who was shown them earlier would pass over versions he never saw. Where
 * there are too many leases, some other one is forgotten early. */
static void spend(const struct storage *s, struct offers *o, struct slice lease)
{
	size_t at = 0;
	const struct map_entry *one =
	    o->spent.count >= OFFERS_MAX ? map_next(&o->spent, &at) : NULL;
	if (one)
		map_remove(&o->spent, slice_of(one->key, one->key_len));
	map_put(&o->spent, lease, (void *)(uintptr_t)(s->now_ms + OFFER_KEEP_MS));
}

static void take(struct storage *s, struct shard_copy *c, const struct msg_conflict_take *m,
		 struct msg_conflict_take_ack *ack)
{
	struct offers *o = offers_of(s, c);
	struct taking k = {.m = m, .ack = ack, .limit = m->limit ? m->limit : 1};
	k.lease_ms = bounded_ms(m->lease_ms   ? m->lease_ms
				: o->lease_ms ? o->lease_ms
					      : OFFER_LEASE_MS);
	ack->lease_ms = (uint64_t)k.lease_ms;
	ack->offers = arena_alloc(&s->arena, k.limit * sizeof *ack->offers);
	o->asked_ms = s->now_ms;
	if (!o->external || c->position.conflicts == 0)
		return;
	give_again(s, o, &k);
	if (ack->offers_count == 0 && !map_get(&o->spent, m->lease))
		walk(s, c, &k);
	if (ack->offers_count > 0)
		spend(s, o, m->lease);
}

void offer_on_take(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_take *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_conflict_take_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK && m->lease.len != TOKEN_BYTES)
		ack.status = STATUS_BAD_MESSAGE;
	if (ack.status == STATUS_OK)
		take(s, c, m, &ack);
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_take_ack, &ack);
}

/* ---- leases ---- */

/* Whoever took them is gone, perhaps before it heard which they are. */
static enum status release_all(struct shard_copy *c, struct slice lease)
{
	size_t at = 0;
	for (struct map_entry *e; c->offers && (e = map_next(&c->offers->by_id, &at));) {
		const struct offer *o = e->value;
		if (o->state == OFFER_LEASED && same_lease(o, lease))
			free(map_remove(&c->offers->by_id, slice_of(e->key, e->key_len)));
	}
	return STATUS_OK;
}

static enum status change_lease(struct storage *s, struct shard_copy *c,
				const struct msg_conflict_lease *m,
				struct msg_conflict_lease_ack *ack)
{
	if (m->op == LEASE_RELEASE && m->id.len == 0)
		return release_all(c, m->lease);
	struct offer *o = held(s, c, m->id, m->lease);
	if (!o)
		return STATUS_LEASE_LOST;
	switch ((enum lease_op)m->op) {
	case LEASE_CHECK:
		break;
	case LEASE_RENEW:
		if (m->ms > 0)
			o->length_ms = bounded_ms(m->ms);
		o->until_ms = s->now_ms + o->length_ms;
		ack->lease_ms = (uint64_t)o->length_ms;
		break;
	case LEASE_RELEASE:
		free(map_remove(&c->offers->by_id, m->id));
		break;
	case LEASE_DEFER:
		o->state = OFFER_DEFERRED;
		o->until_ms = s->now_ms + bounded_ms(m->ms);
		break;
	}
	return STATUS_OK;
}

static struct slice given_key(struct buf *out, struct slice lease, struct slice id)
{
	buf_append_slice(out, lease);
	buf_append_slice(out, id);
	return buf_slice(out);
}

static const struct given *given_find(const struct shard_copy *c, struct slice lease,
				      struct slice id)
{
	struct buf key = {0};
	if (!c->offers)
		return NULL;
	const struct given *g = map_get(&c->offers->given, given_key(&key, lease, id));
	buf_close(&key);
	return g;
}

/* Somebody repeats what may have been answered. */
static bool show_answer(struct storage *s, struct shard_copy *c, const struct msg_conflict_lease *m,
			struct msg_conflict_lease_ack *ack)
{
	const struct given *g = given_find(c, m->lease, m->id);
	if (m->op != LEASE_CHECK || !g)
		return false;
	/* until it is applied the first answer is as unknown as this one */
	ack->status = ring_at(&c->pending, g->number) ? STATUS_TIMED_OUT : STATUS_OK;
	ack->answer = arena_copy(&s->arena, slice_of(g->answer, TOKEN_BYTES));
	ack->resolution_id = arena_copy(&s->arena, slice_of(g->resolution_id, TOKEN_BYTES));
	ack->revision.generation = g->generation;
	ack->revision.hash = arena_copy(&s->arena, slice_of(g->hash, g->hash_len));
	return true;
}

void offer_on_lease(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_conflict_lease *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	struct msg_conflict_lease_ack ack = {.status = conflict_must_lead(s, c, e, fx)};
	if (ack.status == STATUS_OK && !show_answer(s, c, m, &ack))
		ack.status = change_lease(s, c, m, &ack);
	fx_reply(fx, WHEN_NOW, e, MSG_conflict_lease_ack, &ack);
}

/* ---- answers ---- */

enum status offer_check(const struct storage *s, const struct shard_copy *c,
			const struct msg_conflict_resolve *m)
{
	uint8_t leaves[TOKEN_BYTES];
	if (m->lease.len == 0)
		return STATUS_OK;
	const struct offer *o = held(s, c, m->id, m->lease);
	if (!o)
		return STATUS_LEASE_LOST;
	names_digest(m->leaves, m->leaves_count, leaves);
	if (memcmp(leaves, o->leaves, TOKEN_BYTES) == 0)
		return STATUS_OK;
	REACHED(answer_to_what_was);
	return MUTATION(answer_to_what_was) ? STATUS_OK : STATUS_LEAVES_MOVED;
}

/* Some other one goes where there are too many. */
static void keep_answer(struct offers *o, const struct msg_conflict_resolve *m, uint64_t number,
			int64_t until_ms)
{
	struct buf key = {0};
	struct given *g = mem_alloc_zero(sizeof *g);
	size_t at = 0;
	*g = (struct given){.number = number,
			    .until_ms = until_ms,
			    .generation = m->revision.generation,
			    .hash_len = m->revision.hash.len};
	memcpy(g->answer, m->answer.data, TOKEN_BYTES);
	memcpy(g->resolution_id, m->resolution_id.data, TOKEN_BYTES);
	memcpy(g->hash, m->revision.hash.data, g->hash_len);
	const struct map_entry *one =
	    o->given.count >= BOUND(offers_given, OFFERS_MAX) ? map_next(&o->given, &at) : NULL;
	if (one)
		free(map_remove(&o->given, slice_of(one->key, one->key_len)));
	free(map_put(&o->given, given_key(&key, m->lease, m->id), g));
	buf_close(&key);
}

void offer_answered(struct shard_copy *c, const struct msg_conflict_resolve *m, uint64_t number)
{
	struct offer *o = c->offers ? map_get(&c->offers->by_id, m->id) : NULL;
	if (!o)
		return;
	/* also by somebody else: until that is applied nobody else need look at it */
	o->state = OFFER_ANSWERED;
	o->number = number;
	if (m->lease.len > 0 && m->answer.len == TOKEN_BYTES)
		keep_answer(c->offers, m, number, o->until_ms + OFFER_KEEP_MS);
}

uint64_t offer_answer_number(const struct shard_copy *c, const struct msg_conflict_resolve *m)
{
	const struct given *g = given_find(c, m->lease, m->id);
	bool same = g && slice_equal(slice_of(g->answer, TOKEN_BYTES), m->answer);
	if (same)
		REACHED(answer_repeated);
	return same ? g->number : 0;
}

void offer_moved(struct shard_copy *c, const struct msg_conflict_resolve *m)
{
	struct offer *o = c->offers ? map_get(&c->offers->by_id, m->id) : NULL;
	if (o && o->state == OFFER_LEASED && same_lease(o, m->lease))
		free(map_remove(&c->offers->by_id, m->id));
}

/* ---- time ---- */

static void sweep(struct storage *s, struct offers *o)
{
	size_t at = 0;
	o->sweep_ms = s->now_ms + OFFER_LEAST_MS;
	for (struct map_entry *e; (e = map_next(&o->by_id, &at));) {
		const struct offer *offer = e->value;
		if (offer->until_ms <= s->now_ms)
			free(map_remove(&o->by_id, slice_of(e->key, e->key_len)));
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&o->given, &at));) {
		const struct given *g = e->value;
		if (g->until_ms <= s->now_ms)
			free(map_remove(&o->given, slice_of(e->key, e->key_len)));
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&o->spent, &at));)
		if ((int64_t)(uintptr_t)e->value <= s->now_ms)
			map_remove(&o->spent, slice_of(e->key, e->key_len));
}

/* The queue's first rows stand for all of it. */
static void look(struct storage *s, struct shard_copy *c, struct offers *o)
{
	uint32_t rows = 0;
	o->look_ms = s->now_ms + OFFER_LOOK_MS;
	o->open = o->external ? c->position.conflicts : 0;
	o->oldest_ms = 0;
	if (o->open == 0) {
		o->asked_ms = s->now_ms;
		return;
	}
	struct store_iterator *it = store_iterate(s->store, STORE_CONFLICTS);
	store_seek(s->store, it, key_conflicts(&s->key, c->id));
	for (; rows < OFFER_ROWS_TAKE && store_valid(s->store, it); store_next(s->store, it)) {
		struct slice key = store_key(s->store, it);
		struct slice id;
		struct slice rest;
		struct conflict entry;
		if (key.len < KEY_SHARD_BYTES || be64_read(key.data + 1) != c->id ||
		    !key_split(key, &id, &rest))
			break;
		rows++;
		if (!schema_decode(&schema_conflict, store_value(s->store, it), &s->arena, &entry))
			continue;
		if (entry.state == CONFLICT_OPEN &&
		    (o->oldest_ms == 0 || entry.since_ms < o->oldest_ms))
			o->oldest_ms = entry.since_ms;
	}
	store_iterator_free(s->store, it);
}

void offer_tick(struct storage *s, struct shard_copy *c)
{
	if (c->state != SHARD_SERVING || (!c->offers && c->position.conflicts == 0))
		return;
	struct offers *o = offers_of(s, c);
	if (s->now_ms >= o->sweep_ms)
		sweep(s, o);
	if (s->now_ms >= o->look_ms)
		look(s, c, o);
}

void offer_metrics(const struct storage *s, struct buf *out)
{
	uint64_t open = 0;
	uint64_t leases = 0;
	uint64_t deferred = 0;
	uint64_t alone = 0;
	uint64_t oldest_ms = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		const struct offers *o = ((const struct shard_copy *)entry->value)->offers;
		if (!o)
			continue;
		size_t next = 0;
		for (struct map_entry *e; (e = map_next(&o->by_id, &next));) {
			leases += ((const struct offer *)e->value)->state == OFFER_LEASED;
			deferred += ((const struct offer *)e->value)->state == OFFER_DEFERRED;
		}
		open += o->open;
		if (o->open > 0 && s->now_ms - o->asked_ms > OFFER_ALONE_MS)
			alone += o->open;
		if (o->oldest_ms > 0 && (oldest_ms == 0 || o->oldest_ms < oldest_ms))
			oldest_ms = o->oldest_ms;
	}
	uint64_t wall_ms = s->wall_ms > 0 ? (uint64_t)s->wall_ms : 0;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	    {"parley_external_conflicts_open", open},
	    {"parley_external_conflicts_unattended", alone},
	    {"parley_external_conflicts_oldest_ms",
	     oldest_ms > 0 && oldest_ms < wall_ms ? wall_ms - oldest_ms : 0},
	    {"parley_external_leases", leases},
	    {"parley_external_deferred", deferred},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "# TYPE %s gauge\n%s %llu\n", rows[i].name, rows[i].name,
			   (unsigned long long)rows[i].value);
}
