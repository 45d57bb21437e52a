/* Operators who change the settings of one collection at the same time, each a setting of their
 * own, by way of any gateway. Checked at the end, in what the coordinator keeps:
 * - kept: each setting is what its operator was last told, or may have been made since; nobody's
 *   change has taken another's back */
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum tuned_setting { TUNED_RETAIN, TUNED_DELETED, TUNED_ANCESTORS, TUNED_SETTINGS };

enum {
	ACTORS = TUNED_SETTINGS,
	CHANGES = 12, /* of each */
	MAYBE_MAX = CHANGES + 1,
	PACE_MS = 1500,
	TIMEOUT_US = 9000000,
	RETRY_US = 300000
};

static const char *const members[] = {
    [TUNED_RETAIN] = "retainMs",
    [TUNED_DELETED] = "retainDeletedMs",
    [TUNED_ANCESTORS] = "keepAncestors",
};

/* The last one is what was answered, those before it were not, and may have been made since. */
struct tuner {
	int changes;
	uint64_t maybe[MAYBE_MAX];
	int maybe_count;
};

struct tuned_state {
	struct tuner tuners[ACTORS];
	uint64_t collection;
};

static struct tuned_state *state_of(struct workload *w)
{
	return w->state;
}

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_append_text(&r->body, "{\"name\":\"tuned\",\"retainMs\":1,\"retainDeletedMs\":1,"
				  "\"keepAncestors\":1}");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_change(struct workload *w, int actor)
{
	struct tuner *o = &state_of(w)->tuners[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_PATCH, "/_/collections/tuned");
	uint64_t value = (uint64_t)++o->changes + 1;
	o->maybe[o->maybe_count++] = value;
	buf_printf(&r->body, "{\"%s\":%llu}", members[actor], (unsigned long long)value);
	workload_header(r, "content-type", "application/merge-patch+json");
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void tuned_step(struct workload *w, int actor)
{
	struct tuned_state *s = state_of(w);
	workload_give_up(w, actor);
	if (!workload_is_opened(w, actor, s->collection != 0, ask_collection, RETRY_US))
		return;
	if (w->sim->healed || s->tuners[actor].changes == CHANGES)
		w->actors[actor].done = true;
	else
		ask_change(w, actor);
}

static void tuned_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct tuned_state *s = state_of(w);
	struct tuner *o = &s->tuners[actor];
	if (!workload_answered(w, actor, answer))
		return;
	if (s->collection == 0) {
		s->collection = workload_collection_id(buf_slice(&answer->body));
	} else if (answer->status == 200) {
		o->maybe[0] = o->maybe[o->maybe_count - 1];
		o->maybe_count = 1;
	}
	workload_rest(w, actor, PACE_MS);
}

static void tuned_start(struct workload *w)
{
	struct tuned_state *s = state_of(w);
	for (int i = 0; i < ACTORS; i++) {
		s->tuners[i].maybe[0] = 1;
		s->tuners[i].maybe_count = 1;
	}
}

/* What the coordinator forgot with its disk it has from nodes, which may not have heard of it. */
static bool tuned_fits(const struct sim_settings *settings)
{
	return !settings->forgets;
}

static void tuned_check(struct workload *w)
{
	struct tuned_state *s = state_of(w);
	struct collection c;
	struct buf key = {0};
	bool there = s->collection != 0 &&
		     disk_record(w->sim, w->sim->nodes[0].disk, STORE_META,
				 key_shard(&key, 'c', s->collection), &schema_collection, &c);
	for (int i = 0; there && i < ACTORS; i++) {
		const struct tuner *o = &s->tuners[i];
		uint64_t value = i == TUNED_RETAIN    ? c.retain_ms
				 : i == TUNED_DELETED ? c.retain_deleted - 1 /* 0: as by default */
						      : c.keep_ancestors;
		bool known = false;
		for (int k = 0; k < o->maybe_count; k++)
			known |= o->maybe[k] == value;
		if (!known)
			sim_violation(w->sim, "tuned: %s is %llu, and was made %llu", members[i],
				      (unsigned long long)value, (unsigned long long)o->maybe[0]);
	}
	buf_close(&key);
	arena_reset(&w->sim->arena);
}

const struct workload_ops tuned_workload = {
    .name = "tuned",
    .actors = ACTORS,
    .state_bytes = sizeof(struct tuned_state),
    .one_in = 4,
    .fits = tuned_fits,
    .start = tuned_start,
    .start_ms = 400,
    .step = tuned_step,
    .on_answer = tuned_on_answer,
    .check = tuned_check,
};
