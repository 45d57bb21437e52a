/* Documents that say who may do what: users, and databases' _security. Each request of a client
 * with a password needs two of them; so they are remembered for COUCH_KNOWN_MS. What was written
 * through this gateway counts at once, what came through another one that much later. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/probe.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/auth_private.h"
#include "gateway/couch/rules.h"
#include "gateway/replicate/schedule.h"

enum { KNOWN_MAX = 4096, KNOWN_BYTES_MAX = 64 << 20 };

struct known_entry {
	struct couch_known known;
	struct buf bytes; /* hash of the revision, body */
};

struct wanting {
	struct slice collection; /* of the request */
	struct slice wanted;     /* its collection, while it is this that is looked for */
	void *op;
	struct msg_doc_read read;
	int64_t asked_ms;
	couch_known_step *next;
};

void couch_bound(struct map *m, size_t max)
{
	size_t at = 0;
	if (m->count < max)
		return;
	struct map_entry *oldest = map_next(m, &at);
	void *value = map_remove(m, slice_of(oldest->key, oldest->key_len));
	free(value);
}

static void entry_free(struct couch_auth *auth, struct known_entry *e)
{
	if (!e)
		return;
	auth->known_bytes -= e->bytes.cap;
	buf_close(&e->bytes);
	free(e);
}

static struct slice key_of(struct buf *scratch, struct slice collection, struct slice id)
{
	buf_clear(scratch);
	buf_append_slice(scratch, collection);
	buf_append_byte(scratch, '/');
	buf_append_slice(scratch, id);
	return buf_slice(scratch);
}

void couch_known_forget(struct gateway *gw, struct slice collection, struct slice id)
{
	if (gw->auth->known.count > 0)
		entry_free(gw->auth, map_remove(&gw->auth->known,
						key_of(&gw->auth->scratch, collection, id)));
}

void couch_wrote(struct turn *t, struct request *r, struct slice id)
{
	couch_known_forget(t->gw, r->collection, id);
	couch_rules_written(t, r, id);
	if (couch_is_replicator(r))
		schedule_hint(t->gw);
}

void couch_known_close(struct couch_auth *auth)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&auth->known, &at)) != NULL;)
		entry_free(auth, e->value);
	map_close(&auth->known);
}

/* Documents of users may be large. */
static void make_room(struct couch_auth *auth, size_t bytes)
{
	struct map *known = &auth->known;
	while (known->count > 0 && (known->count >= BOUND(known, KNOWN_MAX) ||
				    auth->known_bytes + bytes > KNOWN_BYTES_MAX)) {
		size_t at = 0;
		struct map_entry *oldest = map_next(known, &at);
		entry_free(auth, map_remove(known, slice_of(oldest->key, oldest->key_len)));
	}
}

static const struct couch_known *remember(struct gateway *gw, const struct wanting *w,
					  const struct msg_doc_read_ack *ack)
{
	struct couch_auth *auth = gw->auth;
	struct known_entry *e = mem_alloc_zero(sizeof *e);
	if (ack) {
		buf_append_slice(&e->bytes, ack->revision.hash);
		buf_append_slice(&e->bytes, ack->body);
		size_t hash = ack->revision.hash.len;
		e->known.revision.generation = ack->revision.generation;
		e->known.revision.hash = slice_of(e->bytes.data, hash);
		if (ack->body.len > 0)
			e->known.body = slice_of(e->bytes.data + hash, ack->body.len);
	}
	e->known.there = ack != NULL;
	e->known.asked_ms = w->asked_ms;
	couch_known_forget(gw, w->wanted, w->read.id);
	make_room(auth, e->bytes.cap);
	(void)map_put(&auth->known, key_of(&auth->scratch, w->wanted, w->read.id), e);
	auth->known_bytes += e->bytes.cap;
	return &e->known;
}

static void go_on(struct turn *t, struct request *r, const struct msg_doc_read_ack *ack)
{
	const struct wanting *w = r->op;
	const struct couch_known *known = remember(t->gw, w, ack);
	r->op = w->op;
	r->collection = w->collection;
	w->next(t, r, known);
}

static void have_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (ack && status_is_success(status) && !ack->deleted)
		go_on(t, r, ack);
	else if (ack && (status_is_success(status) || status == STATUS_NOT_FOUND))
		go_on(t, r, NULL);
	else
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
}

static void have_collection(struct turn *t, struct request *r, struct map_collection *c)
{
	struct wanting *w = r->op;
	if (!c)
		go_on(t, r, NULL);
	else if (!couch_read_send(t, r, c, &w->read, have_read))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_known_want(struct turn *t, struct request *r, struct slice collection, struct slice id,
		      couch_known_step *next)
{
	struct gateway *gw = t->gw;
	const struct known_entry *e =
	    map_get(&gw->auth->known, key_of(&gw->auth->scratch, collection, id));
	if (e && t->now_ms - e->known.asked_ms < COUCH_KNOWN_MS) {
		next(t, r, &e->known);
		return;
	}
	if (!request_keep(gw, r)) {
		answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	struct wanting *w = arena_alloc(&r->arena, sizeof *w);
	*w = (struct wanting){.collection = r->collection,
			      .wanted = collection,
			      .op = r->op,
			      .asked_ms = t->now_ms,
			      .next = next};
	w->read.id = arena_copy(&r->arena, id);
	r->op = w;
	r->collection = collection;
	collection_find(t, r, false, have_collection);
}
