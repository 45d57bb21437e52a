/* _local documents: of this cluster only, in no list and in no feed. They are documents of one
 * collection that no client can name, with the id of the database's collection before theirs; so a
 * database that is made anew has none. Their revision is 0-N, N being the stored one's generation.
 */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch_local.h"
#include "gateway/routes.h"

struct local {
	struct slice name; /* _local/x */
	struct msg_doc_read read;
	struct msg_doc_write write;
	struct revision given; /* by the client; generation 0 and a hash: 0-N */
	bool writes;
};

static void print_rev(uint64_t generation, struct buf *out)
{
	buf_printf(out, "\"0-%" PRIu64 "\"", generation);
}

/* ---- reading ---- */

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

static void answer_local(struct turn *t, struct request *r, const struct local *op,
			 const struct msg_doc_read_ack *ack)
{
	struct reply *reply = reply_begin(t, 200);
	if (couch_local_print(op->name, ack->body, ack->revision.generation, &reply->body))
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

/* ---- writing ---- */

static void local_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	const struct local *op = r->op;
	const struct msg_doc_write_ack *ack = body;
	bool deleted = op->write.op == WRITE_DELETE;
	struct problem problem;
	(void)index;
	if (!ack || !status_is_success(status)) {
		write_problem(op->write.op, status, ack, &problem);
		answer_problem(t, r, &problem);
		return;
	}
	struct reply *reply = reply_begin(t, deleted ? 200 : 201);
	buf_append_text(&reply->body, "{\"ok\":true,\"id\":");
	json_string(op->name, &reply->body);
	buf_append_text(&reply->body, ",\"rev\":");
	print_rev(deleted ? 0 : ack->revision.generation, &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

static void local_send(struct turn *t, struct request *r, struct local *op)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c || !write_send(t, r, c, &op->write, 0, local_written))
		answer_status(t, r, STATUS_OVERLOADED, "");
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
	struct local *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	bool there = ack && status_is_success(status) && !ack->deleted;
	(void)index;
	if (!there && (!ack || status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
	} else if (!there && (!op->writes || op->write.op == WRITE_DELETE)) {
		couch_answer_error(t, r, COUCH_MISSING);
	} else if (!op->writes) {
		answer_local(t, r, op, ack);
	} else if (!there || !rev_is(&op->given, ack->revision.generation)) {
		couch_answer_error(t, r, COUCH_CONFLICT);
	} else {
		op->write.expect = EXPECT_REVISION;
		op->write.expected = arena_alloc(&r->arena, sizeof *op->write.expected);
		op->write.expected[0] = ack->revision;
		op->write.expected[0].hash = arena_copy(&r->arena, ack->revision.hash);
		op->write.expected_count = 1;
		local_send(t, r, op);
	}
}

/* ---- both ---- */

static void local_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct local *op = r->op;
	const struct map_shard *s = c ? map_collection_shard(c, op->read.id) : NULL;
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .type = MSG_doc_read,
	    .answer = MSG_doc_read_ack,
	    .message = &op->read,
	    .repeatable = true,
	    .done = local_read,
	};
	if (!s) {
		couch_answer_error(t, r, COUCH_MISSING);
		return;
	}
	if (op->writes && op->given.hash.len == 0) {
		local_send(t, r, op);
		return;
	}
	op->read.shard = spec.shard = s->shard.id;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* The database is there: now to the collection of these. */
static void database_go(struct turn *t, struct request *r, struct map_collection *c)
{
	static const struct native_operation none;
	struct local *op = r->op;
	struct buf id = {0};
	buf_printf(&id, "%016" PRIx64 "/", c->settings.id);
	buf_append_slice(&id, op->name);
	op->read.id = op->write.id = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	if (!document_id_valid(op->read.id)) {
		couch_answer_error(t, r, COUCH_BAD_ID);
		return;
	}
	if (op->writes)
		native_operation_fill(t, r, &none, 0, &op->write);
	r->collection = slice_text(COLLECTION_LOCAL);
	collection_find(t, r, op->writes, local_go);
}

void couch_local_read(struct turn *t, struct request *r)
{
	struct local *op = arena_alloc(&r->arena, sizeof *op);
	op->name = r->resource;
	r->op = op;
	couch_find(t, r, database_go);
}

/* "0-N"; revision_parse takes none of generation 0. */
static bool take_rev(struct request *r, struct slice text, struct revision *out, struct problem *p)
{
	if (text.len < 3 || text.data[0] != '0' || text.data[1] != '-')
		return couch_problem(p, COUCH_BAD_REV, "");
	out->hash = arena_copy(&r->arena, slice_of(text.data + 2, text.len - 2));
	return true;
}

static bool parse_local(struct turn *t, struct request *r, struct local *op, struct problem *p)
{
	struct couch_document d = {.deleted = r->method == HTTP_DELETE};
	struct slice value;
	struct slice rev = {0};
	op->writes = true;
	if (r->method == HTTP_PUT) {
		if (!native_body(t, r, &value, p))
			return false;
		struct mp_reader reader = mp_reader_of(value_member(value, slice_text("_rev")));
		struct mp_token token = mp_read(&reader);
		if (token.type == MP_STR)
			rev = token.bytes;
		buf_clear(&t->gw->scratch);
		value_without_member(value, slice_text("_rev"), &t->gw->scratch);
		value = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
		if (!couch_document_parse(t, r, value, &d, p))
			return false;
	} else if (request_parameter(r, "rev", &value)) {
		rev = value;
	}
	op->write.op = d.deleted ? WRITE_DELETE : WRITE_PUT;
	op->write.body = d.deleted ? slice_of(NULL, 0) : d.body;
	return rev.len == 0 || take_rev(r, rev, &op->given, p);
}

void couch_local_write(struct turn *t, struct request *r)
{
	struct local *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->name = r->resource;
	r->op = op;
	if (parse_local(t, r, op, &problem))
		couch_find(t, r, database_go);
	else
		answer_problem(t, r, &problem);
}
