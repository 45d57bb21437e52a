/* The coordinator's core: what it shows of the cluster as rows of system collections. */
#include "tests/sim/coordinator_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/msgpack.h"

enum { SETTLE_MS = 2000 };

static bool rows_have(struct bench *b, const char *text)
{
	return memmem(b->rows.data, b->rows.len, text, strlen(text)) != NULL;
}

static void test_system_nodes(void **state)
{
	struct bench *b = *state;
	bench_down(b, 13);
	bench_advance(b, SETTLE_MS);
	struct msg_system_list list = {.collection = slice_text("system.nodes")};
	bench_deliver(b, bench_model(b, GATEWAY), MSG_system_list, &list);
	bench_turn(b);
	struct mp_reader r = mp_reader_of(buf_slice(&b->rows));
	size_t rows = 0;
	for (; !mp_at_end(&r); rows++) {
		struct mp_reader row = r;
		assert_int_equal(mp_read(&row).count, 12);
		assert_true(mp_skip(&r));
	}
	assert_int_equal(rows, BENCH_MEMBERS);
	assert_true(rows_have(b, "coordinator"));
	assert_true(rows_have(b, "offline"));
	assert_true(rows_have(b, "000000000000010b"));
	assert_false(rows_have(b, "000000000000010d")); /* 13 never joined */
	struct buf out = {0};
	coordinator_ops.metrics(b->core, &out);
	assert_non_null(
	    strstr(buf_cstr(&out), "parley_members{role=\"storage\",health=\"healthy\"} 2\n"));
	assert_non_null(strstr(buf_cstr(&out), "parley_recovery{state=\"recovered\"} 1\n"));
	buf_close(&out);
}

static void list_notifys(struct bench *b, uint64_t left_out)
{
	struct slice row = slice_text("\x81\xa2id\xa5"
				      "first");
	struct msg_notify_report report = {.rows = &row, .rows_count = 1, .left_out = left_out};
	struct msg_system_list list = {.collection = slice_text("system.notifys")};
	bench_deliver(b, bench_model(b, GATEWAY), MSG_notify_report, &report);
	bench_deliver(b, bench_model(b, GATEWAY), MSG_system_list, &list);
	bench_turn(b);
	assert_true(rows_have(b, "first"));
}

/* A gateway has more listeners than it can report. */
static void test_system_notifys_are_cut(void **state)
{
	struct bench *b = *state;
	bench_advance(b, SETTLE_MS);
	list_notifys(b, 0);
	assert_false(b->rows_cut);
	list_notifys(b, 7);
	assert_true(b->rows_cut);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_system_nodes),
	    TEST(test_system_notifys_are_cut),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
