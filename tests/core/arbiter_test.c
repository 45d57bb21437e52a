/* What an arbiter does with conflicts, and which it looks after. */
#include "tests/core/arbiter_lead_case.h"

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
	    T(test_only_leased_shards_are_looked_after),
	    T(test_old_placements_are_not_adopted),
	    T(test_collections_come_and_go),
	    T(test_drain_takes_nothing_new),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
