/* An operator who empties storage nodes and fills them again, while all else goes on.
 *
 * At the end no node is to be emptied, no replica is half way to another node, and no node that has
 * no replica of a shard any more keeps branches of it. That nothing is lost on the way is for the
 * checkers of the other workloads to say. */
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

enum { TIMEOUT_US = 6000000, PAUSE_MIN_MS = 500, PAUSE_MAX_MS = 12000 };

struct moves_state {
	bool draining[SIM_NODES_MAX]; /* asked for, as far as we know: cleared by an answer only */
	int asked;                    /* node of the request under way */
	bool drain;
};

static struct moves_state *state_of(struct workload *w)
{
	return w->state;
}

static bool moves_fits(const struct sim_settings *set)
{
	return set->storage_nodes > set->replicas;
}

static void ask(struct workload *w, int node, bool drain)
{
	struct moves_state *s = state_of(w);
	struct sim_http *r = workload_request(w, 0, HTTP_PATCH, "");
	int by = workload_below(w, w->sim->settings.storage_nodes);
	buf_printf(&r->path, "/_/nodes/%s", w->sim->nodes[1 + node].name);
	buf_printf(&r->body, "{\"drain\":%s", drain ? "true" : "false");
	if (drain && by != node && !s->draining[by] && rng_below(&w->rng, 3) == 0)
		buf_printf(&r->body, ",\"replaceBy\":\"%s\"", w->sim->nodes[1 + by].name);
	buf_append_text(&r->body, "}");
	s->asked = node;
	s->drain = drain;
	s->draining[node] = true;
	workload_ask(w, 0, r, TIMEOUT_US);
}

/* As many must stay as collections have replicas, or nothing can move. */
static bool another(const struct workload *w)
{
	int draining = 0;
	for (int i = 0; i < w->sim->settings.storage_nodes; i++)
		draining += ((const struct moves_state *)w->state)->draining[i];
	return w->sim->settings.storage_nodes - draining > w->sim->settings.replicas;
}

static int first_draining(const struct moves_state *s)
{
	for (int i = 0; i < SIM_NODES_MAX; i++)
		if (s->draining[i])
			return i;
	return -1;
}

static void moves_step(struct workload *w, int actor)
{
	struct moves_state *s = state_of(w);
	workload_give_up(w, actor);
	int node = first_draining(s);
	if (!w->sim->healed && another(w) && (node < 0 || rng_below(&w->rng, 2) == 0))
		ask(w, workload_below(w, w->sim->settings.storage_nodes), true);
	else if (node >= 0)
		ask(w, node, false);
	else if (w->sim->healed)
		w->actors[actor].done = true;
	else
		workload_sleep(w, actor, PAUSE_MIN_MS * 1000);
}

static void moves_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct moves_state *s = state_of(w);
	if (!workload_answered(w, actor, answer))
		return;
	if (!s->drain && answer->status == 200)
		s->draining[s->asked] = false;
	int64_t pause_ms = w->sim->healed ? 10 : rng_between(&w->rng, PAUSE_MIN_MS, PAUSE_MAX_MS);
	workload_sleep(w, actor, pause_ms * 1000);
}

static void moves_on_heal(struct workload *w)
{
	if (w->actors[0].request == 0)
		workload_sleep(w, 0, 0);
}

static void moves_start(struct workload *w)
{
	workload_sleep(w, 0, rng_between(&w->rng, 1000, 8000) * 1000);
}

/* ---- the end ---- */

struct end_walk {
	struct workload *w;
	const struct sim_node *node;
	struct buf *why;
	struct arena arena;
};

static void look_at_shard(void *context, struct slice key, struct slice value)
{
	struct end_walk *e = context;
	struct shard shard;
	bool listed = false;
	bool branches = false;
	struct buf prefix = {0};
	if (key.len != KEY_SHARD_BYTES || e->why->len > 0 ||
	    !schema_decode(&schema_shard, value, &e->arena, &shard))
		return;
	for (uint32_t i = 0; i < shard.replicas_count; i++) {
		if (shard.replicas[i].joining)
			buf_printf(e->why, "a replica of shard %016llx is on its way",
				   (unsigned long long)shard.id);
		listed |= shard.replicas[i].node == e->node->member;
	}
	if (!listed)
		branches =
		    disk_has_any(e->node->disk, STORE_STREAM, key_shard(&prefix, 'o', shard.id));
	buf_close(&prefix);
	if (branches && e->why->len == 0)
		buf_printf(e->why, "%s keeps branches of shard %016llx", e->node->name,
			   (unsigned long long)shard.id);
}

static bool moves_done(struct workload *w, struct buf *why)
{
	struct buf text = {0};
	if (!w->actors[0].done)
		buf_append_text(&text, "the operator waits");
	for (int i = 0; i < w->sim->settings.storage_nodes && text.len == 0; i++) {
		struct end_walk e = {.w = w, .node = &w->sim->nodes[1 + i], .why = &text};
		disk_walk(e.node->disk, STORE_META, slice_text("s"), look_at_shard, &e);
		arena_close(&e.arena);
	}
	bool done = text.len == 0;
	buf_append_slice(why, buf_slice(&text));
	buf_close(&text);
	return done;
}

const struct workload_ops moves_workload = {
    .name = "moves",
    .actors = 1,
    .state_bytes = sizeof(struct moves_state),
    .one_in = 2,
    .fits = moves_fits,
    .start = moves_start,
    .step = moves_step,
    .on_answer = moves_on_answer,
    .on_heal = moves_on_heal,
    .done = moves_done,
};
