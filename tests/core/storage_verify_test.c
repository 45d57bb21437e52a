/* A store that nobody uses is looked through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "storage-node/keys.h"
#include "storage-node/verify.h"
#include "tests/sim/storage_peers.h"

static int setup(void **state)
{
	static struct storage_bench b;
	storage_bench_init(&b);
	*state = &b;
	return 0;
}

static int teardown(void **state)
{
	storage_bench_close(*state);
	return 0;
}

struct looking {
	struct verify *verify;
	enum store_family family;
};

static void look(void *context, struct slice key, struct slice value)
{
	struct looking *l = context;
	verify_pair(l->verify, l->family, key, value);
}

static bool sound(const struct storage_bench *b)
{
	struct buf report = {0};
	struct looking l = {.verify = verify_new()};
	for (int family = 0; family < STORE_FAMILIES; family++) {
		l.family = (enum store_family)family;
		disk_walk(b->disk, l.family, slice_of(NULL, 0), look, &l);
	}
	bool good = verify_report(l.verify, &report);
	assert_true(good == (strstr(buf_cstr(&report), "faults=0\n") != NULL));
	verify_free(l.verify);
	buf_close(&report);
	return good;
}

/* Whatever a node writes while it lives, the look at its store must know. */
static void test_what_a_node_writes_is_known(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_AVAILABLE);
	for (uint64_t i = 1; i <= 3; i++) {
		struct msg_doc_write m = peers_put(b, "d", i);
		peers_write(b, 1, &m);
		peers_ack(b, PEER_B, 1, 2 + i);
	}
	storage_bench_advance(b, 10000);
	assert_true(sound(b));
}

static void test_what_is_unknown_is_told(void **state)
{
	struct storage_bench *b = *state;
	peers_lead(b, MODE_CONSISTENT);
	store_put(b->store, STORE_META, slice_text("trails"), slice_text(""));
	storage_bench_turn(b);
	assert_false(sound(b));
}

/* Of a stream that has gone as a whole nothing is left that would not follow. */
static void test_a_stream_that_is_gone_is_told(void **state)
{
	struct storage_bench *b = *state;
	struct buf first = {0}, end = {0};
	peers_lead(b, MODE_CONSISTENT);
	assert_true(sound(b));
	store_remove_range(b->store, STORE_STREAM, key_shard(&first, 'e', SHARD),
			   key_shard_end(&end, 'e', SHARD));
	storage_bench_turn(b);
	assert_false(sound(b));
	buf_close(&first);
	buf_close(&end);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_what_a_node_writes_is_known),
	    CASE(test_what_is_unknown_is_told),
	    CASE(test_a_stream_that_is_gone_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
