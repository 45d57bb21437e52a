/* Documents of _replicator. */
#include "common/doc/value.h"
#include "gateway/couch/auth.h"
#include "gateway/replicate/internal.h"

enum { REPLICATOR_BYTES_MAX = 256 * 1024 };

static struct slice text_member(struct slice value, const char *name)
{
	struct mp_reader reader = mp_reader_of(value_member(value, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
}

/* The body with the owner behind it. */
static void add_owner(struct request *r, struct couch_document *d)
{
	struct buf out = {0};
	struct mp_reader reader = mp_reader_of(d->body);
	uint32_t count = mp_read(&reader).count;
	mp_write_map(&out, count + 1);
	buf_append_slice(&out, slice_of(reader.at, (size_t)(reader.end - reader.at)));
	mp_write_text(&out, "owner");
	mp_write_str(&out, r->couch.user ? r->couch.user->name : slice_of(NULL, 0));
	d->body = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&out);
}

/* CouchDB refuses what is no job with 403. */
static bool check_job(struct turn *t, struct slice body, struct problem *p)
{
	struct arena arena = {0};
	struct replication what;
	bool fine = replication_parse(t->gw, body, &arena, &what, p);
	arena_close(&arena);
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
	bool design = d->id.len > 8 && memcmp(d->id.data, "_design/", 8) == 0;
	if (!couch_is_replicator(r) || r->reply || d->deleted || design)
		return true;
	if (d->body.len > REPLICATOR_BYTES_MAX)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "_replicator", REPLICATOR_BYTES_MAX,
				     d->body.len);
	if (!slice_is(text_member(d->body, "_replication_state"), "failed") &&
	    !check_job(t, d->body, p))
		return false;
	if (value_member(d->body, slice_text("owner")).len == 0)
		add_owner(r, d);
	return true;
}
