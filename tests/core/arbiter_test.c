/* One arbiter, a scripted cluster around it, and the trace of what it sends. */
#include "tests/core/arbiter_case.h"

enum { NODE_B = 12, NODE_C = 13, WALL_MS = 1000000 };

/* ---- the shell ---- */

/* Joins, heartbeats and leases tick all the time: they are not what these tests are about. */
static bool is_membership(uint16_t type)
{
	return type == MSG_member_join || type == MSG_heartbeat || type == MSG_arbiter_lease;
}

static void note(struct world *w, const struct effect *effect)
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
static struct sent last_sent(const struct world *w, uint64_t member, uint16_t type)
{
	for (uint32_t i = w->sent_count; i-- > 0;)
		if (w->sent[i].member == member && w->sent[i].type == type)
			return w->sent[i];
	fail_msg("nothing of type %u was sent to %llu", type, (unsigned long long)member);
	return (struct sent){0};
}

static void answer_to(struct world *w, struct sent question, const void *body)
{
	struct envelope envelope = {.type = (uint16_t)(question.type + 1),
				    .request_id = question.request,
				    .epoch = question.epoch};
	deliver(w, question.member, &envelope, body);
}

static void answer(struct world *w, uint64_t member, uint16_t question, const void *body)
{
	answer_to(w, last_sent(w, member, question), body);
}

/* ---- the cluster ---- */

static void push_map(struct world *w, uint64_t version, struct shard *shard, uint64_t retain_ms)
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

static int setup(void **state)
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

static void list_answers(struct world *w, struct conflict_row *rows, uint32_t count)
{
	struct msg_conflict_list_ack ack = {
	    .status = STATUS_OK, .shard = SHARD, .rows = rows, .rows_count = count};
	answer(w, NODE_A, MSG_conflict_list, &ack);
}

static void list_shows_open(struct world *w, const char *id)
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

static void lead_resolves(struct world *w, enum status status)
{
	struct msg_conflict_resolve_ack ack = {.status = status, .shard = SHARD};
	answer(w, NODE_A, MSG_conflict_resolve, &ack);
}

static void list_shows_resolved(struct world *w, uint64_t resolved_ms)
{
	struct conflict_row row = {.id = slice_text("doc")};
	row.conflict = (struct conflict){.state = CONFLICT_RESOLVED,
					 .number = 30,
					 .resolution_id = slice_text("0123456789abcdef"),
					 .resolved_ms = resolved_ms};
	list_answers(w, &row, 1);
}

static struct msg_cleanup_prepare_ack prepared(struct world *w, uint64_t incarnation,
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

static void acknowledge(struct world *w, uint64_t node, uint64_t incarnation, uint64_t number)
{
	struct msg_cleanup_prepare_ack ack = prepared(w, incarnation, number);
	answer(w, node, MSG_cleanup_prepare, &ack);
}

static bool metric_is(struct world *w, const char *line)
{
	buf_clear(&w->scratch);
	buf_append_byte(&w->scratch, '\n');
	arbiter_ops.metrics(w->arbiter, &w->scratch);
	return strstr(buf_cstr(&w->scratch), line) != NULL;
}

#define LIST_AGAIN(ms) ms " to 11 e4 conflict_list{shard=81 limit=256}\n"

/* ---- resolving ---- */

static void test_a_conflict_is_read_resolved_and_cleaned_up(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	answer(w, NODE_A, MSG_conflict_read, &ack);
	trace_is(w, "0 to 11 e4 conflict_resolve{shard=81 id=\"doc\" "
		    "leaves=[{generation=2 hash=\"a\"} {generation=2 hash=\"b\"}] "
		    "parents=[{generation=2 hash=\"a\"} {generation=2 hash=\"b\"}] "
		    "revision={generation=3 "
		    "hash=\"cc94d9aa32cfb55ce142548156f3a155\"} "
		    "body=0x82a16102a16202 policy_version=3 "
		    "resolution_id=0x8534fdefcb2a5db131bfb6f1471e5014 "
		    "detail=0x82a26279a761726269746572a87374726174656779a56d65726765}\n");
	lead_resolves(w, STATUS_OK);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"merge\"} 1\n"));
	run_until(w, 200);
	trace_is(w, "200 to 11 e4 conflict_list{shard=81 limit=256}\n");
	list_shows_resolved(w, WALL_MS + 200 - 999);
	trace_is(w, "");
	run_until(w, 600);
	trace_is(w, "600 to 11 e4 conflict_list{shard=81 limit=256}\n");
	list_shows_resolved(w, WALL_MS + 600 - 1000);
	trace_is(w, "600 to 11 e4 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n"
		    "600 to 12 e4 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n"
		    "600 to 13 e4 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n");
	acknowledge(w, NODE_B, 112, 31);
	acknowledge(w, NODE_A, 111, 30);
	trace_is(w, "");
	assert_true(metric_is(w, "\nparley_cleanup_pending_acks{node=\"node-c\"} 1\n"));
	acknowledge(w, NODE_C, 113, 40);
	trace_is(w, "600 to 11 e4 cleanup_commit{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}] acks=[{node=11 "
		    "incarnation=111 number=30} {node=12 incarnation=112 "
		    "number=31} {node=13 incarnation=113 number=40}]}\n");
	struct msg_cleanup_commit_ack done = {.shard = SHARD, .status = STATUS_OK, .cleaned = 1};
	answer(w, NODE_A, MSG_cleanup_commit, &done);
	assert_true(metric_is(w, "\nparley_cleanup_items_total 1\n"));
	assert_true(metric_is(w, "\nparley_cleanup_pending_acks{node=\"node-c\"} 0\n"));
	run_until(w, 800);
	trace_is(w, "800 to 11 e4 conflict_list{shard=81 limit=256}\n");
}

static void test_leaves_moved_reads_again(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	answer(w, NODE_A, MSG_conflict_read, &ack);
	buf_clear(&w->trace);
	lead_resolves(w, STATUS_LEAVES_MOVED);
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
	answer(w, NODE_A, MSG_conflict_read, &ack);
	buf_clear(&w->trace);
	lead_resolves(w, STATUS_POLICY_MOVED);
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
	ack.nodes_count = 2; /* somebody else has resolved it meanwhile */
	answer(w, NODE_A, MSG_conflict_read, &ack);
	trace_is(w, "");
	assert_true(metric_is(w, "\nparley_arbiter_tasks 0\n"));
}

/* A large document over a slow line: each answer takes five seconds. */
static void test_a_slow_lead_is_heard(void **state)
{
	enum { STEP_MS = 100, STEPS_LATE = 50, STEPS = 400 };
	struct world *w = *state;
	struct sent asked[STEPS];
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	list_shows_open(w, "doc");
	for (int i = 0; i < STEPS; i++) {
		run_until(w, (int64_t)i * STEP_MS);
		asked[i] = last_sent(w, NODE_A, MSG_conflict_read);
		w->sent[0] = asked[i];
		w->sent_count = 1; /* there is room for so many only */
		if (i >= STEPS_LATE)
			answer_to(w, asked[i - STEPS_LATE], &ack);
	}
	assert_non_null(strstr(buf_cstr(&w->trace), "conflict_resolve{"));
}

static void test_policy_none_is_noted_once(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{\"strategy\":\"none\"}");
	ack.conflict = (struct conflict){
	    .state = CONFLICT_OPEN,
	    .number = 20,
	    .leaves = (struct revision[]){rev(2, "b"), rev(2, "a")},
	    .leaves_count = 2,
	};
	buf_clear(&w->trace);
	answer(w, NODE_A, MSG_conflict_read, &ack);
	trace_is(w, "0 to 11 e4 conflict_note{shard=81 id=\"doc\" "
		    "leaves=[{generation=2 hash=\"a\"} {generation=2 hash=\"b\"}] "
		    "detail=0x82a26279a761726269746572a6726561736f6eab706f6c6963795f6e6f6e65}\n");
	assert_true(metric_is(w, "\nparley_conflicts_open_seen 1\n"));
	run_until(w, 200);
	list_shows_open(w, "doc");
	run_until(w, 600);
	list_shows_open(w, "doc");
	trace_is(w, "200 to 11 e4 conflict_list{shard=81 limit=256}\n"
		    "600 to 11 e4 conflict_list{shard=81 limit=256}\n");
	run_until(w, 31000);
	buf_clear(&w->trace);
	list_shows_open(w, "doc"); /* a new lead may not know the note */
	trace_is(w, "31000 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
}

/* If the map and the lead agree on `none`: else the lead may have one that decides. */
static void test_policy_none_needs_no_reading(void **state)
{
	struct world *w = *state;
	struct shard shard = placement(w, EPOCH, NODE_A, 3);
	w->policy = body(w, "{\"strategy\":\"none\"}");
	push_map(w, 6, &shard, 1000);
	w->leads_policy = 3;
	list_shows_open(w, "other");
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"other\"}\n");
	run_until(w, 200);
	buf_clear(&w->trace);
	w->leads_policy = 4;
	list_shows_open(w, "doc");
	trace_is(w, "200 to 11 e4 conflict_note{shard=81 id=\"doc\" "
		    "leaves=[{generation=2 hash=\"b\"} {generation=2 hash=\"a\"}] "
		    "detail=0x82a26279a761726269746572a6726561736f6eab706f6c6963795f6e6f6e65}\n");
}

/* The map has a newer policy than the lead: what that one leaves open says nothing of this one. */
static void test_another_policy_is_looked_at_at_once(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{\"strategy\":\"none\"}");
	ack.conflict = (struct conflict){
	    .state = CONFLICT_OPEN,
	    .number = 20,
	    .leaves = (struct revision[]){rev(2, "b"), rev(2, "a")},
	    .leaves_count = 2,
	};
	ack.policy_version = 2;
	answer(w, NODE_A, MSG_conflict_read, &ack);
	run_until(w, 200);
	buf_clear(&w->trace);
	list_shows_open(w, "doc");
	trace_is(w, "200 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
}

static void test_clients_have_until_the_deadline(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack =
	    graph(w, "{\"a\":1,\"b\":2}",
		  "{\"strategy\":\"external\",\"deadlineMs\":1000,\"fallback\":\"newest\"}");
	ack.conflict = (struct conflict){
	    .state = CONFLICT_OPEN,
	    .since_ms = WALL_MS,
	    .number = 20,
	    .leaves = (struct revision[]){rev(2, "b"), rev(2, "a")},
	    .leaves_count = 2,
	};
	answer(w, NODE_A, MSG_conflict_read, &ack);
	buf_clear(&w->trace);
	run_until(w, 999);
	list_shows_open(w, "doc"); /* not yet */
	trace_is(w, LIST_AGAIN("200"));
	run_until(w, 1500);
	buf_clear(&w->trace);
	list_shows_open(w, "doc");
	trace_is(w, "1500 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
	ack.age_ms = 1000; /* it is the lead's clock that counts */
	answer(w, NODE_A, MSG_conflict_read, &ack);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_conflict_resolve);
	assert_non_null(strstr(buf_cstr(&w->trace), "conflict_resolve"));
	lead_resolves(w, STATUS_OK);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"newest\"} 1\n"));
}

/* The body of one node alone, as if no two fitted into a message. */
static void lead_shows_part(struct world *w, const struct msg_conflict_read_ack *whole,
			    uint32_t part)
{
	struct msg_conflict_read_ack ack = *whole;
	ack.nodes = arena_alloc(&w->arena, whole->nodes_count * sizeof *ack.nodes);
	for (uint32_t i = 0; i < whole->nodes_count; i++) {
		ack.nodes[i] = whole->nodes[i];
		if (i == part)
			continue;
		ack.nodes[i].body = (struct slice){0};
		ack.nodes[i].flags ^= REVISION_HAS_BODY | REVISION_BODY_LEFT;
	}
	answer(w, NODE_A, MSG_conflict_read, &ack);
}

static void test_a_large_document_is_read_in_parts(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	buf_clear(&w->trace);
	lead_shows_part(w, &ack, 0);
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"doc\" from=1}\n");
	lead_shows_part(w, &ack, 1);
	trace_is(w, "0 to 11 e4 conflict_read{shard=81 id=\"doc\" from=2}\n");
	run_until(w, 2500); /* no answer: what was read is kept */
	assert_non_null(strstr(buf_cstr(&w->trace), "conflict_read{shard=81 id=\"doc\" from=2}\n"));
	lead_shows_part(w, &ack, 2);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_conflict_resolve);
	lead_resolves(w, STATUS_OK);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"merge\"} 1\n"));
}

static void test_open_paths_are_noted_until_the_conflict_changes(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":3,\"b\":1}", "{}");
	ack.conflict = (struct conflict){
	    .state = CONFLICT_OPEN,
	    .number = 19,
	    .leaves = (struct revision[]){rev(2, "b"), rev(2, "a")},
	    .leaves_count = 2,
	};
	buf_clear(&w->trace);
	answer(w, NODE_A, MSG_conflict_read, &ack);
	trace_is(
	    w,
	    "0 to 11 e4 conflict_note{shard=81 id=\"doc\" "
	    "leaves=[{generation=2 hash=\"a\"} {generation=2 hash=\"b\"}] "
	    "detail=0x84a26279a761726269746572a87374726174656779a56d65726765a672656173..(104)}\n");
	run_until(w, 200);
	buf_clear(&w->trace);
	list_shows_open(w, "doc"); /* number 20: not what was noted */
	trace_is(w, "200 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
}

static void test_lost_answers_are_asked_for_again(void **state)
{
	struct world *w = *state;
	run_until(w, 1999);
	trace_is(w, "");
	run_until(w, 2000);
	trace_is(w, LIST_AGAIN("2000"));
	w->sent_count = 1; /* a list is a list, however late */
	list_shows_open(w, "doc");
	struct sent first = last_sent(w, NODE_A, MSG_conflict_read);
	buf_clear(&w->trace);
	list_answers(w, NULL, 0); /* the same answer twice: the second one is nobody's */
	run_until(w, 4050);
	trace_is(w, "2200 to 11 e4 conflict_list{shard=81 limit=256}\n"
		    "4050 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	answer_to(w, first, &ack); /* late */
	trace_is(w, "");
	answer(w, NODE_A, MSG_conflict_read, &ack);
	buf_clear(&w->trace);
	lead_resolves(w, STATUS_OVERLOADED);
	trace_is(w, "");
	run_until(w, 4149);
	trace_is(w, "");
	run_until(w, 4150);
	trace_is(w, "4150 to 11 e4 conflict_read{shard=81 id=\"doc\"}\n");
}

static void test_other_members_answers_do_not_count(void **state)
{
	struct world *w = *state;
	list_shows_open(w, "doc");
	buf_clear(&w->trace);
	struct sent question = last_sent(w, NODE_A, MSG_conflict_read);
	question.member = NODE_B;
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	answer_to(w, question, &ack);
	trace_is(w, "");
}

static void test_work_in_hand_is_bounded(void **state)
{
	struct world *w = *state;
	struct conflict_row rows[40];
	char ids[40][4];
	for (int i = 0; i < 40; i++) {
		ids[i][0] = (char)('a' + i / 10);
		ids[i][1] = (char)('0' + i % 10);
		rows[i] = (struct conflict_row){.id = slice_of(ids[i], 2)};
		rows[i].conflict.state = CONFLICT_OPEN;
	}
	list_answers(w, rows, 40);
	assert_true(metric_is(w, "\nparley_arbiter_tasks 32\n"));
	buf_clear(&w->trace);
	run_until(w, 200);
	trace_is(w, "200 to 11 e4 conflict_list{shard=81 after=\"d1\" limit=256}\n");
}

/* ---- cleanup ---- */

static void start_cleanup(struct world *w)
{
	run_until(w, 2000);
	list_shows_resolved(w, WALL_MS);
	buf_clear(&w->trace);
}

static void run_with_empty_lists(struct world *w, int64_t until_ms)
{
	for (int64_t at = w->now_ms + 500; at <= until_ms; at += 500) {
		run_until(w, at);
		if (w->sent[w->sent_count - 1].type == MSG_conflict_list)
			list_answers(w, NULL, 0);
	}
}

static void test_no_cleanup_while_one_replica_is_silent(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_A, 111, 30); /* twice from one is not from two */
	acknowledge(w, NODE_B, 112, 30);
	run_with_empty_lists(w, 12000);
	buf_clear(&w->trace);
	uint32_t asked[3] = {0};
	for (uint32_t i = 0; i < w->sent_count; i++) {
		assert_int_not_equal(w->sent[i].type, MSG_cleanup_commit);
		if (w->sent[i].type == MSG_cleanup_prepare)
			asked[w->sent[i].member - NODE_A]++;
	}
	assert_int_equal(asked[0], 1);
	assert_int_equal(asked[1], 1);
	assert_int_equal(asked[2], 4); /* at once, then after 1, 2 and 4 s */
	acknowledge(w, NODE_C, 113, 30);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_cleanup_commit);
}

/* Who has acknowledged may have taken a branch while another one kept all waiting. */
static void test_old_acknowledgements_are_asked_for_again(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_B, 112, 30);
	run_with_empty_lists(w, 40000);
	acknowledge(w, NODE_C, 113, 30);
	acknowledge(w, NODE_A, 111, 30);
	struct msg_cleanup_prepare_ack holds_branch = prepared(w, 112, 30);
	holds_branch.items_count = 0;
	answer(w, NODE_B, MSG_cleanup_prepare, &holds_branch);
	for (uint32_t i = 0; i < w->sent_count; i++)
		assert_int_not_equal(w->sent[i].type, MSG_cleanup_commit);
	run_until(w, 42000);
	list_shows_resolved(w, WALL_MS); /* the next round */
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_B, 112, 30);
	acknowledge(w, NODE_C, 113, 30);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_cleanup_commit);
}

static void test_acknowledgements_that_do_not_count(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_B, 112, 30);
	acknowledge(w, NODE_C, 999, 30); /* another incarnation */
	trace_is(w, "");
	assert_true(metric_is(w, "\nparley_cleanup_refused_acks_total 1\n"));
	struct msg_cleanup_prepare_ack refused = prepared(w, 113, 30);
	refused.status = STATUS_NOT_VOUCHING;
	answer(w, NODE_C, MSG_cleanup_prepare, &refused);
	trace_is(w, "");
	struct sent question = last_sent(w, NODE_C, MSG_cleanup_prepare);
	struct msg_cleanup_prepare_ack good = prepared(w, 113, 30);
	question.epoch = EPOCH - 1;
	answer_to(w, question, &good);
	trace_is(w, "");
	acknowledge(w, NODE_C, 113, 29); /* it has not passed the resolution: the round ends */
	trace_is(w, "");
	assert_true(metric_is(w, "\nparley_cleanup_pending_acks{node=\"node-c\"} 0\n"));
	acknowledge(w, NODE_C, 113, 30);
	trace_is(w, "");
}

static void test_another_epoch_starts_cleanup_over(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_B, 112, 30);
	struct sent old = last_sent(w, NODE_C, MSG_cleanup_prepare);
	struct msg_shard_newer newer = {.shard = placement(w, EPOCH + 1, NODE_B, 3)};
	struct envelope envelope = {.type = MSG_shard_newer};
	deliver(w, NODE_C, &envelope, &newer);
	assert_true(metric_is(w, "\nparley_cleanup_restarts_total 1\n"));
	struct msg_cleanup_prepare_ack ack = prepared(w, 113, 30);
	answer_to(w, old, &ack); /* the third acknowledgement, of the old epoch */
	run_until(w, 2000);
	trace_is(w, "2000 to 12 e5 conflict_list{shard=81 limit=256}\n");
	struct conflict_row row = {.id = slice_text("doc")};
	row.conflict = (struct conflict){.state = CONFLICT_RESOLVED,
					 .number = 30,
					 .resolution_id = slice_text("0123456789abcdef"),
					 .resolved_ms = WALL_MS};
	struct msg_conflict_list_ack list = {
	    .status = STATUS_OK, .shard = SHARD, .rows = &row, .rows_count = 1};
	answer(w, NODE_B, MSG_conflict_list, &list);
	trace_is(w, "2000 to 11 e5 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n"
		    "2000 to 12 e5 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n"
		    "2000 to 13 e5 cleanup_prepare{shard=81 items=[{id=\"doc\" "
		    "resolution_id=\"0123456789abcdef\" number=30}]}\n");
}

static void test_a_clock_ahead_does_not_stop_cleanup(void **state)
{
	struct world *w = *state;
	list_shows_resolved(w, WALL_MS + 3600 * 1000);
	run_until(w, 400);
	list_shows_resolved(w, WALL_MS + 3600 * 1000);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_conflict_list);
	run_until(w, 1200);
	list_shows_resolved(w, WALL_MS + 3600 * 1000);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_cleanup_prepare);
}

/* One look at the queue of a lead whose clock is far ahead, page by page. */
static void list_shows_thousands_ahead(struct world *w, uint32_t pages)
{
	enum { PAGE = 1000 };
	static struct conflict_row rows[PAGE];
	static uint8_t ids[PAGE][16];
	for (uint32_t page = 0; page < pages; page++) {
		for (uint32_t i = 0; i < PAGE; i++) {
			uint32_t nth = page * PAGE + i;
			memcpy(ids[i], &nth, sizeof nth);
			rows[i] = (struct conflict_row){.id = slice_of(ids[i], 4)};
			rows[i].conflict = (struct conflict){.state = CONFLICT_RESOLVED,
							     .number = nth + 1,
							     .resolution_id = slice_of(ids[i], 16),
							     .resolved_ms = WALL_MS + 1000000000};
		}
		run_until(w, w->now_ms + 1000);
		struct sent question = last_sent(w, NODE_A, MSG_conflict_list);
		w->sent_count = 0;
		struct msg_conflict_list_ack ack = {.status = STATUS_OK,
						    .shard = SHARD,
						    .rows = rows,
						    .rows_count = PAGE,
						    .more = page + 1 < pages};
		answer_to(w, question, &ack);
	}
}

static void test_any_number_of_times_ahead_does_not_stop_cleanup(void **state)
{
	struct world *w = *state;
	list_shows_thousands_ahead(w, 70);
	list_shows_thousands_ahead(w, 70);
	(void)last_sent(w, NODE_A, MSG_cleanup_prepare);
}

/* Shows two that are new, and an old one. */
static void list_shows_three_ahead(struct world *w, uint64_t number, uint64_t old)
{
	uint64_t numbers[3] = {number, number + 1, old};
	struct conflict_row rows[3];
	uint8_t ids[3][16] = {{0}};
	run_until(w, w->now_ms + 1000);
	for (uint32_t i = 0; i < 3; i++) {
		memcpy(ids[i], &numbers[i], sizeof numbers[i]);
		rows[i] = (struct conflict_row){.id = slice_of(ids[i], 8)};
		rows[i].conflict = (struct conflict){.state = CONFLICT_RESOLVED,
						     .number = numbers[i],
						     .resolution_id = slice_of(ids[i], 16),
						     .resolved_ms = WALL_MS + 1000000000};
	}
	buf_clear(&w->trace);
	list_answers(w, rows, 3);
	w->sent_count = 0;
}

/* However many come after it, each is kept for its time, and not for much longer. */
static void test_times_ahead_count_from_when_they_were_seen(void **state)
{
	enum { RETAIN_MS = 32000, LOOKS = 200 };
	struct world *w = *state;
	struct shard shard = placement(w, EPOCH, NODE_A, 3);
	int64_t seen_ms[LOOKS];
	uint32_t young = 0;
	w->policy = body(w, "{\"strategy\":\"none\"}");
	push_map(w, 6, &shard, RETAIN_MS);
	for (uint32_t i = 0; i < LOOKS; i++) {
		list_shows_three_ahead(w, 10 + 2 * i, 10 + 2 * young);
		trace_is(w, "");
		seen_ms[i] = w->now_ms;
		while (young < i && seen_ms[i] + 1000 - seen_ms[young] >= RETAIN_MS)
			young++;
	}
	while (young > 0 && w->now_ms - seen_ms[young] < RETAIN_MS + RETAIN_MS / 16)
		young--;
	list_shows_three_ahead(w, 10 + 2 * LOOKS, 10 + 2 * young);
	assert_non_null(strstr(buf_cstr(&w->trace), "cleanup_prepare"));
}

static void test_a_commit_is_repeated(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	acknowledge(w, NODE_A, 111, 30);
	acknowledge(w, NODE_B, 112, 30);
	acknowledge(w, NODE_C, 113, 30);
	struct sent first = last_sent(w, NODE_A, MSG_cleanup_commit);
	run_until(w, 2000 + 2000);
	struct sent second = last_sent(w, NODE_A, MSG_cleanup_commit);
	assert_int_equal(first.request, second.request);
	uint32_t commits = 0;
	for (uint32_t i = 0; i < w->sent_count; i++)
		commits += w->sent[i].type == MSG_cleanup_commit;
	assert_int_equal(commits, 2);
}

/* ---- map and lease ---- */

static void test_only_leased_shards_are_looked_after(void **state)
{
	struct world *w = *state;
	start_cleanup(w);
	lease(w, false);
	run_until(w, 9000);
	trace_is(w, "");
	lease(w, true);
	run_until(w, 9000);
	trace_is(w, LIST_AGAIN("9000"));
}

static void test_old_placements_are_not_adopted(void **state)
{
	struct world *w = *state;
	struct shard older = placement(w, EPOCH - 1, NODE_C, 3);
	push_map(w, 6, &older, 1000);
	struct shard equal = placement(w, EPOCH, NODE_C, 3);
	push_map(w, 7, &equal, 1000);
	run_until(w, 2000);
	trace_is(w, LIST_AGAIN("2000"));
	struct shard newer = placement(w, EPOCH + 1, NODE_C, 3);
	push_map(w, 8, &newer, 1000);
	run_until(w, 2000);
	trace_is(w, "2000 to 13 e5 conflict_list{shard=81 limit=256}\n");
}

/* Each in its turn, as databases of tests are; and what was dropped leaves nothing behind. */
static void test_collections_come_and_go(void **state)
{
	struct world *w = *state;
	struct shard shard = placement(w, EPOCH, NODE_A, 3);
	struct collection collection = {
	    .name = slice_text("another"), .version = 1, .replicas = 3, .write_quorum = 2};
	struct msg_map_push push = {.collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	struct msg_arbiter_lease_ack ack = {.shards = &shard.id, .shards_count = 1, .ttl_ms = 2000};
	list_shows_open(w, "doc"); /* of the first */
	assert_true(metric_is(w, "parley_arbiter_tasks 1\n"));
	for (uint64_t i = 1; i <= LIMIT_SHARDS; i++) {
		collection.id = shard.collection = COLLECTION + i;
		shard.id = SHARD + i;
		push.map_version = 5 + i;
		coordinator_says(w, MSG_map_push, &push);
	}
	assert_true(metric_is(w, "parley_arbiter_tasks 0\n"));
	assert_true(metric_is(w, "parley_arbiter_shards 0\n"));
	buf_clear(&w->trace);
	coordinator_says(w, MSG_arbiter_lease_ack, &ack);
	run_until(w, 0);
	trace_is(w, "0 to 11 e4 conflict_list{shard=4177 limit=256}\n");
}

static void test_drain_takes_nothing_new(void **state)
{
	struct world *w = *state;
	struct buf why = {0};
	assert_true(arbiter_ops.ready(w->arbiter, w->now_ms, &why));
	list_shows_open(w, "doc");
	buf_clear(&w->trace);
	feed(w, EVENT_DRAIN);
	buf_clear(&why);
	assert_false(arbiter_ops.ready(w->arbiter, w->now_ms, &why));
	assert_non_null(strstr(buf_cstr(&why), "draining failed"));
	buf_close(&why);
	run_until(w, 1000);
	trace_is(w, "");
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":1,\"b\":2}", "{}");
	answer(w, NODE_A, MSG_conflict_read, &ack);
	assert_int_equal(w->sent[w->sent_count - 1].type, MSG_conflict_resolve);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, world_close)
	const struct CMUnitTest tests[] = {
	    T(test_a_conflict_is_read_resolved_and_cleaned_up),
	    T(test_leaves_moved_reads_again),
	    T(test_a_slow_lead_is_heard),
	    T(test_policy_none_is_noted_once),
	    T(test_policy_none_needs_no_reading),
	    T(test_another_policy_is_looked_at_at_once),
	    T(test_clients_have_until_the_deadline),
	    T(test_a_large_document_is_read_in_parts),
	    T(test_open_paths_are_noted_until_the_conflict_changes),
	    T(test_lost_answers_are_asked_for_again),
	    T(test_other_members_answers_do_not_count),
	    T(test_work_in_hand_is_bounded),
	    T(test_no_cleanup_while_one_replica_is_silent),
	    T(test_old_acknowledgements_are_asked_for_again),
	    T(test_acknowledgements_that_do_not_count),
	    T(test_another_epoch_starts_cleanup_over),
	    T(test_a_clock_ahead_does_not_stop_cleanup),
	    T(test_any_number_of_times_ahead_does_not_stop_cleanup),
	    T(test_times_ahead_count_from_when_they_were_seen),
	    T(test_a_commit_is_repeated),
	    T(test_only_leased_shards_are_looked_after),
	    T(test_old_placements_are_not_adopted),
	    T(test_collections_come_and_go),
	    T(test_drain_takes_nothing_new),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
