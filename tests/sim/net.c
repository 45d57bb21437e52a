#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/trap.h"
#include "tests/sim/workload.h"

enum {
	STRAGGLE_LEAST_US = 4000000,
	STRAGGLE_MOST_US = 40000000,
	REFUSAL_LEAST_US = 20000,
	REFUSAL_MOST_US = 6000000
};

int64_t net_delay_us(struct sim *sim)
{
	const struct sim_settings *set = &sim->settings;
	int64_t max = set->delay_max_us;
	if (!sim->healed && rng_chance(&sim->net_rng, set->delay_tail))
		max = set->delay_tail_us;
	return rng_between(&sim->net_rng, set->delay_min_us, max);
}

static int index_of(const struct sim *sim, uint64_t member)
{
	for (int i = 0; i < sim->nodes_count; i++)
		if (sim->nodes[i].member == member)
			return i;
	return -1;
}

void net_hold(struct sim *sim, int node, int64_t ms)
{
	struct net_hold *h = &sim->hold;
	if (h->types_count == 0)
		return;
	h->type = h->types[rng_below(&sim->late_rng, h->types_count)];
	h->node = node;
	h->until_us = sim->now_us + ms * 1000;
	sim_log(sim, "nemesis holds %s of %s ms=%lld", schema_of_message(h->type)->name,
		sim->nodes[node].name, (long long)ms);
}

static void note_type(struct net_hold *h, uint16_t type)
{
	for (uint32_t i = 0; i < h->types_count; i++)
		if (h->types[i] == type)
			return;
	if (h->types_count < ARRAY_LEN(h->types))
		h->types[h->types_count++] = type;
}

static bool is_held(const struct sim *sim, int from, int to, uint16_t type)
{
	const struct net_hold *h = &sim->hold;
	return sim->now_us < h->until_us && type == h->type && (from == h->node || to == h->node);
}

static struct sim_message *message_of(const struct sim *sim, int from, const struct effect *effect)
{
	size_t len = effect->send.body.len;
	struct sim_message *m = mem_alloc(sizeof *m + len);
	*m = (struct sim_message){.from = sim->nodes[from].member,
				  .from_role = sim->nodes[from].role,
				  .envelope = effect->send.envelope,
				  .len = len};
	memcpy(m->bytes, effect->send.body.data, len);
	return m;
}

static void post(struct sim *sim, int from, int to, const struct effect *effect, int64_t late_us)
{
	struct sim_message *m = message_of(sim, from, effect);
	int64_t at_us = sim->now_us + net_delay_us(sim) + late_us;
	if (is_held(sim, from, to, m->envelope.type))
		at_us += sim->hold.until_us - sim->now_us;
	if (at_us < sim->clogged_until_us[from][to])
		at_us = sim->clogged_until_us[from][to] + (at_us - sim->now_us);
	sim_schedule(sim, at_us, SIM_DELIVER, to, 0, m);
}

/* A replica says that it has nothing to go on from, and once more when that may be over. */
static void refuse_late(struct sim *sim, int from, int to, const struct effect *effect)
{
	struct msg_stream_append_ack m;
	if (effect->send.envelope.type != MSG_stream_append_ack)
		return;
	CHECK(schema_decode(&schema_msg_stream_append_ack, effect->send.body, &sim->arena, &m));
	arena_reset(&sim->arena);
	if (m.status == STATUS_NOT_VOUCHING && rng_below(&sim->refusal_rng, 2))
		sim_schedule(sim,
			     sim->now_us +
				 rng_between(&sim->refusal_rng, REFUSAL_LEAST_US, REFUSAL_MOST_US),
			     SIM_DELIVER, to, 0, message_of(sim, from, effect));
}

void net_send(struct sim *sim, int from, const struct effect *effect)
{
	int to = index_of(sim, effect->send.member);
	sim->messages++;
	sim->nodes[from].heard_us = sim->now_us; /* it moves, whoever gets that */
	checker_on_send(sim, effect);
	copies_on_send(sim, &sim->nodes[from], effect);
	spares_on_send(sim, effect);
	workload_on_send(sim, from, effect);
	if (sim->settings.holds || sim->settings.ambushes)
		note_type(&sim->hold, effect->send.envelope.type);
	if (to >= 0)
		trap_on_send(sim, from, to, effect->send.envelope.type);
	if (to >= 0 && sim->ambush.type == effect->send.envelope.type)
		nemesis_on_send(sim, from, to);
	if (to < 0 || sim->cut[from][to])
		return;
	if (!sim->healed && rng_chance(&sim->net_rng, sim->settings.drop))
		return;
	const struct sim_settings *set = &sim->settings;
	post(sim, from, to, effect, 0);
	if (!sim->healed && rng_chance(&sim->net_rng, set->duplicate))
		post(sim, from, to, effect, 0);
	if (set->duplicate && !sim->healed)
		refuse_late(sim, from, to, effect);
	if (set->stragglers && !sim->healed && rng_chance(&sim->late_rng, set->stragglers))
		post(sim, from, to, effect,
		     rng_between(&sim->late_rng, STRAGGLE_LEAST_US, STRAGGLE_MOST_US));
}

void net_deliver(struct sim *sim, const struct sim_event *event)
{
	struct sim_node *node = &sim->nodes[event->index];
	struct sim_message *m = event->payload;
	const struct schema *schema = schema_of_message(m->envelope.type);
	CHECK(schema != NULL);
	if (!message_allowed(m->envelope.type, m->from_role, node->role)) {
		sim_violation(sim, "%s may not get %s", node->name, schema->name);
		free(m);
		return;
	}
	if (!node->core) {
		free(m);
		return;
	}
	sim_node_of(sim, m->from)->heard_us = sim->now_us;
	m->next = NULL;
	*node->inbox_end = m;
	node->inbox_end = &m->next;
	trap_on_arrival(sim, m->from, event->index, m->envelope.type);
	node_wake(sim, event->index, sim->now_us);
}
