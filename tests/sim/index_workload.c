/* Indexes that come and go while documents change and nodes fail. One actor makes and drops indexes
 * of all collections; the others write documents of their own and ask for them by value. Checked:
 *
 * - what was acknowledged is found by its newest value, and by no older one, whichever way a query
 *   takes
 *
 * - index equals documents (index_checker.h), on every disk, at any time; in the end every build
 *   has come to its end */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/url.h"
#include "storage-node/keys.h"
#include "tests/sim/index_checker.h"
#include "tests/sim/workload.h"

enum {
	ACTORS = 4,
	KEEPER = 0,    /* the actor that makes and drops */
	DOCUMENTS = 6, /* of each of the others */
	ROUNDS = 60,
	INDEXES = 5,
	UNKNOWN = -1,
	TIMEOUT_US = 20 * 1000 * 1000
};

#define COLLECTION "indexed"

struct known {
	int lives; /* after a write of which nothing is known another document takes its place */
	int value; /* acknowledged; UNKNOWN: none */
	int older; /* one that it had before; UNKNOWN: none */
};

enum step { IDLE, WRITE, FIND, FIND_OLDER };

struct actor {
	enum step step;
	struct known documents[DOCUMENTS];
	int document;
	int value; /* written or asked for */
	int rounds;
};

struct state {
	struct actor actors[ACTORS];
	int values;         /* given out so far */
	struct map checked; /* node, shard -> digest and whether all indexes were ready */
};

static struct state *state_of(struct workload *w)
{
	return w->state;
}

static void sleep_ms(struct workload *w, int actor, int64_t ms)
{
	state_of(w)->actors[actor].step = IDLE;
	workload_sleep(w, actor, ms * 1000);
}

static void start(struct workload *w)
{
	struct state *s = state_of(w);
	for (int i = 0; i < ACTORS; i++) {
		for (int k = 0; k < DOCUMENTS; k++)
			s->actors[i].documents[k] = (struct known){0, UNKNOWN, UNKNOWN};
		sleep_ms(w, i, 2000 + workload_below(w, 500));
	}
}

static void post(struct workload *w, int actor, enum step step, struct sim_http *r)
{
	state_of(w)->actors[actor].step = step;
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* ---- every disk ---- */

struct visit {
	struct workload *w;
	const struct sim_node *node;
	bool ready;
};

/* Returns whether all its indexes are ready. */
static bool check_indexes(struct visit *v, uint64_t shard)
{
	struct index_counts counts;
	struct buf why = {0};
	if (!index_checker_run(v->node->disk, shard, &counts, &why))
		sim_violation(v->w->sim, "%s: %s", v->node->name, buf_cstr(&why));
	buf_close(&why);
	return counts.ready == counts.indexes;
}

/* What has not changed since it was checked need not be checked again. */
static void check_shard(void *context, struct slice key, struct slice value)
{
	struct visit *v = context;
	struct map *checked = &state_of(v->w)->checked;
	(void)value;
	if (key.len != KEY_SHARD_BYTES)
		return;
	uint64_t shard = be64_read(key.data + 1);
	uint64_t name[2] = {v->node->member, shard};
	/* never 0; the last bit says whether they were ready */
	uintptr_t digest = ((uintptr_t)index_checker_digest(v->node->disk, shard) | 3) - 1;
	uintptr_t before = (uintptr_t)map_get(checked, slice_of(name, sizeof name));
	if ((before & ~(uintptr_t)1) != digest) {
		before = digest | check_indexes(v, shard);
		map_put(checked, slice_of(name, sizeof name), (void *)before);
	}
	v->ready = v->ready && (before & 1);
}

static bool check_disks(struct workload *w, const char **unready)
{
	struct sim *sim = w->sim;
	for (int i = 0; i < sim->nodes_count; i++) {
		struct visit v = {w, &sim->nodes[i], true};
		if (sim->nodes[i].role != ROLE_STORAGE || sim_node_flipped(&sim->nodes[i]))
			continue;
		disk_walk(v.node->disk, STORE_META, slice_text("s"), check_shard, &v);
		*unready = v.ready ? *unready : v.node->name;
		if (!v.ready)
			return false;
	}
	return true;
}

/* ---- the keeper ---- */

static void keep(struct workload *w)
{
	static const char *const collections[] = {COLLECTION, COLLECTION, "strict", "open",
						  "newest"};
	static const char *const fields[INDEXES] = {"\"v\"", "\"w\"", "\"w\",\"v\"",
						    "\"f0\",\"f1\"", "\"f2\""};
	int index = workload_below(w, INDEXES);
	bool makes = workload_below(w, 3) > 0;
	char path[96];
	const char *unready = NULL;
	(void)check_disks(w, &unready);
	int len = snprintf(path, sizeof path, "/_/collections/%s/indexes",
			   collections[workload_below(w, ARRAY_LEN(collections))]);
	if (!makes)
		snprintf(path + len, sizeof path - (size_t)len, "/i%d", index);
	struct sim_http *r = workload_request(w, KEEPER, makes ? HTTP_POST : HTTP_DELETE, path);
	if (makes)
		buf_printf(&r->body, "{\"name\":\"i%d\",\"fields\":[%s]}", index, fields[index]);
	post(w, KEEPER, WRITE, r);
}

/* ---- the others ---- */

static void send_write(struct workload *w, int actor)
{
	struct state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	char path[64];
	a->document = workload_below(w, DOCUMENTS);
	a->value = ++s->values;
	snprintf(path, sizeof path, "/" COLLECTION "/a%d-d%d-l%d", actor, a->document,
		 a->documents[a->document].lives);
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, path);
	buf_printf(&r->body, "{\"v\":%d,\"w\":[%d,\"x\"],\"f2\":%d}", a->value, a->value,
		   a->value % 3);
	post(w, actor, WRITE, r);
}

static void send_query(struct workload *w, int actor, enum step step, int value)
{
	struct actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_GET, "/" COLLECTION);
	struct buf text = {0};
	bool by_v = workload_below(w, 2) > 0;
	/* each in our own words, as a selector of CouchDB's, and as one with bounds */
	if (value % 3 == 0)
		buf_printf(&text, "{\"%s\":%d}", by_v ? "v" : "w", value);
	else if (!by_v)
		buf_printf(&text, "{\"$mango\":{\"w\":{\"$in\":[%d]}}}", value);
	else if (value % 3 == 1)
		buf_printf(&text, "{\"$mango\":{\"v\":%d}}", value);
	else
		buf_printf(&text, "{\"$mango\":{\"v\":{\"$gte\":%d,\"$lt\":%d}}}", value,
			   value + 1);
	buf_append_text(&r->query, "query=");
	url_encode(buf_slice(&text), &r->query);
	buf_close(&text);
	a->value = value;
	post(w, actor, step, r);
}

static void act(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	const struct known *d = &a->documents[workload_below(w, DOCUMENTS)];
	w->actors[actor].done = w->sim->healed || a->rounds++ >= ROUNDS;
	if (w->actors[actor].done)
		return;
	if (actor == KEEPER)
		keep(w);
	else if (workload_below(w, 2) || d->value == UNKNOWN)
		send_write(w, actor);
	else if (d->older != UNKNOWN && workload_below(w, 3) == 0)
		send_query(w, actor, FIND_OLDER, d->older);
	else
		send_query(w, actor, FIND, d->value);
}

static void step(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	struct known *d = &a->documents[a->document];
	if (a->step == WRITE && actor != KEEPER)
		*d = (struct known){d->lives + 1, UNKNOWN, UNKNOWN};
	act(w, actor);
}

static void written(struct actor *a, int status)
{
	struct known *d = &a->documents[a->document];
	if (status == 200 || status == 201)
		*d = (struct known){d->lives, a->value, d->value};
	else
		*d = (struct known){d->lives + 1, UNKNOWN, UNKNOWN};
}

static void found(struct workload *w, const struct actor *a, const struct sim_answer *answer)
{
	char text[32];
	struct buf body = {0};
	snprintf(text, sizeof text, "\"v\":%d,", a->value);
	buf_append_slice(&body, buf_slice(&answer->body));
	const char *at = strstr(buf_cstr(&body), text);
	if (a->step == FIND && (!at || strstr(at + 1, "\"v\":")))
		sim_violation(w->sim, "asked for the acknowledged value %d, found %s", a->value,
			      buf_cstr(&body));
	if (a->step == FIND_OLDER && at)
		sim_violation(w->sim, "value %d was replaced, but is found", a->value);
	buf_close(&body);
}

static void on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct actor *a = &state_of(w)->actors[actor];
	if (!workload_answered(w, actor, answer) || w->actors[actor].done)
		return;
	if (a->step == WRITE && actor != KEEPER)
		written(a, answer->status);
	else if (a->step != WRITE && answer->status == 200)
		found(w, a, answer);
	sleep_ms(w, actor,
		 actor == KEEPER ? 200 + workload_below(w, 1500) : 1 + workload_below(w, 300));
}

/* ---- the end ---- */

static bool done(struct workload *w, struct buf *why)
{
	const char *unready = NULL;
	if (!workload_actors_done(w, why))
		return false;
	if (check_disks(w, &unready))
		return true;
	buf_printf(why, "an index of %s is not built to its end", unready);
	return false;
}

static void check(struct workload *w)
{
	const char *unready = NULL;
	(void)check_disks(w, &unready);
}

static void free_state(struct workload *w)
{
	map_close(&state_of(w)->checked);
}

const struct workload_ops index_workload = {
    .name = "index",
    .actors = ACTORS,
    .state_bytes = sizeof(struct state),
    .one_in = 2,
    .start = start,
    .step = step,
    .on_answer = on_answer,
    .done = done,
    .check = check,
    .free = free_state,
};
