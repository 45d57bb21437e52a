/* Writes of documents: PUT, POST, DELETE, and each item of _bulk_docs. */
#include <stdio.h>

#include "common/doc/revision.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/import.h"
#include "gateway/couch/mango.h"
#include "gateway/couch/multipart.h"
#include "gateway/couch/validate.h"
#include "gateway/couch/view.h"
#include "gateway/intake.h"
#include "gateway/routes.h"
#include "gateway/url.h"

/* ---- one write ---- */

void couch_write_fill(struct turn *t, struct request *r, const struct native_operation *operation,
		      uint32_t index, const struct couch_document *d, struct couch_write *out)
{
	struct msg_doc_write *write = &out->write;
	write->op = d->deleted ? WRITE_DELETE : WRITE_PUT;
	write->body = d->deleted ? slice_of(NULL, 0) : d->body;
	write->expect = EXPECT_ABSENT;
	if (d->revision.generation > 0) {
		write->expect = EXPECT_REVISION;
		write->expected = arena_alloc(&r->arena, sizeof *write->expected);
		write->expected[0] = d->revision;
		write->expected_count = 1;
	}
	native_operation_fill(t, r, operation, index, write);
	write->id = d->id.len > 0 ? d->id : native_new_id(t, r, write);
}

bool couch_write_send(struct turn *t, struct request *r, struct couch_write *w, uint32_t index,
		      call_done *done)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	w->index = index;
	w->done = done;
	return c && write_send(t, r, c, &w->write, index, done);
}

/* CouchDB lets a document be written again on the revision of its deletion, as if it named none. */
static bool names_deletion(const struct msg_doc_write *write, enum status status,
			   const struct msg_doc_write_ack *ack)
{
	return status == STATUS_CONFLICT && write->op == WRITE_PUT &&
	       write->expect == EXPECT_REVISION && ack &&
	       revision_equal(&ack->revision, &write->expected[0]);
}

static bool send_again(struct turn *t, struct request *r, struct couch_write *w)
{
	static const struct native_operation none;
	w->write.expect = EXPECT_ABSENT;
	w->write.expected_count = 0;
	w->write.operation_digest = slice_of(NULL, 0);
	native_operation_fill(t, r, &none, w->index, &w->write);
	return couch_write_send(t, r, w, w->index, w->done);
}

static void refused(struct couch_write *w, enum status status, const struct msg_doc_write_ack *ack)
{
	if (status == STATUS_MISSING_ATTACHMENT && ack) {
		char text[PLACE_BYTES];
		snprintf(text, sizeof text, "Invalid attachment stub in %.*s for %.*s",
			 (int)(w->write.id.len < 64 ? w->write.id.len : 64),
			 (const char *)w->write.id.data,
			 (int)(ack->place.len < 80 ? ack->place.len : 80),
			 ack->place.len ? (const char *)ack->place.data : "");
		w->status = status;
		couch_problem(&w->problem, COUCH_MISSING_STUB, text);
		return;
	}
	bool stale = status == STATUS_NOT_FOUND && w->write.expect == EXPECT_REVISION;
	w->status = status;
	if (status == STATUS_NOT_FOUND && w->write.op == WRITE_DELETE) {
		bool was = ack && ack->revision.generation > 0;
		couch_problem(&w->problem, was ? COUCH_DELETED : COUCH_MISSING, "");
	} else if (stale) {
		couch_problem(&w->problem, COUCH_CONFLICT, "");
	} else {
		write_problem(w->write.op, status, ack, &w->problem);
	}
}

bool couch_write_done(struct turn *t, struct request *r, struct couch_write *w, enum status status,
		      const struct msg_doc_write_ack *ack)
{
	couch_wrote(t, r, w->write.id);
	if (ack && status_is_success(status)) {
		w->status = status;
		w->revision = ack->revision;
		w->revision.hash = arena_copy(&r->arena, ack->revision.hash);
		if (w->write.op == WRITE_DELETE)
			mango_ddoc_gone(t, r, w->write.id);
		return true;
	}
	if (names_deletion(&w->write, status, ack) && send_again(t, r, w))
		return false;
	refused(w, status, ack);
	return true;
}

void couch_write_print(const struct couch_write *w, struct buf *out)
{
	bool ok = status_is_success(w->status);
	buf_append_text(out, ok ? "{\"ok\":true,\"id\":" : "{\"id\":");
	json_string(w->write.id, out);
	buf_append_byte(out, ',');
	if (ok) {
		buf_append_text(out, "\"rev\":");
		json_revision(&w->revision, out);
		if (w->status == STATUS_ACCEPTED)
			buf_append_text(out, ",\"accepted\":true");
	} else {
		couch_error_members(&w->problem, out);
	}
	buf_append_byte(out, '}');
}

void couch_write_answer(struct turn *t, struct request *r, const struct couch_write *w)
{
	struct buf path = {0};
	struct buf name = {0};
	if (!status_is_success(w->status)) {
		answer_problem(t, r, &w->problem);
		return;
	}
	bool deleted = w->write.op == WRITE_DELETE;
	bool later = w->status == STATUS_ACCEPTED;
	struct reply *reply = reply_begin(t, later ? 202 : deleted || w->changes ? 200 : 201);
	if (couch_database_name(r->collection, &name)) {
		buf_append_byte(&path, '/');
		url_encode(buf_slice(&name), &path);
		buf_append_byte(&path, '/');
		url_encode(w->write.id, &path);
		reply_header(r, reply, "Location", buf_slice(&path));
	}
	buf_close(&name);
	buf_close(&path);
	reply_etag(r, reply, &w->revision);
	couch_write_print(w, &reply->body);
	reply_send(t, r, reply);
}

/* ---- requests of one ---- */

struct writing {
	void *op; /* of whoever wants to know how it ended; else NULL */
	couch_written *ended;
	struct couch_write write;
	struct couch_document document;
	bool imported;        /* it was made elsewhere */
	struct contents work; /* attachments that came with it, sent first */
	struct validated check;
};

static void written(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	struct writing *op = r->op;
	(void)index;
	if (!couch_write_done(t, r, &op->write, status, body))
		return;
	if (!op->ended || !status_is_success(op->write.status)) {
		couch_write_answer(t, r, &op->write);
		return;
	}
	r->op = op->op;
	op->ended(t, r, &op->write);
}

static void imported(struct turn *t, struct request *r, const enum status *statuses)
{
	struct writing *op = r->op;
	struct couch_write *w = &op->write;
	w->write.id = op->document.id;
	w->write.op = op->document.deleted ? WRITE_DELETE : WRITE_PUT;
	w->revision = couch_newest(&op->document);
	w->status = status_is_success(statuses[0]) ? STATUS_CREATED : statuses[0];
	if (!status_is_success(statuses[0]))
		write_problem(WRITE_PUT, statuses[0], NULL, &w->problem);
	couch_write_answer(t, r, w);
}

static void contents_sent(struct turn *t, struct request *r, enum status status)
{
	struct writing *op = r->op;
	struct problem problem;
	if (status != STATUS_OK) {
		couch_contents_refused(t, r, status);
		return;
	}
	intake_named(r);
	if (op->imported) {
		if (!couch_import(t, r, &op->document, 1, imported, &problem))
			answer_problem(t, r, &problem);
	} else if (!couch_write_send(t, r, &op->write, 0, written)) {
		answer_status(t, r, STATUS_OVERLOADED, "");
	}
}

static void validated(struct turn *t, struct request *r)
{
	struct writing *op = r->op;
	if (op->check.refused)
		answer_problem(t, r, &op->check.problem);
	else
		contents_send(t, r, &op->work, contents_sent);
}

void couch_write_go(struct turn *t, struct request *r)
{
	struct writing *op = r->op;
	for (uint32_t i = 0; i < op->work.count; i++) {
		const struct content *c = &op->work.list[i];
		if (c->follow)
			native_operation_add(t, r, slice_of(c->md5, sizeof c->md5),
					     &op->write.write);
	}
	op->check = (struct validated){
	    .document = &op->document,
	    .id = op->imported ? op->document.id : op->write.write.id,
	};
	couch_validate(t, r, &op->check, 1, validated);
}

static void write_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	couch_write_go(t, r);
}

void couch_write_value(struct turn *t, struct request *r, struct slice value, couch_written *ended)
{
	static const struct native_operation none;
	struct writing *op = arena_alloc(&r->arena, sizeof *op);
	struct couch_document *d = &op->document;
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem;
	op->op = r->op;
	op->ended = ended;
	op->work.arena = &r->arena;
	r->op = op;
	bool fine = couch_document_parse(t, r, value, d, &problem) && design_check(d, &problem) &&
		    couch_may_write(r, d, &problem) &&
		    (d->id.len > 0 || couch_problem(&problem, COUCH_ID_EMPTY, "")) &&
		    (c || couch_problem(&problem, COUCH_DB_MISSING, ""));
	struct couch_attached to = {d, d->id, &op->write.write.body, &op->work};
	if (fine) {
		couch_write_fill(t, r, &none, 0, d, &op->write);
		fine = couch_attachments_take(t, r, &to, &problem);
	}
	if (fine)
		write_go(t, r, c);
	else
		answer_problem(t, r, &problem);
}

bool couch_write_revision(struct request *r, struct couch_document *d, struct problem *p)
{
	struct slice texts[2] = {request_header(r, "if-match")};
	if (!request_parameter(r, "rev", &texts[1]))
		texts[1] = slice_of(NULL, 0);
	for (int i = 0; i < 2; i++) {
		struct revision given;
		if (texts[i].len == 0)
			continue;
		if (!couch_revision(r, texts[i], &given, p))
			return false;
		if (d->revision.generation > 0 && !revision_equal(&d->revision, &given))
			return couch_problem(p, COUCH_REVS_DIFFER, "");
		d->revision = given;
	}
	return true;
}

static bool names_no_new_edits(const struct request *r)
{
	struct slice flag;
	return r->method == HTTP_PUT && request_parameter(r, "new_edits", &flag) &&
	       slice_is(flag, "false");
}

static bool parse_write(struct turn *t, struct request *r, struct couch_document *d,
			struct problem *p)
{
	struct slice value;
	*d = (struct couch_document){.id = r->resource, .deleted = r->method == HTTP_DELETE};
	if (r->method != HTTP_DELETE) {
		value = r->couch.value;
		if ((value.len == 0 && !native_body(t, r, &value, p)) ||
		    !couch_document_parse(t, r, value, d, p))
			return false;
		if (r->resource.len > 0 && d->id.len > 0 && !slice_equal(d->id, r->resource))
			return couch_problem(p, COUCH_BAD_REQUEST,
					     "Document ID must match the one in the address");
		if (r->resource.len > 0)
			d->id = r->resource;
	}
	/* what was made elsewhere is taken as it is */
	return (names_no_new_edits(r) || design_check(d, p)) && couch_write_revision(r, d, p) &&
	       couch_may_write(r, d, p) && couch_replicator_take(t, r, d, p);
}

struct contents *couch_write_prepare(struct turn *t, struct request *r, bool follows,
				     struct problem *p)
{
	struct writing *op = arena_alloc(&r->arena, sizeof *op);
	struct couch_document *d = &op->document;
	struct msg_doc_write *m = &op->write.write;
	struct native_operation operation;
	r->op = op;
	op->work.arena = &r->arena;
	op->work.follow = follows;
	op->imported = names_no_new_edits(r);
	bool known = follows ? native_operation_pieces(t, r, &operation, p)
			     : native_operation(t, r, &operation, p);
	if (!known || !parse_write(t, r, d, p))
		return NULL;
	d->imported = op->imported;
	struct couch_attached to = {d, d->id, &d->body, &op->work};
	if (!op->imported) {
		/* a deletion that names nothing contradicts whatever is there */
		couch_write_fill(t, r, &operation, 0, d, &op->write);
		if (follows)
			native_operation_add(t, r, r->couch.value, m);
		to.id = m->id;
		to.body = &m->body;
	}
	return couch_attachments_take(t, r, &to, p) ? &op->work : NULL;
}

void couch_write(struct turn *t, struct request *r)
{
	struct problem problem;
	if (couch_is_users(r) && couch_users_hash(t, r))
		return;
	if (couch_multipart_sent(r))
		couch_multipart_write(t, r);
	else if (couch_write_prepare(t, r, false, &problem))
		couch_find(t, r, write_go);
	else
		answer_problem(t, r, &problem);
}
