/* Documents of _replicator. */
#include "common/doc/value.h"
#include "gateway/couch/auth.h"
#include "gateway/replicate/internal.h"
#include "gateway/routes.h"

enum { REPLICATOR_BYTES_MAX = 256 * 1024 };

static const struct couch_user *plain_user(const struct request *r)
{
	return r->couch.user && !r->couch.user->admin ? r->couch.user : NULL;
}

/* {"name": ..., "roles": [...]}: what the job may do. */
static void write_rights(const struct couch_user *user, struct buf *out)
{
	mp_write_text(out, "user_ctx");
	mp_write_map(out, 2);
	mp_write_text(out, "name");
	mp_write_str(out, user->name);
	mp_write_text(out, "roles");
	mp_write_array(out, user->roles_count);
	for (uint32_t i = 0; i < user->roles_count; i++)
		mp_write_str(out, user->roles[i]);
}

/* ["source", "target"]: what is_here said of them. */
static void write_here(const struct replication *what, struct buf *out)
{
	mp_write_text(out, REPLICATION_HERE);
	mp_write_array(out, what->sides[SIDE_SOURCE].here + what->sides[SIDE_TARGET].here);
	for (int i = 0; i < SIDES; i++)
		if (what->sides[i].here)
			mp_write_text(out, replication_side(i));
}

static bool any_here(const struct replication *what)
{
	return what->sides[SIDE_SOURCE].here || what->sides[SIDE_TARGET].here;
}

/* The body with the owner behind it; of one with a password also what he may do, whatever he says
 * himself; likewise which sides are here. */
static void add_notes(struct request *r, const struct replication *what, struct couch_document *d)
{
	const struct couch_user *user = plain_user(r);
	bool owned = !user && value_member(d->body, slice_text("owner")).len > 0;
	struct buf members = {0};
	struct buf out = {0};
	struct mp_reader reader = mp_reader_of(d->body);
	uint32_t count = mp_read(&reader).count;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		if ((!owned && slice_is(name.bytes, "owner")) ||
		    (user && slice_is(name.bytes, "user_ctx")) ||
		    slice_is(name.bytes, REPLICATION_HERE))
			continue;
		mp_write_str(&members, name.bytes);
		buf_append_slice(&members, value);
		kept++;
	}
	mp_write_map(&out, kept + !owned + (user != NULL) + any_here(what));
	buf_append_slice(&out, buf_slice(&members));
	if (!owned) {
		mp_write_text(&out, "owner");
		mp_write_str(&out, r->couch.user ? r->couch.user->name : slice_of(NULL, 0));
	}
	if (user)
		write_rights(user, &out);
	if (any_here(what))
		write_here(what, &out);
	d->body = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&members);
	buf_close(&out);
}

/* CouchDB refuses what is no job with 403. */
static bool check_job(struct turn *t, struct request *r, struct slice body,
		      struct replication *what, struct problem *p)
{
	struct asker asker = {0};
	if (r->http) { /* a document that a function makes may come later */
		asker.host = request_header(r, "host");
		asker.authorization = request_header(r, "authorization");
	}
	bool fine = replication_parse_for(t->gw, body, &asker, &r->arena, what, p);
	if (!fine && p->couch == COUCH_BAD_REPLICATION) {
		struct problem refused;
		couch_problem(&refused, COUCH_FORBIDDEN, p->detail);
		*p = refused;
	}
	return fine;
}

bool couch_replicator_take(struct turn *t, struct request *r, struct couch_document *d,
			   struct problem *p)
{
	struct replication what;
	bool design = d->id.len > 8 && memcmp(d->id.data, "_design/", 8) == 0;
	if (!couch_is_replicator(r) || r->reply || d->deleted || design)
		return true;
	if (plain_user(r) && r->resource.len == 0 && d->id.len > 0)
		return couch_problem(p, COUCH_FORBIDDEN, "Your job is written by PUT.");
	if (d->body.len > REPLICATOR_BYTES_MAX)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "_replicator", REPLICATOR_BYTES_MAX,
				     d->body.len);
	if (!check_job(t, r, d->body, &what, p) &&
	    !slice_is(value_text_member(d->body, "_replication_state"), "failed"))
		return false;
	add_notes(r, &what, d);
	return true;
}

/* ---- who has a password sees his own ---- */

static void have_current(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || (!status_is_success(status) && status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	bool there = status_is_success(status) && !ack->deleted;
	r->op = NULL;
	if (there && !slice_equal(value_text_member(ack->body, "owner"), r->couch.user->name))
		couch_answer_error(t, r, COUCH_NOT_OWNER);
	else
		r->route->handler(t, r);
}

static void read_current(struct turn *t, struct request *r, struct map_collection *c)
{
	struct msg_doc_read *m = arena_alloc(&r->arena, sizeof *m);
	m->id = r->resource;
	r->op = m;
	if (!c) /* it is there once somebody writes */
		r->route->handler(t, r);
	else if (!couch_read_send(t, r, c, m, have_current))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* An older version may have been another's. */
static bool is_of_one(const struct request *r)
{
	struct slice value;
	bool reads = r->route->method == HTTP_GET;
	bool one = strcmp(r->route->pattern, "/{db}/{doc}") == 0 && r->resource.len > 0 &&
		   r->resource.data[0] != '_';
	return one && !request_parameter(r, "new_edits", &value) &&
	       !request_parameter(r, "open_revs", &value) &&
	       !(reads && request_parameter(r, "rev", &value));
}

void couch_replicator_permit(struct turn *t, struct request *r)
{
	bool makes = strcmp(r->route->pattern, "/{db}") == 0 && r->route->method == HTTP_POST;
	if (makes)
		r->route->handler(t, r);
	else if (!is_of_one(r))
		couch_answer_error(t, r, COUCH_NOT_MEMBER);
	else if (!request_keep(t->gw, r))
		answer_status(t, r, STATUS_OVERLOADED, "");
	else
		collection_find(t, r, false, read_current);
}
