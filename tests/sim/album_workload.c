/* Pictures of documents in conflict. Each editor has a document, or shares it, attaches a picture,
 * takes it away again, and edits the versions that had it, picture included, as offline clients do;
 * meanwhile arbiters resolve the conflicts, and clean up what lost, and its picture with it.
 * Checked:
 * - kept: at any time a picture that a version names is there, on every disk */
#include <stdio.h>

#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 6,
	LATE_EDITS = 2, /* of a picture: one that loses, one that comes as it is cleaned up */
	SEEN_MAX = 1 + LATE_EDITS,
	SHARE_MOST = 3,
	REV_BYTES = 128,
	PACE_MS = 250,
	LATE_US = 4000000, /* between late edits, unless a cleanup begins */
	RACE_US = 15000,
	TIMEOUT_US = 9000000,
	RETRY_US = 250000
};

enum album_step { ALBUM_LOOK, ALBUM_ATTACH, ALBUM_REMOVE, ALBUM_LATE };

struct editor {
	enum album_step step; /* next, or under way */
	char rev[REV_BYTES];  /* of the version without picture, as last seen; empty: none */
	char seen[SEEN_MAX][REV_BYTES]; /* versions with the picture */
	int seen_count;
	int tries; /* late edits of this picture */
	int edits;
};

struct album_state {
	struct editor editors[ACTORS];
	uint64_t collection;
	bool opened;
	int share; /* so many editors have one document */
};

static struct album_state *state_of(struct workload *w)
{
	return w->state;
}

static int document_of(struct workload *w, int actor)
{
	return actor / state_of(w)->share;
}

/* ---- asking ---- */

/* Mostly the version that has come first stays, so that late edits lose. No ancestors are kept,
 * also where the collection becomes an available one. */
static void open_album(struct workload *w)
{
	const struct sim_settings *set = &w->sim->settings;
	bool made = state_of(w)->collection != 0;
	struct sim_http *r = workload_request(w, 0, made ? HTTP_PATCH : HTTP_POST,
					      made ? "/_/collections/album" : "/_/collections");
	if (made) {
		workload_header(r, "content-type", "application/merge-patch+json");
		buf_append_text(&r->body, "{\"mode\":\"available\"}");
	} else {
		buf_printf(&r->body,
			   "{\"name\":\"album\",\"retainMs\":%lld,\"replicas\":%d,"
			   "\"writeQuorum\":%d,\"policy\":{\"strategy\":\"%s\"}}",
			   (long long)set->retain_ms, set->replicas, set->write_quorum,
			   set->seed % 4 ? "oldest" : "newest");
	}
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void look(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "");
	buf_printf(&r->path, "/album/p%d", document_of(w, actor));
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void attach(struct workload *w, int actor)
{
	struct editor *e = &state_of(w)->editors[actor];
	struct sim_http *r = workload_couch_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/album/p%d/x", document_of(w, actor));
	if (e->rev[0])
		buf_printf(&r->query, "rev=%s", e->rev);
	buf_printf(&r->body, "picture %d of %d", e->edits, actor); /* nobody else's */
	workload_header(r, "content-type", "image/png");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void edit(struct workload *w, int actor, const char *rev, bool late)
{
	struct editor *e = &state_of(w)->editors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/album/p%d", document_of(w, actor));
	if (late)
		buf_append_text(&r->query, "branch=true");
	buf_printf(&r->body, "{\"n\":%d%s}", e->edits,
		   late ? ",\"_attachments\":{\"x\":{\"stub\":true}}" : "");
	workload_header(r, "if-match", rev);
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* ---- steps ---- */

static void go_on(struct workload *w, int actor)
{
	struct editor *e = &state_of(w)->editors[actor];
	if (w->sim->healed) {
		w->actors[actor].done = true;
		return;
	}
	e->edits++;
	if (e->step == ALBUM_LOOK)
		look(w, actor);
	else if (e->step == ALBUM_ATTACH)
		attach(w, actor);
	else if (e->step == ALBUM_REMOVE)
		edit(w, actor, e->seen[0], false);
	else
		edit(w, actor, e->seen[e->tries > 0 ? e->seen_count - 1 : 0], true);
}

static void album_step(struct workload *w, int actor)
{
	if (workload_give_up(w, actor))
		state_of(w)->editors[actor].step = ALBUM_LOOK;
	const struct album_state *s = state_of(w);
	if (!workload_is_opened(w, actor, s->opened, open_album, RETRY_US))
		return;
	attachments_check_disks(w, s->collection);
	go_on(w, actor);
}

/* 412: the version is gone, and its picture. */
static void advance(struct editor *e, const struct sim_answer *answer)
{
	bool done = answer->status < 300 && answer->etag[0];
	if (e->step == ALBUM_LOOK && (done || answer->status == 404)) {
		snprintf(e->rev, sizeof e->rev, "%s", done ? answer->etag : "");
		e->step = ALBUM_ATTACH;
		e->seen_count = e->tries = 0;
		return;
	}
	if (done && (e->step == ALBUM_ATTACH || e->step == ALBUM_LATE))
		snprintf(e->seen[e->seen_count++], REV_BYTES, "%s", answer->etag);
	if (!done || (e->step == ALBUM_LATE && ++e->tries == LATE_EDITS))
		e->step = ALBUM_LOOK;
	else if (e->step != ALBUM_LATE)
		e->step++;
}

static void album_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct album_state *s = state_of(w);
	if (!workload_answered(w, actor, answer))
		return;
	if (s->opened)
		advance(&s->editors[actor], answer);
	else if (s->collection != 0)
		s->opened = answer->status == 200;
	else
		s->collection = workload_collection_id(buf_slice(&answer->body));
	s->opened |= s->collection != 0 && w->sim->settings.seed % 2;
	if (s->editors[actor].step == ALBUM_LATE && s->editors[actor].tries > 0)
		workload_sleep(w, actor, LATE_US);
	else
		workload_rest(w, actor, PACE_MS);
}

/* What it resolved is about to be cleaned up: its late edits race with that. */
static void hurry(struct workload *w, struct slice id)
{
	for (int i = 0; i < ACTORS; i++) {
		const char name[] = {'p', (char)('0' + document_of(w, i)), 0};
		if (slice_is(id, name) && state_of(w)->editors[i].step == ALBUM_LATE &&
		    w->actors[i].request == 0)
			workload_sleep(w, i, rng_between(&w->rng, 1, RACE_US));
	}
}

static void album_on_send(struct workload *w, int from, const struct effect *effect)
{
	struct msg_cleanup_commit m;
	struct arena arena = {0};
	(void)from;
	if (effect->send.envelope.type != MSG_cleanup_commit)
		return;
	CHECK(schema_decode(&schema_msg_cleanup_commit, effect->send.body, &arena, &m));
	for (uint32_t i = 0; i < m.items_count; i++)
		hurry(w, m.items[i].id);
	arena_close(&arena);
}

static void album_start(struct workload *w)
{
	state_of(w)->share = 1 + workload_below(w, SHARE_MOST);
}

const struct workload_ops album_workload = {
    .name = "album",
    .actors = ACTORS,
    .state_bytes = sizeof(struct album_state),
    .one_in = 4,
    .drawn = 1,
    .start = album_start,
    .start_ms = 500,
    .step = album_step,
    .on_answer = album_on_answer,
    .on_send = album_on_send,
};
