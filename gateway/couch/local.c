#include "gateway/couch/local.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"

struct locals {
	struct couch_local *list;
	uint32_t count;
	uint32_t left; /* that have not ended */
	couch_locals_written *done;
	void *op;
};

static void local_done(struct turn *t, struct request *r);

static void print_rev(uint64_t generation, struct buf *out)
{
	buf_printf(out, "\"0-%" PRIu64 "\"", generation);
}

bool couch_local_print(struct slice name, struct slice body, uint64_t generation, struct buf *out)
{
	struct couch_document d = {.id = name, .body = body};
	struct buf document = {0};
	struct buf id = {0};
	bool ok = couch_document_print(&d, &document);
	/* {"_id":..., then the revision that only these have */
	json_string(name, &id);
	size_t at = sizeof "{\"_id\":" - 1 + id.len;
	if (ok) {
		buf_append(out, document.data, at);
		buf_append_text(out, ",\"_rev\":");
		print_rev(generation, out);
		buf_append(out, document.data + at, document.len - at);
	}
	buf_close(&id);
	buf_close(&document);
	return ok;
}

void couch_local_print_written(const struct couch_local *local, struct buf *out)
{
	buf_append_text(out, local->refused ? "{\"id\":" : "{\"ok\":true,\"id\":");
	json_string(local->name, out);
	buf_append_byte(out, ',');
	if (local->refused) {
		couch_error_members(&local->problem, out);
	} else {
		buf_append_text(out, "\"rev\":");
		print_rev(local->generation, out);
	}
	buf_append_byte(out, '}');
}

/* ---- what came ---- */

struct slice couch_local_id(struct request *r, uint64_t database, struct slice name)
{
	struct buf id = {0};
	buf_printf(&id, "%016" PRIx64 "/", database);
	buf_append_slice(&id, name);
	struct slice copy = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	return copy;
}

bool couch_local_take_rev(struct request *r, struct slice text, struct couch_local *out,
			  struct problem *p)
{
	/* revision_parse takes none of generation 0 */
	if (text.len < 3 || text.data[0] != '0' || text.data[1] != '-')
		return couch_problem(p, COUCH_BAD_REV, "");
	out->given.hash = arena_copy(&r->arena, slice_of(text.data + 2, text.len - 2));
	return true;
}

bool couch_local_take(struct turn *t, struct request *r, struct slice value,
		      struct couch_local *out, struct problem *p)
{
	struct couch_document d;
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("_rev")));
	struct mp_token rev = mp_read(&reader);
	buf_clear(&t->gw->scratch);
	value_without_member(value, slice_text("_rev"), &t->gw->scratch);
	struct slice rest = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	if (!couch_document_parse(t, r, rest, &d, p))
		return false;
	if (d.id.len > 0)
		out->name = d.id;
	out->write.op = d.deleted ? WRITE_DELETE : WRITE_PUT;
	out->write.body = d.deleted ? slice_of(NULL, 0) : d.body;
	return rev.type != MP_STR || rev.bytes.len == 0 ||
	       couch_local_take_rev(r, rev.bytes, out, p);
}

/* ---- writing ---- */

static void refuse(struct turn *t, struct request *r, struct couch_local *local, enum status status,
		   const struct msg_doc_write_ack *ack)
{
	local->refused = true;
	write_problem(local->write.op, status, ack, &local->problem);
	local_done(t, r);
}

static void refuse_as(struct turn *t, struct request *r, struct couch_local *local,
		      enum couch_error error)
{
	local->refused = true;
	couch_problem(&local->problem, error, "");
	local_done(t, r);
}

static void local_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct locals *op = r->op;
	struct couch_local *local = &op->list[index];
	const struct msg_doc_write_ack *ack = body;
	if (!ack || !status_is_success(status)) {
		refuse(t, r, local, status, ack);
		return;
	}
	local->generation = local->write.op == WRITE_DELETE ? 0 : ack->revision.generation;
	local_done(t, r);
}

static void local_send(struct turn *t, struct request *r, uint32_t index)
{
	struct locals *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c || !write_send(t, r, c, &op->list[index].write, index, local_written))
		refuse(t, r, &op->list[index], STATUS_OVERLOADED, NULL);
}

static bool rev_is(const struct revision *given, uint64_t generation)
{
	char text[24];
	snprintf(text, sizeof text, "%" PRIu64, generation);
	return given->generation == 0 && slice_is(given->hash, text);
}

static void local_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct locals *op = r->op;
	struct couch_local *local = &op->list[index];
	const struct msg_doc_read_ack *ack = body;
	bool there = ack && status_is_success(status) && !ack->deleted;
	bool known = ack && (status == STATUS_NOT_FOUND || status_is_success(status));
	if (!known) {
		refuse(t, r, local, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, NULL);
	} else if (!there && local->write.op == WRITE_DELETE) {
		refuse_as(t, r, local, COUCH_MISSING);
	} else if (!there || !rev_is(&local->given, ack->revision.generation)) {
		refuse_as(t, r, local, COUCH_CONFLICT);
	} else {
		local->write.expect = EXPECT_REVISION;
		local->write.expected = arena_alloc(&r->arena, sizeof *local->write.expected);
		local->write.expected[0] = ack->revision;
		local->write.expected[0].hash = arena_copy(&r->arena, ack->revision.hash);
		local->write.expected_count = 1;
		local_send(t, r, index);
	}
}

/* The stored revision is read first where the client has named one: only its number is known. */
static void local_begin(struct turn *t, struct request *r, const struct map_collection *c,
			uint32_t index)
{
	struct locals *op = r->op;
	struct couch_local *local = &op->list[index];
	const struct map_shard *s = map_collection_shard(c, local->read.id);
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .type = MSG_doc_read,
	    .answer = MSG_doc_read_ack,
	    .message = &local->read,
	    .repeatable = true,
	    .index = index,
	    .done = local_read,
	};
	if (!document_id_valid(local->read.id)) {
		refuse_as(t, r, local, COUCH_BAD_ID);
	} else if (!s) {
		refuse_as(t, r, local, COUCH_MISSING);
	} else if (local->any || local->given.hash.len == 0) {
		local_send(t, r, index);
	} else {
		local->read.shard = spec.shard = s->shard.id;
		if (!call_open(t, r, &spec))
			refuse(t, r, local, STATUS_OVERLOADED, NULL);
	}
}

static void locals_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct locals *op = r->op;
	/* One more than there are, so that an early failure does not answer before all were sent.
	 */
	op->left = op->count + 1;
	for (uint32_t i = 0; i < op->count; i++)
		local_begin(t, r, c, i);
	local_done(t, r);
}

static void local_done(struct turn *t, struct request *r)
{
	struct locals *op = r->op;
	if (--op->left > 0)
		return;
	r->op = op->op;
	op->done(t, r);
}

void couch_locals_write(struct turn *t, struct request *r, uint64_t database,
			struct couch_local *list, uint32_t count, couch_locals_written *done)
{
	static const struct native_operation none;
	struct locals *op = arena_alloc(&r->arena, sizeof *op);
	*op = (struct locals){.list = list, .count = count, .done = done, .op = r->op};
	for (uint32_t i = 0; i < count; i++) {
		list[i].read.id = list[i].write.id = couch_local_id(r, database, list[i].name);
		native_operation_fill(t, r, &none, i, &list[i].write);
	}
	r->op = op;
	r->collection = slice_text(COLLECTION_LOCAL);
	collection_find(t, r, true, locals_go);
}
