/* POST /_/arbiter/_take: conflicts for a client that decides them.
 *
 * The leads of all shards concerned are asked one after the other, from one chosen at random, so
 * that no more is leased than is wanted. Who waits looks again from time to time; of those who wait
 * for the same collections only the oldest does. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/decide.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/arbiter.h"
#include "gateway/conflict_print.h"
#include "gateway/graph_read.h"
#include "gateway/native.h"
#include "gateway/routes.h"

struct take_op {
	struct graph_read read; /* first */
	struct gateway *gw;
	struct request *request;
	struct take_op *next; /* among those who wait */
	struct take_op **link;
	struct text_list collections; /* none: all */
	uint64_t limit;
	uint64_t wait_ms;
	int64_t until_ms;
	int64_t look_ms; /* waiting: when to look again; else: when the shard is passed over */
	uint64_t *shards;
	uint32_t shards_count;
	uint32_t shards_room;
	uint32_t first; /* where the round began */
	uint32_t asked; /* shards of this round */
	uint8_t token[ARBITER_LEASE_BYTES];
	struct msg_conflict_take take;
	uint64_t lease_ms;
	struct conflict_offer *offers; /* of a lead, copied */
	uint32_t offers_count;
	uint32_t offer;
	bool more;
	bool asking;                 /* a lead: what it leases is not known yet */
	struct arbiter_lease *shown; /* of those in `json` */
	struct arena_mark mark;      /* before the conflict in work */
	struct buf json;
	uint32_t count;
};

static void next_offer(struct turn *t, struct request *r);

/* ---- who waits ---- */

static void unlink_op(struct take_op *op)
{
	struct arbiters *a = op->gw->arbiters;
	if (!op->link)
		return;
	*op->link = op->next;
	if (op->next)
		op->next->link = op->link;
	else
		a->waiting_end = op->link;
	op->link = NULL;
	a->waiting_count--;
}

static void link_op(struct take_op *op)
{
	struct arbiters *a = op->gw->arbiters;
	op->link = a->waiting_end;
	op->next = NULL;
	*a->waiting_end = op;
	a->waiting_end = &op->next;
	a->waiting_count++;
}

static bool same_collections(const struct take_op *a, const struct take_op *b)
{
	if (a->collections.count != b->collections.count)
		return false;
	for (uint32_t i = 0; i < a->collections.count; i++)
		if (!slice_equal(a->collections.texts[i], b->collections.texts[i]))
			return false;
	return true;
}

/* An older one looks for the same. */
static bool is_behind(const struct arbiters *a, const struct take_op *op)
{
	for (const struct take_op *other = a->waiting; other != op; other = other->next)
		if (same_collections(other, op))
			return true;
	return false;
}

static void take_close(struct request *r)
{
	struct take_op *op = r->op;
	unlink_op(op);
	buf_close(&op->json);
}

/* ---- the end ---- */

static struct arbiter_lease lease_of(const struct take_op *op, struct slice id)
{
	struct arbiter_lease lease = {.shard = op->take.shard, .id = id};
	memcpy(lease.token, op->token, ARBITER_LEASE_BYTES);
	return lease;
}

static void take_answer(struct turn *t, struct request *r)
{
	const struct take_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "[\n");
	buf_append_slice(&reply->body, buf_slice(&op->json));
	buf_append_text(&reply->body, op->count > 0 ? "\n]" : "]");
	t->gw->arbiters->taken += op->count;
	reply_send(t, r, reply);
}

/* What was leased and is not shown goes back. */
static void release_rest(struct turn *t, struct take_op *op)
{
	for (; op->offer < op->offers_count; op->offer++) {
		struct arbiter_lease lease = lease_of(op, op->offers[op->offer].id);
		arbiter_give_back(t, &lease, LEASE_RELEASE, 0);
	}
}

/* What a lead may have leased that was not heard of. */
static void release_unheard(struct turn *t, struct take_op *op)
{
	struct arbiter_lease lease = lease_of(op, slice_of(NULL, 0));
	if (op->asking)
		arbiter_give_back(t, &lease, LEASE_RELEASE, 0);
	op->asking = false;
}

/* Nobody will see any of it. */
static void release_all(struct turn *t, struct take_op *op)
{
	release_unheard(t, op);
	release_rest(t, op);
	for (; op->count > 0; op->count--)
		arbiter_give_back(t, &op->shown[op->count - 1], LEASE_RELEASE, 0);
}

static void take_gone(struct turn *t, struct request *r)
{
	release_all(t, r->op);
}

/* The time is over: what there is of it. */
static void take_due(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	call_forget_all(t->gw, r);
	release_unheard(t, op);
	release_rest(t, op);
	take_answer(t, r);
}

/* ---- one conflict ---- */

static void print_value(struct slice value, struct buf *out)
{
	if (!json_from_msgpack(value, out))
		buf_append_text(out, "null");
}

/* What is left of a version that makes the answer too long: clients may read it by its name. */
static void print_cut(struct slice version, struct buf *out)
{
	static const char *const kept[] = {"rev", "deleted"};
	buf_append_byte(out, '{');
	for (size_t i = 0; i < ARRAY_LEN(kept); i++) {
		struct slice value = value_member(version, slice_text(kept[i]));
		if (value.len == 0)
			continue;
		buf_printf(out, "\"%s\":", kept[i]);
		print_value(value, out);
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"cut\":true}");
}

static void print_versions(struct slice input, struct buf *out)
{
	struct mp_reader list = mp_reader_of(value_element(input, 1));
	uint32_t count = mp_read(&list).count;
	size_t bytes = value_element(input, 0).len;
	buf_append_text(out, ",\"versions\":[");
	for (uint32_t i = 0; i < count; i++) {
		struct slice version = mp_value(&list);
		if (i > 0)
			buf_append_byte(out, ',');
		bool fits = i == 0 || bytes + version.len <= ARBITER_BYTES_MAX;
		bytes += fits ? version.len : 0;
		if (fits)
			print_value(version, out);
		else
			print_cut(version, out);
	}
	buf_append_byte(out, ']');
}

static void print_conflict(struct turn *t, struct request *r, const struct conflict_offer *offer,
			   const struct msg_conflict_read_ack *graph, const struct decision *d)
{
	struct take_op *op = r->op;
	struct buf *out = &op->json;
	struct arbiter_lease lease = lease_of(op, offer->id);
	const struct map_shard *shard = cluster_map_shard(&t->gw->map, lease.shard);
	const struct map_collection *c =
	    shard ? map_get_u64(&t->gw->map.collections_by_id, shard->shard.collection) : NULL;
	buf_append_text(out, op->count > 0 ? ",\n{\"lease\":\"" : "{\"lease\":\"");
	op->shown[op->count++] = lease;
	arbiter_lease_print(&lease, out);
	buf_printf(out, "\",\"leaseMs\":%" PRIu64 ",\"collection\":", op->lease_ms);
	json_string(c ? c->settings.name : slice_of(NULL, 0), out);
	buf_append_text(out, ",\"id\":");
	json_string(offer->id, out);
	buf_printf(out, ",\"kind\":\"%s\",\"since\":%" PRIu64 ",\"policyVersion\":%" PRIu64,
		   conflict_kind_name(graph->conflict.kind), offer->since_ms,
		   graph->policy_version);
	buf_append_text(out, ",\"leaves\":");
	conflict_print_revisions(d->note.leaves, d->note.leaves_count, out);
	buf_printf(out, ",\"leavesCount\":%" PRIu32, d->note.leaves_count);
	buf_append_text(out, ",\"base\":");
	print_value(value_element(d->input, 0), out);
	print_versions(d->input, out);
	buf_append_byte(out, '}');
}

static void graph_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct take_op *op = r->op;
	const struct msg_conflict_read_ack *graph = body;
	const struct conflict_offer *offer = &op->offers[op->offer];
	struct arbiter_lease lease = lease_of(op, offer->id);
	(void)index;
	if (!graph || status != STATUS_OK) {
		arbiter_give_back(t, &lease, LEASE_RELEASE, 0);
	} else {
		struct decision d;
		decide_conflict(graph, offer->id, &r->arena, &d);
		if (d.kind == DECISION_EXTERNAL)
			print_conflict(t, r, offer, graph, &d);
		else /* an arbiter's business, or resolved */
			arbiter_give_back(t, &lease, LEASE_DEFER, ARBITER_LATER_MS);
	}
	graph_read_end(t->gw, r);
	arena_rewind(&r->arena, op->mark);
	op->offer++;
	if (op->json.len > ARBITER_BYTES_MAX) {
		release_rest(t, op);
		take_answer(t, r);
	} else {
		next_offer(t, r);
	}
}

static void overloaded(struct turn *t, struct request *r)
{
	release_all(t, r->op);
	answer_status(t, r, STATUS_OVERLOADED, "");
}

static void read_offer(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	op->mark = arena_mark(&r->arena);
	op->look_ms = t->now_ms + ARBITER_SILENT_MS;
	op->read.silent_ms = &op->look_ms;
	op->read.message.shard = op->take.shard;
	op->read.message.id = op->offers[op->offer].id;
	if (!graph_read(t, r, graph_came))
		overloaded(t, r);
}

/* ---- one shard ---- */

static void offers_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct take_op *op = r->op;
	const struct msg_conflict_take_ack *ack = body;
	(void)index;
	op->asking = false;
	op->offers_count = 0;
	op->offer = 0;
	op->more = false;
	if (ack && status == STATUS_OK) {
		uint64_t count =
		    ack->offers_count < op->take.limit ? ack->offers_count : op->take.limit;
		op->more = ack->more;
		op->lease_ms = ack->lease_ms;
		op->offers = arena_alloc(&r->arena, (count + 1) * sizeof *op->offers);
		for (; op->offers_count < count; op->offers_count++) {
			op->offers[op->offers_count] = ack->offers[op->offers_count];
			op->offers[op->offers_count].id =
			    arena_copy(&r->arena, ack->offers[op->offers_count].id);
		}
	}
	next_offer(t, r);
}

/* Whoever may have leased is the only one asked, and once: another, or a second time, it would be
 * given what it was not shown, under a lease that its answer then counts for. */
static void ask_shard(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	op->take.limit = op->limit - op->count;
	rng_fill(&t->gw->rng, op->token, sizeof op->token);
	op->take.lease = slice_of(op->token, sizeof op->token);
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = op->take.shard,
				 .type = MSG_conflict_take,
				 .answer = MSG_conflict_take_ack,
				 .message = &op->take,
				 .done = offers_came};
	op->look_ms = t->now_ms + ARBITER_SILENT_MS;
	op->asking = call_open(t, r, &spec);
	if (!op->asking)
		overloaded(t, r);
}

static void end_round(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	if (op->count > 0 || t->now_ms >= op->until_ms || t->gw->draining) {
		take_answer(t, r);
		return;
	}
	op->look_ms = t->now_ms + ARBITER_POLL_MS;
	op->asked = UINT32_MAX; /* no round */
}

static void next_shard(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	if (op->count >= op->limit || op->asked >= op->shards_count) {
		end_round(t, r);
		return;
	}
	op->take.shard = op->shards[(op->first + op->asked++) % op->shards_count];
	ask_shard(t, r);
}

static void next_offer(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	if (op->offer < op->offers_count) {
		read_offer(t, r);
	} else if (op->more && op->count < op->limit) {
		ask_shard(t, r);
	} else {
		next_shard(t, r);
	}
}

/* ---- rounds ---- */

static bool is_external(struct request *r, const struct map_collection *c)
{
	struct arena_mark mark = arena_mark(&r->arena);
	struct policy policy;
	struct policy_error error;
	bool read = policy_parse(c->settings.policy, &r->arena, &policy, &error);
	bool external = read && policy.strategy == POLICY_EXTERNAL;
	arena_rewind(&r->arena, mark);
	return external;
}

static bool is_wanted(struct request *r, const struct map_collection *c)
{
	const struct take_op *op = r->op;
	bool named = op->collections.count == 0;
	for (uint32_t i = 0; i < op->collections.count; i++)
		named |= slice_equal(op->collections.texts[i], c->settings.name);
	return named && is_external(r, c);
}

/* The map may have changed since the last round. */
static void begin_round(struct turn *t, struct request *r)
{
	struct take_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	if (map->shards.count >= op->shards_room) {
		op->shards_room = (uint32_t)map->shards.count + 64;
		op->shards = arena_alloc(&r->arena, op->shards_room * sizeof *op->shards);
	}
	op->shards_count = 0;
	op->asked = 0;
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		for (uint32_t i = 0; is_wanted(r, c) && i < c->shards_count; i++)
			if (c->shards[i]->shard.lead != 0)
				op->shards[op->shards_count++] = c->shards[i]->shard.id;
	}
	op->first = op->shards_count ? (uint32_t)(rng_next(&t->gw->rng) % op->shards_count) : 0;
	next_shard(t, r);
}

void take_tick(struct turn *t)
{
	struct take_op *next;
	for (struct take_op *op = t->gw->arbiters->waiting; op; op = next) {
		struct request *r = op->request;
		next = op->next;
		if (op->look_ms > t->now_ms)
			continue;
		if (op->asked != UINT32_MAX) { /* a lead says nothing */
			call_forget_all(t->gw, r);
			graph_read_end(t->gw, r);
			release_unheard(t, op);
			release_rest(t, op);
			op->more = false;
			next_offer(t, r);
		} else if (t->now_ms >= op->until_ms || t->gw->draining) {
			take_answer(t, r);
		} else if (!is_behind(t->gw->arbiters, op)) {
			begin_round(t, r);
		} else {
			op->look_ms = t->now_ms + ARBITER_POLL_MS;
		}
	}
}

/* ---- the request ---- */

static bool take_number(struct slice body, const char *name, uint64_t least, uint64_t most,
			uint64_t *out, struct problem *p)
{
	char place[PLACE_BYTES];
	char detail[PLACE_BYTES];
	struct slice value = value_member(body, slice_text(name));
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len == 0)
		return true;
	snprintf(place, sizeof place, "/%s", name);
	snprintf(detail, sizeof detail, "A whole number from %" PRIu64 " to %" PRIu64 ".", least,
		 most);
	if (token.type != MP_UINT || token.u64 < least || token.u64 > most)
		return problem_detail(p, STATUS_BAD_PARAMETER, place, detail);
	*out = token.u64;
	return true;
}

static bool take_collections(struct request *r, struct slice body, struct take_op *op,
			     struct problem *p)
{
	struct slice list = value_member(body, slice_text("collections"));
	if (list.len == 0)
		return true;
	if (!native_text_list(r, list, ARBITER_COLLECTIONS_MAX, LIMIT_NAME_BYTES, &op->collections))
		return problem_detail(p, STATUS_BAD_PARAMETER, "/collections",
				      "An array of at most 64 names.");
	return true;
}

static bool take_body(struct turn *t, struct request *r, struct take_op *op, struct problem *p)
{
	static const char *const members[] = {"collections", "limit", "leaseMs", "waitMs", NULL};
	struct slice body;
	if (!native_body(t, r, &body, p) || !native_members(body, members, p))
		return false;
	op->limit = 1;
	return take_collections(r, body, op, p) &&
	       take_number(body, "limit", 1, LIMIT_OFFERS, &op->limit, p) &&
	       arbiter_take_ms(value_member(body, slice_text("leaseMs")), "/leaseMs",
			       &op->take.lease_ms, p) &&
	       take_number(body, "waitMs", 0, ARBITER_WAIT_MAX_MS, &op->wait_ms, p);
}

void native_arbiter_take(struct turn *t, struct request *r)
{
	struct take_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	r->op = op;
	op->gw = t->gw;
	op->request = r;
	bool fine = arbiter_allowed(r, &problem) && take_body(t, r, op, &problem);
	if (fine && t->gw->arbiters->waiting_count >= BOUND(arbiters_waiting, ARBITER_WAITING_MAX))
		fine = problem_limit(&problem, STATUS_TOO_MANY_ARBITERS, "arbiters",
				     ARBITER_WAITING_MAX, ARBITER_WAITING_MAX + 1);
	if (!fine) {
		answer_problem(t, r, &problem);
		return;
	}
	op->shown = arena_alloc(&r->arena, op->limit * sizeof *op->shown);
	op->until_ms = t->now_ms + (int64_t)op->wait_ms;
	timers_set(&t->gw->timers, &r->deadline, op->until_ms + t->gw->options.limits.deadline_ms);
	r->gone = take_gone;
	r->due = take_due;
	r->close = take_close;
	link_op(op);
	begin_round(t, r);
}
