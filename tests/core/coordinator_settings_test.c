/* The coordinator's core: settings that collections are made with, and changes of them. */
#include "tests/sim/coordinator_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { SETTLE_MS = 2000 };

static uint64_t create_with(struct bench *b, struct collection settings, uint64_t shards,
			    bool update)
{
	return bench_create(b, (struct msg_collection_create){
				   .collection = settings, .shards = shards, .update = update});
}

static void first_collection(struct bench *b)
{
	bench_advance(b, SETTLE_MS);
	struct collection settings = {.name = slice_text("t")};
	assert_int_equal(create_with(b, settings, 1, false), STATUS_CREATED);
	bench_advance(b, SETTLE_MS);
	buf_clear(&b->trace);
}

static void test_create_checks(void **state)
{
	struct bench *b = *state;
	first_collection(b);
	const struct {
		const char *name;
		uint64_t n, w, shards, mode;
		enum status status;
	} rows[] = {
	    {"t", 0, 0, 0, 0, STATUS_OK},
	    {"t", 3, 2, 1, 0, STATUS_OK},
	    {"t", 2, 0, 0, 0, STATUS_EXISTS},
	    {"t", 0, 0, 2, 0, STATUS_EXISTS},
	    {"t", 0, 0, 0, MODE_AVAILABLE, STATUS_EXISTS},
	    {"", 0, 0, 0, 0, STATUS_BAD_NAME},
	    {"a b", 0, 0, 0, 0, STATUS_BAD_NAME},
	    {"a_b", 0, 0, 0, 0, STATUS_BAD_NAME},
	    {"system.nodes", 0, 0, 0, 0, STATUS_BAD_NAME},
	    {"system", 1, 0, 1, 0, STATUS_CREATED},
	    {"A-z.9", 1, 1, 1, MODE_AVAILABLE, STATUS_CREATED},
	    {"u", 3, 1, 0, 0, STATUS_BAD_PARAMETER},
	    {"u", 2, 3, 0, 0, STATUS_BAD_PARAMETER},
	    {"u", 4, 0, 0, 0, STATUS_NOT_ENOUGH_NODES},
	    {"u", LIMIT_REPLICAS, 0, LIMIT_COLLECTION_SHARDS, 0, STATUS_NOT_ENOUGH_NODES},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct collection settings = {.name = slice_text(rows[i].name),
					      .replicas = rows[i].n,
					      .write_quorum = rows[i].w,
					      .mode = rows[i].mode};
		assert_int_equal(create_with(b, settings, rows[i].shards, false), rows[i].status);
	}
	/* one node away: made all the same, and led by one that is there */
	bench_down(b, 12);
	bench_advance(b, SETTLE_MS);
	struct collection settings = {.name = slice_text("u")};
	assert_int_equal(create_with(b, settings, 9, false), STATUS_CREATED);
	for (uint32_t i = 0; i < bench_model(b, 11)->copies_count; i++)
		assert_true(bench_model(b, 11)->copies[i].placement.shard.lead != 12);
	/* two away: it could not be written */
	bench_down(b, 13);
	bench_advance(b, SETTLE_MS);
	settings.name = slice_text("v");
	assert_int_equal(create_with(b, settings, 0, false), STATUS_NOT_ENOUGH_NODES);
}

static uint64_t policy_of(struct bench *b, const char *text, uint64_t if_version)
{
	struct msg_collection_create m = {
	    .collection = {.name = slice_text("t"), .policy = slice_text(text)},
	    .update = true,
	    .policy_only = true,
	    .if_version = if_version};
	return bench_create(b, m);
}

static void test_a_policy_alone(void **state)
{
	struct bench *b = *state;
	first_collection(b);
	struct collection settings = {
	    .name = slice_text("t"), .mode = MODE_AVAILABLE, .retain_ms = 77};
	assert_int_equal(create_with(b, settings, 0, true), STATUS_OK); /* version 2 */
	const char *newest = "\x81\xa8strategy\xa6newest";
	const char *oldest = "\x81\xa8strategy\xa6oldest";
	assert_int_equal(policy_of(b, newest, 1), STATUS_CONFLICT);
	assert_int_equal(policy_of(b, newest, 2), STATUS_OK);
	/* asked again, as the answer was lost */
	assert_int_equal(policy_of(b, newest, 2), STATUS_OK);
	assert_int_equal(policy_of(b, oldest, 2), STATUS_CONFLICT);
	assert_int_equal(policy_of(b, oldest, 3), STATUS_OK);
	assert_int_equal(policy_of(b, "\x80", 0), STATUS_OK);
	assert_int_equal(policy_of(b, "\x90", 0), STATUS_BAD_PARAMETER);
	/* the other settings are what they were: giving them again changes nothing */
	settings.policy = slice_text("\x80");
	assert_int_equal(create_with(b, settings, 0, true), STATUS_OK);
	assert_int_equal(policy_of(b, newest, 5), STATUS_OK);
}

static void test_update(void **state)
{
	struct bench *b = *state;
	first_collection(b);
	struct collection settings = {.name = slice_text("t"), .retain_ms = 77};
	assert_int_equal(create_with(b, settings, 0, true), STATUS_OK);
	assert_non_null(strstr(buf_cstr(&b->trace), "collection_updated id=# version=2\nmap 3\n"));
	buf_clear(&b->trace);
	assert_int_equal(create_with(b, settings, 0, true), STATUS_OK);
	assert_string_equal(buf_cstr(&b->trace), "");
	struct msg_collection_create late = {
	    .collection = settings, .update = true, .if_version = 1};
	/* it is so already: asked again, as the answer was lost */
	assert_int_equal(bench_create(b, late), STATUS_OK);
	/* what it does not mean to change was another's since */
	late.collection.retain_ms = 0;
	late.collection.mode = MODE_AVAILABLE;
	assert_int_equal(bench_create(b, late), STATUS_CONFLICT);
	late.if_version = 2;
	late.collection.retain_ms = 77;
	assert_int_equal(bench_create(b, late), STATUS_OK);
	settings.policy = slice_text("no map");
	assert_int_equal(create_with(b, settings, 0, true), STATUS_BAD_PARAMETER);
	settings.policy = slice_of(NULL, 0);
	settings.replicas = 1;
	assert_int_equal(create_with(b, settings, 0, true), STATUS_BAD_PARAMETER);
	settings = (struct collection){.name = slice_text("none")};
	assert_int_equal(create_with(b, settings, 0, true), STATUS_NOT_FOUND);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	settings = (struct collection){.name = slice_text("t"), .retain_ms = 77};
	assert_int_equal(create_with(b, settings, 0, false), STATUS_OK);
}

/* Of the collection that a node has heard of last. */
static uint64_t newest_id(struct bench *b)
{
	const struct model *m = bench_model(b, 11);
	return m->copies[m->copies_count - 1].placement.shard.collection;
}

/* Whoever asked has not heard that it was dropped, and another one made under its name. */
static void test_update_of_what_was_dropped(void **state)
{
	struct bench *b = *state;
	first_collection(b);
	struct collection settings = {.name = slice_text("t")};
	struct msg_collection_create late = {
	    .collection = settings, .update = true, .if_version = 1};
	late.collection.id = newest_id(b);
	late.collection.retain_ms = 77;
	struct msg_collection_create policy = late;
	policy.policy_only = true;
	policy.collection.policy = slice_text("\x81\xa8strategy\xa6newest");
	assert_int_equal(
	    bench_create(b, (struct msg_collection_create){.collection = settings, .drop = true}),
	    STATUS_OK);
	settings.mode = MODE_AVAILABLE;
	assert_int_equal(create_with(b, settings, 1, false), STATUS_CREATED);
	bench_advance(b, SETTLE_MS);
	assert_int_not_equal(newest_id(b), late.collection.id);
	assert_int_equal(bench_create(b, late), STATUS_CONFLICT);
	assert_int_equal(bench_create(b, policy), STATUS_CONFLICT);
	assert_int_equal(create_with(b, settings, 0, false), STATUS_OK); /* as it was made */
	policy.collection.id = newest_id(b);
	assert_int_equal(bench_create(b, policy), STATUS_OK);
}

/* That no superseded bodies are to stay is no want of a value. */
static void test_no_ancestors_are_kept(void **state)
{
	struct bench *b = *state;
	first_collection(b);
	struct collection usual = {.name = slice_text("usual"), .mode = MODE_AVAILABLE};
	struct collection none = {.name = slice_text("none"), .mode = MODE_AVAILABLE};
	struct msg_collection_create bare = {.collection = none, .keep_nothing = true};
	assert_int_equal(create_with(b, usual, 0, false), STATUS_CREATED);
	assert_int_equal(bench_create(b, bare), STATUS_CREATED);
	assert_int_equal(bench_create(b, bare), STATUS_OK);
	bare.collection = usual;
	assert_int_equal(bench_create(b, bare), STATUS_EXISTS);
	usual.keep_ancestors = none.keep_ancestors = 10;
	assert_int_equal(create_with(b, usual, 0, false), STATUS_OK);
	assert_int_equal(create_with(b, none, 0, false), STATUS_EXISTS);
}

/* A full node is a place for no new shard as long as others have room, and leads none. */
static void test_full_nodes_come_last(void **state)
{
	struct bench *b = *state;
	bench_grow(b);
	bench_model(b, 11)->disk_full = true;
	first_collection(b);
	struct msg_collection_create m = {.collection = {.name = slice_text("u")}, .shards = 12};
	assert_int_equal(bench_create(b, m), STATUS_CREATED);
	assert_int_equal(bench_model(b, 11)->copies_count, 0);
	bench_down(b, 14);
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	m = (struct msg_collection_create){.collection = {.name = slice_text("v")}, .shards = 3};
	assert_int_equal(bench_create(b, m), STATUS_CREATED);
	assert_int_equal(bench_model(b, 11)->copies_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(bench_model(b, 11)->copies[i].placement.replicas[2].node, 11);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_create_checks),
	    TEST(test_a_policy_alone),
	    TEST(test_update),
	    TEST(test_full_nodes_come_last),
	    TEST(test_no_ancestors_are_kept),
	    TEST(test_update_of_what_was_dropped),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
