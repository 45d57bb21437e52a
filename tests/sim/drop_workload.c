/* A collection that is made, filled, dropped and made again under its name, by an operator who does
 * one after another, while others write to what they think is there. Documents say which of the
 * collections they were made for. Checked:
 * - once: what was dropped is not there again by a late copy of some request; what was made does
 *   not go by one; a request whose answer was lost tells what it did
 * - apart: a document of one that was dropped is in none that came later
 * - kept: what was acknowledged of the one that is left is there when all is quiet
 * - gone: no storage node keeps anything of one that was dropped
 * Where the operator does not know what became of a request, he goes on under another name. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum {
	OPERATOR,
	WRITERS = 3,
	ACTORS = 1 + WRITERS,
	MADE_MAX = 16,
	SHARDS = 2,         /* of a collection, at most */
	DOCUMENTS_MAX = 12, /* likewise */
	TIMEOUT_US = 9000000,
	RETRY_US = 300000,
	LOOK_US = 20000,
	STAY_MS = 6000, /* of a collection, at most */
	PACE_MS = 700
};

enum drop_step { DROP_IDLE, DROP_MAKE, DROP_LOOK, DROP_DROP, DROP_PUT, DROP_PATCH };

struct drop_actor {
	enum drop_step step;
	int made, document; /* that the request under way is about */
};

struct made {
	int name;
	uint64_t id;
	bool dropped;
	int documents;
	bool kept[DOCUMENTS_MAX]; /* acknowledged */
	uint64_t shards[SHARDS];
	int shards_count;
};

struct drop_state {
	struct drop_actor actors[ACTORS];
	struct made made[MADE_MAX];
	int made_count;
	int tries;
	int name;
	bool there;    /* the last one made */
	bool closing;  /* no documents are made now, as that makes their collection, too */
	bool put_lost; /* one may yet be, and so its collection */
	bool looking;  /* for the last time */
	int gateway;   /* knows what the operator did last, while it lives */
	uint64_t gateway_life;
	int64_t drop_us; /* when the one that is there is to go */
};

static struct drop_state *state_of(struct workload *w)
{
	return w->state;
}

static void rest(struct workload *w, int actor)
{
	state_of(w)->actors[actor].step = DROP_IDLE;
	workload_rest(w, actor, PACE_MS);
}

static void post(struct workload *w, int actor, int gateway, struct sim_http *r)
{
	if (r->method == HTTP_PATCH)
		workload_header(r, "content-type", "application/merge-patch+json");
	workload_ask_at(w, actor, gateway, r, TIMEOUT_US);
}

static const struct sim_node *node_of(struct workload *w, int gateway)
{
	return &w->sim->nodes[workload_gateway_node(w->sim, gateway)];
}

/* Others may be behind. */
static bool gateway_knows(struct workload *w)
{
	struct drop_state *s = state_of(w);
	const struct sim_node *node = node_of(w, s->gateway);
	return node->core && node->life == s->gateway_life;
}

static void ask_document(struct workload *w, int actor, enum http_method method, int gateway)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[actor];
	struct sim_http *r = workload_request(w, actor, method, "");
	buf_printf(&r->path, "/drop%d/c%d-%d", s->made[a->made].name, a->made, a->document);
	if (method != HTTP_GET)
		buf_printf(&r->body, "{\"by%d\":%d}", actor, (int)w->requests);
	post(w, actor, gateway, r);
}

/* ---- the operator ---- */

/* `answered`: the gateway has seen done what it was asked for. If not, it may have heard of nothing
 * that others did before. */
static void abandon(struct drop_state *s, bool answered)
{
	s->name++;
	s->there = false;
	s->closing = false;
	s->put_lost = false;
	if (!answered)
		s->gateway_life = UINT64_MAX;
}

static void make(struct workload *w)
{
	struct drop_state *s = state_of(w);
	struct sim_http *r = workload_request(w, OPERATOR, HTTP_POST, "/_/collections");
	int shards = (int)rng_between(&w->rng, 1, SHARDS);
	const char *mode = rng_below(&w->rng, 2) ? "available" : "consistent";
	buf_printf(&r->body,
		   "{\"name\":\"drop%d\",\"mode\":\"%s\",\"shards\":%d,\"replicas\":%d,"
		   "\"writeQuorum\":%d,\"retainMs\":%lld,\"policy\":{\"strategy\":\"newest\"}}",
		   s->name, mode, shards, w->sim->settings.replicas, w->sim->settings.write_quorum,
		   (long long)w->sim->settings.retain_ms);
	s->tries++;
	s->actors[OPERATOR].step = DROP_MAKE;
	s->gateway = workload_below(w, w->sim->settings.gateways);
	s->gateway_life = node_of(w, s->gateway)->life;
	post(w, OPERATOR, s->gateway, r);
}

static bool documents_under_way(struct workload *w)
{
	for (int i = 1; i < ACTORS; i++)
		if (w->actors[i].request != 0 && state_of(w)->actors[i].step == DROP_PUT)
			return true;
	return false;
}

static void drop(struct workload *w)
{
	struct drop_state *s = state_of(w);
	s->closing = true;
	if (documents_under_way(w)) {
		workload_sleep(w, OPERATOR, RETRY_US);
		return;
	}
	struct sim_http *r = workload_request(w, OPERATOR, HTTP_DELETE, "");
	buf_printf(&r->path, "/_/collections/drop%d", s->name);
	s->actors[OPERATOR].step = DROP_DROP;
	s->gateway = workload_below(w, w->sim->settings.gateways);
	s->gateway_life = node_of(w, s->gateway)->life;
	post(w, OPERATOR, s->gateway, r);
}

/* For a document of one that was dropped. */
static bool look(struct workload *w)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[OPERATOR];
	if (s->made_count == 0)
		return false;
	a->made = (int)rng_below(&w->rng, (uint64_t)s->made_count);
	const struct made *m = &s->made[a->made];
	if (!m->dropped || m->documents == 0 || !gateway_knows(w))
		return false;
	a->document = (int)rng_below(&w->rng, (uint64_t)m->documents);
	a->step = DROP_LOOK;
	ask_document(w, OPERATOR, HTTP_GET, s->gateway);
	return true;
}

static void have_made(struct workload *w, const struct sim_answer *answer)
{
	struct drop_state *s = state_of(w);
	if (answer->status == 200)
		sim_violation(w->sim, "drop: drop%d is there before it is made", s->name);
	if (answer->status != 201) {
		abandon(s, false);
		return;
	}
	struct made *m = &s->made[s->made_count++];
	*m = (struct made){.name = s->name, .id = workload_collection_id(buf_slice(&answer->body))};
	for (int i = 0; i < s->made_count - 1; i++)
		if (s->made[i].id == m->id)
			sim_violation(w->sim, "drop: drop%d is the one that was dropped", s->name);
	m->shards_count = shards_of_collection(w->sim, m->id, m->shards, SHARDS);
	s->there = true;
	s->closing = false;
	s->drop_us = w->sim->now_us + rng_between(&w->rng, 1, STAY_MS) * 1000;
}

static void have_dropped(struct workload *w, const struct sim_answer *answer)
{
	struct drop_state *s = state_of(w);
	if (answer->status == 404)
		sim_violation(w->sim, "drop: drop%d has gone by itself", s->name);
	s->there = false;
	if (answer->status == 200)
		s->made[s->made_count - 1].dropped = true;
	if (answer->status != 200 || s->put_lost)
		abandon(s, answer->status == 200);
}

static void operator_answer(struct workload *w, const struct sim_answer *answer)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[OPERATOR];
	const struct made *m = &s->made[a->made];
	if (a->step == DROP_MAKE)
		have_made(w, answer);
	else if (a->step == DROP_DROP)
		have_dropped(w, answer);
	else if (m->dropped && answer->status == 200)
		sim_violation(w->sim, "drop: c%d-%d of one that was dropped is there again",
			      a->made, a->document);
	else if (!m->dropped && m->kept[a->document] && answer->status == 404)
		sim_violation(w->sim, "drop: c%d-%d is lost", a->made, a->document);
	if (s->looking && a->step == DROP_LOOK && answer->status < 500)
		a->document++;
	rest(w, OPERATOR);
	if (s->looking) /* at many documents: it does not dawdle */
		workload_sleep(w, OPERATOR, LOOK_US);
}

/* ---- the end ---- */

/* All documents, one after another. */
static void last_look(struct workload *w)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[OPERATOR];
	if (!s->looking)
		a->made = a->document = 0;
	s->looking = true;
	bool over = workload_is_over(w, 1, ACTORS - 1);
	while (a->made < s->made_count && a->document >= s->made[a->made].documents) {
		a->made++;
		a->document = 0;
	}
	bool known = a->made < s->made_count &&
		     (s->made[a->made].dropped || (s->there && a->made == s->made_count - 1));
	if (a->made >= s->made_count) {
		w->actors[OPERATOR].done = true;
	} else if (!known) {
		a->document = DOCUMENTS_MAX;
		workload_sleep(w, OPERATOR, 0);
	} else if (!over) {
		workload_sleep(w, OPERATOR, RETRY_US);
	} else {
		a->step = DROP_LOOK;
		ask_document(w, OPERATOR, HTTP_GET, workload_below(w, w->sim->settings.gateways));
	}
}

static void step_operator(struct workload *w)
{
	struct drop_state *s = state_of(w);
	if (w->sim->healed)
		last_look(w);
	else if (s->there && w->sim->now_us >= s->drop_us)
		drop(w);
	else if (!s->there && s->tries < MADE_MAX)
		make(w);
	else if (!look(w))
		rest(w, OPERATOR);
}

/* ---- writers ---- */

static void step_writer(struct workload *w, int actor)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[actor];
	if (w->sim->healed) {
		w->actors[actor].done = true;
		return;
	}
	if (s->made_count == 0) {
		rest(w, actor);
		return;
	}
	a->made = s->made_count - 1;
	struct made *m = &s->made[a->made];
	if (s->there && !s->closing && gateway_knows(w) && m->documents < DOCUMENTS_MAX &&
	    rng_below(&w->rng, 2) == 0) {
		a->document = m->documents++;
		a->step = DROP_PUT;
		ask_document(w, actor, HTTP_PUT, s->gateway);
	} else if (m->documents > 0) {
		a->document = (int)rng_below(&w->rng, (uint64_t)m->documents);
		a->step = DROP_PATCH;
		ask_document(w, actor, HTTP_PATCH, workload_below(w, w->sim->settings.gateways));
	} else {
		rest(w, actor);
	}
}

static void writer_answer(struct workload *w, int actor, int status)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[actor];
	bool good = status == 200 || status == 201;
	if (good)
		s->made[a->made].kept[a->document] = true;
	else if (a->step == DROP_PUT)
		s->put_lost = true;
	rest(w, actor);
}

/* ---- steps ---- */

static void drop_step(struct workload *w, int actor)
{
	struct drop_state *s = state_of(w);
	struct drop_actor *a = &s->actors[actor];
	if (workload_give_up(w, actor)) {
		s->put_lost |= a->step == DROP_PUT;
		if (a->step == DROP_MAKE || a->step == DROP_DROP)
			abandon(s, false);
	}
	if (actor == OPERATOR)
		step_operator(w);
	else
		step_writer(w, actor);
}

static void drop_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	if (!workload_answered(w, actor, answer))
		return;
	if (actor == OPERATOR)
		operator_answer(w, answer);
	else
		writer_answer(w, actor, answer->status);
}

static void drop_on_heal(struct workload *w)
{
	if (w->actors[OPERATOR].request != 0 && state_of(w)->actors[OPERATOR].step != DROP_LOOK)
		return; /* its answer counts, and is awaited */
	workload_give_up(w, OPERATOR);
	rest(w, OPERATOR);
}

/* ---- gone ---- */

static bool keeps(const struct disk *disk, const struct made *m)
{
	static const struct {
		enum store_family family;
		char letter;
	} places[] = {{STORE_DOCUMENTS, 'd'}, {STORE_CONFLICTS, 'd'}, {STORE_ATTACHMENTS, 'd'},
		      {STORE_STREAM, 'e'},    {STORE_STREAM, 'v'},    {STORE_STREAM, 'o'},
		      {STORE_META, 's'},      {STORE_META, 'x'},      {STORE_META, 'p'},
		      {STORE_META, 'g'},      {STORE_META, 'r'}};
	struct buf key = {0};
	bool any = disk_has_any(disk, STORE_META, key_shard(&key, 'c', m->id));
	for (int i = 0; i < m->shards_count; i++)
		for (size_t k = 0; k < ARRAY_LEN(places); k++)
			any |= disk_has_any(disk, places[k].family,
					    key_shard(&key, places[k].letter, m->shards[i]));
	buf_close(&key);
	return any;
}

static bool drop_done(struct workload *w, struct buf *why)
{
	struct drop_state *s = state_of(w);
	if (!workload_actors_done(w, why))
		return false;
	for (int i = 0; i < s->made_count; i++)
		for (int k = 1; k <= w->sim->settings.storage_nodes && s->made[i].dropped; k++) {
			if (!keeps(w->sim->nodes[k].disk, &s->made[i]))
				continue;
			buf_printf(why, "drop: %s keeps what was dropped: %016llx",
				   w->sim->nodes[k].name, (unsigned long long)s->made[i].id);
			return false;
		}
	return true;
}

static void drop_check(struct workload *w)
{
	const struct drop_state *s = state_of(w);
	int dropped = 0;
	for (int i = 0; i < s->made_count; i++)
		dropped += s->made[i].dropped;
	sim_log(w->sim, "drop: %d made, %d dropped, %d names", s->made_count, dropped, s->name + 1);
}

const struct workload_ops drop_workload = {
    .name = "drop",
    .actors = ACTORS,
    .state_bytes = sizeof(struct drop_state),
    .one_in = 3,
    .start_ms = 400,
    .step = drop_step,
    .on_answer = drop_on_answer,
    .on_heal = drop_on_heal,
    .done = drop_done,
    .check = drop_check,
};
