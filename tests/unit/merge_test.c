#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/json.h"
#include "common/doc/merge.h"
#include "common/doc/value.h"
#include "proto/enums.h"

enum { LEAVES_MAX = 64 };

struct fixture {
	struct json_parser *parser;
	struct arena arena;
	struct buf bytes;
	struct policy policy;
	struct slice base;
	bool has_base;
	struct merge_leaf leaves[LEAVES_MAX];
	uint32_t leaves_count;
	struct merge_result result;
	struct buf text;
};

static void start(struct fixture *f, const char *policy, const char *base);

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.parser = json_parser_new()};
	start(&f, "{}", "{}");
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	arena_close(&f->arena);
	buf_close(&f->bytes);
	buf_close(&f->text);
	buf_close(&f->result.body);
	buf_close(&f->result.detail);
	return 0;
}

static struct slice from_json(struct fixture *f, const char *json)
{
	struct json_error error;
	buf_clear(&f->bytes);
	if (!json_to_msgpack(f->parser, slice_text(json), &f->bytes, &error))
		fail_msg("test data: %s", json);
	return arena_copy(&f->arena, buf_slice(&f->bytes));
}

static const char *to_json(struct fixture *f, struct slice value)
{
	buf_clear(&f->text);
	assert_true(json_from_msgpack(value, &f->text));
	return buf_cstr(&f->text);
}

/* base NULL: none is kept. */
static void start(struct fixture *f, const char *policy, const char *base)
{
	struct policy_error error;
	struct slice bytes = from_json(f, policy);
	if (!policy_parse(bytes, &f->arena, &f->policy, &error))
		fail_msg("%s: %s", error.place, error.text);
	f->has_base = base != NULL;
	f->base = base ? from_json(f, base) : (struct slice){0};
	f->leaves_count = 0;
}

static struct merge_leaf *add(struct fixture *f, const char *revision, const char *json)
{
	struct merge_leaf *leaf = &f->leaves[f->leaves_count++];
	*leaf = (struct merge_leaf){.revision = slice_text(revision), .deleted = json == NULL};
	if (json)
		leaf->body = from_json(f, json);
	return leaf;
}

static void add_stamped(struct fixture *f, const char *revision, uint64_t stamp, const char *json)
{
	add(f, revision, json)->stamp = stamp;
}

static void run(struct fixture *f)
{
	struct merge_input input = {.leaves = f->leaves,
				    .leaves_count = f->leaves_count,
				    .has_base = f->has_base,
				    .base = f->base,
				    .policy = &f->policy};
	buf_close(&f->result.body);
	buf_close(&f->result.detail);
	merge_run(&input, &f->arena, &f->result);
	assert_true(mp_valid(buf_slice(&f->result.detail)));
	assert_true(f->result.detail.len <= LIMIT_POLICY_BYTES);
}

static void gives(struct fixture *f, const char *json)
{
	run(f);
	if (f->result.outcome != MERGE_DONE)
		fail_msg("open: %s", to_json(f, buf_slice(&f->result.detail)));
	assert_false(f->result.deleted);
	assert_string_equal(to_json(f, buf_slice(&f->result.body)), json);
}

static void detail_is(struct fixture *f, const char *json)
{
	assert_string_equal(to_json(f, buf_slice(&f->result.detail)), json);
}

static void stays_open(struct fixture *f, const char *detail)
{
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	detail_is(f, detail);
}

/* ---- members ---- */

static void test_changes_on_one_side_are_taken(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":1,\"b\":2,\"c\":{\"d\":3,\"e\":4}}");
	add(f, "2-b", "{\"a\":10,\"b\":2,\"c\":{\"d\":3,\"e\":4}}");
	add(f, "2-a", "{\"a\":1,\"b\":20,\"c\":{\"d\":30,\"e\":4}}");
	add(f, "2-c", "{\"a\":1,\"b\":2,\"c\":{\"d\":3,\"e\":40},\"n\":null}");
	gives(f, "{\"a\":10,\"b\":20,\"c\":{\"d\":30,\"e\":40},\"n\":null}");
	detail_is(f, "{\"strategy\":\"merge\"}");
}

static void test_same_change_on_both_sides(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":1,\"o\":{\"x\":1}}");
	add(f, "2-b", "{\"a\":5,\"o\":{\"y\":1,\"z\":2}}");
	add(f, "2-a", "{\"a\":5.0,\"o\":{\"z\":2,\"y\":1}}");
	gives(f, "{\"a\":5,\"o\":{\"y\":1,\"z\":2}}");
}

static void test_members_keep_the_winners_order(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":1,\"b\":1}");
	add(f, "2-a", "{\"q\":1,\"a\":1,\"b\":2,\"p\":1}");
	add(f, "3-a", "{\"z\":1,\"b\":1,\"a\":2,\"y\":1}");
	add(f, "2-b", "{\"r\":1,\"a\":1,\"b\":1}");
	gives(f, "{\"z\":1,\"b\":2,\"a\":2,\"y\":1,\"r\":1,\"q\":1,\"p\":1}");
}

static void test_deletion_of_a_member(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":1,\"b\":2,\"c\":3}");
	add(f, "2-b", "{\"b\":2,\"c\":3}");
	add(f, "2-a", "{\"a\":1,\"b\":2,\"c\":4}");
	gives(f, "{\"b\":2,\"c\":4}");
	detail_is(f, "{\"strategy\":\"merge\"}");
}

static void test_a_changed_member_outlives_its_deletion(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":{\"x\":1},\"b\":2}");
	add(f, "2-b", "{\"b\":2}");
	add(f, "2-a", "{\"a\":{\"x\":2},\"b\":2}");
	gives(f, "{\"b\":2,\"a\":{\"x\":2}}");
	detail_is(f,
		  "{\"strategy\":\"merge\",\"kept\":[{\"path\":\"a\",\"deleted_by\":[\"2-b\"]}]}");
}

static void test_missing_is_not_null(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":null}");
	add(f, "2-b", "{}");
	add(f, "2-a", "{\"a\":null,\"b\":1}");
	gives(f, "{\"b\":1}");
	start(f, "{}", "{}");
	add(f, "2-b", "{\"a\":null}");
	add(f, "2-a", "{\"b\":1}");
	gives(f, "{\"a\":null,\"b\":1}");
}

static void test_different_scalars_stay_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":{\"b\":1},\"c\":1}");
	add(f, "2-b", "{\"a\":{\"b\":2},\"c\":5}");
	add(f, "2-a", "{\"a\":{\"b\":\"x\"},\"c\":1}");
	stays_open(f, "{\"strategy\":\"merge\",\"reason\":\"paths\",\"open\":[{\"path\":\"a.b\","
		      "\"values\":[{\"revision\":\"2-b\",\"value\":2},"
		      "{\"revision\":\"2-a\",\"value\":\"x\"}]}]}");
	assert_string_equal(to_json(f, buf_slice(&f->result.body)), "{\"a\":{},\"c\":5}");
}

static void test_arrays_are_whole(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":[1],\"b\":1}");
	add(f, "2-b", "{\"a\":[1,2],\"b\":1}");
	add(f, "2-a", "{\"a\":[1],\"b\":2}");
	gives(f, "{\"a\":[1,2],\"b\":2}");
	add(f, "2-c", "{\"a\":[1,3],\"b\":1}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void test_an_object_against_a_scalar_stays_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":{\"x\":1}}");
	add(f, "2-b", "{\"a\":7}");
	add(f, "2-a", "{\"a\":{\"x\":2}}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void test_without_a_base(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\",\"t\":\"set\"}}", NULL);
	add(f, "1-b", "{\"a\":1,\"b\":2,\"n\":3,\"t\":[1,2]}");
	add(f, "1-a", "{\"a\":1,\"c\":3,\"n\":3,\"t\":[3,2]}");
	gives(f, "{\"a\":1,\"b\":2,\"n\":3,\"t\":[1,2,3],\"c\":3}");
	add(f, "1-c", "{\"n\":4}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

/* ---- rules ---- */

static void test_sets(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"t\":\"set\"}}", "{\"t\":[\"c\",\"a\",\"b\",1]}");
	add(f, "2-b", "{\"t\":[\"a\",\"z\",\"c\",\"y\",1]}");
	add(f, "2-a", "{\"t\":[\"c\",\"b\",\"a\",\"y\",\"x\",1.0,{\"k\":1,\"j\":2}]}");
	add(f, "2-c", "{\"t\":[\"b\",\"a\",1,{\"j\":2,\"k\":1}]}");
	gives(f, "{\"t\":[\"a\",1,\"x\",\"y\",\"z\",{\"j\":2,\"k\":1}]}");
}

static void test_a_set_that_is_no_array_stays_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"t\":\"set\"}}", "{\"t\":[1]}");
	add(f, "2-b", "{\"t\":[2]}");
	add(f, "2-a", "{\"t\":\"none\"}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

#define ITEMS_POLICY "{\"paths\":{\"items\":{\"map\":[\"sku\"]},\"items.n\":\"counter\"}}"

static void test_maps_merge_element_by_element(void **state)
{
	struct fixture *f = *state;
	start(f, ITEMS_POLICY,
	      "{\"items\":[{\"sku\":\"b\",\"n\":1},{\"sku\":\"a\",\"n\":5},{\"sku\":\"d\"}]}");
	add(f, "2-b",
	    "{\"items\":[{\"sku\":\"z\",\"n\":1},{\"sku\":\"a\",\"n\":6},"
	    "{\"sku\":\"b\",\"n\":1,\"c\":\"red\"}]}");
	add(f, "2-a",
	    "{\"items\":[{\"sku\":\"b\",\"n\":2},{\"sku\":\"a\",\"n\":8},"
	    "{\"sku\":\"d\"},{\"sku\":\"c\",\"n\":1}]}");
	gives(f, "{\"items\":[{\"sku\":\"b\",\"n\":2,\"c\":\"red\"},{\"sku\":\"a\",\"n\":9},"
		 "{\"sku\":\"c\",\"n\":1},{\"sku\":\"z\",\"n\":1}]}");
}

static void test_open_paths_name_the_element(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"i\":{\"map\":[\"k\",\"v\"]}}}", "{\"i\":[{\"k\":\"a\",\"v\":1}]}");
	add(f, "2-b", "{\"i\":[{\"k\":\"a\",\"v\":1,\"o\":{\"c\":1}}]}");
	add(f, "2-a", "{\"i\":[{\"k\":\"a\",\"v\":1,\"o\":{\"c\":2}}]}");
	stays_open(f, "{\"strategy\":\"merge\",\"reason\":\"paths\",\"open\":[{\"path\":"
		      "\"i[a,1].o.c\",\"values\":[{\"revision\":\"2-b\",\"value\":1},"
		      "{\"revision\":\"2-a\",\"value\":2}]}]}");
}

static void test_elements_without_or_with_equal_keys_are_no_map(void **state)
{
	struct fixture *f = *state;
	start(f, ITEMS_POLICY, "{\"items\":[]}");
	add(f, "2-b", "{\"items\":[{\"sku\":1},{\"sku\":1,\"x\":2}]}");
	add(f, "2-a", "{\"items\":[{\"sku\":2}]}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	start(f, ITEMS_POLICY, "{\"items\":[]}");
	add(f, "2-b", "{\"items\":[{\"ski\":1}]}");
	add(f, "2-a", "{\"items\":[{\"sku\":2}]}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void test_a_changed_element_outlives_its_deletion(void **state)
{
	struct fixture *f = *state;
	start(f, ITEMS_POLICY, "{\"items\":[{\"sku\":\"a\",\"n\":1},{\"sku\":\"b\",\"n\":1}]}");
	add(f, "2-b", "{\"items\":[]}");
	add(f, "2-a", "{\"items\":[{\"sku\":\"a\",\"n\":4},{\"sku\":\"b\",\"n\":1}]}");
	gives(f, "{\"items\":[{\"sku\":\"a\",\"n\":4}]}");
	detail_is(f, "{\"strategy\":\"merge\",\"kept\":[{\"path\":\"items[a]\","
		     "\"deleted_by\":[\"2-b\"]}]}");
}

static void test_counters_add_up(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\"}}", "{\"n\":5}");
	add(f, "2-b", "{\"n\":6}");
	add(f, "2-a", "{\"n\":6}");
	add(f, "2-c", "{\"n\":-10}");
	add(f, "2-d", "{\"n\":5}");
	gives(f, "{\"n\":-8}");
	start(f, "{\"paths\":{\"n\":\"counter\"}}", "{}");
	add(f, "2-b", "{\"n\":2}");
	add(f, "2-a", "{\"n\":3}");
	gives(f, "{\"n\":5}");
}

static void test_counters_are_exact_or_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\"}}", "{\"n\":9007199254740993}");
	add(f, "2-b", "{\"n\":9007199254740994}");
	add(f, "2-a", "{\"n\":18446744073709551614}");
	gives(f, "{\"n\":18446744073709551615}");
	add(f, "2-c", "{\"n\":9007199254740994}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	start(f, "{\"paths\":{\"n\":\"counter\"}}", "{\"n\":-9223372036854775807}");
	add(f, "2-b", "{\"n\":-9223372036854775808}");
	add(f, "2-a", "{\"n\":-9223372036854775806}");
	gives(f, "{\"n\":-9223372036854775807}");
	add(f, "2-c", "{\"n\":-9223372036854775808}");
	gives(f, "{\"n\":-9223372036854775808}");
	add(f, "2-d", "{\"n\":-9223372036854775808}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	start(f, "{\"paths\":{\"n\":\"counter\"}}", "{\"n\":1}");
	add(f, "2-b", "{\"n\":2}");
	add(f, "2-a", "{\"n\":2.5}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void test_numbers_that_no_machine_word_holds(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"max\"}}", "{\"n\":1,\"m\":1}");
	add(f, "2-b", "{\"n\":100000000000000000000000000000000000001,\"m\":1}");
	add(f, "2-a",
	    "{\"n\":100000000000000000000000000000000000002,"
	    "\"m\":0.1234567890123456789012345678901}");
	gives(f, "{\"n\":100000000000000000000000000000000000002,"
		 "\"m\":0.1234567890123456789012345678901}");
}

static void test_max_min_and_newest(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"a\":\"max\",\"b\":\"min\",\"c\":\"newest\",\"d\":\"newest\"}}",
	      "{\"a\":9,\"b\":0,\"c\":0,\"d\":0}");
	add_stamped(f, "2-b", 5, "{\"a\":3,\"b\":2,\"c\":\"x\",\"d\":1}");
	add_stamped(f, "2-a", 9, "{\"a\":4,\"b\":1,\"c\":\"y\",\"d\":0}");
	add_stamped(f, "2-c", 5, "{\"a\":9,\"b\":1.5,\"c\":0,\"d\":2}");
	gives(f, "{\"a\":4,\"b\":1,\"c\":\"y\",\"d\":2}");
	start(f, "{\"paths\":{\"a\":\"max\"}}", "{\"a\":1}");
	add(f, "2-b", "{\"a\":3}");
	add(f, "2-a", "{\"a\":\"z\"}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void test_what_a_rule_dropped_is_told(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"a.b\":\"max\"}}", "{}");
	add(f, "2-b", "{\"a\":{\"b\":3}}");
	add(f, "2-a", "{\"a\":{\"b\":4}}");
	gives(f, "{\"a\":{\"b\":4}}");
	detail_is(f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"a.b\",\"rule\":\"max\","
		     "\"kept\":\"2-a\",\"values\":[{\"revision\":\"2-b\",\"value\":3}]}]}");
}

/* ---- whole documents ---- */

static void test_edit_wins_over_delete(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":1}");
	add(f, "2-b", NULL);
	add(f, "2-a", "{\"a\":2}");
	gives(f, "{\"a\":2}");
	detail_is(f, "{\"strategy\":\"merge\",\"deletes\":\"edit-wins\",\"deleted\":[\"2-b\"]}");
}

static void test_delete_wins_on_request(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"deletes\":\"delete-wins\"}", "{\"a\":1}");
	add(f, "2-b", NULL);
	add(f, "2-a", "{\"a\":2}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_DONE);
	assert_true(f->result.deleted);
	assert_int_equal(f->result.body.len, 0);
	detail_is(f, "{\"strategy\":\"merge\",\"losers\":[\"2-a\"],\"deletes\":\"delete-wins\","
		     "\"deleted\":[\"2-b\"]}");
}

static void test_newest_and_oldest(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"newest\"}", "{}");
	add_stamped(f, "3-a", 4, "{\"a\":1}");
	add_stamped(f, "2-a", 7, "{\"a\":2}");
	add_stamped(f, "2-b", 7, "{\"a\":3}");
	add_stamped(f, "9-z", 0, "{\"a\":4}");
	gives(f, "{\"a\":3}");
	detail_is(f, "{\"strategy\":\"newest\",\"winner\":\"2-b\","
		     "\"losers\":[\"9-z\",\"3-a\",\"2-a\"]}");
	start(f, "{\"strategy\":\"oldest\"}", "{}");
	add_stamped(f, "3-a", 4, "{\"a\":1}");
	add_stamped(f, "9-z", 0, "{\"a\":4}");
	add_stamped(f, "8-z", 0, "{\"a\":5}");
	gives(f, "{\"a\":5}");
}

static void test_newest_may_be_a_deletion(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"newest\"}", "{}");
	add_stamped(f, "3-a", 4, "{\"a\":1}");
	add_stamped(f, "2-a", 7, NULL);
	run(f);
	assert_int_equal(f->result.outcome, MERGE_DONE);
	assert_true(f->result.deleted);
}

static void test_none_leaves_it(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"none\"}", "{}");
	add(f, "2-b", "{\"a\":1}");
	add(f, "2-a", "{\"b\":1}");
	run(f);
	assert_int_equal(f->result.outcome, MERGE_SKIPPED);
	detail_is(f, "{\"strategy\":\"none\",\"reason\":\"policy\"}");
}

static void test_a_broken_body_stays_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{}");
	add(f, "2-b", "{\"a\":1}");
	add(f, "2-a", "[1]");
	stays_open(f, "{\"strategy\":\"merge\",\"reason\":\"invalid_body\"}");
}

static void test_long_details_are_cut(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{}");
	for (uint32_t l = 0; l < 3; l++) {
		struct buf json = {0};
		for (uint32_t i = 0; i < 600; i++) {
			buf_printf(&json, "%s\"member-%u\":\"", i ? "," : "{", i);
			for (uint32_t k = 0; k < 20 + i * 10; k++)
				buf_append_byte(&json, (uint8_t)('a' + l));
			buf_append_text(&json, "\"");
		}
		buf_append_text(&json, "}");
		add(f, (const char *[]){"2-a", "2-b", "2-c"}[l], buf_cstr(&json));
		buf_close(&json);
	}
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
	const char *detail = to_json(f, buf_slice(&f->result.detail));
	assert_non_null(strstr(detail, "\"member-0\""));
	assert_non_null(strstr(detail, "\"cut\":true}"));
}

/* ---- properties ---- */

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

static void random_value(struct rng *rng, uint32_t depth, struct buf *out);

static void random_members(struct rng *rng, uint32_t depth, bool named, struct buf *out)
{
	const char *names[] = {"n", "s", "m", "x", "y", "o"};
	uint32_t first = (uint32_t)rng_below(rng, 3);
	uint32_t count = (uint32_t)rng_below(rng, 4);
	if (!named) {
		mp_write_array(out, count);
	} else {
		mp_write_map(out, count + 1);
		mp_write_text(out, "k");
		mp_write_u64(out, rng_below(rng, 4));
	}
	for (uint32_t i = 0; i < count; i++) {
		if (named)
			mp_write_text(out, names[(first + i) % 6]);
		random_value(rng, depth + 1, out);
	}
}

static void random_value(struct rng *rng, uint32_t depth, struct buf *out)
{
	switch (rng_below(rng, depth > 3 ? 6 : 9)) {
	case 0:
		mp_write_nil(out);
		break;
	case 1:
		mp_write_bool(out, rng_below(rng, 2));
		break;
	case 2:
		mp_write_double(out, (double)rng_between(rng, -4, 4) / 2);
		break;
	case 3:
		mp_write_ext(out, MP_EXT_NUMBER, slice_text("123456789012345678901234567890"));
		break;
	case 4:
		mp_write_text(out, rng_below(rng, 2) ? "p" : "q");
		break;
	case 5:
		mp_write_i64(out, rng_between(rng, -3, 3));
		break;
	case 6:
		random_members(rng, depth, false, out);
		break;
	default:
		random_members(rng, depth, true, out);
	}
}

/* The rules stand on paths that random documents have. */
#define RANDOM_POLICY                                                                              \
	"{\"paths\":{\"n\":\"counter\",\"s\":\"set\",\"m\":{\"map\":[\"k\"]},\"x\":\"max\","       \
	"\"y.x\":\"newest\",\"o.n\":\"min\",\"m.n\":\"counter\",\"o.s\":\"set\"}}"

static const char *const revisions[LEAVES_MAX] = {
    "2-a",  "2-b",  "2-c",  "3-a",  "3-b",  "10-a", "4-x",  "4-y",  "1-x",  "9-q",
    "5-01", "5-02", "5-03", "5-04", "5-05", "5-06", "5-07", "5-08", "5-09", "5-10",
    "6-01", "6-02", "6-03", "6-04", "6-05", "6-06", "6-07", "6-08", "6-09", "6-10",
    "7-01", "7-02", "7-03", "7-04", "7-05", "7-06", "7-07", "7-08", "7-09", "7-10",
    "8-01", "8-02", "8-03", "8-04", "8-05", "8-06", "8-07", "8-08", "8-09", "8-10"};

static struct slice random_document(struct fixture *f, struct rng *rng)
{
	buf_clear(&f->bytes);
	random_members(rng, 0, true, &f->bytes);
	assert_true(value_is_document(buf_slice(&f->bytes)));
	return arena_copy(&f->arena, buf_slice(&f->bytes));
}

static void random_case(struct fixture *f, struct rng *rng, uint32_t count)
{
	start(f, rng_below(rng, 4) ? RANDOM_POLICY : "{}", NULL);
	f->has_base = rng_below(rng, 5) > 0;
	f->base = f->has_base ? random_document(f, rng) : (struct slice){0};
	for (uint32_t i = 0; i < count; i++) {
		struct merge_leaf *leaf = &f->leaves[f->leaves_count++];
		*leaf = (struct merge_leaf){.revision = slice_text(revisions[i]),
					    .stamp = rng_below(rng, 3),
					    .deleted = rng_below(rng, 12) == 0};
		if (!leaf->deleted)
			leaf->body = f->has_base && rng_below(rng, 4) == 0
					 ? f->base
					 : random_document(f, rng);
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
	    T(test_changes_on_one_side_are_taken),
	    T(test_same_change_on_both_sides),
	    T(test_members_keep_the_winners_order),
	    T(test_deletion_of_a_member),
	    T(test_a_changed_member_outlives_its_deletion),
	    T(test_missing_is_not_null),
	    T(test_different_scalars_stay_open),
	    T(test_arrays_are_whole),
	    T(test_an_object_against_a_scalar_stays_open),
	    T(test_without_a_base),
	    T(test_sets),
	    T(test_a_set_that_is_no_array_stays_open),
	    T(test_maps_merge_element_by_element),
	    T(test_open_paths_name_the_element),
	    T(test_elements_without_or_with_equal_keys_are_no_map),
	    T(test_a_changed_element_outlives_its_deletion),
	    T(test_counters_add_up),
	    T(test_counters_are_exact_or_open),
	    T(test_numbers_that_no_machine_word_holds),
	    T(test_max_min_and_newest),
	    T(test_what_a_rule_dropped_is_told),
	    T(test_edit_wins_over_delete),
	    T(test_delete_wins_on_request),
	    T(test_newest_and_oldest),
	    T(test_newest_may_be_a_deletion),
	    T(test_none_leaves_it),
	    T(test_a_broken_body_stays_open),
	    T(test_long_details_are_cut),
	    T(test_every_order_gives_the_same_bytes),
	    T(test_many_leaves_shuffled),
	    T(test_naming_a_leaf_twice_changes_nothing),
	    T(test_a_leaf_alone_is_the_result),
	    T(test_unchanged_leaves_do_not_matter),
	    T(test_results_are_documents),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
