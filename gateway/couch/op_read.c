/* Reading a document, and copying one. */
#include "common/doc/revision.h"
#include "gateway/carry.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/multipart.h"
#include "gateway/couch/validate.h"
#include "gateway/couch/view.h"
#include "gateway/routes.h"
#include "gateway/url.h"

struct couch_read {
	struct msg_doc_read read;
	struct slice if_none_match;
	bool conflicts;
	bool deleted_conflicts;
	bool revs;
	bool revs_info;
	bool local_seq;
	bool related; /* attachments as parts */
	bool data;    /* inline */
	/* COPY */
	struct contents work;
	struct couch_document target;
	struct native_operation operation;
	struct couch_write write;
	struct validated check;
};

bool couch_read_send(struct turn *t, struct request *r, const struct map_collection *c,
		     struct msg_doc_read *read, call_done *done)
{
	const struct map_shard *s = map_collection_shard(c, read->id);
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .type = MSG_doc_read,
	    .answer = MSG_doc_read_ack,
	    .message = read,
	    .repeatable = true,
	    .done = done,
	};
	if (!s)
		return false;
	read->shard = spec.shard = s->shard.id;
	return call_open(t, r, &spec);
}

/* A deletion is shown to whom it is named by. */
bool couch_document_found(struct turn *t, struct request *r, enum status status,
			  const struct msg_doc_read_ack *ack, bool named)
{
	if (ack && ack->deleted && named)
		return true;
	if (ack && ack->deleted)
		couch_answer_error(t, r, COUCH_DELETED);
	else if (!ack || !status_is_success(status))
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
	else
		return true;
	return false;
}

static struct couch_document document_of(const struct couch_read *op,
					 const struct msg_doc_read_ack *ack)
{
	struct couch_document d = {.id = op->read.id,
				   .revision = ack->revision,
				   .deleted = ack->deleted,
				   .body = ack->body,
				   .ancestors = ack->ancestors,
				   .ancestor_flags = ack->ancestor_flags,
				   .ancestors_count = ack->ancestors_count,
				   .revs = op->revs,
				   .revs_info = op->revs_info,
				   .local_seq = op->local_seq ? ack->changed : 0,
				   .data = op->data};
	if (op->conflicts) {
		d.conflicts = ack->leaves;
		d.conflicts_count = ack->leaves_count;
	}
	if (op->deleted_conflicts) {
		d.deleted_conflicts = ack->deleted_leaves;
		d.deleted_conflicts_count = ack->deleted_leaves_count;
	}
	return d;
}

static void answer_related(struct turn *t, struct request *r, const struct couch_document *d,
			   uint64_t conflicts)
{
	char boundary[PART_BOUNDARY_BYTES];
	struct reply *reply = reply_begin(t, 200);
	struct buf text = {0};
	reply_etag(r, reply, &d->revision);
	reply_conflicts(r, reply, conflicts);
	couch_boundary_draw(t, boundary);
	couch_related_type(boundary, d->body, &text);
	reply->content_type = arena_copy(&r->arena, buf_slice(&text));
	buf_clear(&text);
	if (couch_document_print(d, &text)) {
		struct flow *flow = flow_new(r);
		couch_related_print(flow, boundary, d->id, buf_slice(&text), d->body);
		flow_send(t, r, flow, reply);
	} else {
		answer_status(t, r, STATUS_INTERNAL, "");
	}
	buf_close(&text);
}

static void answer_document(struct turn *t, struct request *r, const struct couch_document *d,
			    uint64_t conflicts, bool known)
{
	struct reply *reply = reply_begin(t, known ? 304 : 200);
	reply_etag(r, reply, &d->revision);
	reply_conflicts(r, reply, conflicts);
	if (known || couch_document_print(d, &reply->body))
		couch_reply_send(t, r, reply);
	else
		answer_status(t, r, STATUS_INTERNAL, "");
}

static void have_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct couch_read *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!couch_document_found(t, r, status, ack, op->read.revision.generation > 0))
		return;
	bool known =
	    op->if_none_match.len > 0 && native_etag_matches(op->if_none_match, &ack->revision);
	struct couch_document d = document_of(op, ack);
	d.follows = op->related;
	if (op->related && !known)
		answer_related(t, r, &d, ack->conflicts);
	else
		answer_document(t, r, &d, ack->conflicts, known);
}

static void read_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct couch_read *op = r->op;
	if (!couch_read_send(t, r, c, &op->read, have_read))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static bool take_parameters(struct request *r, struct couch_read *op, struct problem *p)
{
	struct slice value;
	op->local_seq = request_flag(r, "local_seq");
	/* which attachments the asker has can't be told from revisions that were merged: all come
	 */
	bool all = request_flag(r, "attachments") || request_flag(r, "atts_since");
	op->related = all && couch_multipart_asked(r, "multipart/related");
	op->data = all && !op->related;
	bool meta = request_flag(r, "meta");
	op->conflicts = meta || request_flag(r, "conflicts");
	op->deleted_conflicts = meta || request_flag(r, "deleted_conflicts");
	op->read.want_deleted = op->conflicts || op->deleted_conflicts;
	op->read.latest = request_flag(r, "latest");
	op->revs = request_flag(r, "revs");
	op->revs_info = meta || request_flag(r, "revs_info");
	op->read.line = op->revs || op->revs_info;
	op->if_none_match = arena_copy(&r->arena, request_header(r, "if-none-match"));
	return !request_parameter(r, "rev", &value) ||
	       couch_revision(r, value, &op->read.revision, p);
}

void couch_read(struct turn *t, struct request *r)
{
	struct slice text;
	if (request_parameter(r, "open_revs", &text)) {
		couch_open_revs(t, r);
		return;
	}
	struct couch_read *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->read.id = r->resource;
	r->op = op;
	if (take_parameters(r, op, &problem))
		couch_find(t, r, read_go);
	else
		answer_problem(t, r, &problem);
}

/* ---- COPY ---- */

static void copied(struct turn *t, struct request *r, uint32_t index, enum status status,
		   const void *body)
{
	struct couch_read *op = r->op;
	(void)index;
	if (couch_write_done(t, r, &op->write, status, body))
		couch_write_answer(t, r, &op->write);
}

static void copy_carried(struct turn *t, struct request *r, enum status status)
{
	struct couch_read *op = r->op;
	if (status != STATUS_OK) {
		couch_contents_refused(t, r, status);
		return;
	}
	carry_named(r);
	if (!couch_write_send(t, r, &op->write, 0, copied))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void copy_validated(struct turn *t, struct request *r)
{
	struct couch_read *op = r->op;
	if (op->check.refused)
		answer_problem(t, r, &op->check.problem);
	else
		carry_start(t, r, op->read.id, &op->work, copy_carried);
}

/* The copy may belong to another shard: its attachments go there as new ones. */
static void copy_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct couch_read *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct couch_write *w = &op->write;
	struct problem problem;
	(void)index;
	if (!couch_document_found(t, r, status, ack, op->read.revision.generation > 0))
		return;
	op->target.body = arena_copy(&r->arena, ack->body);
	op->target.deleted = ack->deleted;
	if (!design_check(&op->target, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	couch_write_fill(t, r, &op->operation, 0, &op->target, w);
	if (!op->target.deleted &&
	    !couch_attachments_carry(t, r, op->target.id, &w->write.body, &op->work)) {
		answer_status(t, r, STATUS_INTERNAL, "");
		return;
	}
	op->check = (struct validated){.document = &op->target, .id = op->target.id};
	couch_validate(t, r, &op->check, 1, copy_validated);
}

static void copy_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct couch_read *op = r->op;
	if (!couch_read_send(t, r, c, &op->read, copy_read))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static bool is_address(struct slice text)
{
	static const char *const schemes[] = {"http://", "https://"};
	bool is = false;
	for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
		size_t len = strlen(schemes[i]);
		is |= text.len >= len && memcmp(text.data, schemes[i], len) == 0;
	}
	return is;
}

/* Destination: an id, with ?rev= of what is there now. */
static bool take_destination(struct request *r, struct couch_read *op, struct problem *p)
{
	struct slice to = arena_copy(&r->arena, request_header(r, "destination"));
	struct http_field pair;
	size_t end = 0;
	if (to.len == 0)
		return couch_problem(p, COUCH_NO_DESTINATION, "");
	if (is_address(to))
		return couch_problem(p, COUCH_FAR_DESTINATION, "");
	while (end < to.len && to.data[end] != '?')
		end++;
	size_t used = end < to.len ? end + 1 : end;
	struct slice query = slice_of(to.data + used, to.len - used);
	if (!url_decode(slice_of(to.data, end), false, &r->arena, &op->target.id))
		return couch_problem(p, COUCH_BAD_REQUEST, "");
	while (url_parameter_next(&query, &pair))
		if (slice_is(pair.name, "rev") &&
		    !couch_revision(r, pair.value, &op->target.revision, p))
			return false;
	return couch_id_check(op->target.id, p) && couch_may_write(r, &op->target, p);
}

void couch_copy(struct turn *t, struct request *r)
{
	struct couch_read *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->read.id = r->resource;
	op->work.arena = &r->arena;
	r->op = op;
	if (take_parameters(r, op, &problem) && take_destination(r, op, &problem) &&
	    native_operation(t, r, &op->operation, &problem))
		couch_find(t, r, copy_go);
	else
		answer_problem(t, r, &problem);
}
