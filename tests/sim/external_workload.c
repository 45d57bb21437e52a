/* Conflicts that clients decide. Editors add entries to the list of a document, on whatever
 * revision they saw last, as a branch; deciders take conflicts, by long poll or from a stream, and
 * answer them in all ways: at once, after renewing, too late, twice, not at all, giving them back,
 * with a document of their own or one of the versions. In some seeds the arbiter steps in after a
 * deadline. Checked:
 * - late: an answer that is first given when its lease has ended is refused
 * - once: the same leaves are answered with success once
 * - kept: entries that were acknowledged, and those of answers that counted, are in the document
 *   when all is quiet; those of answers that were refused are not
 * - once a lease: a conflict comes once under the same lease, to whomever
 * - exclusive: a lead leases a conflict to one client at a time (external_leases.c)
 * - none forgotten: all is resolved in the end, though nobody but clients may do it */
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "tests/sim/external_leases.h"
#include "tests/sim/workload.h"

enum {
	EDITORS = 3,
	DECIDERS = 4, /* the last one listens to a stream */
	ACTORS = EDITORS + DECIDERS,
	STREAMER = ACTORS - 1,
	DOCUMENTS = 3,
	EDITS_MAX = 40,    /* of a document */
	ENTRIES_MAX = 800, /* those of answers included */
	HELD_MAX = 4,
	ATTEMPTS_MAX = 6,
	PACE_MS = 900,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000,
	LEASE_LEAST_MS = 400
};

enum external_step { EXT_BEGIN, EXT_READ, EXT_WRITE, EXT_TAKE, EXT_RENEW, EXT_GIVE, EXT_ANSWER };
enum entry_state { ENTRY_UNKNOWN, ENTRY_KEPT, ENTRY_REFUSED };

/* A conflict that was taken. */
struct held {
	char lease[96];
	int document;
	uint64_t leaves; /* the document and their names, in any order */
	char whole[128]; /* a version that has all entries */
	int64_t over_us; /* its lease has ended for sure */
	uint8_t log[ENTRIES_MAX];
};

struct external_actor {
	enum external_step step;
	int document;
	int entry; /* under way; -1: the answer is a version */
	/* deciders */
	uint64_t stream;
	struct held held[HELD_MAX];
	int held_count;
	int answer; /* number of the answer under way; 0: none */
	int attempts;
	int64_t began_us;
	bool late;
	bool counted; /* it did; now it is given once more */
};

struct external_state {
	struct external_actor actors[ACTORS];
	struct json_parser *parser;
	struct external_leases *leases;
	int64_t lease_ms;
	int64_t deadline_ms;
	int made; /* the collection, then each document */
	int entries[DOCUMENTS];
	uint8_t states[DOCUMENTS][ENTRIES_MAX];
	bool checked[DOCUMENTS];
	int answers, good, refused, lates;
	struct map answered; /* leaves -> number of the answer */
	struct map shown;    /* leases, by digest */
};

static struct external_state *state_of(struct workload *w)
{
	return w->state;
}

/* However slow the lead's clock, and although a late copy of the request told the lease once more.
 */
static int64_t lease_over_us(struct workload *w)
{
	return w->sim->now_us + 2 * state_of(w)->lease_ms * 1200;
}

static void rest(struct workload *w, int actor)
{
	workload_rest(w, actor, PACE_MS);
}

/* ---- values ---- */

/* Into `out`, which the caller closes. */
static struct slice parse(struct workload *w, struct slice json, struct buf *out)
{
	struct json_error error;
	if (!json_to_msgpack(state_of(w)->parser, json, out, &error))
		sim_violation(w->sim, "external: no JSON: %.*s", (int)json.len,
			      (const char *)json.data);
	return buf_slice(out);
}

static struct slice text_member(struct slice map, const char *name)
{
	struct mp_reader r = mp_reader_of(value_member(map, slice_text(name)));
	struct mp_token t = mp_read(&r);
	return t.type == MP_STR ? t.bytes : (struct slice){0};
}

/* Marks the entries of this version; how many there are. */
static int mark_log(struct workload *w, int document, struct slice version,
		    uint8_t log[ENTRIES_MAX])
{
	struct mp_reader r = mp_reader_of(value_member(version, slice_text("log")));
	uint32_t count = mp_read(&r).count;
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token t = mp_read(&r);
		if (t.type == MP_UINT && t.u64 < (uint64_t)state_of(w)->entries[document])
			log[t.u64] = 1;
		else
			sim_violation(w->sim, "external: x%d has an entry of nobody's", document);
	}
	return (int)count;
}

static void print_body(const uint8_t *log, int entry, struct buf *out)
{
	buf_append_text(out, "{\"log\":[");
	for (int i = 0; i < ENTRIES_MAX; i++)
		if (log[i] || i == entry)
			buf_printf(out, "%s%d", out->data[out->len - 1] == '[' ? "" : ",", i);
	buf_printf(out, "],\"by\":%d}", entry);
}

/* ---- editors ---- */

static void ask_collection(struct workload *w)
{
	const struct external_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"asked\",\"mode\":\"available\",\"retainMs\":%lld,"
		   "\"replicas\":%d,\"writeQuorum\":%d,"
		   "\"policy\":{\"strategy\":\"external\",\"leaseMs\":%lld,\"deadlineMs\":%lld,"
		   "\"fallback\":\"merge\",\"paths\":{\"log\":\"set\",\"by\":\"max\"}}}",
		   (long long)w->sim->settings.retain_ms, w->sim->settings.replicas,
		   w->sim->settings.write_quorum, (long long)s->lease_ms,
		   (long long)s->deadline_ms);
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void make(struct workload *w)
{
	const struct external_state *s = state_of(w);
	char path[32];
	snprintf(path, sizeof path, "/asked/x%d", s->made - 1);
	if (s->made == 0)
		ask_collection(w);
	else
		workload_ask_document(w, 0, path, "{\"log\":[],\"by\":0}", TIMEOUT_US);
}

static void read_one(struct workload *w, int actor)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "");
	buf_printf(&r->path, "/asked/x%d", a->document);
	a->step = EXT_READ;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void write_one(struct workload *w, int actor, const struct sim_answer *seen)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	uint8_t log[ENTRIES_MAX] = {0};
	struct buf bytes = {0};
	mark_log(w, a->document, parse(w, buf_slice(&seen->body), &bytes), log);
	buf_close(&bytes);
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	a->entry = s->entries[a->document]++;
	a->step = EXT_WRITE;
	buf_printf(&r->path, "/asked/x%d", a->document);
	buf_append_text(&r->query, "branch=true");
	print_body(log, a->entry, &r->body);
	workload_header(r, "if-match", seen->etag);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void edit(struct workload *w, int actor)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	a->document = (int)rng_below(&w->rng, DOCUMENTS);
	if (s->entries[a->document] < EDITS_MAX)
		read_one(w, actor);
	else
		rest(w, actor);
}

/* ---- taking ---- */

static void hold(struct workload *w, int actor, struct slice conflict)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	struct slice lease = text_member(conflict, "lease");
	struct slice id = text_member(conflict, "id");
	struct slice leaves = value_member(conflict, slice_text("leaves"));
	struct slice versions = value_member(conflict, slice_text("versions"));
	struct held *h = &a->held[a->held_count];
	uint64_t shown = XXH3_64bits(lease.data, lease.len);
	if (map_put_u64(&s->shown, shown, s))
		sim_violation(w->sim, "external: %.*s came twice under one lease", (int)id.len,
			      (const char *)id.data);
	if (a->held_count == HELD_MAX || lease.len == 0 || lease.len >= sizeof h->lease ||
	    id.len != 2)
		return; /* it comes again when the lease has ended */
	*h = (struct held){.document = id.data[1] - '0', .leaves = XXH3_64bits(id.data, id.len)};
	memcpy(h->lease, lease.data, lease.len);
	h->over_us = lease_over_us(w);
	struct slice one;
	for (uint32_t i = 0; (one = value_element(leaves, i)).len > 0; i++)
		h->leaves += XXH3_64bits(one.data, one.len);
	int most = 0;
	int all = 0;
	for (uint32_t i = 0; (one = value_element(versions, i)).len > 0; i++) {
		int count =
		    mark_log(w, h->document, value_member(one, slice_text("document")), h->log);
		struct slice rev = text_member(one, "rev");
		if (count > most && rev.len < sizeof h->whole)
			snprintf(h->whole, sizeof h->whole, "%.*s", (int)rev.len,
				 (const char *)rev.data);
		most = count > most ? count : most;
	}
	for (int i = 0; i < ENTRIES_MAX; i++)
		all += h->log[i];
	if (most < all)
		h->whole[0] = 0;
	a->held_count++;
}

static void take(struct workload *w, int actor)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	struct sim_http *r;
	if (actor == STREAMER && a->stream != 0) {
		rest(w, actor);
		return;
	}
	a->step = EXT_TAKE;
	if (actor == STREAMER) {
		r = workload_request(w, actor, HTTP_GET, "/_/arbiter/_stream");
		buf_printf(&r->query, "collections=asked&credit=2&leaseMs=%lld",
			   (long long)s->lease_ms);
	} else {
		int wait_ms = (int)rng_below(&w->rng, 3000);
		int limit = (int)rng_between(&w->rng, 1, 3);
		r = workload_request(w, actor, HTTP_POST, "/_/arbiter/_take");
		buf_printf(&r->body, "{\"collections\":[\"asked\"],\"limit\":%d,\"waitMs\":%d}",
			   limit, wait_ms);
	}
	uint64_t id = workload_ask(w, actor, r, TIMEOUT_US);
	a->stream = actor == STREAMER ? id : 0;
}

static void taken(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct buf bytes = {0};
	struct slice list = parse(w, buf_slice(&answer->body), &bytes);
	struct slice one;
	for (uint32_t i = 0; (one = value_element(list, i)).len > 0; i++)
		hold(w, actor, one);
	buf_close(&bytes);
}

/* One event or more. */
static void stream_part(struct workload *w, int actor, struct slice part)
{
	static const char mark[] = "data: {";
	for (const uint8_t *at; (at = memmem(part.data, part.len, mark, sizeof mark - 1));) {
		struct buf bytes = {0};
		const uint8_t *from = at + sizeof mark - 2;
		size_t left = part.len - (size_t)(from - part.data);
		const uint8_t *end = memchr(from, '\n', left);
		size_t len = end ? (size_t)(end - from) : left;
		hold(w, actor, parse(w, slice_of(from, len), &bytes));
		buf_close(&bytes);
		part = slice_of(from + len, left - len);
	}
}

/* ---- deciding ---- */

static struct sim_http *about_lease(struct workload *w, int actor, enum http_method method,
				    const char *what)
{
	struct sim_http *r = workload_request(w, actor, method, "");
	buf_printf(&r->path, "/_/arbiter/%s%s", state_of(w)->actors[actor].held[0].lease, what);
	return r;
}

static void next_held(struct workload *w, int actor)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	a->answer = 0;
	a->step = EXT_BEGIN;
	if (a->held_count > 0)
		memmove(a->held, a->held + 1, (size_t)--a->held_count * sizeof *a->held);
	rest(w, actor);
}

static void vanish(struct workload *w, int actor)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	if (a->stream != 0)
		workload_hang_up(w, a->stream);
	a->stream = 0;
	a->held_count = 0;
	rest(w, actor);
}

static void give_back(struct workload *w, int actor)
{
	struct sim_http *r = about_lease(w, actor, HTTP_POST, "/answer");
	buf_append_text(&r->body, rng_below(&w->rng, 2) ? "{\"release\":true}" : "{\"defer\":700}");
	state_of(w)->actors[actor].step = EXT_GIVE;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void send_answer(struct workload *w, int actor)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	const struct held *h = &a->held[0];
	struct sim_http *r = about_lease(w, actor, HTTP_POST, "/answer");
	a->attempts++;
	a->step = EXT_ANSWER;
	if (a->entry < 0) {
		buf_printf(&r->body, "{\"pick\":\"%s\"}", h->whole);
	} else {
		buf_append_text(&r->body, "{\"document\":");
		print_body(h->log, a->entry, &r->body);
		buf_append_byte(&r->body, '}');
	}
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void begin_answer(struct workload *w, int actor)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	const struct held *h = &a->held[0];
	bool full = s->entries[h->document] == ENTRIES_MAX;
	if (h->whole[0] && (full || rng_below(&w->rng, 2)))
		a->entry = -1;
	else if (!full)
		a->entry = s->entries[h->document]++;
	else {
		give_back(w, actor);
		return;
	}
	a->answer = ++s->answers;
	a->attempts = 0;
	a->counted = false;
	a->began_us = w->sim->now_us;
	a->late = a->began_us > h->over_us;
	s->lates += a->late;
	send_answer(w, actor);
}

static void decide(struct workload *w, int actor)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	uint64_t mood = w->sim->healed ? 99 : rng_below(&w->rng, 12);
	if (a->answer > 0)
		send_answer(w, actor);
	else if (w->sim->now_us > a->held[0].over_us || mood > 3)
		begin_answer(w, actor);
	else if (mood == 0)
		vanish(w, actor);
	else if (mood == 1)
		workload_sleep(w, actor, a->held[0].over_us + 1 - w->sim->now_us);
	else if (mood == 2)
		give_back(w, actor);
	else {
		a->step = EXT_RENEW;
		workload_ask(w, actor, about_lease(w, actor, HTTP_PUT, ""), TIMEOUT_US);
	}
}

/* Returns false if it is to be given again. */
static bool judge(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	struct held *h = &a->held[0];
	uint8_t *entry = a->entry < 0 ? NULL : &s->states[h->document][a->entry];
	if (answer->status >= 500)
		return a->attempts >= ATTEMPTS_MAX || a->counted;
	if (a->counted)
		return true;
	if (answer->status != 200) {
		s->refused++;
		if (entry && a->attempts == 1)
			*entry = ENTRY_REFUSED;
		return true;
	}
	uintptr_t before = (uintptr_t)map_get_u64(&s->answered, h->leaves);
	if (before != 0 && before != (uintptr_t)a->answer)
		sim_violation(w->sim, "external: x%d: the same leaves were answered twice",
			      h->document);
	map_put_u64(&s->answered, h->leaves, (void *)(uintptr_t)a->answer);
	if (a->late && a->attempts == 1 &&
	    a->began_us > external_leases_over_us(s->leases, slice_text(h->lease)))
		sim_violation(w->sim, "external: x%d: an answer counted after its lease",
			      h->document);
	if (entry)
		*entry = ENTRY_KEPT;
	s->good++;
	a->counted = true;
	return rng_below(&w->rng, 5) != 0;
}

static void decider_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	switch (a->step) {
	case EXT_RENEW:
		if (answer->status == 200 && a->held_count > 0)
			a->held[0].over_us = lease_over_us(w);
		a->step = EXT_BEGIN;
		rest(w, actor);
		return;
	case EXT_ANSWER:
		if (judge(w, actor, answer))
			next_held(w, actor);
		else
			workload_sleep(w, actor, RETRY_US);
		return;
	case EXT_GIVE:
		next_held(w, actor);
		return;
	case EXT_TAKE:
		if (answer->status == 200 && actor != STREAMER)
			taken(w, actor, answer);
		a->step = EXT_BEGIN;
		workload_sleep(w, actor, RETRY_US);
		return;
	case EXT_BEGIN:
	case EXT_READ:
	case EXT_WRITE:
		return;
	}
}

/* ---- the end ---- */

static void check_document(struct workload *w, int document, const struct sim_answer *answer)
{
	struct external_state *s = state_of(w);
	uint8_t log[ENTRIES_MAX] = {0};
	struct buf bytes = {0};
	if (answer->status == 200)
		mark_log(w, document, parse(w, buf_slice(&answer->body), &bytes), log);
	for (int i = 0; i < s->entries[document]; i++) {
		if (s->states[document][i] == ENTRY_KEPT && !log[i])
			sim_violation(w->sim, "external: x%d lacks entry %d: %.*s", document, i,
				      (int)answer->body.len, (const char *)answer->body.data);
		if (s->states[document][i] == ENTRY_REFUSED && log[i])
			sim_violation(w->sim, "external: x%d has entry %d of a refused answer",
				      document, i);
	}
	buf_close(&bytes);
	s->checked[document] = true;
}

static bool all_checked(const struct external_state *s)
{
	for (int i = 0; i < DOCUMENTS; i++)
		if (!s->checked[i])
			return false;
	return true;
}

static bool is_over(struct workload *w)
{
	return workload_is_over(w, 1, EDITORS - 1);
}

static void last_look(struct workload *w, int actor)
{
	struct external_state *s = state_of(w);
	int next = workload_last_look(w, actor, EDITORS - 1, s->checked, DOCUMENTS);
	if (next < 0)
		return;
	s->actors[actor].document = next;
	read_one(w, actor);
}

/* ---- steps ---- */

static void external_step(struct workload *w, int actor)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	uint64_t request = w->actors[actor].request;
	if (workload_give_up(w, actor)) {
		if (a->stream == request)
			a->stream = 0;
		if (a->step == EXT_ANSWER && a->attempts >= ATTEMPTS_MAX)
			a->answer = 0;
	}
	bool ready = s->made > DOCUMENTS;
	if (!ready && w->sim->healed)
		w->actors[actor].done = true;
	else if (!ready && actor == 0)
		make(w);
	else if (!ready)
		rest(w, actor);
	else if (actor < EDITORS && w->sim->healed)
		last_look(w, actor);
	else if (actor < EDITORS)
		edit(w, actor);
	else if (w->sim->healed && all_checked(s))
		w->actors[actor].done = true;
	else if (a->held_count > 0)
		decide(w, actor);
	else
		take(w, actor);
}

static void editor_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct external_state *s = state_of(w);
	struct external_actor *a = &s->actors[actor];
	if (s->made <= DOCUMENTS) {
		s->made += workload_is_made(answer);
		workload_sleep(w, actor, RETRY_US);
	} else if (a->step == EXT_READ && answer->status == 200 && !w->sim->healed) {
		write_one(w, actor, answer);
	} else {
		/* a document made on one disk only, 202, may have gone with it */
		bool known = answer->status == 200 || answer->status == 404;
		if (a->step == EXT_READ && known && actor == 0 && is_over(w))
			check_document(w, a->document, answer);
		/* a branch on one disk, 202, may go with it */
		if (a->step == EXT_WRITE && (answer->status == 200 || answer->status == 201))
			s->states[a->document][a->entry] = ENTRY_KEPT;
		a->step = EXT_BEGIN;
		rest(w, actor);
	}
}

static void external_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct external_actor *a = &state_of(w)->actors[actor];
	bool stream = a->stream != 0 && answer->id == a->stream;
	if (stream && answer->kind == SIM_ANSWER_PART) {
		stream_part(w, actor, buf_slice(&answer->body));
		return;
	}
	if (stream && (answer->kind == SIM_ANSWER_END || !answer->streaming))
		a->stream = 0;
	if (!workload_awaits(w, actor, answer) || answer->kind != SIM_ANSWER_WHOLE)
		return;
	workload_forget(w, actor);
	if (actor < EDITORS)
		editor_answer(w, actor, answer);
	else
		decider_answer(w, actor, answer);
}

/* ---- life ---- */

static void external_start(struct workload *w)
{
	struct external_state *s = state_of(w);
	s->parser = json_parser_new();
	s->leases = external_leases_new();
	/* longer than it takes a client to answer, or none ever would */
	s->lease_ms = rng_between(&w->rng, 300, 5000);
	if (s->lease_ms < LEASE_LEAST_MS)
		s->lease_ms = LEASE_LEAST_MS;
	s->deadline_ms = rng_below(&w->rng, 3) ? 0 : rng_between(&w->rng, 500, 8000);
}

static void external_on_send(struct workload *w, int from, const struct effect *effect)
{
	external_leases_on_send(state_of(w)->leases, w->sim, from, effect);
}

static void external_check(struct workload *w)
{
	const struct external_state *s = state_of(w);
	sim_log(w->sim,
		"external: %d answers, %d good, %d refused, %d late, lease %lld deadline %lld",
		s->answers, s->good, s->refused, s->lates, (long long)s->lease_ms,
		(long long)s->deadline_ms);
}

static void external_free(struct workload *w)
{
	struct external_state *s = state_of(w);
	map_close(&s->answered);
	map_close(&s->shown);
	json_parser_free(s->parser);
	external_leases_free(s->leases);
}

const struct workload_ops external_workload = {
    .name = "external",
    .actors = ACTORS,
    .state_bytes = sizeof(struct external_state),
    .one_in = 3,
    .start = external_start,
    .start_ms = 400,
    .step = external_step,
    .on_answer = external_on_answer,
    .on_send = external_on_send,
    .check = external_check,
    .free = external_free,
};
