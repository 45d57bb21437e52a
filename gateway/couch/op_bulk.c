/* _bulk_docs: each document is a write of its own; the answer tells of each, in their order. A bad
 * one refuses them all, before any was written; but for those whose ids CouchDB would take. */
#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/import.h"
#include "gateway/couch/local.h"
#include "gateway/couch/validate.h"
#include "gateway/couch/view.h"
#include "gateway/routes.h"

struct bulk {
	struct couch_write *items;
	uint32_t count;
	uint32_t left; /* without an answer yet */
	struct native_operation operation;
	bool old_edits; /* revisions that were made elsewhere */
	struct couch_document *documents;
	struct validated *checks;
	struct couch_document *imports; /* old_edits: those that no function refused */
	uint32_t imports_count;
	struct contents work;       /* attachments that came inline, sent first */
	struct couch_local *locals; /* those of _local, in their order: written last */
	uint32_t locals_count;
	uint64_t database; /* the collection's id */
};

static bool is_local(struct slice id)
{
	return id.len > 7 && memcmp(id.data, "_local/", 7) == 0;
}

static void bulk_answer(struct turn *t, struct request *r);

/* ---- revisions that were made elsewhere: only what is refused is told of ---- */

static void print_refused(const struct couch_document *d, const struct problem *problem,
			  struct buf *out)
{
	struct revision newest = couch_newest(d);
	if (out->len > 1)
		buf_append_byte(out, ',');
	buf_append_text(out, "{\"id\":");
	json_string(d->id, out);
	buf_append_text(out, ",\"rev\":");
	json_revision(&newest, out);
	buf_append_byte(out, ',');
	couch_error_members(problem, out);
	buf_append_byte(out, '}');
}

static bool is_any_written(const struct bulk *bulk)
{
	for (uint32_t i = 0; i < bulk->count; i++)
		if (!is_local(bulk->checks[i].id) && !bulk->checks[i].refused)
			return true;
	for (uint32_t i = 0; i < bulk->locals_count; i++)
		if (!bulk->locals[i].refused)
			return true;
	return false;
}

static void imports_answer(struct turn *t, struct request *r)
{
	const struct bulk *bulk = r->op;
	struct reply *reply;
	struct problem problem;
	/* What replaces any revision is refused for a while only, or gone already. */
	for (uint32_t i = 0; i < bulk->locals_count; i++) {
		const struct couch_local *local = &bulk->locals[i];
		if (local->refused && local->problem.status != STATUS_NOT_FOUND) {
			problem = local->problem;
			if (is_any_written(bulk)) /* no refusal: that says nothing was */
				problem_set(&problem, STATUS_OUTCOME_UNKNOWN, "");
			answer_problem(t, r, &problem);
			return;
		}
	}
	reply = reply_begin(t, 201);
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0; i < bulk->count; i++)
		if (bulk->checks[i].refused)
			print_refused(&bulk->documents[i], &bulk->checks[i].problem, &reply->body);
	buf_append_byte(&reply->body, ']');
	reply_send(t, r, reply);
}

static void write_locals(struct turn *t, struct request *r)
{
	struct bulk *bulk = r->op;
	couch_locals_written *answer = bulk->old_edits ? imports_answer : bulk_answer;
	if (bulk->locals_count > 0)
		couch_locals_write(t, r, bulk->database, bulk->locals, bulk->locals_count, answer);
	else
		answer(t, r);
}

static void bulk_imported(struct turn *t, struct request *r, const enum status *statuses)
{
	struct bulk *bulk = r->op;
	for (uint32_t i = 0, sent = 0; i < bulk->count; i++) {
		struct validated *check = &bulk->checks[i];
		if (check->refused || is_local(check->id) || status_is_success(statuses[sent++]))
			continue;
		check->refused = true;
		write_problem(WRITE_PUT, statuses[sent - 1], NULL, &check->problem);
	}
	write_locals(t, r);
}

/* ---- writes ---- */

/* 202: one of them lies in an outbox only, and says so. */
static int bulk_http(const struct bulk *bulk)
{
	for (uint32_t i = 0; i < bulk->count; i++)
		if (bulk->items[i].status == STATUS_ACCEPTED)
			return 202;
	return 201;
}

static void bulk_answer(struct turn *t, struct request *r)
{
	const struct bulk *bulk = r->op;
	struct reply *reply = reply_begin(t, bulk_http(bulk));
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0, local = 0; i < bulk->count; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		if (is_local(bulk->checks[i].id))
			couch_local_print_written(&bulk->locals[local++], &reply->body);
		else
			couch_write_print(&bulk->items[i], &reply->body);
	}
	buf_append_byte(&reply->body, ']');
	reply_send(t, r, reply);
}

static void item_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	struct bulk *bulk = r->op;
	if (couch_write_done(t, r, &bulk->items[index], status, body) && --bulk->left == 0)
		write_locals(t, r);
}

static void write_all(struct turn *t, struct request *r)
{
	struct bulk *bulk = r->op;
	/* One more than there are, so that an early failure does not answer before all were sent.
	 */
	bulk->left = bulk->count + 1;
	for (uint32_t i = 0; i < bulk->count; i++) {
		if (bulk->checks[i].refused || is_local(bulk->checks[i].id))
			bulk->left--;
		else if (!couch_write_send(t, r, &bulk->items[i], i, item_written))
			item_written(t, r, i, STATUS_OVERLOADED, NULL);
	}
	if (--bulk->left == 0)
		write_locals(t, r);
}

static void bulk_sent(struct turn *t, struct request *r, enum status status)
{
	struct bulk *bulk = r->op;
	struct problem problem;
	if (status != STATUS_OK)
		couch_contents_refused(t, r, status);
	else if (!bulk->old_edits)
		write_all(t, r);
	else if (!couch_import(t, r, bulk->imports, bulk->imports_count, bulk_imported, &problem))
		answer_problem(t, r, &problem);
}

static void bulk_validated(struct turn *t, struct request *r)
{
	struct bulk *bulk = r->op;
	for (uint32_t i = 0; i < bulk->count; i++) {
		if (is_local(bulk->checks[i].id))
			continue;
		if (bulk->old_edits && !bulk->checks[i].refused) {
			bulk->imports[bulk->imports_count++] = bulk->documents[i];
		} else if (bulk->checks[i].refused && !bulk->old_edits) {
			bulk->items[i].problem = bulk->checks[i].problem;
			bulk->items[i].status = bulk->checks[i].problem.status;
		}
	}
	contents_send(t, r, &bulk->work, bulk_sent);
}

static void bulk_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct bulk *bulk = r->op;
	bulk->database = c->settings.id;
	bulk->imports = arena_alloc(&r->arena, (bulk->count + 1) * sizeof *bulk->imports);
	for (uint32_t i = 0; i < bulk->count; i++) {
		const struct couch_document *d = &bulk->documents[i];
		bulk->checks[i].document = d;
		bulk->checks[i].id = bulk->old_edits ? d->id : bulk->items[i].write.id;
	}
	couch_validate(t, r, bulk->checks, bulk->count, bulk_validated);
}

static bool take_local(struct turn *t, struct request *r, struct slice value, uint32_t index,
		       struct problem *p)
{
	struct bulk *bulk = r->op;
	struct couch_local *local = &bulk->locals[bulk->locals_count++];
	if (!couch_local_take(t, r, value, local, p))
		return false;
	if (bulk->old_edits && local->given.hash.len == 0)
		return couch_problem(p, COUCH_NO_REV, "");
	local->any = bulk->old_edits;
	bulk->documents[index].id = local->name;
	if (!bulk->old_edits)
		bulk->items[index].write.id = local->name;
	return true;
}

static bool names_local(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text("_id")));
	struct mp_token id = mp_read(&reader);
	return id.type == MP_STR && is_local(id.bytes);
}

/* What refuses one document and not all of them. */
static void refuse(struct bulk *bulk, uint32_t index, const struct problem *p)
{
	bulk->checks[index].refused = true;
	bulk->checks[index].problem = *p;
}

/* A design document among others is refused by itself, as in CouchDB. */
static bool may_write(struct request *r, const struct couch_document *d, uint32_t index,
		      struct problem *p)
{
	if (couch_may_write(r, d, p))
		return true;
	if (p->couch == COUCH_NOT_DB_ADMIN)
		refuse(r->op, index, p);
	return p->couch == COUCH_NOT_DB_ADMIN;
}

/* An id that CouchDB takes: the others of whoever replicates it get in. PouchDB goes on only behind
 * what is forbidden. */
static bool take_unnamable(struct request *r, const struct couch_document *d, uint32_t index,
			   struct problem *p)
{
	struct bulk *bulk = r->op;
	if (p->couch != COUCH_BAD_ID)
		return false;
	if (bulk->old_edits)
		couch_problem(p, COUCH_BAD_ID_PUSHED, "");
	refuse(bulk, index, p);
	bulk->documents[index] = *d;
	if (!bulk->old_edits)
		bulk->items[index].write.id = d->id;
	return true;
}

static bool take_item(struct turn *t, struct request *r, struct slice value, uint32_t index,
		      struct problem *p)
{
	struct bulk *bulk = r->op;
	struct couch_document d;
	if (names_local(value))
		return take_local(t, r, value, index, p);
	if (!couch_document_parse(t, r, value, &d, p))
		return take_unnamable(r, &d, index, p);
	if (!may_write(r, &d, index, p) || (!bulk->old_edits && !design_check(&d, p)) ||
	    !couch_replicator_take(t, r, &d, p))
		return false;
	d.imported = bulk->old_edits;
	bulk->documents[index] = d;
	struct couch_attached to = {.document = &d, .work = &bulk->work};
	if (bulk->old_edits) {
		to.id = d.id;
		to.body = &bulk->documents[index].body;
	} else {
		struct msg_doc_write *m = &bulk->items[index].write;
		couch_write_fill(t, r, &bulk->operation, index, &d, &bulk->items[index]);
		to.id = m->id;
		to.body = &m->body;
	}
	return couch_attachments_take(t, r, &to, p);
}

static bool take_items(struct turn *t, struct request *r, struct problem *p)
{
	struct bulk *bulk = r->op;
	struct slice body;
	uint32_t max = t->gw->options.limits.batch_items_max;
	if (!native_operation(t, r, &bulk->operation, p) || !native_body(t, r, &body, p))
		return false;
	struct slice docs = value_member(body, slice_text("docs"));
	struct slice edits = value_member(body, slice_text("new_edits"));
	struct mp_reader edits_reader = mp_reader_of(edits);
	struct mp_token new_edits = mp_read(&edits_reader);
	struct mp_reader reader = mp_reader_of(docs);
	struct mp_token head = mp_read(&reader);
	if (docs.len == 0)
		return couch_problem(p, COUCH_NO_DOCS, "");
	if (head.type != MP_ARRAY)
		return couch_problem(p, COUCH_DOCS_NOT_LIST, "");
	if (edits.len > 0 && new_edits.type != MP_BOOL)
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "`new_edits` parameter must be a boolean.");
	if (head.count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
	bulk->count = head.count;
	bulk->old_edits = new_edits.type == MP_BOOL && !new_edits.flag;
	bulk->documents = arena_alloc(&r->arena, (head.count + 1) * sizeof *bulk->documents);
	bulk->locals = arena_alloc(&r->arena, (head.count + 1) * sizeof *bulk->locals);
	bulk->checks = arena_alloc(&r->arena, (head.count + 1) * sizeof *bulk->checks);
	if (!bulk->old_edits)
		bulk->items = arena_alloc(&r->arena, (head.count + 1) * sizeof *bulk->items);
	for (uint32_t i = 0; i < head.count; i++)
		if (!take_item(t, r, mp_value(&reader), i, p))
			return false;
	return true;
}

void couch_bulk_docs(struct turn *t, struct request *r)
{
	struct bulk *bulk = arena_alloc(&r->arena, sizeof *bulk);
	struct problem problem;
	r->op = bulk;
	bulk->work.arena = &r->arena;
	if (take_items(t, r, &problem))
		couch_find(t, r, bulk_go);
	else
		answer_problem(t, r, &problem);
}
