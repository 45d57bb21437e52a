/* Turns of groups that want script workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/run/script_queue.h"

enum { ENDLESS = 1, INNOCENT = 2, OTHER = 3, ENDLESS_US = 500000, QUICK_US = 400 };

static struct script_queue queue;

static int setup(void **state)
{
	(void)state;
	queue = (struct script_queue){0};
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	script_queue_clear(&queue);
	return 0;
}

static bool put(uint64_t group, uint64_t id)
{
	struct script_job job = {.id = id, .group = group};
	buf_append_text(&job.frame, "frame");
	bool taken = script_queue_put(&queue, &job);
	buf_close(&job.frame);
	return taken;
}

/* The group of the next run; 0: none. */
static struct script_job take(uint32_t workers)
{
	struct script_job job = {0};
	bool ready = script_queue_ready(&queue, workers);
	assert_int_equal(script_queue_take(&queue, workers, &job), ready);
	buf_close(&job.frame);
	return job;
}

static uint64_t run(uint64_t took_us)
{
	struct script_job job = take(1);
	if (job.id != 0)
		script_queue_ended(&queue, &job, took_us);
	return job.id;
}

static void test_first_come_first_served_within_a_group(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= 5; id++)
		assert_true(put(INNOCENT, id));
	for (uint64_t id = 1; id <= 5; id++)
		assert_int_equal(run(QUICK_US), id);
	assert_int_equal(run(QUICK_US), 0);
	assert_int_equal(queue.bytes, 0);
}

static void test_one_run_of_others_is_all_that_one_waits(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= 60; id++)
		assert_true(put(ENDLESS, id));
	assert_int_equal(run(ENDLESS_US), 1);
	struct script_job endless = take(1);
	assert_int_equal(endless.id, 2);
	assert_true(put(INNOCENT, 100));
	script_queue_ended(&queue, &endless, ENDLESS_US);
	assert_int_equal(run(QUICK_US), 100);
	/* quick ones go on going first, though never two of them wait; but not for ever */
	uint64_t quick = 0;
	uint64_t id;
	do {
		assert_true(put(INNOCENT, 101 + quick));
		struct script_job job = take(1);
		id = job.id;
		quick += job.group == INNOCENT;
		script_queue_ended(&queue, &job, QUICK_US);
	} while (id != 3);
	assert_in_range(quick, 2000, 3000);
}

static void test_groups_share_by_time(void **state)
{
	(void)state;
	uint32_t runs[4] = {0};
	for (uint64_t i = 0; i < 80; i++) {
		assert_true(put(INNOCENT, 2));
		assert_true(put(OTHER, 3));
	}
	for (int i = 0; i < 80; i++) {
		struct script_job job = take(1);
		runs[job.group]++;
		script_queue_ended(&queue, &job, job.group == OTHER ? 3000 : 1000);
	}
	assert_in_range(runs[INNOCENT], 58, 62);
	assert_in_range(runs[OTHER], 18, 22);
}

static void test_a_slow_group_leaves_a_worker(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= 9; id++)
		assert_true(put(ENDLESS, id));
	struct script_job job = take(2);
	script_queue_ended(&queue, &job, ENDLESS_US);
	assert_int_equal(take(2).id, 2);
	assert_int_equal(take(2).id, 0);
	assert_false(script_queue_ready(&queue, 2));
	assert_true(put(INNOCENT, 100));
	assert_int_equal(take(2).id, 100);
}

static void test_what_is_dropped_does_not_run(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= 4; id++)
		assert_true(put(ENDLESS, id));
	assert_int_equal(run(ENDLESS_US), 1);
	script_queue_drop(&queue, 2);
	script_queue_drop(&queue, 4);
	script_queue_drop(&queue, 1);
	assert_int_equal(queue.count, 1);
	assert_int_equal(queue.bytes, strlen("frame"));
	assert_int_equal(run(ENDLESS_US), 3);
	assert_int_equal(run(ENDLESS_US), 0);
}

static void test_bounds(void **state)
{
	(void)state;
	for (uint64_t id = 1; id <= SCRIPT_QUEUE_MAX; id++)
		assert_true(put(id, id)); /* more groups than are told apart */
	assert_false(put(1, 999));
	uint32_t ran = 0;
	while (run(QUICK_US) != 0)
		ran++;
	assert_int_equal(ran, SCRIPT_QUEUE_MAX);
	assert_int_equal(queue.count, 0);
	assert_int_equal(queue.bytes, 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_first_come_first_served_within_a_group),
	    T(test_one_run_of_others_is_all_that_one_waits),
	    T(test_groups_share_by_time),
	    T(test_a_slow_group_leaves_a_worker),
	    T(test_what_is_dropped_does_not_run),
	    T(test_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
