/* Documents of different kinds that share an id. While one is made by way of the lead, another is
 * taken as a branch by a replica that has not heard of it, as from a gateway that can't reach the
 * lead: two roots. Editors add entries to whatever they find, late too, and go on where a stub
 * sends them. What an arbiter writes for a split is held up now and then until it has tried again,
 * with what came to the id meanwhile: either may be there first. Once all are made, the collection
 * may become a consistent one, while branches still wait for its lead. Checked:
 * - whom a stub names is there, as soon as the stub is
 * - at the end, when all is quiet, every entry that was acknowledged or seen stands in exactly one
 * of the documents that have the id or are named by its stub, among entries of its own kind
 * - documents of one kind were not split
 * - the picture that one of them was made with is there wherever its document is */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "proto/msgpack.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 4, /* the first makes the documents and has the last look */
	DOCUMENTS = 4,
	SAME_KIND = DOCUMENTS - 1, /* both of this one's are of one kind */
	PICTURED = 0,              /* this one's person has an attachment */
	ENTRIES_MAX = 40,
	IDS_MAX = 4,
	PATH_BYTES = 64,
	PACE_MS = 900,
	LATE_MS = 2500,
	HOLDS_MAX = 6,
	HOLD_LEAST_MS = 2000, /* then an arbiter asks again */
	HOLD_MOST_MS = 4000,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000
};

enum collision_step {
	COLLISION_BEGIN,
	COLLISION_MAKE,
	COLLISION_SWITCH,
	COLLISION_READ,
	COLLISION_FOLLOW,
	COLLISION_WRITE
};

struct collision_actor {
	enum collision_step step;
	int document;
	int entry;
	char id[PATH_BYTES]; /* what is read, or written */
	char body[1024];     /* that will be written, then; empty: nothing */
	char etag[128];
};

struct entry {
	char kind;
	bool must; /* acknowledged or seen */
	int found;
};

struct collision_state {
	struct collision_actor actors[ACTORS];
	bool has_collection;
	bool looking; /* the last look has begun */
	int made;
	bool injected[DOCUMENTS];
	struct entry entries[DOCUMENTS][ENTRIES_MAX];
	int entries_count[DOCUMENTS];
	char ids[IDS_MAX][PATH_BYTES]; /* of the stub that is looked at last */
	int ids_count, ids_next;
	int splits;
	bool to_switch; /* to a consistent collection */
	int holds;
	int64_t held_until_us;
};

/* The bytes are "picture". */
#define PICTURE_DATA   "{\"content_type\":\"a/b\",\"data\":\"cGljdHVyZQ==\"}"
#define PICTURE        ",\"_attachments\":{\"p\":" PICTURE_DATA "}"
#define PICTURE_KEPT   ",\"_attachments\":{\"p\":{\"stub\":true}}"
#define PICTURE_DIGEST "\"digest\":\"md5-"

static struct collision_state *state_of(struct workload *w)
{
	return w->state;
}

static void rest(struct workload *w, int actor)
{
	state_of(w)->actors[actor].step = COLLISION_BEGIN;
	workload_rest(w, actor, PACE_MS);
}

static int new_entry(struct collision_state *s, int document, char kind)
{
	int entry = s->entries_count[document]++;
	s->entries[document][entry] = (struct entry){.kind = kind};
	return entry;
}

/* ---- making them ---- */

static void make(struct workload *w)
{
	struct collision_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "");
	if (!s->has_collection) {
		buf_append_text(&r->path, "/_/collections");
		buf_printf(&r->body,
			   "{\"name\":\"mix\",\"mode\":\"available\",\"keepAncestors\":64,"
			   "\"retainMs\":%lld,\"replicas\":%d,\"writeQuorum\":%d,\"policy\":"
			   "{\"roots\":{\"kind\":[\"kind\"]},\"paths\":{\"log\":\"set\"}}}",
			   (long long)w->sim->settings.retain_ms, w->sim->settings.replicas,
			   w->sim->settings.write_quorum);
	} else {
		struct collision_actor *a = &s->actors[0];
		r->method = HTTP_PUT;
		a->document = s->made;
		a->entry = new_entry(s, s->made, 'p');
		buf_printf(&r->path, "/mix/m%d", s->made);
		bool pictured = s->made == PICTURED;
		buf_printf(&r->body, "{\"kind\":\"p\",\"log\":[%d]%s}", a->entry,
			   pictured ? PICTURE : "");
		if (pictured)
			r->dialect = DIALECT_COUCH;
		else
			workload_header(r, "if-none-match", "*");
	}
	s->actors[0].step = COLLISION_MAKE;
	workload_ask(w, 0, r, TIMEOUT_US);
}

/* The same id to another replica, as a branch. */
static void inject(struct workload *w, int from, int document, const struct effect *effect,
		   const struct msg_doc_write *seen)
{
	struct collision_state *s = state_of(w);
	char kind = document == SAME_KIND ? 'p' : 'q';
	struct buf body = {0}, bytes = {0};
	uint64_t operation[2];
	for (int i = 0; i < 2; i++)
		operation[i] = rng_next(&w->rng);
	struct msg_doc_write m = {.shard = seen->shard,
				  .op = WRITE_PUT,
				  .id = seen->id,
				  .expect = EXPECT_ABSENT,
				  .branch = true};
	struct effect other = *effect;
	int node = 1 + (int)rng_below(&w->rng, (uint64_t)w->sim->settings.storage_nodes);
	other.send.member = w->sim->nodes[node].member;
	if (other.send.member == effect->send.member)
		return;
	s->injected[document] = true;
	mp_write_map(&body, 2);
	mp_write_text(&body, "kind");
	mp_write_str(&body, slice_of(&kind, 1));
	mp_write_text(&body, "log");
	mp_write_array(&body, 1);
	mp_write_u64(&body, (uint64_t)new_entry(s, document, kind));
	m.body = buf_slice(&body);
	m.operation_id = slice_of(operation, sizeof operation);
	schema_encode(&schema_msg_doc_write, &m, &bytes);
	other.send.body = buf_slice(&bytes);
	other.send.envelope.request_id = rng_next(&w->rng) >> 1;
	net_send(w->sim, from, &other);
	buf_close(&body);
	buf_close(&bytes);
}

/* It is about to be posted. */
static void hold(struct workload *w, int from, const struct effect *effect)
{
	struct collision_state *s = state_of(w);
	struct sim *sim = w->sim;
	if (sim->healed || sim->now_us < s->held_until_us || s->holds == HOLDS_MAX)
		return;
	const struct sim_node *to = sim_node_of(sim, effect->send.member);
	int64_t ms = rng_between(&w->rng, HOLD_LEAST_MS, HOLD_MOST_MS);
	s->holds++;
	s->held_until_us = sim->now_us + 2 * ms * 1000;
	sim->clogged_until_us[from][to - sim->nodes] = sim->now_us + ms * 1000;
	sim_log(sim, "collision holds what %s sends ms=%lld", sim->nodes[from].name, (long long)ms);
}

static void collision_on_send(struct workload *w, int from, const struct effect *effect)
{
	struct collision_state *s = state_of(w);
	struct msg_doc_write m;
	uint16_t type = effect->send.envelope.type;
	bool split = type == MSG_doc_write && w->sim->nodes[from].role == ROLE_ARBITER;
	bool branch = type == MSG_outbox_push && s->to_switch && s->made >= DOCUMENTS - 1;
	if (split || branch)
		hold(w, from, effect);
	if (type != MSG_doc_write || s->made == DOCUMENTS || s->injected[s->made] ||
	    w->sim->nodes[from].role != ROLE_GATEWAY)
		return;
	struct arena arena = {0};
	char id[16];
	snprintf(id, sizeof id, "m%d", s->made);
	/* others' documents have other names */
	if (schema_decode(&schema_msg_doc_write, effect->send.body, &arena, &m) &&
	    slice_is(m.id, id) && m.expect == EXPECT_ABSENT && !m.branch)
		inject(w, from, s->made, effect, &m);
	arena_close(&arena);
}

static void make_consistent(struct workload *w)
{
	struct collision_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_PATCH, "/_/collections/mix");
	buf_append_text(&r->body, "{\"mode\":\"consistent\"}");
	s->actors[0].step = COLLISION_SWITCH;
	workload_ask(w, 0, r, TIMEOUT_US);
}

/* ---- editing ---- */

static void read_one(struct workload *w, int actor, enum collision_step step)
{
	struct collision_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "");
	buf_printf(&r->path, "/mix/%s", a->id);
	a->step = step;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void write_one(struct workload *w, int actor)
{
	struct collision_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/mix/%s", a->id);
	buf_append_text(&r->query, "branch=true");
	buf_append_text(&r->body, a->body);
	workload_header(r, "if-match", a->etag);
	a->body[0] = 0;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* The ids that a stub names; 0: it is none. */
static int read_stub(const char *text, char ids[IDS_MAX][PATH_BYTES])
{
	const char *at = strstr(text, "\"_split\":[");
	int count = 0;
	for (at = at ? at + 10 : ""; *at == '"' && count < IDS_MAX; count++) {
		const char *end = strchr(at + 1, '"');
		snprintf(ids[count], PATH_BYTES, "%.*s", (int)(end - at - 1), at + 1);
		at = end[1] == ',' ? end + 2 : end + 1;
	}
	return count;
}

/* What is shown to anybody stays. */
static void take_entries(struct workload *w, int document, const char *text)
{
	struct collision_state *s = state_of(w);
	const char *kind = strstr(text, "\"kind\":\"");
	const char *at = strstr(text, "\"log\":[");
	if (!kind || !at) {
		sim_violation(w->sim, "collision: m%d is %s", document, text);
		return;
	}
	if (document == PICTURED && kind[8] == 'p' && !strstr(text, PICTURE_DIGEST))
		sim_violation(w->sim, "collision: m%d has no picture: %s", document, text);
	for (at += 7; *at && *at != ']';) {
		char *end;
		long n = strtol(at, &end, 10);
		if (end == at || n < 0 || n >= s->entries_count[document])
			break;
		struct entry *e = &s->entries[document][n];
		e->must = true;
		e->found++;
		if (e->kind != kind[8])
			sim_violation(w->sim, "collision: m%d: entry %ld is none of %s", document,
				      n, text);
		at = *end == ',' ? end + 1 : end;
	}
	if (*at != ']')
		sim_violation(w->sim, "collision: m%d has %s", document, text);
}

/* The same with one entry more, to be written now or later. */
static void prepare(struct workload *w, int actor, const char *text, const char *etag)
{
	struct collision_state *s = state_of(w);
	struct collision_actor *a = &s->actors[actor];
	const char *kind = strstr(text, "\"kind\":\"");
	const char *log = strstr(text, "\"log\":[");
	const char *end = log ? strchr(log, ']') : NULL;
	if (!kind || !end)
		return;
	a->entry = new_entry(s, a->document, kind[8]);
	a->step = COLLISION_WRITE;
	snprintf(a->body, sizeof a->body, "{\"kind\":\"%c\",%.*s%s%d]%s}", kind[8],
		 (int)(end - log), log, end[-1] == '[' ? "" : ",", a->entry,
		 strstr(text, PICTURE_DIGEST) ? PICTURE_KEPT : "");
	snprintf(a->etag, sizeof a->etag, "%s", etag);
	int64_t late_ms = rng_below(&w->rng, 2) ? rng_between(&w->rng, 0, LATE_MS) : 0;
	workload_sleep(w, actor, late_ms * 1000);
}

static void have_read(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct collision_actor *a = &state_of(w)->actors[actor];
	char ids[IDS_MAX][PATH_BYTES];
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&answer->body));
	int count = read_stub(buf_cstr(&text), ids);
	if (answer->status == 404 && a->step == COLLISION_FOLLOW)
		sim_violation(w->sim, "collision: a stub names %s, which is not there", a->id);
	if (answer->status != 200) {
		rest(w, actor);
	} else if (count > 0) {
		snprintf(a->id, sizeof a->id, "%s", ids[rng_below(&w->rng, (uint64_t)count)]);
		read_one(w, actor, COLLISION_FOLLOW);
	} else {
		take_entries(w, a->document, buf_cstr(&text));
		prepare(w, actor, buf_cstr(&text), answer->etag);
	}
	buf_close(&text);
}

static void begin_edit(struct workload *w, int actor)
{
	struct collision_state *s = state_of(w);
	struct collision_actor *a = &s->actors[actor];
	a->document = s->made ? (int)rng_below(&w->rng, (uint64_t)s->made) : 0;
	snprintf(a->id, sizeof a->id, "m%d", a->document);
	if (s->made > 0 && s->entries_count[a->document] + 2 * ACTORS < ENTRIES_MAX)
		read_one(w, actor, COLLISION_READ);
	else
		rest(w, actor);
}

/* ---- the end ---- */

static bool is_over(struct workload *w)
{
	return workload_is_over(w, 1, ACTORS - 1);
}

static void check_document(struct workload *w, int document)
{
	struct collision_state *s = state_of(w);
	if (document == SAME_KIND && s->ids_count > 0)
		sim_violation(w->sim, "collision: m%d was split", document);
	s->splits += s->ids_count > 0;
	for (int i = 0; i < s->entries_count[document]; i++)
		if (s->entries[document][i].must && s->entries[document][i].found != 1)
			sim_violation(w->sim, "collision: entry %d of m%d is there %d times", i,
				      document, s->entries[document][i].found);
}

/* The next document that a stub names, or the next id. */
static void look_on(struct workload *w)
{
	struct collision_state *s = state_of(w);
	struct collision_actor *a = &s->actors[0];
	if (a->step == COLLISION_FOLLOW && s->ids_next == s->ids_count) {
		check_document(w, a->document++);
		a->step = COLLISION_BEGIN;
	}
	if (a->step == COLLISION_FOLLOW) {
		snprintf(a->id, sizeof a->id, "%s", s->ids[s->ids_next]);
		read_one(w, 0, COLLISION_FOLLOW);
	} else if (a->document >= s->made) {
		w->actors[0].done = true;
	} else {
		s->ids_count = s->ids_next = 0;
		for (int i = 0; i < ENTRIES_MAX; i++)
			s->entries[a->document][i].found = 0;
		snprintf(a->id, sizeof a->id, "m%d", a->document);
		read_one(w, 0, COLLISION_READ);
	}
}

static void begin_look(struct workload *w)
{
	struct collision_state *s = state_of(w);
	s->looking = true;
	s->actors[0].document = 0;
	s->actors[0].step = COLLISION_BEGIN;
	look_on(w);
}

static void have_looked(struct workload *w, const struct sim_answer *answer)
{
	struct collision_state *s = state_of(w);
	struct collision_actor *a = &s->actors[0];
	struct buf text = {0};
	buf_append_slice(&text, buf_slice(&answer->body));
	bool fine = answer->status == 200 || answer->status == 404;
	if (fine && a->step == COLLISION_READ) {
		s->ids_count = read_stub(buf_cstr(&text), s->ids);
		if (s->ids_count == 0 && answer->status == 200)
			take_entries(w, a->document, buf_cstr(&text));
		a->step = COLLISION_FOLLOW;
	} else if (fine) {
		if (answer->status == 404)
			sim_violation(w->sim, "collision: %s is not there", a->id);
		else
			take_entries(w, a->document, buf_cstr(&text));
		s->ids_next++;
	}
	buf_close(&text);
	workload_sleep(w, 0, RETRY_US);
}

/* ---- steps ---- */

static void step_maker(struct workload *w)
{
	struct collision_state *s = state_of(w);
	if (!w->sim->healed && s->made < DOCUMENTS)
		make(w);
	else if (!w->sim->healed && s->to_switch)
		make_consistent(w);
	else if (!w->sim->healed)
		begin_edit(w, 0);
	else if (is_over(w) && s->looking)
		look_on(w);
	else if (is_over(w))
		begin_look(w);
	else
		workload_sleep(w, 0, RETRY_US);
}

static void collision_step(struct workload *w, int actor)
{
	struct collision_actor *a = &state_of(w)->actors[actor];
	workload_forget(w, actor);
	if (a->body[0])
		write_one(w, actor);
	else if (actor == 0)
		step_maker(w);
	else if (w->sim->healed)
		w->actors[actor].done = true;
	else
		begin_edit(w, actor);
}

static void collision_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct collision_state *s = state_of(w);
	struct collision_actor *a = &s->actors[actor];
	bool stored = answer->status == 200 || answer->status == 201;
	bool making = a->step == COLLISION_MAKE;
	if (!workload_answered(w, actor, answer))
		return;
	if (making && !s->has_collection) {
		s->has_collection = stored || answer->status == 409;
		rest(w, actor);
	} else if (making) {
		/* a 202 lies on one disk only, and may go with it */
		s->entries[a->document][a->entry].must |= stored;
		s->made++;
		rest(w, actor);
	} else if (a->step == COLLISION_SWITCH) {
		s->to_switch = !stored;
		rest(w, actor);
	} else if (a->step == COLLISION_WRITE) {
		s->entries[a->document][a->entry].must |= stored;
		rest(w, actor);
	} else if (s->looking && actor == 0) {
		have_looked(w, answer);
	} else {
		have_read(w, actor, answer);
	}
}

static void collision_heal(struct workload *w)
{
	struct collision_actor *a = &state_of(w)->actors[0];
	workload_forget(w, 0);
	a->body[0] = 0;
	a->document = 0;
	rest(w, 0);
}

static void collision_start(struct workload *w)
{
	state_of(w)->to_switch = rng_below(&w->rng, 2) == 0;
}

static void collision_check(struct workload *w)
{
	struct collision_state *s = state_of(w);
	sim_log(w->sim, "collision: %d documents, %d of them split", s->made, s->splits);
}

const struct workload_ops collision_workload = {
    .name = "collision",
    .actors = ACTORS,
    .state_bytes = sizeof(struct collision_state),
    .one_in = 2,
    .start = collision_start,
    .start_ms = 400,
    .step = collision_step,
    .on_answer = collision_on_answer,
    .on_send = collision_on_send,
    .on_heal = collision_heal,
    .check = collision_check,
};
