/* Requests for one _local document. */
#include "common/doc/revision.h"
#include "gateway/couch/local.h"
#include "gateway/routes.h"

/* ---- reading ---- */

struct reading {
	struct slice name; /* _local/x */
	struct msg_doc_read read;
};

static void local_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	const struct reading *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || !status_is_success(status) || ack->deleted) {
		if (ack && (status == STATUS_NOT_FOUND || status_is_success(status)))
			couch_answer_error(t, r, COUCH_MISSING);
		else
			answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status,
				      "");
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	if (couch_local_print(op->name, ack->body, ack->revision.generation, &reply->body))
		reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

static void local_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct reading *op = r->op;
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
	op->read.shard = spec.shard = s->shard.id;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* The database is there: now to the collection of these. */
static void read_database_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct reading *op = r->op;
	op->read.id = couch_local_id(r, c->settings.id, op->name);
	if (!document_id_valid(op->read.id)) {
		couch_answer_error(t, r, COUCH_BAD_ID);
		return;
	}
	r->collection = slice_text(COLLECTION_LOCAL);
	collection_find(t, r, false, local_go);
}

void couch_local_read(struct turn *t, struct request *r)
{
	struct reading *op = arena_alloc(&r->arena, sizeof *op);
	op->name = r->resource;
	r->op = op;
	couch_find(t, r, read_database_go);
}

/* ---- writing ---- */

static void local_written(struct turn *t, struct request *r)
{
	const struct couch_local *local = r->op;
	if (local->refused) {
		answer_problem(t, r, &local->problem);
		return;
	}
	struct reply *reply = reply_begin(t, local->write.op == WRITE_DELETE ? 200 : 201);
	couch_local_print_written(local, &reply->body);
	reply_send(t, r, reply);
}

static void write_database_go(struct turn *t, struct request *r, struct map_collection *c)
{
	couch_locals_write(t, r, c->settings.id, r->op, 1, local_written);
}

static bool parse_local(struct turn *t, struct request *r, struct couch_local *local,
			struct problem *p)
{
	struct slice value;
	if (r->method == HTTP_PUT) {
		bool ok = native_body(t, r, &value, p) && couch_local_take(t, r, value, local, p);
		local->name = r->resource;
		return ok;
	}
	local->name = r->resource;
	local->write.op = WRITE_DELETE;
	return !request_parameter(r, "rev", &value) || value.len == 0 ||
	       couch_local_take_rev(r, value, local, p);
}

void couch_local_write(struct turn *t, struct request *r)
{
	struct couch_local *local = arena_alloc(&r->arena, sizeof *local);
	struct problem problem;
	r->op = local;
	if (parse_local(t, r, local, &problem))
		couch_find(t, r, write_database_go);
	else
		answer_problem(t, r, &problem);
}
