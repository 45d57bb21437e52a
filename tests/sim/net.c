#include <stdlib.h>

#include "common/base/memory.h"
#include "tests/sim/sim.h"

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
	sim_schedule(sim, sim->now_us + net_delay_us(sim), SIM_DELIVER, to, 0, m);
}

void net_send(struct sim *sim, int from, const struct effect *effect)
{
	int to = index_of(sim, effect->send.member);
	sim->messages++;
	checker_on_send(sim, effect);
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
	node_wake(sim, event->index, sim->now_us);
}

void net_request_free(struct sim_http *r)
{
	buf_close(&r->path);
	buf_close(&r->query);
	buf_close(&r->body);
	for (int i = 0; i < 8; i++)
		buf_close(&r->header_text[i]);
	free(r);
}

void net_request(struct sim *sim, int gateway, struct sim_http *request)
{
	sim_schedule(sim, sim->now_us + rng_between(&sim->net_rng, 100, 2000), SIM_HTTP, gateway, 0,
		     request);
}

void net_http(struct sim *sim, const struct sim_event *event)
{
	struct sim_node *node = &sim->nodes[event->index];
	struct sim_http *request = event->payload;
	if (!node->core) {
		net_request_free(
		    request); /* connection refused: the client finds out by its timeout */
		return;
	}
	request->next = NULL;
	*node->requests_end = request;
	node->requests_end = &request->next;
	node_wake(sim, event->index, sim->now_us);
}

void net_answer(struct sim *sim, const struct effect *effect)
{
	struct sim_answer *answer = mem_alloc_zero(sizeof *answer);
	const struct http_response *response = &effect->respond.response;
	answer->id = effect->respond.request;
	answer->status = response->status;
	buf_append_slice(&answer->body, response->body);
	for (uint32_t i = 0; i < response->headers_count; i++) {
		struct slice name = response->headers[i].name;
		struct slice value = response->headers[i].value;
		if (name.len == 4 && (name.data[0] | 32) == 'e' && (name.data[1] | 32) == 't' &&
		    value.len > 2 && value.len < sizeof answer->etag) {
			memcpy(answer->etag, value.data + 1,
			       value.len - 2); /* without the quotes */
			answer->etag[value.len - 2] = 0;
		}
	}
	sim_schedule(sim, sim->now_us + rng_between(&sim->net_rng, 100, 2000), SIM_ANSWER, 0, 0,
		     answer);
}
