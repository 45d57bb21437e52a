/* Documents of _replicator that an operator writes, edits and deletes, while gateways that run
 * their jobs die, stand still and lose their leases; a writer fills the source.
 *
 * Checked: each job that ends is done once, says so once, and all that its source had when its
 * document was written last is in its target; of who has no lease, or was followed by another
 * gateway, no checkpoint is taken; when the last document has gone, no gateway knows of a job. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/map.h"
#include "common/base/memory.h"
#include "common/doc/value.h"
#include "tests/sim/workload.h"

enum {
	WRITER,
	OPERATOR,
	ACTORS,
	LINES = 6,     /* documents of the source */
	DATABASES = 3, /* the source, and what jobs that end, and the one that does not, fill */
	JOBS = 4,      /* the last one is continuous */
	LIVE = JOBS - 1,
	PUSHES_MAX = 200,
	EDITS_MAX = 4,
	ASK_US = 9000000,
	RETRY_US = 300000,
	KICK_US = 8000000, /* a job that has not ended by then is edited */
	SESSIONS_MAX = 64,
	RUNNER_BYTES = 7 + 32
};

enum step {
	STEP_PUT,
	STEP_READ,
	STEP_EDIT,
	STEP_ENDED,
	STEP_TARGET,
	STEP_ID,
	STEP_DELETE,
	STEP_QUIET
};

struct job_document {
	bool there;
	bool over; /* completed, and looked at */
	int edits; /* the newest that was asked for */
	char revision[64];
	int least[LINES];    /* what the source had before that edit was sent first */
	int least_of;        /* its number, from 1 */
	int64_t kicked_us;   /* when it was written last */
	char id[2 * 16 + 1]; /* of the replication; empty: not known */
};

struct checkpoints {
	char sessions[SESSIONS_MAX][2 * 16 + 1];
	int nodes[SESSIONS_MAX];
	int count;
	bool crossed;  /* one was taken that another gateway's had followed */
	bool unleased; /* one was taken that a gateway had sent after its lease */
};

/* A checkpoint on its way. */
struct write {
	struct checkpoints *of;
	char session[2 * 16 + 1];
	int node;
	bool late;    /* first sent when the lease had ended */
	int followed; /* sessions that others had begun when it was sent first */
	bool taken;
};

/* A sign of life. */
struct beat {
	int node;
	int64_t until_us; /* the lease, if it is taken */
};

struct state {
	int made; /* databases */
	int lines[LINES];
	int acknowledged[LINES];
	int pushed; /* line under way; -1: none */
	int pushes;
	struct job_document jobs[JOBS];
	enum step step;
	int job;       /* that the operator is at */
	bool looked;   /* at what those that end have brought */
	bool deleting; /* the continuous one: asked for, perhaps done */
	bool deleted;
	int gateway;            /* that is looked at in the end */
	struct map checkpoints; /* by id */
	struct map writes;      /* of them, by operation */
	struct map writes_sent; /* by request */
	struct map beats;       /* by operation */
	struct map beats_sent;  /* by request */
	int64_t lease_until_us[SIM_NODES_MAX];
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void start(struct workload *w)
{
	state_of(w)->pushed = -1;
	for (int i = 0; i < ACTORS; i++)
		workload_sleep(w, i, 300000 + workload_below(w, 2000000));
}

static const char *name_of(int job)
{
	static const char *const names[JOBS] = {"once-0", "once-1", "once-2", "live"};
	return names[job];
}

/* ---- the source ---- */

static void ask_database(struct workload *w, int actor)
{
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/_/collections");
	buf_printf(&r->body, "{\"name\":\"sched-%d\",\"shards\":%d}", state_of(w)->made,
		   1 + workload_below(w, 2));
	workload_ask(w, actor, r, ASK_US);
}

static void push(struct workload *w)
{
	struct state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, WRITER, HTTP_POST, "/sched-0/_bulk_docs");
	if (s->pushed < 0) {
		s->pushed = workload_below(w, LINES);
		s->lines[s->pushed]++;
		s->pushes++;
	}
	workload_fill_push(r, s->pushed, s->lines[s->pushed], "");
	workload_ask(w, WRITER, r, ASK_US);
}

static void writer_step(struct workload *w)
{
	struct state *s = state_of(w);
	bool ends = w->sim->healed || s->pushes == PUSHES_MAX;
	if (s->made < DATABASES)
		workload_sleep(w, WRITER, RETRY_US);
	else if (s->pushed >= 0 || !ends)
		push(w);
	else
		w->actors[WRITER].done = true;
}

static void pushed(struct workload *w, const struct sim_answer *answer)
{
	struct state *s = state_of(w);
	if (answer->status == 201 && s->pushed >= 0) {
		s->acknowledged[s->pushed] = s->lines[s->pushed];
		s->pushed = -1;
	}
	workload_rest(w, WRITER, 250);
}

/* ---- documents ---- */

static struct sim_http *request_for(struct workload *w, enum http_method method, int job)
{
	struct sim_http *r = workload_couch_request(w, OPERATOR, method, "/_replicator/");
	buf_append_text(&r->path, name_of(job));
	return r;
}

static void print_job(struct workload *w, int job, struct buf *out)
{
	const struct job_document *d = &state_of(w)->jobs[job];
	buf_append_byte(out, '{');
	if (d->revision[0])
		buf_printf(out, "\"_rev\":\"%s\",", d->revision);
	buf_printf(out, "\"source\":\"sched-0\",\"n\":%d,", d->edits);
	if (job == LIVE)
		buf_append_text(out, "\"target\":\"sched-2\",\"continuous\":true}");
	else
		buf_printf(out, "\"target\":\"sched-1\",\"doc_ids\":[\"d%d\",\"d%d\"]}", 2 * job,
			   2 * job + 1);
}

static void write_job(struct workload *w, int job)
{
	struct state *s = state_of(w);
	struct job_document *d = &s->jobs[job];
	struct sim_http *r = request_for(w, HTTP_PUT, job);
	if (d->least_of != d->edits + 1)
		memcpy(d->least, s->acknowledged, sizeof d->least);
	d->least_of = d->edits + 1;
	d->kicked_us = w->sim->now_us;
	print_job(w, job, &r->body);
	workload_ask(w, OPERATOR, r, ASK_US);
}

static void read_job(struct workload *w, int job)
{
	state_of(w)->step = STEP_READ;
	state_of(w)->job = job;
	workload_ask(w, OPERATOR, request_for(w, HTTP_GET, job), ASK_US);
}

/* A GET of another address. */
static void ask_for(struct workload *w, enum step step, const char *path, const char *query)
{
	struct sim_http *r = workload_couch_request(w, OPERATOR, HTTP_GET, path);
	state_of(w)->step = step;
	buf_append_text(&r->query, query);
	workload_ask(w, OPERATOR, r, ASK_US);
}

static void ask_quiet(struct workload *w)
{
	struct state *s = state_of(w);
	struct sim_http *r = workload_couch_request(w, OPERATOR, HTTP_GET, "/_scheduler/docs");
	s->step = STEP_QUIET;
	buf_append_text(&r->query, "states=initializing,pending,running,crashing");
	workload_ask_at(w, OPERATOR, s->gateway, r, ASK_US);
}

/* In the end: what ends first, then what the continuous one has done. */
static void end_step(struct workload *w)
{
	struct state *s = state_of(w);
	for (int i = 0; i < LIVE; i++)
		if (!s->jobs[i].over) {
			read_job(w, i);
			return;
		}
	if (!s->looked)
		ask_for(w, STEP_ENDED, "/sched-1/_changes", "style=all_docs");
	else if (s->deleted)
		ask_quiet(w);
	else if (!s->jobs[LIVE].over)
		ask_for(w, STEP_TARGET, "/sched-2/_changes", "style=all_docs");
	else if (!s->jobs[LIVE].id[0])
		ask_for(w, STEP_ID, "/_scheduler/docs/_replicator/live", "");
	else
		read_job(w, LIVE);
}

static void operator_step(struct workload *w)
{
	struct state *s = state_of(w);
	if (s->made < DATABASES) {
		ask_database(w, OPERATOR);
		return;
	}
	for (int i = 0; i < JOBS; i++)
		if (!s->jobs[i].there) {
			s->step = STEP_PUT;
			s->job = i;
			write_job(w, i);
			return;
		}
	if (!w->sim->healed)
		read_job(w, workload_below(w, JOBS));
	else if (!w->actors[WRITER].done)
		workload_sleep(w, OPERATOR, RETRY_US);
	else
		end_step(w);
}

/* ---- what is told of them ---- */

static int number_after(const char *text, const char *name)
{
	const char *at = strstr(text, name);
	return at ? (int)strtol(at + strlen(name), NULL, 10) : -1;
}

static void text_after(const char *text, const char *name, char *out, size_t size)
{
	const char *at = strstr(text, name);
	const char *end = at ? strchr(at + strlen(name), '"') : NULL;
	if (end)
		snprintf(out, size, "%.*s", (int)(end - at - (int)strlen(name)), at + strlen(name));
}

static void ended_read(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	workload_sleep(w, OPERATOR, RETRY_US);
	s->looked = answer->status == 200;
	for (int i = 0; s->looked && i < 2 * LIVE; i++) {
		const struct job_document *d = &s->jobs[i / 2];
		char row[40];
		snprintf(row, sizeof row, "\"d%d\",\"changes\":[{\"rev\":\"", i);
		if (d->least_of == d->edits + 1 && d->least[i] > 0 &&
		    number_after(text, row) < d->least[i])
			sim_violation(w->sim, "%s ended without d%d as it was (%d): %s",
				      name_of(i / 2), i, d->least[i], text);
	}
}

/* Written once by the operator, then edited so often, and then once by the job. */
static void job_completed(struct workload *w, int job, const char *text)
{
	struct job_document *d = &state_of(w)->jobs[job];
	int generation = (int)strtol(d->revision, NULL, 10);
	int edits = number_after(text, "\"n\":");
	if (edits != d->edits) /* the newest never came */
		d->least_of = 0;
	text_after(text, "\"_replication_id\":\"", d->id, sizeof d->id);
	d->over = true;
	if (generation != edits + 2)
		sim_violation(w->sim, "%s is done at %s with %d edits: %s", name_of(job),
			      d->revision, edits, text);
}

static void edit(struct workload *w, int job)
{
	struct state *s = state_of(w);
	s->step = STEP_EDIT;
	write_job(w, job);
}

static void job_read(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	struct job_document *d = &s->jobs[s->job];
	workload_sleep(w, OPERATOR, RETRY_US + workload_below(w, 2000000));
	if (answer->status == 404 && s->job == LIVE)
		s->deleted = s->deleting;
	if (answer->status != 200)
		return;
	text_after(text, "\"_rev\":\"", d->revision, sizeof d->revision);
	int edits = number_after(text, "\"n\":");
	bool stale = edits < d->edits; /* an edit that never came */
	if (strstr(text, "\"_replication_state\":\"completed\"")) {
		if (w->sim->healed && !d->over && s->job != LIVE)
			job_completed(w, s->job, text);
		return;
	}
	if (strstr(text, "\"_replication_state\":\"failed\""))
		sim_violation(w->sim, "%s failed: %s", name_of(s->job), text);
	if (w->sim->healed && s->job == LIVE && d->over) {
		struct sim_http *r = request_for(w, HTTP_DELETE, LIVE);
		s->step = STEP_DELETE;
		s->deleting = true;
		buf_printf(&r->query, "rev=%s", d->revision);
		workload_ask(w, OPERATOR, r, ASK_US);
	} else if (w->sim->healed ? w->sim->now_us - d->kicked_us > KICK_US
				  : stale || (d->edits < EDITS_MAX && workload_below(w, 4) == 0)) {
		d->edits = edits + 1;
		edit(w, s->job);
	}
}

static void target_read(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	workload_sleep(w, OPERATOR, RETRY_US);
	if (answer->status != 200)
		return;
	bool all = true;
	for (int i = 0; i < LINES; i++) {
		char row[64];
		snprintf(row, sizeof row, "\"d%d\",\"changes\":[{\"rev\":\"%d-r%d\"}]", i,
			 s->lines[i], s->lines[i]);
		all &= s->lines[i] == 0 || strstr(text, row) != NULL;
	}
	s->jobs[LIVE].over = all;
	if (!all && w->sim->now_us - s->jobs[LIVE].kicked_us > KICK_US)
		read_job(w, LIVE);
}

static void quiet_read(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	workload_sleep(w, OPERATOR, RETRY_US);
	if (answer->status != 200 || !strstr(text, "\"total_rows\":0,"))
		return;
	if (++s->gateway == w->sim->settings.gateways)
		w->actors[OPERATOR].done = true;
}

static void document_written(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	if (answer->status == 403 || answer->status == 400)
		sim_violation(w->sim, "%s is refused: %s", name_of(s->job), text);
	if (s->step == STEP_PUT)
		s->jobs[s->job].there = answer->status == 201 || answer->status == 409;
	if (s->step == STEP_DELETE)
		s->deleted = answer->status == 200;
	workload_sleep(w, OPERATOR, RETRY_US + workload_below(w, 2000000));
}

static void operator_answered(struct workload *w, const struct sim_answer *answer, const char *text)
{
	struct state *s = state_of(w);
	if (s->made < DATABASES) {
		s->made += answer->status == 200 || answer->status == 201 || answer->status == 409;
		workload_sleep(w, OPERATOR, RETRY_US);
		return;
	}
	if (s->step == STEP_READ) {
		job_read(w, answer, text);
	} else if (s->step == STEP_ENDED) {
		ended_read(w, answer, text);
	} else if (s->step == STEP_TARGET) {
		target_read(w, answer, text);
	} else if (s->step == STEP_QUIET) {
		quiet_read(w, answer, text);
	} else if (s->step == STEP_ID) {
		char id[80] = "";
		text_after(text, "\"id\":\"", id, sizeof id);
		snprintf(s->jobs[LIVE].id, sizeof s->jobs[LIVE].id, "%.32s", id);
		workload_sleep(w, OPERATOR, RETRY_US);
	} else {
		document_written(w, answer, text);
	}
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct buf text = {0};
	if (!workload_answered(w, actor, answer))
		return;
	buf_append_slice(&text, buf_slice(&answer->body));
	if (actor == WRITER)
		pushed(w, answer);
	else
		operator_answered(w, answer, buf_cstr(&text));
	buf_close(&text);
}

static void step(struct workload *w, int actor)
{
	workload_give_up(w, actor);
	if (actor == WRITER)
		writer_step(w);
	else
		operator_step(w);
}

/* ---- checkpoints ---- */

/* A session that another gateway's has followed is over. What was sent before that may yet be
 * taken: the checkpoints of source and target have leads of their own. */
static void note_session(const struct write *write)
{
	struct checkpoints *c = write->of;
	for (int i = c->count - 1; i >= 0; i--) {
		if (strcmp(write->session, c->sessions[i]) != 0)
			continue;
		for (int k = i + 1; k < write->followed; k++)
			c->crossed |= c->nodes[k] != write->node;
		return;
	}
	if (c->count == SESSIONS_MAX)
		return;
	memcpy(c->sessions[c->count], write->session, sizeof c->sessions[0]);
	c->nodes[c->count++] = write->node;
}

static struct checkpoints *checkpoints_of(struct state *s, struct slice name)
{
	struct checkpoints *c = map_get(&s->checkpoints, name);
	if (!c) {
		c = mem_alloc_zero(sizeof *c);
		map_put(&s->checkpoints, name, c);
	}
	return c;
}

static void note_write(struct workload *w, int from, const struct msg_doc_write *m,
		       uint64_t request)
{
	static const char word[] = "/_local/";
	enum { BEFORE = 16 + sizeof word - 1 };
	struct state *s = state_of(w);
	struct mp_reader reader = mp_reader_of(value_member(m->body, slice_text("session_id")));
	struct mp_token session = mp_read(&reader);
	struct write *write = map_get(&s->writes, m->operation_id);
	if (m->id.len <= BEFORE || memcmp(m->id.data + 16, word, sizeof word - 1) != 0 ||
	    session.type != MP_STR || session.bytes.len >= sizeof write->session)
		return;
	if (!write) {
		struct slice name = slice_of(m->id.data + BEFORE, m->id.len - BEFORE);
		write = mem_alloc_zero(sizeof *write);
		write->of = checkpoints_of(s, name);
		memcpy(write->session, session.bytes.data, session.bytes.len);
		write->node = from;
		write->followed = write->of->count;
		write->late = w->sim->now_us > s->lease_until_us[from];
		map_put(&s->writes, m->operation_id, write);
	}
	map_put_u64(&s->writes_sent, request, write);
}

/* What a lead refuses, as it says until when it counts, does no harm. */
static void note_taken(struct workload *w, uint64_t request)
{
	struct write *write = map_get_u64(&state_of(w)->writes_sent, request);
	if (!write || write->taken)
		return;
	write->taken = true;
	write->of->unleased |= write->late;
	note_session(write);
}

/* ---- leases ---- */

/* A lease counts from the first sending, whatever comes later of it. */
static void note_beat(struct workload *w, int from, const struct msg_doc_write *m, uint64_t request)
{
	struct state *s = state_of(w);
	struct beat *beat = map_get(&s->beats, m->operation_id);
	struct mp_reader reader = mp_reader_of(value_member(m->body, slice_text("lease")));
	struct mp_token lease = mp_read(&reader);
	if (m->id.len != RUNNER_BYTES || memcmp(m->id.data, "runner-", 7) != 0 ||
	    lease.type != MP_UINT)
		return;
	if (!beat) {
		int64_t drift_us = (int64_t)lease.u64 * 1000 / 8;
		beat = mem_alloc_zero(sizeof *beat);
		beat->node = from;
		beat->until_us = w->sim->now_us + (int64_t)lease.u64 * 1000 + drift_us;
		map_put(&s->beats, m->operation_id, beat);
	}
	map_put_u64(&s->beats_sent, request, beat);
}

static void note_answer(struct workload *w, uint64_t request, const struct msg_doc_write_ack *ack)
{
	struct state *s = state_of(w);
	const struct beat *beat = map_get_u64(&s->beats_sent, request);
	if (!status_is_success(status_row(ack->status)->status))
		return;
	note_taken(w, request);
	if (beat && beat->until_us > s->lease_until_us[beat->node])
		s->lease_until_us[beat->node] = beat->until_us;
}

static void on_send(struct workload *w, int from, const struct effect *effect)
{
	const struct envelope *envelope = &effect->send.envelope;
	struct arena arena = {0};
	struct msg_doc_write m;
	struct msg_doc_write_ack ack;
	if (envelope->type == MSG_doc_write) {
		CHECK(schema_decode(&schema_msg_doc_write, effect->send.body, &arena, &m));
		note_beat(w, from, &m, envelope->request_id);
		note_write(w, from, &m, envelope->request_id);
	} else if (envelope->type == MSG_doc_write_ack) {
		CHECK(schema_decode(&schema_msg_doc_write_ack, effect->send.body, &arena, &ack));
		note_answer(w, envelope->request_id, &ack);
	}
	arena_close(&arena);
}

/* ---- the end ---- */

static bool done(struct workload *w, struct buf *why)
{
	return workload_are_done(w, 0, ACTORS - 1, why);
}

static void check(struct workload *w)
{
	struct state *s = state_of(w);
	int sessions = 0;
	for (int i = 0; i < JOBS; i++) {
		const struct checkpoints *c = map_get(&s->checkpoints, slice_text(s->jobs[i].id));
		sessions += c ? c->count : 0;
		if (c && c->crossed)
			sim_violation(w->sim, "%s: who was followed by another gateway goes on",
				      name_of(i));
		if (c && c->unleased)
			sim_violation(w->sim, "%s: a checkpoint without a lease", name_of(i));
	}
	sim_log(w->sim, "schedule pushes=%d sessions=%d", s->pushes, sessions);
}

static void free_state(struct workload *w)
{
	struct state *s = state_of(w);
	map_close_owned(&s->checkpoints);
	map_close_owned(&s->writes);
	map_close_owned(&s->beats);
	map_close(&s->writes_sent);
	map_close(&s->beats_sent);
}

const struct workload_ops schedule_workload = {
    .name = "schedule",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 8,
    .drawn = 5,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .on_send = on_send,
    .done = done,
    .check = check,
    .free = free_state,
};
