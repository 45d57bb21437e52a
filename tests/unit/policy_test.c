#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/doc/policy.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

struct fixture {
	struct json_parser *parser;
	struct arena arena;
	struct buf bytes;
	struct policy policy;
	struct policy_error error;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.parser = json_parser_new()};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	arena_close(&f->arena);
	buf_close(&f->bytes);
	return 0;
}

static bool parse(struct fixture *f, const char *json)
{
	struct json_error error;
	buf_clear(&f->bytes);
	assert_true(json_to_msgpack(f->parser, slice_text(json), &f->bytes, &error));
	return policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error);
}

static void refused(struct fixture *f, const char *json, const char *place, const char *allowed)
{
	assert_false(parse(f, json));
	assert_string_equal(f->error.place, place);
	if (!strstr(f->error.text, allowed))
		fail_msg("%s: '%s' does not name '%s'", json, f->error.text, allowed);
}

static void test_nothing_means_merge(void **state)
{
	struct fixture *f = *state;
	assert_true(policy_parse((struct slice){0}, &f->arena, &f->policy, &f->error));
	assert_int_equal(f->policy.strategy, POLICY_MERGE);
	assert_false(f->policy.delete_wins);
	assert_int_equal(f->policy.paths_count, 0);
	assert_true(parse(f, "{}"));
	assert_int_equal(f->policy.strategy, POLICY_MERGE);
}

static void test_strategies(void **state)
{
	struct fixture *f = *state;
	assert_true(parse(f, "{\"strategy\":\"none\"}"));
	assert_int_equal(f->policy.strategy, POLICY_NONE);
	assert_true(parse(f, "{\"strategy\":\"newest\"}"));
	assert_int_equal(f->policy.strategy, POLICY_NEWEST);
	assert_true(parse(f, "{\"strategy\":\"oldest\",\"deletes\":\"edit-wins\"}"));
	assert_int_equal(f->policy.strategy, POLICY_OLDEST);
	assert_true(parse(f, "{\"strategy\":\"merge\",\"deletes\":\"delete-wins\"}"));
	assert_int_equal(f->policy.strategy, POLICY_MERGE);
	assert_true(f->policy.delete_wins);
	assert_true(parse(f, "{\"strategy\":\"script\",\"script\":\"function () {}\"}"));
	assert_int_equal(f->policy.strategy, POLICY_SCRIPT);
	assert_true(slice_is(f->policy.script, "function () {}"));
	assert_int_equal(f->policy.fallback, POLICY_NONE);
	assert_true(parse(f, "{\"strategy\":\"external\"}"));
	assert_int_equal(f->policy.strategy, POLICY_EXTERNAL);
	assert_int_equal(f->policy.deadline_ms, 0);
	for (uint32_t i = 0; i < POLICY_STRATEGIES; i++)
		assert_non_null(policy_strategy_name((enum policy_strategy)i));
	for (uint32_t i = 0; i < POLICY_RULES; i++)
		assert_non_null(policy_rule_name((enum policy_rule)i));
}

static void test_fallbacks_and_times(void **state)
{
	struct fixture *f = *state;
	assert_true(parse(f, "{\"strategy\":\"external\",\"fallback\":\"script\",\"script\":\"f\","
			     "\"deadlineMs\":86400000,\"leaseMs\":100}"));
	assert_int_equal(f->policy.fallback, POLICY_SCRIPT);
	assert_int_equal(f->policy.deadline_ms, 86400000);
	assert_int_equal(f->policy.lease_ms, 100);
	/* what the strategy has no use for stays for the day it has */
	assert_true(parse(f, "{\"strategy\":\"none\",\"script\":\"f\",\"deadlineMs\":0}"));
	refused(f, "{\"fallback\":\"external\"}", "/fallback", "\"script\"");
	refused(f, "{\"fallback\":\"merge\"}", "/fallback", "differ");
	refused(f, "{\"fallback\":\"script\"}", "/script", "needed");
	refused(f, "{\"strategy\":\"script\"}", "/script", "needed");
	refused(f, "{\"script\":\"\"}", "/script", "function");
	refused(f, "{\"script\":[]}", "/script", "function");
	refused(f, "{\"deadlineMs\":-1}", "/deadlineMs", "year");
	refused(f, "{\"deadlineMs\":31622400001}", "/deadlineMs", "year");
	refused(f, "{\"leaseMs\":99}", "/leaseMs", "100");
	refused(f, "{\"leaseMs\":1.5}", "/leaseMs", "100");
}

static void never_asked(struct fixture *f, const char *json, const char *place)
{
	assert_true(parse(f, json));
	assert_false(policy_paths_count_all(&f->policy, &f->error));
	assert_string_equal(f->error.place, place);
	assert_non_null(strstr(f->error.text, "never asked"));
}

static void test_rules_that_are_never_asked(void **state)
{
	struct fixture *f = *state;
	never_asked(f, "{\"paths\":{\"o\":\"newest\",\"o.d\":\"manual\"}}", "/paths/o.d");
	never_asked(f, "{\"paths\":{\"a\":\"set\",\"a.b\":\"max\"}}", "/paths/a.b");
	never_asked(f, "{\"paths\":{\"a.b\":\"manual\",\"a.b.c.d\":\"max\"}}", "/paths/a.b.c.d");
	never_asked(f, "{\"paths\":{\"id\":\"newest\"}}", "/paths/id");
	assert_true(parse(f, "{\"paths\":{\"a\":{\"map\":[\"k\"]},\"a.b\":\"max\",\"a-b\":\"set\","
			     "\"ax.b\":\"min\",\"b\":\"manual\",\"b-c\":\"max\"}}"));
	assert_true(policy_paths_count_all(&f->policy, &f->error));
	assert_true(policy_has_below(&f->policy, slice_text("a"), RULE_MAX));
	assert_false(policy_has_below(&f->policy, slice_text("a"), RULE_SET));
	assert_false(policy_has_below(&f->policy, slice_text("b"), RULE_MAX));
	assert_true(policy_has_below(&f->policy, slice_text(""), RULE_MANUAL));
	assert_false(policy_has_below(&f->policy, slice_text(""), RULE_COUNTER));
	assert_false(policy_has_below(&f->policy, slice_text("zz"), RULE_MANUAL));
}

static void test_roots(void **state)
{
	struct fixture *f = *state;
	assert_true(parse(f, "{\"roots\":{}}"));
	assert_int_equal(f->policy.roots.kind_count, 0);
	assert_false(f->policy.roots.same_stays_open || f->policy.roots.different_stays_open);
	assert_true(parse(f, "{\"roots\":{\"kind\":[\"type\",\"meta.form\"],\"same\":\"open\","
			     "\"different\":\"open\"}}"));
	assert_int_equal(f->policy.roots.kind_count, 2);
	assert_true(slice_is(f->policy.roots.kind[1], "meta.form"));
	assert_true(f->policy.roots.same_stays_open && f->policy.roots.different_stays_open);
	assert_true(parse(f, "{\"roots\":{\"same\":\"merge\",\"different\":\"split\"}}"));
	assert_false(f->policy.roots.same_stays_open || f->policy.roots.different_stays_open);
	refused(f, "{\"roots\":1}", "/roots", "object");
	refused(f, "{\"roots\":{\"kinds\":[]}}", "/roots/kinds", "kind, same");
	refused(f, "{\"roots\":{\"kind\":[]}}", "/roots/kind", "1 to 8");
	refused(f, "{\"roots\":{\"kind\":[\"a..b\"]}}", "/roots/kind", "dotted");
	refused(f, "{\"roots\":{\"kind\":\"type\"}}", "/roots/kind", "list");
	refused(f, "{\"roots\":{\"same\":\"split\"}}", "/roots/same", "\"open\"");
	refused(f, "{\"roots\":{\"different\":\"merge\"}}", "/roots/different", "\"split\"");
}

static void test_references(void **state)
{
	struct fixture *f = *state;
	assert_true(parse(f,
			  "{\"references\":[{\"path\":\"parent._id\",\"kind\":\"person\"},"
			  "{\"path\":\"subject\"},{\"path\":\"at\",\"collection\":\"homes\"}]}"));
	assert_int_equal(f->policy.references_count, 3);
	assert_true(slice_is(f->policy.references[0].path, "parent._id"));
	assert_true(slice_is(f->policy.references[0].kind, "person"));
	assert_int_equal(f->policy.references[1].kind.len, 0);
	assert_int_equal(f->policy.references[1].collection.len, 0);
	assert_true(slice_is(f->policy.references[2].collection, "homes"));
	refused(f, "{\"references\":[{\"path\":\"a\",\"collection\":\"\"}]}",
		"/references/0/collection", "1 to 64");
	refused(f,
		"{\"references\":[{\"path\":\"a\",\"collection\":\"01234567890123456789012345678901"
		"234567890123456789012345678901234\"}]}",
		"/references/0/collection", "1 to 64");
	refused(f, "{\"references\":[{\"path\":\"a\",\"collection\":7}]}",
		"/references/0/collection", "must be");
	refused(f, "{\"references\":{}}", "/references", "list");
	refused(f, "{\"references\":[\"a\"]}", "/references/0", "path");
	refused(f, "{\"references\":[{}]}", "/references/0/path", "needed");
	refused(f, "{\"references\":[{\"kind\":\"a\"}]}", "/references/0/path", "needed");
	refused(f, "{\"references\":[{\"path\":\"a.\"}]}", "/references/0/path", "dotted");
	refused(f, "{\"references\":[{\"path\":[1]}]}", "/references/0/path", "dotted");
	refused(f, "{\"references\":[{\"path\":\"b\"},{\"path\":\"a\",\"kin\":\"a\"}]}",
		"/references/1/kin", "kind");
}

static void test_paths_are_found_exactly(void **state)
{
	struct fixture *f = *state;
	assert_true(parse(f, "{\"paths\":{\"z\":\"max\",\"a.b\":\"set\",\"m\":{\"map\":[\"x\","
			     "\"y\"]},\"c\":\"counter\",\"n\":\"newest\",\"l\":\"min\","
			     "\"q\":\"manual\",\"log\":\"append\",\"o\":\"oldest\"}}"));
	assert_int_equal(f->policy.paths_count, 9);
	assert_int_equal(policy_find(&f->policy, slice_text("log"))->rule, RULE_APPEND);
	assert_int_equal(policy_find(&f->policy, slice_text("o"))->rule, RULE_OLDEST);
	assert_int_equal(policy_find(&f->policy, slice_text("a.b"))->rule, RULE_SET);
	assert_int_equal(policy_find(&f->policy, slice_text("z"))->rule, RULE_MAX);
	assert_int_equal(policy_find(&f->policy, slice_text("l"))->rule, RULE_MIN);
	assert_int_equal(policy_find(&f->policy, slice_text("n"))->rule, RULE_NEWEST);
	assert_int_equal(policy_find(&f->policy, slice_text("c"))->rule, RULE_COUNTER);
	assert_int_equal(policy_find(&f->policy, slice_text("q"))->rule, RULE_MANUAL);
	const struct policy_path *map = policy_find(&f->policy, slice_text("m"));
	assert_int_equal(map->rule, RULE_MAP);
	assert_int_equal(map->keys_count, 2);
	assert_true(slice_is(map->keys[1], "y"));
	assert_null(policy_find(&f->policy, slice_text("a")));
	assert_null(policy_find(&f->policy, slice_text("a.b.c")));
}

static void test_mistakes_are_named(void **state)
{
	struct fixture *f = *state;
	refused(f, "[]", "", "strategy, paths, deletes");
	refused(f, "{\"stratgy\":\"none\"}", "/stratgy", "strategy, paths, deletes");
	refused(f, "{\"strategy\":\"latest\"}", "/strategy", "\"newest\"");
	refused(f, "{\"strategy\":1}", "/strategy", "\"newest\"");
	refused(f, "{\"deletes\":\"never\"}", "/deletes", "\"delete-wins\"");
	refused(f, "{\"paths\":[]}", "/paths", "object");
	refused(f, "{\"paths\":{\"\":\"set\"}}", "/paths/", "dots");
	refused(f, "{\"paths\":{\"a..b\":\"set\"}}", "/paths/a..b", "dots");
	refused(f, "{\"paths\":{\"a.\":\"set\"}}", "/paths/a.", "dots");
	refused(f, "{\"paths\":{\"a\":\"sett\"}}", "/paths/a", "\"counter\"");
	refused(f, "{\"paths\":{\"a\":\"map\"}}", "/paths/a", "{\"map\"");
	refused(f, "{\"paths\":{\"a\":7}}", "/paths/a", "\"counter\"");
	refused(f, "{\"paths\":{\"a\":{\"mop\":[\"k\"]}}}", "/paths/a", "{\"map\"");
	refused(f, "{\"paths\":{\"a\":{\"map\":[]}}}", "/paths/a", "1 to 8");
	refused(f, "{\"paths\":{\"a\":{\"map\":\"k\"}}}", "/paths/a", "1 to 8");
	refused(f, "{\"paths\":{\"a\":{\"map\":[\"k\",\"k\"]}}}", "/paths/a", "twice");
	refused(f, "{\"paths\":{\"a\":{\"map\":[\"k\"],\"b\":1}}}", "/paths/a", "allowed");
}

static void test_bytes_that_are_no_policy(void **state)
{
	struct fixture *f = *state;
	const uint8_t cut[] = {0x81, 0xa8, 's', 't'};
	assert_false(policy_parse(slice_of(cut, sizeof cut), &f->arena, &f->policy, &f->error));
	const uint8_t twice[] = "\x82\xa5paths\x80\xa5paths\x80";
	assert_false(
	    policy_parse(slice_of(twice, sizeof twice - 1), &f->arena, &f->policy, &f->error));
	assert_string_equal(f->error.place, "/paths");
	const uint8_t path_twice[] = "\x81\xa5paths\x82\xa1"
				     "a\xa3max\xa1"
				     "a\xa3min";
	assert_false(policy_parse(slice_of(path_twice, sizeof path_twice - 1), &f->arena,
				  &f->policy, &f->error));
	assert_string_equal(f->error.place, "/paths/a");
}

static void write_paths(struct buf *out, uint32_t count, size_t path_bytes)
{
	buf_clear(out);
	mp_write_map(out, 1);
	mp_write_text(out, "paths");
	mp_write_map(out, count);
	for (uint32_t i = 0; i < count; i++) {
		struct buf name = {0};
		buf_printf(&name, "%u", i);
		while (name.len < path_bytes)
			buf_append_byte(&name, 'x');
		mp_write_str(out, buf_slice(&name));
		mp_write_text(out, "set");
		buf_close(&name);
	}
}

static void test_limits(void **state)
{
	struct fixture *f = *state;
	write_paths(&f->bytes, POLICY_PATHS_MAX, 8);
	assert_true(policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error));
	write_paths(&f->bytes, POLICY_PATHS_MAX + 1, 8);
	assert_false(policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error));
	write_paths(&f->bytes, 1, LIMIT_PATH_BYTES);
	assert_true(policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error));
	write_paths(&f->bytes, 1, LIMIT_PATH_BYTES + 1);
	assert_false(policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error));
	assert_true(strlen(f->error.place) < sizeof f->error.place);
	write_paths(&f->bytes, 100, LIMIT_PATH_BYTES);
	assert_true(f->bytes.len > LIMIT_POLICY_BYTES);
	assert_false(policy_parse(buf_slice(&f->bytes), &f->arena, &f->policy, &f->error));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_nothing_means_merge, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_strategies, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fallbacks_and_times, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rules_that_are_never_asked, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_roots, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_references, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_paths_are_found_exactly, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_mistakes_are_named, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bytes_that_are_no_policy, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
