/* Acknowledged cleanup, as an arbiter drives it. */
#include "tests/core/arbiter_lead_case.h"

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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, world_close)
	const struct CMUnitTest tests[] = {
	    T(test_no_cleanup_while_one_replica_is_silent),
	    T(test_old_acknowledgements_are_asked_for_again),
	    T(test_acknowledgements_that_do_not_count),
	    T(test_another_epoch_starts_cleanup_over),
	    T(test_a_clock_ahead_does_not_stop_cleanup),
	    T(test_any_number_of_times_ahead_does_not_stop_cleanup),
	    T(test_times_ahead_count_from_when_they_were_seen),
	    T(test_a_commit_is_repeated),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
