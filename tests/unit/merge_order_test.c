/* What holds for any documents, leaves and policies: the order never shows. */
#include "common/base/rng.h"
#include "tests/unit/merge_case.h"
#include "tests/unit/random_document.h"

static void copy_result(struct fixture *f, struct slice *body, struct slice *detail)
{
	*body = arena_copy(&f->arena, buf_slice(&f->result.body));
	*detail = arena_copy(&f->arena, buf_slice(&f->result.detail));
}

static void run_equals(struct fixture *f, enum merge_outcome outcome, struct slice body,
		       struct slice detail)
{
	run(f);
	assert_int_equal(f->result.outcome, outcome);
	assert_true(slice_equal(buf_slice(&f->result.body), body));
	assert_true(slice_equal(buf_slice(&f->result.detail), detail));
}

static void swap(struct fixture *f, uint32_t a, uint32_t b)
{
	struct merge_leaf leaf = f->leaves[a];
	f->leaves[a] = f->leaves[b];
	f->leaves[b] = leaf;
}

/* Heap's algorithm. */
static void permute(struct fixture *f, uint32_t n, struct slice body, struct slice detail)
{
	if (n <= 1) {
		run_equals(f, f->result.outcome, body, detail);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		permute(f, n - 1, body, detail);
		swap(f, n % 2 ? 0 : i, n - 1);
	}
}

static const char *const revisions[LEAVES_MAX] = {
    "2-a",  "2-b",  "2-c",  "3-a",  "3-b",  "10-a", "4-x",  "4-y",  "1-x",  "9-q",
    "5-01", "5-02", "5-03", "5-04", "5-05", "5-06", "5-07", "5-08", "5-09", "5-10",
    "6-01", "6-02", "6-03", "6-04", "6-05", "6-06", "6-07", "6-08", "6-09", "6-10",
    "7-01", "7-02", "7-03", "7-04", "7-05", "7-06", "7-07", "7-08", "7-09", "7-10",
    "8-01", "8-02", "8-03", "8-04", "8-05", "8-06", "8-07", "8-08", "8-09", "8-10"};

static struct slice drawn_document(struct fixture *f, struct rng *rng)
{
	buf_clear(&f->bytes);
	random_document(rng, &f->bytes);
	assert_true(value_is_document(buf_slice(&f->bytes)));
	return arena_copy(&f->arena, buf_slice(&f->bytes));
}

static void random_case(struct fixture *f, struct rng *rng, uint32_t count)
{
	start(f, rng_below(rng, 4) ? RANDOM_POLICY("") : "{}", NULL);
	f->has_base = rng_below(rng, 5) > 0;
	f->base = f->has_base ? drawn_document(f, rng) : (struct slice){0};
	for (uint32_t i = 0; i < count; i++) {
		struct merge_leaf *leaf = &f->leaves[f->leaves_count++];
		*leaf = (struct merge_leaf){.revision = slice_text(revisions[i]),
					    .stamp = rng_below(rng, 3),
					    .deleted = rng_below(rng, 12) == 0};
		if (!leaf->deleted)
			leaf->body = f->has_base && rng_below(rng, 4) == 0 ? f->base
									   : drawn_document(f, rng);
	}
}

static void test_every_order_gives_the_same_bytes(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	uint32_t done = 0;
	rng_init(&rng, 11);
	for (uint32_t round = 0; round < 60; round++) {
		random_case(f, &rng, 2 + round % 5);
		struct slice body;
		struct slice detail;
		run(f);
		done += f->result.outcome == MERGE_DONE;
		copy_result(f, &body, &detail);
		permute(f, f->leaves_count, body, detail);
		arena_reset(&f->arena);
	}
	assert_true(done > 5 && done < 60); /* both outcomes occur */
}

static void test_many_leaves_shuffled(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 12);
	for (uint32_t round = 0; round < 200; round++) {
		random_case(f, &rng, 2 + (uint32_t)rng_below(&rng, 49));
		struct slice body;
		struct slice detail;
		run(f);
		enum merge_outcome outcome = f->result.outcome;
		copy_result(f, &body, &detail);
		for (uint32_t i = f->leaves_count; i > 1; i--)
			swap(f, i - 1, (uint32_t)rng_below(&rng, i));
		run_equals(f, outcome, body, detail);
		arena_reset(&f->arena);
	}
}

static void test_naming_a_leaf_twice_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 13);
	for (uint32_t round = 0; round < 200; round++) {
		random_case(f, &rng, 2 + round % 9);
		struct slice body;
		struct slice detail;
		run(f);
		enum merge_outcome outcome = f->result.outcome;
		copy_result(f, &body, &detail);
		struct merge_leaf again = f->leaves[rng_below(&rng, f->leaves_count)];
		f->leaves[f->leaves_count++] = again;
		run_equals(f, outcome, body, detail);
		arena_reset(&f->arena);
	}
}

static void test_a_leaf_alone_is_the_result(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 14);
	for (uint32_t round = 0; round < 200; round++) {
		random_case(f, &rng, 1);
		run(f);
		assert_int_equal(f->result.outcome, MERGE_DONE);
		assert_int_equal(f->result.deleted, f->leaves[0].deleted);
		assert_true(slice_equal(buf_slice(&f->result.body), f->leaves[0].body));
		arena_reset(&f->arena);
	}
}

static void test_unchanged_leaves_do_not_matter(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 15);
	for (uint32_t round = 0; round < 200; round++) {
		random_case(f, &rng, 1);
		if (!f->has_base)
			continue;
		struct merge_leaf changed = f->leaves[0];
		for (uint32_t i = 1; i < 4; i++)
			f->leaves[f->leaves_count++] = (struct merge_leaf){
			    .revision = slice_text(revisions[i]), .body = f->base};
		run(f);
		assert_int_equal(f->result.outcome, MERGE_DONE);
		struct slice expected = changed.deleted ? f->base : changed.body;
		assert_true(value_equal(buf_slice(&f->result.body), expected));
		arena_reset(&f->arena);
	}
}

static void test_results_are_documents(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 16);
	for (uint32_t round = 0; round < 500; round++) {
		random_case(f, &rng, 2 + round % 12);
		run(f);
		if (f->result.body.len > 0)
			assert_true(value_is_document(buf_slice(&f->result.body)));
		assert_int_equal(f->result.body.len == 0,
				 f->result.deleted || f->result.outcome == MERGE_SKIPPED);
		arena_reset(&f->arena);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_every_order_gives_the_same_bytes),    T(test_many_leaves_shuffled),
	    T(test_naming_a_leaf_twice_changes_nothing), T(test_a_leaf_alone_is_the_result),
	    T(test_unchanged_leaves_do_not_matter),      T(test_results_are_documents),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
