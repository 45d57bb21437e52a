#include "arbiter/arbiter.h"

#include <stdlib.h>

#include "arbiter/internal.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/doc/json.h"

struct arbiter *arbiter_new(const struct arbiter_options *options, uint64_t seed)
{
	struct arbiter *a = mem_alloc_zero(sizeof *a);
	struct rng rng;
	a->options = *options;
	rng_init(&rng, seed);
	/* the keys inside come from peers, and may be chosen to collide */
	a->shards.seed = rng_next(&rng);
	a->collections.seed = rng_next(&rng);
	a->members.seed = rng_next(&rng);
	a->known.seed = rng_next(&rng);
	/* an answer to an earlier life must not be taken for one to this */
	a->last_request = rng_next(&rng) >> 1;
	return a;
}

static void close_values(struct map *m)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(m, &at));)
		free(entry->value);
	map_close(m);
}

void arbiter_free(struct arbiter *a)
{
	if (!a)
		return;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));)
		arbiter_queue_free(entry->value);
	map_close(&a->shards);
	close_values(&a->collections);
	close_values(&a->members);
	close_values(&a->known);
	arbiter_task_close(a);
	arena_close(&a->arena);
	json_parser_free(a->json);
	buf_close(&a->key);
	free(a);
}

static void on_message(struct arbiter *a, const struct event *e, struct effects *fx)
{
	static const struct {
		uint16_t type;
		void (*handle)(struct arbiter *, const struct event *, struct effects *);
	} handlers[] = {
	    {MSG_member_join_ack, arbiter_member_on_join_ack},
	    {MSG_heartbeat_ack, arbiter_member_on_heartbeat_ack},
	    {MSG_arbiter_lease_ack, arbiter_member_on_lease},
	    {MSG_map_push, arbiter_member_on_map},
	    {MSG_shard_newer, arbiter_member_on_newer},
	    {MSG_conflict_list_ack, arbiter_queue_on_list},
	    {MSG_conflict_read_ack, arbiter_task_on_graph},
	    {MSG_conflict_resolve_ack, arbiter_task_on_resolved},
	    {MSG_doc_write_ack, arbiter_split_on_written},
	    {MSG_attachment_read_ack, arbiter_split_on_chunk_read},
	    {MSG_attachment_chunk_ack, arbiter_split_on_chunk_sent},
	    {MSG_cleanup_prepare_ack, arbiter_cleanup_on_prepared},
	    {MSG_cleanup_commit_ack, arbiter_cleanup_on_committed},
	};
	for (size_t i = 0; i < ARRAY_LEN(handlers); i++)
		if (handlers[i].type == e->message.envelope.type)
			handlers[i].handle(a, e, fx);
}

static void on_timer(struct arbiter *a, struct effects *fx)
{
	arbiter_member_timer(a, fx);
	arbiter_task_timer(a, fx);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		arbiter_queue_timer(a, entry->value, fx);
		arbiter_cleanup_timer(a, entry->value, fx);
	}
}

static void arbiter_step(void *core, const struct event *e, struct effects *fx)
{
	struct arbiter *a = core;
	a->now_ms = e->now_ms;
	a->wall_ms = e->wall_ms;
	switch (e->kind) {
	case EVENT_START:
		arbiter_member_start(a);
		arbiter_member_timer(a, fx);
		break;
	case EVENT_MESSAGE:
		on_message(a, e, fx);
		break;
	case EVENT_TIMER:
		on_timer(a, fx);
		break;
	case EVENT_SCRIPT:
		arbiter_script_on_end(a, e, fx);
		break;
	case EVENT_DRAIN:
		a->draining = true;
		break;
	default: /* of others */
		break;
	}
	arena_reset(&a->arena);
}

static int64_t arbiter_deadline(const void *core)
{
	const struct arbiter *a = core;
	if (!a->started)
		return NO_DEADLINE;
	int64_t at_ms = earlier(arbiter_member_deadline(a), arbiter_task_deadline(a));
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));) {
		const struct shard_row *row = entry->value;
		at_ms = earlier(at_ms, arbiter_cleanup_deadline(row));
		if (!a->draining)
			at_ms = earlier(at_ms, arbiter_queue_deadline(row));
	}
	return at_ms;
}

const struct core_ops arbiter_ops = {
    .name = "arbiter",
    .role = ROLE_ARBITER,
    .step = arbiter_step,
    .deadline = arbiter_deadline,
    .metrics = arbiter_metrics_print,
    .ready = arbiter_metrics_ready,
};
