/* Clients that look whether what they are shown is of now: writers overwrite documents of a
 * consistent collection, so that the generation of each only rises; readers read them, and write
 * under a condition that never holds, whose refusal names the current revision.
 *
 * Checked: no answer shows less than was acknowledged before it was asked for, whoever gives it.
 * They hurry while messages to some storage node are late: it may have been replaced and not know.
 * They are impatient then, and keep to few documents: what a writer has left with the old lead,
 * another one, who leaves gateways that are cut off, overwrites at the new one, while somebody is
 * about to be told what the old one makes of it. */
#include <stdlib.h>

#include "tests/sim/workload.h"

enum {
	WRITERS = 3,
	READERS = 4,
	PROBERS = 4,
	ACTORS = WRITERS + READERS + PROBERS,
	DOCUMENTS = 6,
	HURRY_DOCUMENTS = 2,
	OPERATIONS = 2500, /* all together */
	TIMEOUT_US = 6000000,
	IMPATIENT_US = 400000,
	RETRY_US = 300000,
	SLOW_MS = 2500,
	HURRY_MS = 60,
	HURRY_AFTER_MS = 1600
};

struct actor {
	int document;
	uint64_t least; /* that the answer must show */
};

struct fresh_state {
	struct actor actors[ACTORS];
	uint64_t acknowledged[DOCUMENTS]; /* greatest generation */
	int operations;
	bool ready;
};

static struct fresh_state *state_of(struct workload *w)
{
	return w->state;
}

static bool fresh_fits(const struct sim_settings *set)
{
	return set->partitions && set->replicas > 1;
}

static bool some_node_is_late(const struct sim *sim)
{
	for (int i = 1; i <= sim->settings.storage_nodes; i++)
		if (sim->clogged_until_us[0][i] + HURRY_AFTER_MS * 1000 > sim->now_us)
			return true;
	return false;
}

static void pause_a_while(struct workload *w, int actor)
{
	int64_t most_ms = some_node_is_late(w->sim) ? HURRY_MS : SLOW_MS;
	workload_rest(w, actor, most_ms);
}

static int64_t patience_us(const struct workload *w)
{
	return some_node_is_late(w->sim) ? IMPATIENT_US : TIMEOUT_US;
}

/* Writers leave what hears nothing of the coordinator: more of theirs would lie on top of what the
 * old lead is about to settle. */
static int gateway_for(struct workload *w, int actor)
{
	int count = w->sim->settings.gateways;
	int gateway = (int)rng_below(&w->rng, (uint64_t)count);
	for (int i = 0; i < count && actor < WRITERS; i++) {
		if (!w->sim->cut[0][workload_gateway_node(w->sim, gateway)])
			break;
		gateway = (gateway + 1) % count;
	}
	return gateway;
}

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_printf(&r->body,
		   "{\"name\":\"fresh\",\"retainMs\":0,\"replicas\":%d,\"writeQuorum\":%d}",
		   w->sim->settings.replicas, w->sim->settings.write_quorum);
	workload_ask(w, 0, r, patience_us(w));
}

static void ask(struct workload *w, int actor)
{
	struct fresh_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	bool reads = actor >= WRITERS && actor < WRITERS + READERS;
	struct sim_http *r = workload_request(w, actor, reads ? HTTP_GET : HTTP_PUT, "");
	bool hurry = some_node_is_late(w->sim);
	a->document = (int)rng_below(&w->rng, hurry ? HURRY_DOCUMENTS : DOCUMENTS);
	a->least = s->acknowledged[a->document];
	buf_printf(&r->path, "/fresh/f%d", a->document);
	if (!reads)
		buf_printf(&r->body, "{\"n\":%d}", ++s->operations);
	if (actor >= WRITERS + READERS)
		workload_header(r, "if-match", "\"1-00000000000000000000000000000000\"");
	workload_ask_at(w, actor, gateway_for(w, actor), r, patience_us(w));
}

static void fresh_step(struct workload *w, int actor)
{
	struct fresh_state *s = state_of(w);
	workload_give_up(w, actor);
	if (!workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		return;
	if (w->sim->healed || s->operations >= OPERATIONS)
		w->actors[actor].done = true;
	else
		ask(w, actor);
}

static void look(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct fresh_state *s = state_of(w);
	const struct actor *a = &s->actors[actor];
	uint64_t shown = strtoull(answer->etag, NULL, 10); /* a refusal names one, too */
	bool none = answer->status == 404 && a->least > 0;
	if (none || (shown > 0 && shown < a->least))
		sim_violation(
		    w->sim, "actor %d is shown generation %llu of f%d, after %llu was acknowledged",
		    actor, (unsigned long long)shown, a->document, (unsigned long long)a->least);
	if (actor < WRITERS && answer->status < 300 && shown > s->acknowledged[a->document])
		s->acknowledged[a->document] = shown;
}

static void fresh_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct fresh_state *s = state_of(w);
	if (!workload_answered(w, actor, answer))
		return;
	if (!s->ready) {
		s->ready = answer->status < 300;
		workload_sleep(w, actor, RETRY_US);
		return;
	}
	look(w, actor, answer);
	pause_a_while(w, actor);
}

const struct workload_ops fresh_workload = {
    .name = "fresh",
    .actors = ACTORS,
    .state_bytes = sizeof(struct fresh_state),
    .one_in = 2,
    .fits = fresh_fits,
    .start_ms = 300,
    .step = fresh_step,
    .on_answer = fresh_on_answer,
};
