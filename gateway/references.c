#include "gateway/references.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/policy.h"
#include "common/doc/revision.h"
#include "gateway/url.h"
#include "proto/msgpack.h"

enum { PAGE_ROWS = 100, CURSOR_DIGEST_BYTES = 8, CURSOR_HEAD_BYTES = 1 + 8 + 8 + 8 + 8 };
static const char cursor_form = '1';

/* ---- where to look ---- */

static int compare_places(const void *a, const void *b)
{
	const struct reference_place *x = a;
	const struct reference_place *y = b;
	int order = slice_compare(x->name, y->name);
	return order ? order : slice_compare(x->path, y->path);
}

static struct slice refers_to(const struct map_collection *c, const struct policy_reference *to)
{
	return to->collection.len > 0 ? to->collection : c->settings.name;
}

/* Unless the policy said the same before. */
static bool place_of(struct request *r, const struct map_collection *c, const struct policy *policy,
		     uint32_t index, struct reference_place *out)
{
	const struct policy_reference *own = &policy->references[index];
	struct slice collection = refers_to(c, own);
	*out = (struct reference_place){.collection = c->settings.id};
	if (!slice_equal(collection, r->collection))
		return false;
	for (uint32_t i = 0; i < policy->references_count; i++) {
		const struct policy_reference *other = &policy->references[i];
		if (i == index || !slice_equal(other->path, own->path))
			continue;
		bool same = slice_equal(other->kind, own->kind) &&
			    slice_equal(refers_to(c, other), collection);
		if (same && i < index)
			return false;
		out->undecided = out->undecided || !same;
	}
	out->name = arena_copy(&r->arena, c->settings.name);
	out->path = arena_copy(&r->arena, own->path);
	out->kind = arena_copy(&r->arena, own->kind);
	return true;
}

static void add_places(struct request *r, const struct map_collection *c)
{
	struct references_op *op = r->op;
	struct policy policy;
	struct policy_error error;
	if (c->settings.policy.len == 0 ||
	    !policy_parse(c->settings.policy, &r->arena, &policy, &error) ||
	    policy.references_count == 0)
		return;
	struct reference_place *places =
	    arena_alloc(&r->arena, (op->places_count + policy.references_count) * sizeof *places);
	if (op->places_count)
		memcpy(places, op->places, op->places_count * sizeof *places);
	for (uint32_t i = 0; i < policy.references_count; i++) {
		if (!place_of(r, c, &policy, i, &places[op->places_count]))
			continue;
		op->places_count++;
		op->all += c->shards_count;
	}
	op->places = places;
}

static void find_places(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->map.collections_by_id, &at));) {
		const struct map_collection *c = e->value;
		if (cluster_map_collection(&t->gw->map, c->settings.name) == c)
			add_places(r, c);
	}
	if (op->places_count > 1)
		qsort(op->places, op->places_count, sizeof *op->places, compare_places);
}

static struct slice filter_of(struct request *r, const struct reference_place *place)
{
	struct buf filter = {0};
	mp_write_map(&filter, 1);
	mp_write_str(&filter, place->path);
	mp_write_str(&filter, r->resource);
	struct slice copy = arena_copy(&r->arena, buf_slice(&filter));
	buf_close(&filter);
	return copy;
}

static void begin_place(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	const struct reference_place *place = &op->places[op->place];
	const struct map_collection *c =
	    map_get_u64(&t->gw->map.collections_by_id, place->collection);
	op->query = (struct msg_shard_query){.filter = filter_of(r, place)};
	op->shard = 0;
	op->shards_count = 0;
	if (c)
		op->shards_count = list_shards(r, c, op->query.filter, &op->shards);
}

/* ---- the cursor: what it is a cursor of, collection, path, shard, the last row's id ---- */

static void digest8(struct slice a, struct slice b, uint8_t out[CURSOR_DIGEST_BYTES])
{
	uint8_t whole[16];
	struct buf both = {0};
	buf_append_be32(&both, (uint32_t)a.len);
	buf_append_slice(&both, a);
	buf_append_slice(&both, b);
	digest16(buf_slice(&both), whole);
	memcpy(out, whole, CURSOR_DIGEST_BYTES);
	buf_close(&both);
}

void references_cursor(struct turn *t, struct request *r, struct buf *out)
{
	const struct references_op *op = r->op;
	const struct reference_place *place = &op->places[op->place];
	uint8_t digest[CURSOR_DIGEST_BYTES];
	struct buf bytes = {0};
	(void)t;
	buf_append_byte(&bytes, (uint8_t)cursor_form);
	digest8(r->collection, r->resource, digest);
	buf_append(&bytes, digest, sizeof digest);
	buf_append_be64(&bytes, place->collection);
	digest8(place->path, place->kind, digest);
	buf_append(&bytes, digest, sizeof digest);
	buf_append_be64(&bytes, op->shards[op->shard]);
	buf_append_slice(&bytes, op->query.after);
	base64url_encode(buf_slice(&bytes), out);
	buf_close(&bytes);
}

static bool is_place(const struct reference_place *place, struct slice cursor)
{
	uint8_t digest[CURSOR_DIGEST_BYTES];
	digest8(place->path, place->kind, digest);
	return place->collection == be64_read(cursor.data + 9) &&
	       memcmp(digest, cursor.data + 17, sizeof digest) == 0;
}

static bool go_to(struct turn *t, struct request *r, struct slice cursor)
{
	struct references_op *op = r->op;
	uint8_t digest[CURSOR_DIGEST_BYTES];
	digest8(r->collection, r->resource, digest);
	if (cursor.len < CURSOR_HEAD_BYTES || cursor.data[0] != (uint8_t)cursor_form ||
	    memcmp(cursor.data + 1, digest, sizeof digest) != 0)
		return false;
	while (op->place < op->places_count && !is_place(&op->places[op->place], cursor)) {
		begin_place(t, r);
		op->passed += op->shards_count;
		op->place++;
	}
	if (op->place == op->places_count)
		return false;
	begin_place(t, r);
	while (op->shard < op->shards_count &&
	       op->shards[op->shard] != be64_read(cursor.data + 25)) {
		op->shard++;
		op->passed++;
	}
	op->query.after = slice_of(cursor.data + CURSOR_HEAD_BYTES, cursor.len - CURSOR_HEAD_BYTES);
	return op->shard < op->shards_count && op->query.after.len <= LIMIT_ID_BYTES;
}

bool references_begin(struct turn *t, struct request *r, struct problem *p)
{
	struct references_op *op = r->op;
	struct buf bytes = {0};
	find_places(t, r);
	if (op->cursor.len == 0) {
		if (op->places_count > 0)
			begin_place(t, r);
		return true;
	}
	bool fine = base64url_decode(op->cursor, &bytes);
	fine = fine && go_to(t, r, arena_copy(&r->arena, buf_slice(&bytes)));
	buf_close(&bytes);
	return fine ||
	       problem_detail(p, STATUS_BAD_PARAMETER, "cursor",
			      "A cursor of these references; it ends when policies change.");
}

/* ---- pages ---- */

bool references_has_more(const struct references_op *op)
{
	return op->place < op->places_count;
}

static void note_index(struct request *r, const struct msg_shard_query_ack *ack)
{
	struct references_op *op = r->op;
	for (uint32_t i = 0; i < op->costs_count; i++)
		if (slice_equal(op->costs[i].index, ack->index))
			return;
	if (op->costs_count < REFERENCES_INDEXES)
		op->costs[op->costs_count++].index = arena_copy(&r->arena, ack->index);
}

/* To the first shard that is left, or behind the last place. */
static void skip_passed(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	while (op->place < op->places_count && op->shard == op->shards_count)
		if (++op->place < op->places_count)
			begin_place(t, r);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct references_op *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	note_index(r, ack);
	op->seen += ack->rows_count;
	op->query.after = arena_copy(&r->arena, ack->more_after);
	op->page(t, r, ack);
}

/* Half of the request's time, so that its answer tells how far it came. */
static bool takes_long(const struct turn *t, const struct request *r)
{
	return t->now_ms - r->started_ms > t->gw->options.limits.deadline_ms / 2;
}

void references_next(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	/* a page that ended its shard */
	if (op->query.limit > 0 && op->query.after.len == 0 && op->place < op->places_count) {
		op->shard++;
		op->passed++;
	}
	op->query.limit = 0;
	skip_passed(t, r);
	if (!references_has_more(op) || op->seen >= op->limit ||
	    op->json.len >= t->gw->options.limits.list_bytes_max || takes_long(t, r)) {
		op->ended(t, r);
		return;
	}
	uint64_t left = op->limit - op->seen;
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = op->shards[op->shard],
				 .type = MSG_shard_query,
				 .answer = MSG_shard_query_ack,
				 .message = &op->query,
				 .repeatable = true,
				 .done = page_came};
	op->query.shard = op->shards[op->shard];
	op->query.limit = left < PAGE_ROWS ? left : PAGE_ROWS;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- telling ---- */

void references_headers(struct request *r, struct reply *reply)
{
	struct references_op *op = r->op;
	struct list_params params = {.filter = slice_text("x")}; /* there is one */
	char text[32];
	int len = snprintf(text, sizeof text, "%" PRIu32 "/%" PRIu32, op->passed, op->all);
	list_index_header(r, reply, &params, op->costs, op->costs_count);
	reply_header(r, reply, "X-Parley-Progress", slice_of(text, (size_t)len));
}

void references_print(const struct references_op *op, const struct row *row, struct buf *out)
{
	const struct reference_place *place = &op->places[op->place];
	buf_append_text(out, "\"collection\":");
	json_string(place->name, out);
	buf_append_text(out, ",\"id\":");
	json_string(row->id, out);
	buf_append_text(out, ",\"rev\":");
	json_revision(&row->revision, out);
	buf_append_text(out, ",\"path\":");
	json_string(place->path, out);
	if (place->kind.len > 0) {
		buf_append_text(out, ",\"kind\":");
		json_string(place->kind, out);
	}
	if (row->conflicts > 0)
		buf_printf(out, ",\"conflicts\":%" PRIu64, row->conflicts);
}
