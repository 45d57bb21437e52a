/* Documents that share an id and nothing else: which are one entity, and what a split makes. */
#include <stdio.h>

#include "common/doc/revision.h"
#include "tests/unit/split_case.h"

static void test_two_kinds_are_split(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_true(f->decision.resolve.split && split_is_list(f->decision.resolve.body));
	assert_int_equal(f->decision.how, HOW_SPLIT);
	assert_int_equal(f->decision.parts_count, 2);
	part_is(f, 0, "x~ce40d1dc470643e2", "{\"type\":\"record\",\"n\":2}");
	part_is(f, 1, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1}");
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"documents\":[\"x~ce40d1dc470643e2\","
			    "\"x~e4da228c29dc4ebc\"],\"strategy\":\"split\"}");
	struct msg_doc_write write = split_part_write(&f->decision.parts[0]);
	assert_int_equal(write.expect, EXPECT_DERIVED);
	assert_true(slice_is(write.id, "x~ce40d1dc470643e2"));
}

static void test_a_later_try_has_a_greater_number(void **state)
{
	struct fixture *f = *state;
	uint8_t first[16];
	person_and_record(f, KINDS);
	run(f);
	memcpy(first, f->decision.parts[1].operation_id, sizeof first);
	run(f);
	assert_memory_equal(first, f->decision.parts[1].operation_id, sizeof first);
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":5}");
	f->graph.conflict.number = 300;
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	part_is(f, 1, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":5}");
	assert_memory_equal(first, f->decision.parts[1].operation_id, 8);
	assert_true(memcmp(first, f->decision.parts[1].operation_id, sizeof first) < 0);
}

static void test_one_kind_is_one_entity(void **state)
{
	struct fixture *f = *state;
	start(f, KINDS);
	node(f, "1-a", ROOT, "{\"type\":\"person\",\"n\":1}");
	node(f, "1-b", ROOT, "{\"type\":\"person\",\"m\":2}");
	run(f);
	becomes(f, "{\"type\":\"person\",\"m\":2,\"n\":1}");
	assert_int_equal(f->decision.parts_count, 0);
	f->graph.policy = from_json(f, "{\"roots\":{\"kind\":[\"type\"],\"same\":\"open\"}}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_collision\"}");
	f->graph.policy = from_json(f, "{\"roots\":{\"same\":\"open\"},\"fallback\":\"script\","
				       "\"script\":\"f\"}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_collision\"}");
	/* whatever the order of a kind's members */
	start(f, KINDS);
	node(f, "1-a", ROOT, "{\"type\":{\"a\":1,\"b\":2},\"n\":1}");
	node(f, "1-b", ROOT, "{\"type\":{\"b\":2,\"a\":1},\"m\":2}");
	run(f);
	becomes(f, "{\"type\":{\"b\":2,\"a\":1},\"m\":2,\"n\":1}");
}

/* A kind is a value, not the bytes that somebody wrote it in. */
static void test_kinds_are_compared_by_value(void **state)
{
	struct fixture *f = *state;
	start(f, KINDS);
	node(f, "1-a", ROOT, "{\"type\":{\"a\":1,\"b\":{\"c\":1,\"d\":2}},\"n\":1}");
	node(f, "1-b", ROOT, "{\"type\":{\"b\":{\"d\":2,\"c\":1},\"a\":1},\"m\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_int_equal(f->decision.how, HOW_MERGE);
	node(f, "1-c", ROOT, "{\"type\":{\"a\":1,\"b\":{\"c\":1,\"d\":3}}}");
	run(f);
	assert_int_equal(f->decision.how, HOW_SPLIT);
}

static void test_different_kinds_may_stay_open(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, "{\"roots\":{\"kind\":[\"type\"],\"different\":\"open\"}}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_collision\"}");
	person_and_record(f, "{\"strategy\":\"none\",\"roots\":{\"kind\":[\"type\"]}}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"policy_none\"}");
}

static void test_newest_does_not_drop_another_kind(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, "{\"strategy\":\"newest\",\"roots\":{\"kind\":[\"type\"]}}");
	run(f);
	assert_int_equal(f->decision.parts_count, 2);
}

static void test_edits_of_one_and_several_of_a_kind(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":1,\"a\":1}");
	node(f, "2-b", P(0), "{\"type\":\"person\",\"n\":1,\"b\":1}");
	node(f, "1-0123456789abcdef0", ROOT, "{\"type\":\"record\",\"m\":2}");
	run(f);
	becomes(f, "{\"_split\":[\"x~0123456789abcdef\",\"x~ce40d1dc470643e2\","
		   "\"x~e4da228c29dc4ebc\"]}");
	part_is(f, 0, "x~0123456789abcdef", "{\"type\":\"record\",\"m\":2}");
	part_is(f, 1, "x~ce40d1dc470643e2", "{\"type\":\"record\",\"n\":2}");
	part_is(f, 2, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1,\"b\":1,\"a\":1}");
}

static struct slice root_name(struct fixture *f, struct slice body)
{
	struct revision_content content = {.body = body};
	struct revision name;
	revision_name(&content, arena_alloc(&f->arena, REVISION_HASH_CHARS), &name);
	return name.hash;
}

/* What conflicts is in conflict under the new id, with what the versions have in common. */
static void test_versions_that_conflict_all_go_on(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-b", P(0), "{\"type\":\"person\",\"n\":3}");
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":2}");
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_non_null(strstr(to_json(f, f->decision.resolve.detail),
			       "\"inConflict\":[\"x~e4da228c29dc4ebc\"]"));
	assert_int_equal(f->decision.parts_count, 4);
	part_is(f, 1, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1}");
	part_is(f, 2, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":3}");
	part_is(f, 3, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":2}");
	const struct split_part *parts = f->decision.parts;
	assert_false(parts[0].divided || parts[1].beside);
	assert_true(parts[1].divided && parts[2].beside && parts[3].beside);
	struct slice base = root_name(f, parts[1].body);
	for (uint32_t i = 2; i < 4; i++) {
		struct msg_doc_write write = split_part_write(&parts[i]);
		assert_int_equal(write.expected_count, 1);
		assert_int_equal(write.expected[0].generation, 1);
		assert_true(slice_equal(write.expected[0].hash, base));
		assert_memory_equal(parts[i].operation_id, parts[1].operation_id, 4);
		assert_true(memcmp(parts[i].operation_id, parts[i - 1].operation_id, 8) != 0);
	}
	/* nor is anything lost of it where that is not kept */
	f->nodes[0].flags &= ~(uint64_t)REVISION_HAS_BODY;
	run(f);
	assert_int_equal(f->decision.parts_count, 3);
	part_is(f, 1, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":3}");
	part_is(f, 2, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":2}");
	assert_true(f->decision.parts[1].divided && f->decision.parts[2].beside);
	assert_int_equal(f->decision.parts[2].base->generation, 0);
}

/* One of them is deleted: which of the two edits is meant people say. */
static void test_versions_and_a_deletion_stay_open(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":2}");
	node(f, "2-b", P(0), "{\"type\":\"person\",\"n\":3}");
	node(f, "2-c", P(0), NULL)->flags |= REVISION_DELETED | REVISION_AGAINST;
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_non_null(strstr(to_json(f, f->decision.note.detail), "\"path\":\"n\""));
}

/* An application may have such a member. */
static void test_what_looks_like_a_stub_is_a_document(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"_split\":[]}");
	node(f, "2-a", P(0), "{\"_split\":[\"a\"]}");
	node(f, "2-b", P(0), "{\"_split\":[],\"n\":1}");
	run(f);
	becomes(f, "{\"_split\":[\"a\"],\"n\":1}");
	assert_false(f->decision.resolve.split);
	assert_int_equal(f->decision.parts_count, 0);
}

static void test_on_somebodys_word(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"script\",\"script\":\"f\"}");
	node(f, "1-0123456789abcdef", ROOT, "{\"n\":1}");
	node(f, "1-1123456789abcdef", ROOT, "{\"n\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	answered(f, "{\"split\":true}");
	becomes(f, "{\"_split\":[\"x~0123456789abcdef\",\"x~1123456789abcdef\"]}");
	assert_int_equal(f->decision.how, HOW_SCRIPT);
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"documents\":[\"x~0123456789abcdef\","
			    "\"x~1123456789abcdef\"],\"strategy\":\"script\","
			    "\"answer\":\"split\"}");
	start(f, "{\"strategy\":\"script\",\"script\":\"f\"}");
	node(f, "1-o", ROOT, "{\"n\":1}");
	node(f, "2-a", P(0), "{\"n\":1}");
	node(f, "2-b", P(0), "{\"n\":2}");
	answered(f, "{\"split\":true}");
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"invalid_answer\"}");
	assert_true(slice_is(decision_wrong(&f->decision, ANSWER_SPLIT, &f->arena),
			     "there is only one document"));
}

static void many_roots(struct fixture *f, uint32_t persons, uint32_t records)
{
	start(f, KINDS);
	for (uint32_t i = 0; i < persons + records; i++) {
		char *name = arena_alloc(&f->arena, 32);
		char json[64];
		snprintf(name, 32, "1-%016x", i + 1);
		snprintf(json, sizeof json, "{\"type\":\"%s\",\"m%u\":1}",
			 i < persons ? "person" : "record", i);
		node(f, name, ROOT, json);
	}
	run(f);
}

static void advice_has(struct fixture *f, const char *words)
{
	struct slice text = decision_wrong(&f->decision, ANSWER_SPLIT, &f->arena);
	struct buf copy = {0};
	buf_append_slice(&copy, text);
	assert_non_null(strstr(buf_cstr(&copy), words));
	buf_close(&copy);
}

/* What stands against it is said in words. */
static void test_a_split_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"script\",\"script\":\"f\"}");
	node(f, "1-o", ROOT, "{\"n\":0}");
	node(f, "2-a", P(0), "{\"n\":1}");
	node(f, "2-b", P(0), "{\"n\":2}");
	answered(f, "{\"split\":true}");
	advice_has(f, "only one document");
	many_roots(f, 33, 33);
	answered(f, "{\"split\":true}");
	advice_has(f, "at most 64 documents");
}

static void test_what_leads_refuse_stays_open(void **state)
{
	struct fixture *f = *state;
	struct slice id = slice_text("x~1");
	person_and_record(f, KINDS);
	run(f);
	decision_split_refused(&f->decision, STATUS_PRECONDITION_FAILED, id, &f->arena);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"split_taken\",\"text\":\"x~1\"}");
	decision_split_refused(&f->decision, STATUS_BODY_TOO_LARGE, id, &f->arena);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"refused\",\"text\":\"body_too_large\"}");
	run(f);
	decision_heed_held(&f->decision, false, &f->arena);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	decision_heed_held(&f->decision, true, &f->arena);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"held\"}");
}

static void test_what_gets_no_id(void **state)
{
	struct fixture *f = *state;
	char id[LIMIT_ID_BYTES + 1] = {0};
	person_and_record(f, KINDS);
	memset(id, 'x', LIMIT_ID_BYTES);
	run_as(f, id);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_too_long\"}");
	start(f, KINDS);
	node(f, "1-0123456789abcdef1", ROOT, "{\"type\":1}");
	node(f, "1-0123456789abcdef2", ROOT, "{\"type\":2}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"roots_alike\"}");
}

static void test_only_a_split_has_too_many(void **state)
{
	struct fixture *f = *state;
	many_roots(f, SPLIT_PARTS_MAX + 1, 0);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_int_equal(f->decision.how, HOW_MERGE);
	assert_non_null(strstr(to_json(f, f->decision.resolve.body), "\"m64\":1"));
	many_roots(f, SPLIT_PARTS_MAX - 1, 1);
	assert_int_equal(f->decision.how, HOW_SPLIT);
	assert_int_equal(f->decision.parts_count, SPLIT_PARTS_MAX);
	many_roots(f, SPLIT_PARTS_MAX, 1);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"too_many_roots\"}");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_two_kinds_are_split),
	    T(test_a_split_that_cannot_be),
	    T(test_what_leads_refuse_stays_open),
	    T(test_a_later_try_has_a_greater_number),
	    T(test_one_kind_is_one_entity),
	    T(test_kinds_are_compared_by_value),
	    T(test_different_kinds_may_stay_open),
	    T(test_newest_does_not_drop_another_kind),
	    T(test_edits_of_one_and_several_of_a_kind),
	    T(test_versions_that_conflict_all_go_on),
	    T(test_versions_and_a_deletion_stay_open),
	    T(test_what_looks_like_a_stub_is_a_document),
	    T(test_on_somebodys_word),
	    T(test_what_gets_no_id),
	    T(test_only_a_split_has_too_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
