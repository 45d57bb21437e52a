/* One arbiter, the lead of its shard, which is answered for by hand, and the trace of what is
 * sent. */
#ifndef PARLEY_TESTS_CORE_ARBITER_LEAD_CASE_H
#define PARLEY_TESTS_CORE_ARBITER_LEAD_CASE_H

#include "tests/core/arbiter_case.h"

enum { NODE_B = 12, NODE_C = 13, WALL_MS = 1000000 };

/* ---- the shell ---- */

/* Joins, heartbeats and leases tick all the time: they are not what these tests are about. */
static inline bool is_membership(uint16_t type)
{
	return type == MSG_member_join || type == MSG_heartbeat || type == MSG_arbiter_lease;
}

static inline void note(struct world *w, const struct effect *effect)
{
	if (effect->kind != EFFECT_SEND)
		return;
	const struct envelope *envelope = &effect->send.envelope;
	const struct schema *schema = schema_of_message(envelope->type);
	if (is_membership(envelope->type))
		return;
	assert_true(message_allowed(envelope->type, ROLE_ARBITER, ROLE_STORAGE));
	keep_sent(w, effect);
	void *message = arena_alloc(&w->arena, schema->size);
	assert_true(schema_decode(schema, effect->send.body, &w->arena, message));
	buf_printf(&w->trace, "%lld to %llu e%llu ", (long long)w->now_ms,
		   (unsigned long long)effect->send.member, (unsigned long long)envelope->epoch);
	schema_print(schema, message, &w->trace);
	buf_append_byte(&w->trace, '\n');
}

/* The last request of this type to this member. */
static inline struct sent last_sent(const struct world *w, uint64_t member, uint16_t type)
{
	for (uint32_t i = w->sent_count; i-- > 0;)
		if (w->sent[i].member == member && w->sent[i].type == type)
			return w->sent[i];
	fail_msg("nothing of type %u was sent to %llu", type, (unsigned long long)member);
	return (struct sent){0};
}

static inline void answer_to(struct world *w, struct sent question, const void *body)
{
	struct envelope envelope = {.type = (uint16_t)(question.type + 1),
				    .request_id = question.request,
				    .epoch = question.epoch};
	deliver(w, question.member, &envelope, body);
}

static inline void answer(struct world *w, uint64_t member, uint16_t question, const void *body)
{
	answer_to(w, last_sent(w, member, question), body);
}

/* ---- the cluster ---- */

static inline void push_map(struct world *w, uint64_t version, struct shard *shard,
			    uint64_t retain_ms)
{
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("things"),
					.version = w->policy.len > 0 ? 4 : 3,
					.replicas = 3,
					.write_quorum = 2,
					.policy = w->policy,
					.retain_ms = retain_ms};
	struct member member = {.id = NODE_C, .name = slice_text("node-c"), .role = ROLE_STORAGE};
	struct msg_map_push push = {.map_version = version,
				    .members = &member,
				    .members_count = 1,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = shard,
				    .shards_count = 1};
	coordinator_says(w, MSG_map_push, &push);
}

static inline int setup(void **state)
{
	struct world *w = world_open(state, WALL_MS, note);
	struct shard shard = placement(w, EPOCH, NODE_A, 3);
	push_map(w, 5, &shard, 1000);
	lease(w, true);
	run_until(w, 0);
	trace_is(w, "0 to 11 e4 conflict_list{shard=81 limit=256}\n");
	return 0;
}

/* ---- answers of the lead ---- */

static inline void list_answers(struct world *w, struct conflict_row *rows, uint32_t count)
{
	struct msg_conflict_list_ack ack = {
	    .status = STATUS_OK, .shard = SHARD, .rows = rows, .rows_count = count};
	answer(w, NODE_A, MSG_conflict_list, &ack);
}

static inline void list_shows_open(struct world *w, const char *id)
{
	static struct revision leaves[2];
	leaves[0] = rev(2, "b");
	leaves[1] = rev(2, "a");
	struct conflict_row row = {.id = slice_text(id)};
	row.conflict = (struct conflict){
	    .state = CONFLICT_OPEN, .number = 20, .leaves = leaves, .leaves_count = 2};
	row.conflict.policy = w->leads_policy;
	list_answers(w, &row, 1);
}

static inline void lead_resolves(struct world *w, enum status status)
{
	struct msg_conflict_resolve_ack ack = {.status = status, .shard = SHARD};
	answer(w, NODE_A, MSG_conflict_resolve, &ack);
}

static inline void list_shows_resolved(struct world *w, uint64_t resolved_ms)
{
	struct conflict_row row = {.id = slice_text("doc")};
	row.conflict = (struct conflict){.state = CONFLICT_RESOLVED,
					 .number = 30,
					 .resolution_id = slice_text("0123456789abcdef"),
					 .resolved_ms = resolved_ms};
	list_answers(w, &row, 1);
}

static inline struct msg_cleanup_prepare_ack prepared(struct world *w, uint64_t incarnation,
						      uint64_t number)
{
	struct cleanup_item *item = arena_alloc(&w->arena, sizeof *item);
	*item = (struct cleanup_item){
	    .id = slice_text("doc"), .resolution_id = slice_text("0123456789abcdef"), .number = 30};
	return (struct msg_cleanup_prepare_ack){.shard = SHARD,
						.status = STATUS_OK,
						.incarnation = incarnation,
						.number = number,
						.items = item,
						.items_count = 1};
}

static inline void acknowledge(struct world *w, uint64_t node, uint64_t incarnation,
			       uint64_t number)
{
	struct msg_cleanup_prepare_ack ack = prepared(w, incarnation, number);
	answer(w, node, MSG_cleanup_prepare, &ack);
}

static inline void start_cleanup(struct world *w)
{
	run_until(w, 2000);
	list_shows_resolved(w, WALL_MS);
	buf_clear(&w->trace);
}

static inline bool metric_is(struct world *w, const char *line)
{
	buf_clear(&w->scratch);
	buf_append_byte(&w->scratch, '\n');
	arbiter_ops.metrics(w->arbiter, &w->scratch);
	return strstr(buf_cstr(&w->scratch), line) != NULL;
}

#define LIST_AGAIN(ms) ms " to 11 e4 conflict_list{shard=81 limit=256}\n"

#endif
