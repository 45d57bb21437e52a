#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/trap.h"
#include "tests/sim/workload.h"

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

static void post(struct sim *sim, int from, int to, const struct effect *effect)
{
	size_t len = effect->send.body.len;
	struct sim_message *m = mem_alloc(sizeof *m + len);
	*m = (struct sim_message){.from = sim->nodes[from].member,
				  .from_role = sim->nodes[from].role,
				  .envelope = effect->send.envelope,
				  .len = len};
	memcpy(m->bytes, effect->send.body.data, len);
	int64_t at_us = sim->now_us + net_delay_us(sim);
	if (at_us < sim->clogged_until_us[from][to])
		at_us = sim->clogged_until_us[from][to] + (at_us - sim->now_us);
	sim_schedule(sim, at_us, SIM_DELIVER, to, 0, m);
}

void net_send(struct sim *sim, int from, const struct effect *effect)
{
	int to = index_of(sim, effect->send.member);
	sim->messages++;
	checker_on_send(sim, effect);
	workload_on_send(sim, from, effect);
	if (to >= 0)
		trap_on_send(sim, from, to, effect->send.envelope.type);
	if (to < 0 || sim->cut[from][to])
		return;
	if (!sim->healed && rng_chance(&sim->net_rng, sim->settings.drop))
		return;
	post(sim, from, to, effect);
	if (!sim->healed && rng_chance(&sim->net_rng, sim->settings.duplicate))
		post(sim, from, to, effect);
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
	m->next = NULL;
	*node->inbox_end = m;
	node->inbox_end = &m->next;
	trap_on_arrival(sim, m->from, event->index, m->envelope.type);
	node_wake(sim, event->index, sim->now_us);
}
