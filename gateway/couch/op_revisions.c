/* Revisions of documents: `open_revs` of one, `_bulk_get` of many. One message to each shard, and
 * another one for what did not fit its answer. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/revisions.h"
#include "gateway/couch/shards.h"
#include "gateway/routes.h"

#define MIXED   "multipart/mixed"
#define RELATED "multipart/related"

/* A message to a shard, and which of the request's items are in it. */
struct reading_part {
	struct msg_doc_revisions message;
	const uint32_t *items; /* of message.asked */
};

/* ---- asking ---- */

static void part_ended(struct turn *t, struct request *r, struct reading *op)
{
	if (--op->left == 0)
		couch_revisions_answer(t, r, op);
}

static void part_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body);

static void part_send(struct turn *t, struct request *r, struct reading *op, uint32_t index)
{
	struct call_spec spec = {.shard = op->parts[index].message.shard,
				 .type = MSG_doc_revisions,
				 .answer = MSG_doc_revisions_ack,
				 .message = &op->parts[index].message,
				 .index = index,
				 .done = part_done};
	/* a failure is answered there */
	if (!couch_ask_lead(t, r, spec))
		return;
}

/* False: the request is answered. */
static bool take_found(struct turn *t, struct request *r, struct reading *op, uint32_t item,
		       const struct document_read *found)
{
	struct buf *out = &t->gw->scratch;
	uint32_t most = t->gw->options.limits.list_bytes_max;
	struct problem problem;
	buf_clear(out);
	if (found->status == STATUS_BODY_TOO_LARGE) {
		answer_status(t, r, STATUS_BODY_TOO_LARGE, "");
		return false;
	}
	if (!couch_revisions_item(r, op, item, found, out)) {
		answer_status(t, r, STATUS_INTERNAL, "");
		return false;
	}
	op->bytes += out->len;
	if (op->bytes > most) {
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", most, op->bytes);
		answer_problem(t, r, &problem);
		return false;
	}
	op->printed[item] = arena_copy(&r->arena, buf_slice(out));
	return true;
}

static void part_done(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct reading *op = r->op;
	const struct msg_doc_revisions_ack *ack = body;
	struct reading_part *part = &op->parts[index];
	struct msg_doc_revisions *m = &part->message;
	if (!ack || status != STATUS_OK || ack->documents_count > m->asked_count) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	for (uint32_t i = 0; i < ack->documents_count; i++)
		if (!take_found(t, r, op, part->items[i], &ack->documents[i]))
			return;
	m->asked += ack->documents_count;
	m->asked_count -= ack->documents_count;
	part->items += ack->documents_count;
	if (m->asked_count == 0)
		part_ended(t, r, op);
	else if (ack->documents_count > 0)
		part_send(t, r, op, index);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

/* Those that can be asked, by shard. */
static uint32_t make_parts(struct request *r, struct reading *op, const struct map_collection *c)
{
	struct couch_group *groups;
	uint32_t count = couch_groups(r, c, op->ids, op->count, &groups);
	op->parts = arena_alloc(&r->arena, (count + 1) * sizeof *op->parts);
	for (uint32_t g = 0; g < count; g++) {
		struct msg_doc_revisions *m = &op->parts[g].message;
		uint32_t *items = arena_alloc(&r->arena, groups[g].count * sizeof *items);
		*m = (struct msg_doc_revisions){
		    .shard = groups[g].shard, .latest = op->latest, .want_ancestors = op->revs};
		m->asked = arena_alloc(&r->arena, groups[g].count * sizeof *m->asked);
		for (uint32_t i = 0; i < groups[g].count; i++) {
			uint32_t item = groups[g].items[i];
			if (op->refused[item].status != STATUS_OK)
				continue;
			items[m->asked_count] = item;
			m->asked[m->asked_count++] = op->asked[item];
		}
		op->parts[g].items = items;
	}
	return count;
}

static void read_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct reading *op = r->op;
	uint32_t count = make_parts(r, op, c);
	/* One more than there are, so that none answers before all were sent. */
	op->left = count + 1;
	for (uint32_t i = 0; i < count && !r->finished; i++) {
		if (op->parts[i].message.asked_count == 0)
			op->left--;
		else
			part_send(t, r, op, i);
	}
	if (!r->finished)
		part_ended(t, r, op);
}

static struct reading *reading_new(struct request *r, uint32_t count)
{
	struct reading *op = arena_alloc(&r->arena, sizeof *op);
	*op = (struct reading){
	    .count = count, .latest = request_flag(r, "latest"), .revs = request_flag(r, "revs")};
	op->asked = arena_alloc(&r->arena, (count + 1) * sizeof *op->asked);
	op->ids = arena_alloc(&r->arena, (count + 1) * sizeof *op->ids);
	op->printed = arena_alloc(&r->arena, (count + 1) * sizeof *op->printed);
	op->refused = arena_alloc(&r->arena, (count + 1) * sizeof *op->refused);
	r->op = op;
	op->data = request_flag(r, "attachments") || request_flag(r, "atts_since");
	return op;
}

/* All attachments come with their documents then. */
static void mix(struct turn *t, struct request *r, struct reading *op, const char *type)
{
	couch_boundary_draw(t, op->outer);
	couch_boundary_draw(t, op->inner);
	op->mixed = type;
	op->flows = arena_alloc(&r->arena, (op->count + 1) * sizeof *op->flows);
	for (uint32_t i = 0; i < op->count; i++)
		op->flows[i] = flow_new(r);
	op->data = false;
}

/* ---- open_revs ---- */

static bool take_revisions(struct turn *t, struct request *r, struct slice value,
			   struct revs_asked *out, struct problem *p)
{
	uint32_t max = t->gw->options.limits.batch_items_max;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count == 0)
		return couch_problem(p, COUCH_BAD_REV_LIST, "");
	if (max > LIMIT_LEAVES)
		max = LIMIT_LEAVES;
	if (head.count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
	return couch_take_revisions(r, &reader, head.count, out, p);
}

void couch_open_revs(struct turn *t, struct request *r)
{
	struct reading *op = reading_new(r, 1);
	struct problem problem;
	struct slice text;
	struct slice value;
	op->ids[0] = op->asked[0].id = r->resource;
	if (couch_multipart_asked(r, MIXED))
		mix(t, r, op, MIXED);
	bool all = request_parameter(r, "open_revs", &text) && slice_is(text, "all");
	bool fine = all || native_json_parameter(t, r, "open_revs", &value, &problem);
	if (!fine)
		couch_problem(&problem, COUCH_BAD_REV_LIST, "");
	if (!fine || (!all && !take_revisions(t, r, value, &op->asked[0], &problem))) {
		answer_problem(t, r, &problem);
		return;
	}
	couch_find(t, r, read_go);
}

/* ---- _bulk_get ---- */

static bool take_item(struct request *r, struct slice value, struct revs_asked *out,
		      struct problem *p)
{
	struct slice rev = value_member(value, slice_text("rev"));
	struct mp_reader reader = mp_reader_of(rev);
	if (!couch_take_id(value_member(value, slice_text("id")), &out->id, p))
		return false;
	if (rev.len == 0)
		return true;
	struct mp_token token = mp_read(&reader);
	out->revisions = arena_alloc(&r->arena, sizeof *out->revisions);
	if (token.type != MP_STR || !couch_revision(r, token.bytes, out->revisions, p))
		return couch_problem(p, COUCH_BAD_REV, "");
	out->revisions_count = 1;
	return true;
}

static struct reading *take_bulk(struct turn *t, struct request *r, struct problem *p)
{
	struct slice body;
	uint32_t max = t->gw->options.limits.batch_items_max;
	if (!native_body(t, r, &body, p))
		return NULL;
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text("docs")));
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY) {
		couch_problem(p, COUCH_BAD_REQUEST, "Missing JSON list of 'docs'.");
		return NULL;
	}
	if (max > LIMIT_ROWS)
		max = LIMIT_ROWS;
	if (head.count > max) {
		problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
		return NULL;
	}
	struct reading *op = reading_new(r, head.count);
	op->bulk = true;
	for (uint32_t i = 0; i < head.count; i++) {
		if (!take_item(r, mp_value(&reader), &op->asked[i], &op->refused[i]))
			op->asked[i].revisions_count = 0;
		op->ids[i] = op->asked[i].id;
	}
	return op;
}

/* Several parts go only to who takes no JSON. */
static const char *bulk_type(const struct request *r)
{
	if (couch_multipart_asked(r, "application/json") || couch_multipart_asked(r, "*/*") ||
	    couch_multipart_asked(r, "application/*"))
		return NULL;
	if (couch_multipart_asked(r, MIXED))
		return MIXED;
	return couch_multipart_asked(r, RELATED) ? RELATED : NULL;
}

void couch_bulk_get(struct turn *t, struct request *r)
{
	struct problem problem;
	struct reading *op = take_bulk(t, r, &problem);
	const char *type = bulk_type(r);
	if (!op) {
		answer_problem(t, r, &problem);
		return;
	}
	if (type)
		mix(t, r, op, type);
	couch_find(t, r, read_go);
}
