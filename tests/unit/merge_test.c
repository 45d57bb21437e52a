/* Single rules, one after the other. */
#include <stdio.h>

#include "tests/unit/merge_case.h"

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

static void opens(struct fixture *f)
{
	run(f);
	assert_int_equal(f->result.outcome, MERGE_OPEN);
}

static void stays_open(struct fixture *f, const char *detail)
{
	opens(f);
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
		  "{\"strategy\":\"merge\",\"kept\":[{\"path\":\"a\",\"deletedBy\":[\"2-b\"]}]}");
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
	opens(f);
}

static void test_an_object_against_a_scalar_stays_open(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"a\":{\"x\":1}}");
	add(f, "2-b", "{\"a\":7}");
	add(f, "2-a", "{\"a\":{\"x\":2}}");
	opens(f);
}

static void test_without_a_base(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\",\"t\":\"set\"}}", NULL);
	add(f, "1-b", "{\"a\":1,\"b\":2,\"n\":3,\"t\":[1,2]}");
	add(f, "1-a", "{\"a\":1,\"c\":3,\"n\":3,\"t\":[3,2]}");
	gives(f, "{\"a\":1,\"b\":2,\"n\":3,\"t\":[1,2,3],\"c\":3}");
	add(f, "1-c", "{\"n\":4}");
	opens(f);
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
	opens(f);
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
	opens(f);
	start(f, ITEMS_POLICY, "{\"items\":[]}");
	add(f, "2-b", "{\"items\":[{\"ski\":1}]}");
	add(f, "2-a", "{\"items\":[{\"sku\":2}]}");
	opens(f);
}

static void test_a_changed_element_outlives_its_deletion(void **state)
{
	struct fixture *f = *state;
	start(f, ITEMS_POLICY, "{\"items\":[{\"sku\":\"a\",\"n\":1},{\"sku\":\"b\",\"n\":1}]}");
	add(f, "2-b", "{\"items\":[]}");
	add(f, "2-a", "{\"items\":[{\"sku\":\"a\",\"n\":4},{\"sku\":\"b\",\"n\":1}]}");
	gives(f, "{\"items\":[{\"sku\":\"a\",\"n\":4}]}");
	detail_is(f, "{\"strategy\":\"merge\",\"kept\":[{\"path\":\"items[a]\","
		     "\"deletedBy\":[\"2-b\"]}]}");
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

static void test_equal_changes_of_counters_are_two(void **state)
{
	struct fixture *f = *state;
	start(f, ITEMS_POLICY, "{\"items\":[{\"sku\":1,\"n\":1}]}");
	add(f, "2-a", "{\"items\":[{\"sku\":1,\"n\":2}]}");
	add(f, "2-b", "{\"items\":[{\"sku\":1,\"n\":2}]}");
	gives(f, "{\"items\":[{\"sku\":1,\"n\":3}]}");
	start(f, "{\"paths\":{\"a.n\":\"counter\"}}", "{\"a\":{\"n\":5},\"x\":[1]}");
	add(f, "2-a", "{\"a\":{\"n\":6},\"x\":[2]}");
	add(f, "2-b", "{\"a\":{\"n\":6},\"x\":[2]}");
	add(f, "2-c", "{\"a\":{\"n\":6},\"x\":[2]}");
	gives(f, "{\"a\":{\"n\":8},\"x\":[2]}");
	/* elements without keys are no map, but what all agree on is */
	start(f, ITEMS_POLICY, "{\"items\":[]}");
	add(f, "2-a", "{\"items\":[{\"n\":2}]}");
	add(f, "2-b", "{\"items\":[{\"n\":2}]}");
	gives(f, "{\"items\":[{\"n\":2}]}");
}

static void counts(struct fixture *f, const char *base, const char *a, const char *b,
		   const char *json)
{
	start(f, "{\"paths\":{\"n\":\"counter\"}}", base);
	add(f, "2-b", a);
	add(f, "2-a", b);
	gives(f, json);
}

static void test_counters_are_exact(void **state)
{
	struct fixture *f = *state;
	counts(f, "{\"n\":9007199254740993}", "{\"n\":9007199254740994}",
	       "{\"n\":18446744073709551614}", "{\"n\":18446744073709551615}");
	add(f, "2-c", "{\"n\":9007199254740994}");
	gives(f, "{\"n\":18446744073709551616}");
	counts(f, "{\"n\":-9223372036854775807}", "{\"n\":-9223372036854775808}",
	       "{\"n\":-9223372036854775806}", "{\"n\":-9223372036854775807}");
	add(f, "2-c", "{\"n\":-9223372036854775808}");
	add(f, "2-d", "{\"n\":-9223372036854775808}");
	gives(f, "{\"n\":-9223372036854775809}");
	counts(f, "{\"n\":1}", "{\"n\":1.5}", "{\"n\":2}", "{\"n\":2.5}");
	counts(f, "{\"n\":0.1}", "{\"n\":0.3}", "{\"n\":0.2}", "{\"n\":0.4}");
	counts(f, "{\"n\":1.0}", "{\"n\":2.0}", "{\"n\":3.0}", "{\"n\":4}");
	counts(f, "{\"n\":0.5}", "{\"n\":-0.25}", "{\"n\":0.25}", "{\"n\":-0.5}");
	counts(f, "{\"n\":-0.5}", "{\"n\":1e2}", "{\"n\":-99.5}", "{\"n\":1}");
	counts(f, "{\"n\":123456789012345678901234567890}",
	       "{\"n\":123456789012345678901234567891}", "{\"n\":123456789012345678901234567892}",
	       "{\"n\":123456789012345678901234567893}");
	counts(f, "{\"n\":0}", "{\"n\":0.1234567890123456789012345678901}", "{\"n\":1e20}",
	       "{\"n\":100000000000000000000.1234567890123456789012345678901}");
	counts(f, "{\"n\":100}", "{\"n\":-20}", "{\"n\":0}", "{\"n\":-120}");
}

static void counts_nothing(struct fixture *f, const char *base, const char *a, const char *b)
{
	start(f, "{\"paths\":{\"n\":\"counter\"}}", base);
	add(f, "2-b", a);
	add(f, "2-a", b);
	opens(f);
}

static void test_counters_that_stay_open(void **state)
{
	struct fixture *f = *state;
	counts_nothing(f, "{\"n\":1}", "{\"n\":2}", "{\"n\":\"3\"}");
	counts_nothing(f, "{\"n\":true}", "{\"n\":2}", "{\"n\":3}");
	counts_nothing(f, "{\"n\":0}", "{\"n\":1e200}", "{\"n\":1}");
	counts_nothing(f, "{\"n\":0}", "{\"n\":1e-200}", "{\"n\":1}");
	counts_nothing(f, "{\"n\":0}", "{\"n\":9e127}", "{\"n\":8e127}");
	counts_nothing(f, NULL, "{\"n\":1}", "{\"n\":2}");
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
	opens(f);
}

static void test_oldest_of_values(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"o\":\"oldest\"}}", "{\"o\":[]}");
	add_stamped(f, "2-a", 9, "{\"o\":[1]}");
	add_stamped(f, "2-b", 7, "{\"o\":{}}");
	add_stamped(f, "2-c", 7, "{\"o\":3}");
	gives(f, "{\"o\":{}}"); /* of two stamps alike the loser's */
	detail_is(f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"o\",\"rule\":\"oldest\","
		     "\"kept\":\"2-b\",\"values\":[{\"revision\":\"2-c\",\"value\":3},"
		     "{\"revision\":\"2-a\",\"value\":[1]}]}]}");
}

#define LOG_POLICY "{\"paths\":{\"log\":\"append\"}}"

static void test_what_each_side_appended(void **state)
{
	struct fixture *f = *state;
	start(f, LOG_POLICY, "{\"log\":[1]}");
	add_stamped(f, "2-a", 5, "{\"log\":[1,\"later\"]}");
	add_stamped(f, "2-b", 4, "{\"log\":[1,\"first\",\"second\"]}");
	add_stamped(f, "2-c", 6, "{\"log\":[1]}");
	gives(f, "{\"log\":[1,\"first\",\"second\",\"later\"]}");
	/* two events that look alike are two */
	start(f, LOG_POLICY, "{}");
	add(f, "2-a", "{\"log\":[\"visit\"]}");
	add(f, "2-b", "{\"log\":[\"visit\"]}");
	gives(f, "{\"log\":[\"visit\",\"visit\"]}");
	/* a merge may have put something in between meanwhile */
	start(f, LOG_POLICY, "{\"log\":[1,2]}");
	add_stamped(f, "2-a", 5, "{\"log\":[\"b\",1,\"c\",2]}");
	add_stamped(f, "2-b", 4, "{\"log\":[\"a\",1,2,\"d\"]}");
	gives(f, "{\"log\":[\"a\",\"b\",1,\"c\",2,\"d\"]}");
	/* or have brought what was there into another order */
	start(f, LOG_POLICY, "{\"log\":[1,2]}");
	add_stamped(f, "2-a", 5, "{\"log\":[2,1,\"a\"]}");
	add_stamped(f, "2-b", 4, "{\"log\":[1,2,\"b\"]}");
	gives(f, "{\"log\":[1,2,\"b\",\"a\"]}");
	/* without a base, what all begin with was there before */
	start(f, LOG_POLICY, NULL);
	add(f, "2-a", "{\"log\":[1,2,3]}");
	add(f, "2-b", "{\"log\":[1,2,4]}");
	gives(f, "{\"log\":[1,2,3,4]}");
}

static void test_more_than_appending_stays_open(void **state)
{
	struct fixture *f = *state;
	start(f, LOG_POLICY, "{\"log\":[1,2]}");
	add(f, "2-a", "{\"log\":[1,2,3]}");
	add(f, "2-b", "{\"log\":[2,4]}");
	opens(f);
	start(f, LOG_POLICY, "{\"log\":[1]}");
	add(f, "2-a", "{\"log\":[1,2,3]}");
	add(f, "2-b", "{\"log\":\"1\"}");
	opens(f);
	start(f, LOG_POLICY, "{\"log\":7}");
	add(f, "2-a", "{\"log\":[1,2,3]}");
	add(f, "2-b", "{\"log\":[1,2]}");
	opens(f);
}

static void test_a_fallback_decides_open_paths(void **state)
{
	struct fixture *f = *state;
	const char *policy = "{\"fallback\":\"newest\",\"paths\":{\"q\":\"manual\",\"x\":\"max\"}}";
	start(f, policy, "{\"a\":1,\"b\":1,\"x\":1}");
	add_stamped(f, "2-a", 2, "{\"a\":2,\"b\":2,\"x\":3}");
	add_stamped(f, "2-b", 1, "{\"a\":3,\"b\":1,\"x\":\"s\"}");
	gives(f, "{\"a\":2,\"b\":2,\"x\":3}");
	start(f, policy, "{\"q\":1}");
	add_stamped(f, "2-a", 2, "{\"q\":2}");
	add_stamped(f, "2-b", 1, "{\"q\":3}");
	opens(f); /* people were asked for by name */
	start(f, "{\"fallback\":\"oldest\"}", "{\"a\":1}");
	add_stamped(f, "2-a", 2, "{\"a\":2}");
	add_stamped(f, "2-b", 1, "{\"a\":3}");
	gives(f, "{\"a\":3}");
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

/* ---- removed on one side, changed on another ---- */

/* 2-b removed what 2-a changed. */
static void removes(struct fixture *f, const char *policy, const char *base, const char *removed,
		    uint64_t stamp, const char *changed)
{
	start(f, policy, base);
	add_stamped(f, "2-b", stamp, removed);
	add_stamped(f, "2-a", 5, changed);
}

static void test_rules_are_asked_about_removals(void **state)
{
	struct fixture *f = *state;
	removes(f, "{\"paths\":{\"a\":\"manual\"},\"fallback\":\"newest\"}", "{\"a\":1}", "{}", 9,
		"{\"a\":2}");
	stays_open(f, "{\"strategy\":\"merge\",\"reason\":\"paths\",\"open\":[{\"path\":\"a\","
		      "\"values\":[{\"revision\":\"2-b\",\"deleted\":true},"
		      "{\"revision\":\"2-a\",\"value\":2}]}]}");
	removes(f, "{\"paths\":{\"a\":\"newest\"}}", "{\"a\":1}", "{}", 9, "{\"a\":2}");
	gives(f, "{}");
	detail_is(f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"a\",\"rule\":\"newest\","
		     "\"kept\":\"2-b\",\"values\":[{\"revision\":\"2-a\",\"value\":2}]}]}");
	removes(f, "{\"paths\":{\"a\":\"newest\"}}", "{\"a\":1}", "{}", 1, "{\"a\":2}");
	gives(f, "{\"a\":2}");
	detail_is(f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"a\",\"rule\":\"newest\","
		     "\"kept\":\"2-a\",\"values\":[{\"revision\":\"2-b\",\"deleted\":true}]}]}");
	removes(f, "{\"paths\":{\"a\":\"oldest\"}}", "{\"a\":1}", "{}", 1, "{\"a\":2}");
	gives(f, "{}");
	removes(f, "{\"paths\":{\"a\":\"set\"}}", "{\"a\":[1,2]}", "{}", 1, "{\"a\":[1,2,3]}");
	gives(f, "{\"a\":[3]}");
	removes(f, "{\"paths\":{\"a\":{\"map\":[\"k\"]}}}",
		"{\"a\":[{\"k\":1,\"n\":1},{\"k\":2,\"n\":1}]}", "{}", 1,
		"{\"a\":[{\"k\":1,\"n\":2},{\"k\":2,\"n\":1}]}");
	gives(f, "{\"a\":[{\"k\":1,\"n\":2}]}");
	detail_is(f, "{\"strategy\":\"merge\",\"kept\":[{\"path\":\"a[1]\","
		     "\"deletedBy\":[\"2-b\"]}]}");
}

/* What was counted by others stays counted; the base is taken away once. */
static void test_a_removed_counter(void **state)
{
	struct fixture *f = *state;
	removes(f, "{\"paths\":{\"n\":\"counter\"}}", "{\"n\":5}", "{}", 1, "{\"n\":7}");
	gives(f, "{\"n\":2}");
	add(f, "2-c", "{}");
	gives(f, "{\"n\":2}");
	add(f, "2-d", "{\"n\":7}");
	gives(f, "{\"n\":4}");
}

static void test_a_removed_list_is_more_than_appending(void **state)
{
	struct fixture *f = *state;
	removes(f, LOG_POLICY, "{\"log\":[1]}", "{}", 1, "{\"log\":[1,2]}");
	opens(f);
	removes(f, LOG_POLICY, "{\"log\":[]}", "{}", 1, "{\"log\":[2]}");
	gives(f, "{\"log\":[2]}");
	removes(f, "{\"paths\":{\"log\":\"append\"},\"fallback\":\"newest\"}", "{\"log\":[1]}",
		"{}", 9, "{\"log\":[1,2]}");
	gives(f, "{}");
}

/* max and min say nothing of removals; where nothing is said, the change stays whatever the
 * fallback. */
static void test_without_a_rule_deletes_decides(void **state)
{
	struct fixture *f = *state;
	removes(f, "{\"paths\":{\"a\":\"max\"},\"fallback\":\"newest\"}", "{\"a\":9,\"b\":1}", "{}",
		9, "{\"a\":2,\"b\":2}");
	add(f, "2-c", "{\"a\":3,\"b\":1}");
	gives(f, "{\"a\":3,\"b\":2}");
	detail_is(f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"a\",\"rule\":\"max\","
		     "\"kept\":\"2-c\",\"values\":[{\"revision\":\"2-a\",\"value\":2}]}],"
		     "\"kept\":[{\"path\":\"a\",\"deletedBy\":[\"2-b\"]},"
		     "{\"path\":\"b\",\"deletedBy\":[\"2-b\"]}]}");
	removes(
	    f, "{\"deletes\":\"delete-wins\",\"paths\":{\"c\":\"newest\",\"i\":{\"map\":[\"k\"]}}}",
	    "{\"a\":1,\"c\":1,\"i\":[{\"k\":1}]}", "{\"i\":[]}", 1,
	    "{\"a\":2,\"c\":2,\"i\":[{\"k\":1,\"n\":1}]}");
	gives(f, "{\"i\":[],\"c\":2}");
	detail_is(
	    f, "{\"strategy\":\"merge\",\"dropped\":[{\"path\":\"i[1]\",\"rule\":\"delete-wins\","
	       "\"kept\":\"2-b\",\"values\":[{\"revision\":\"2-a\",\"value\":{\"k\":1,\"n\":1}}]},"
	       "{\"path\":\"a\",\"rule\":\"delete-wins\",\"kept\":\"2-b\","
	       "\"values\":[{\"revision\":\"2-a\",\"value\":2}]},"
	       "{\"path\":\"c\",\"rule\":\"newest\",\"kept\":\"2-a\","
	       "\"values\":[{\"revision\":\"2-b\",\"deleted\":true}]}]}");
}

/* ---- manual ---- */

static void opens_at(struct fixture *f, const char *path)
{
	char wanted[64];
	opens(f);
	(void)snprintf(wanted, sizeof wanted, "\"open\":[{\"path\":\"%s\",", path);
	if (!strstr(to_json(f, buf_slice(&f->result.detail)), wanted))
		fail_msg("%s: %s", path, buf_cstr(&f->text));
}

/* It is one thing: neither the fallback decides in it, nor is it mixed. */
static void test_a_manual_object_waits_as_a_whole(void **state)
{
	struct fixture *f = *state;
	const char *policy = "{\"paths\":{\"o\":\"manual\"},\"fallback\":\"newest\"}";
	removes(f, policy, "{\"o\":{\"s\":1,\"z\":1}}", "{\"o\":{\"s\":2,\"z\":1}}", 1,
		"{\"o\":{\"s\":3,\"z\":1}}");
	opens_at(f, "o");
	removes(f, policy, "{\"o\":{\"s\":1,\"z\":1}}", "{\"o\":{\"s\":2,\"z\":1}}", 1,
		"{\"o\":{\"s\":1,\"z\":3}}");
	opens_at(f, "o");
	removes(f, policy, "{\"o\":{\"s\":1}}", "{\"o\":{\"s\":2}}", 1, "{\"o\":{\"s\":2}}");
	gives(f, "{\"o\":{\"s\":2}}");
	removes(f, policy, "{\"o\":{\"s\":1},\"x\":1}", "{\"o\":{\"s\":2},\"x\":1}", 1,
		"{\"o\":{\"s\":1},\"x\":2}");
	gives(f, "{\"o\":{\"s\":2},\"x\":2}");
}

/* Nothing that holds it is removed, or taken whole, without people. */
static void test_a_manual_path_below(void **state)
{
	struct fixture *f = *state;
	const char *policy = "{\"paths\":{\"o.s\":\"manual\",\"i\":{\"map\":[\"k\"]},"
			     "\"i.s\":\"manual\"},\"fallback\":\"newest\"}";
	removes(f, policy, "{\"o\":{\"s\":1}}", "{}", 9, "{\"o\":{\"s\":2}}");
	opens_at(f, "o");
	removes(f, policy, "{\"o\":{\"s\":1}}", "{\"o\":7}", 9, "{\"o\":{\"s\":2}}");
	opens_at(f, "o");
	removes(f, policy, "{\"i\":[{\"k\":1,\"s\":1}]}", "{\"i\":[]}", 9,
		"{\"i\":[{\"k\":1,\"s\":2}]}");
	opens_at(f, "i[1]");
	removes(f, policy, "{\"ox\":{\"s\":1}}", "{}", 9, "{\"ox\":{\"s\":2}}");
	gives(f, "{\"ox\":{\"s\":2}}");
}

static void test_keys_may_be_nested(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"i\":{\"map\":[\"k.id\"]}}}",
	      "{\"i\":[{\"k\":{\"id\":1},\"a\":1}]}");
	add(f, "2-b", "{\"i\":[{\"k\":{\"id\":1},\"a\":2}]}");
	add(f, "2-a", "{\"i\":[{\"k\":{\"id\":1},\"a\":1},{\"k\":{\"id\":2}}]}");
	gives(f, "{\"i\":[{\"k\":{\"id\":1},\"a\":2},{\"k\":{\"id\":2}}]}");
	start(f, "{\"paths\":{\"i\":{\"map\":[\"k.id\"]}}}", "{\"i\":[{\"k.id\":1,\"a\":1}]}");
	add(f, "2-b", "{\"i\":[{\"k.id\":1,\"a\":2}]}");
	add(f, "2-a", "{\"i\":[{\"k.id\":1,\"a\":1,\"b\":1}]}");
	gives(f, "{\"i\":[{\"k.id\":1,\"a\":2,\"b\":1}]}");
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
	opens(f);
	const char *detail = to_json(f, buf_slice(&f->result.detail));
	assert_non_null(strstr(detail, "\"member-0\""));
	assert_non_null(strstr(detail, "\"cut\":true}"));
}

/* ---- attachments ---- */

#define CONTENT_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define CONTENT_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define STUB(name, revpos, content)                                                                \
	"\"" name "\":{\"content_type\":\"a/b\",\"revpos\":" revpos                                \
	",\"digest\":\"md5-\",\"length\":1,\"content\":\"" content "\"}"
#define BODY(stubs) "{\"_attachments\":{" stubs "}}"

static void test_attachments_are_merged_by_name(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", BODY(STUB("gone", "1", CONTENT_A) "," STUB("kept", "1", CONTENT_A)));
	add(f, "3-a", BODY(STUB("kept", "1", CONTENT_A) "," STUB("mine", "2", CONTENT_B)));
	add(f, "2-b", BODY(STUB("gone", "1", CONTENT_A) "," STUB("kept", "2", CONTENT_B)));
	gives(f, BODY(STUB("kept", "2", CONTENT_B) "," STUB("mine", "2", CONTENT_B)));
}

/* The same content came in twice: no conflict. It counts from when the later one came. */
static void test_same_attachment_on_both_sides(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", "{\"n\":1}");
	add(f, "3-a", BODY(STUB("x", "2", CONTENT_A)));
	add(f, "5-b", BODY(STUB("x", "3", CONTENT_A)));
	gives(f, BODY(STUB("x", "3", CONTENT_A)));
}

/* Others are one thing each, never a mixture of their members. */
static void test_other_attachments_are_for_people(void **state)
{
	struct fixture *f = *state;
	start(f, "{}", BODY(STUB("x.y", "1", "0")));
	add(f, "2-a", BODY(STUB("x.y", "2", CONTENT_A)));
	add(f, "2-b", BODY(STUB("x.y", "2", CONTENT_B)));
	opens(f);
	start(f, "{\"paths\":{\"_attachments.x.y\":\"newest\"}}", BODY(STUB("x.y", "1", "0")));
	add(f, "2-a", BODY(STUB("x.y", "2", CONTENT_A)));
	add(f, "2-b", BODY(STUB("x.y", "2", CONTENT_B)));
	gives(f, BODY(STUB("x.y", "2", CONTENT_B)));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_attachments_are_merged_by_name),
	    T(test_same_attachment_on_both_sides),
	    T(test_other_attachments_are_for_people),
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
	    T(test_equal_changes_of_counters_are_two),
	    T(test_counters_are_exact),
	    T(test_counters_that_stay_open),
	    T(test_numbers_that_no_machine_word_holds),
	    T(test_max_min_and_newest),
	    T(test_oldest_of_values),
	    T(test_what_each_side_appended),
	    T(test_more_than_appending_stays_open),
	    T(test_a_fallback_decides_open_paths),
	    T(test_what_a_rule_dropped_is_told),
	    T(test_rules_are_asked_about_removals),
	    T(test_a_removed_counter),
	    T(test_a_removed_list_is_more_than_appending),
	    T(test_without_a_rule_deletes_decides),
	    T(test_a_manual_object_waits_as_a_whole),
	    T(test_a_manual_path_below),
	    T(test_keys_may_be_nested),
	    T(test_edit_wins_over_delete),
	    T(test_delete_wins_on_request),
	    T(test_newest_and_oldest),
	    T(test_newest_may_be_a_deletion),
	    T(test_none_leaves_it),
	    T(test_a_broken_body_stays_open),
	    T(test_long_details_are_cut),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
