/* Passwords hashed beside the loop: right ones, all that were asked for, and an end at any time. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/run/password_pool.h"

enum { MANY = 20, PATIENCE_MS = 60000 };

struct seen {
	unsigned count;
	bool ids[MANY];
	struct password_reply last;
};

static void note(void *context, const struct password_reply *reply)
{
	struct seen *seen = context;
	assert_true(reply->id < MANY && !seen->ids[reply->id]);
	seen->ids[reply->id] = true;
	seen->last = *reply;
	seen->count++;
}

static void take(struct password_pool *pool, struct seen *seen, unsigned count)
{
	struct pollfd ready = {.fd = password_pool_fd(pool), .events = POLLIN};
	while (seen->count < count) {
		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		password_pool_take(pool, note, seen);
	}
}

/* RFC 7914, 12: the third example, the first half of it. */
static void test_known_hash(void **state)
{
	static const uint8_t expected[PASSWORD_HASH_BYTES] = {
	    0x70, 0x23, 0xbd, 0xcb, 0x3a, 0xfd, 0x73, 0x48, 0x46, 0x1c, 0x06,
	    0xcd, 0x81, 0xfd, 0x38, 0xeb, 0xfd, 0xa8, 0xfb, 0xba, 0x90, 0x4f,
	    0x8e, 0x3e, 0xa9, 0xb5, 0x43, 0xf6, 0x54, 0x5d, 0xa1, 0xf2};
	struct password_pool *pool = password_pool_new();
	struct password_request request = {.id = 7,
					   .cost = PASSWORD_COST,
					   .password = slice_text("pleaseletmein"),
					   .salt = slice_text("SodiumChloride")};
	struct seen seen = {0};
	(void)state;
	password_pool_submit(pool, &request);
	take(pool, &seen, 1);
	assert_false(seen.last.failed);
	assert_memory_equal(seen.last.hash, expected, sizeof expected);
	password_pool_free(pool);
}

static void test_each_comes_back_once(void **state)
{
	struct password_pool *pool = password_pool_new();
	struct seen seen = {0};
	(void)state;
	for (uint64_t i = 0; i < MANY; i++) {
		struct password_request request = {.id = i, .cost = 16};
		password_pool_submit(pool, &request);
	}
	take(pool, &seen, MANY);
	password_pool_free(pool);
}

static void test_bad_cost_fails(void **state)
{
	struct password_pool *pool = password_pool_new();
	struct password_request request = {.id = 1, .cost = 3};
	struct seen seen = {0};
	(void)state;
	password_pool_submit(pool, &request);
	take(pool, &seen, 1);
	assert_true(seen.last.failed);
	password_pool_free(pool);
}

static void test_ends_with_work_left(void **state)
{
	struct password_pool *pool = password_pool_new();
	(void)state;
	for (uint64_t i = 0; i < MANY; i++) {
		struct password_request request = {.id = i, .cost = 1024};
		password_pool_submit(pool, &request);
	}
	password_pool_free(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_known_hash),
	    cmocka_unit_test(test_each_comes_back_once),
	    cmocka_unit_test(test_bad_cost_fails),
	    cmocka_unit_test(test_ends_with_work_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
