/* A set that only grows: clients add numbers, others list them. Checked for every list, and for a
 * last one when all is quiet:
 * - complete: what was acknowledged before the list was asked for is in it
 * - honest: what is in it was asked for before it was answered
 * - once: each number is in it once */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 3,
	NUMBERS_MAX = 400,
	SHOTS_MAX = 40, /* of one number, until it is acknowledged */
	PACE_MS = 500,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000
};

enum set_step { SET_IDLE, SET_ADD, SET_LIST };

struct set_actor {
	enum set_step step;
	int number;
	bool keyed;
	int shots;
	int64_t asked_us;
};

struct set_state {
	struct set_actor actors[ACTORS];
	bool ready; /* the collection is there */
	bool final; /* the last list was good */
	int count;
	int wanted;
	int64_t acknowledged_us[NUMBERS_MAX]; /* INT64_MAX: not (yet) */
	uint32_t lists, listed;
};

static struct set_state *state_of(struct workload *w)
{
	return w->state;
}

static void post(struct workload *w, int actor, struct sim_http *r)
{
	state_of(w)->actors[actor].asked_us = w->sim->now_us;
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body, "{\"name\":\"set\",\"replicas\":%d,\"writeQuorum\":%d}",
		   w->sim->settings.replicas, w->sim->settings.write_quorum);
	post(w, 0, r);
}

static void add(struct workload *w, int actor)
{
	struct set_actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_POST, "/set");
	char key[32];
	buf_printf(&r->body, "{\"n\":%d}", a->number);
	snprintf(key, sizeof key, "set-%d", a->number);
	if (a->keyed)
		workload_header(r, "idempotency-key", key);
	a->shots++;
	post(w, actor, r);
}

static void begin(struct workload *w, int actor)
{
	struct set_state *s = state_of(w);
	struct set_actor *a = &s->actors[actor];
	bool last = w->sim->healed;
	if (!last && s->count < s->wanted && rng_below(&w->rng, 4) != 0) {
		a->step = SET_ADD;
		a->number = s->count++;
		a->shots = 0;
		a->keyed = rng_below(&w->rng, 2);
		s->acknowledged_us[a->number] = INT64_MAX;
		add(w, actor);
		return;
	}
	if (last && (actor != 0 || s->final)) {
		w->actors[actor].done = true;
		return;
	}
	a->step = SET_LIST;
	post(w, actor, workload_request(w, actor, HTTP_GET, "/set"));
}

static void rest(struct workload *w, int actor)
{
	state_of(w)->actors[actor].step = SET_IDLE;
	workload_forget(w, actor);
	workload_rest(w, actor, PACE_MS);
}

static void set_step(struct workload *w, int actor)
{
	struct set_state *s = state_of(w);
	struct set_actor *a = &s->actors[actor];
	if (!s->ready && actor == 0)
		ask_collection(w);
	else if (!s->ready && !w->sim->healed)
		rest(w, actor);
	else if (a->step == SET_ADD && a->keyed && a->shots < SHOTS_MAX)
		add(w, actor);
	else
		begin(w, actor);
}

/* The number behind the next "n": in the text, or -1. */
static int next_number(const char **at)
{
	const char *found = strstr(*at, "\"n\":");
	if (!found)
		return -1;
	char *end;
	long n = strtol(found + 4, &end, 10);
	*at = end;
	return n >= 0 && n < NUMBERS_MAX ? (int)n : NUMBERS_MAX;
}

static void check_list(struct workload *w, const struct set_actor *a, struct slice body)
{
	struct set_state *s = state_of(w);
	struct buf text = {0};
	uint8_t seen[NUMBERS_MAX + 1] = {0};
	buf_append_slice(&text, body);
	const char *at = buf_cstr(&text);
	for (int n; (n = next_number(&at)) >= 0;) {
		if (n >= s->count)
			sim_violation(w->sim, "set: a list shows %d, which nobody added", n);
		else if (seen[n]++ > 0)
			sim_violation(w->sim, "set: a list shows %d twice", n);
		s->listed++;
	}
	for (int n = 0; n < s->count; n++)
		if (!seen[n] && s->acknowledged_us[n] < a->asked_us)
			sim_violation(w->sim, "set: a list lacks %d, acknowledged at %lld ms", n,
				      (long long)(s->acknowledged_us[n] / 1000));
	buf_close(&text);
	s->lists++;
}

static void set_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct set_state *s = state_of(w);
	struct set_actor *a = &s->actors[actor];
	bool good = answer->status >= 200 && answer->status < 300;
	if (!workload_answered(w, actor, answer))
		return;
	if (!s->ready) {
		s->ready = good || answer->status == 409;
		workload_sleep(w, actor, RETRY_US);
	} else if (a->step == SET_ADD && !good && a->keyed && a->shots < SHOTS_MAX) {
		workload_sleep(w, actor, RETRY_US);
	} else {
		if (a->step == SET_ADD && good)
			s->acknowledged_us[a->number] = w->sim->now_us;
		if (a->step == SET_LIST && answer->status == 200) {
			check_list(w, a, buf_slice(&answer->body));
			s->final = w->sim->healed;
		}
		rest(w, actor);
	}
}

static void set_start(struct workload *w)
{
	state_of(w)->wanted = (int)rng_between(&w->rng, 20, NUMBERS_MAX);
}

static void set_check(struct workload *w)
{
	struct set_state *s = state_of(w);
	sim_log(w->sim, "set: added %d, lists %u of %u numbers together", s->count, s->lists,
		s->listed);
}

const struct workload_ops set_workload = {
    .name = "set",
    .actors = ACTORS,
    .state_bytes = sizeof(struct set_state),
    .one_in = 2,
    .start = set_start,
    .start_ms = 400,
    .step = set_step,
    .on_answer = set_on_answer,
    .check = set_check,
};
