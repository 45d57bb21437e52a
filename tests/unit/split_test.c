/* Documents that share an id and nothing else: which are one entity, and what a split makes. */
#include <stdio.h>

#include "common/doc/revision.h"
#include "tests/unit/graph_case.h"

#define KINDS "{\"roots\":{\"kind\":[\"type\"]}}"

static void run_as(struct fixture *f, const char *id)
{
	decide_conflict(&f->graph, slice_text(id), &f->arena, &f->decision);
}

static void run(struct fixture *f)
{
	run_as(f, "x");
}

static void noted(struct fixture *f, const char *detail)
{
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_string_equal(to_json(f, f->decision.note.detail), detail);
}

static void becomes(struct fixture *f, const char *json)
{
	if (f->decision.kind == DECISION_NOTE)
		fail_msg("open: %s", to_json(f, f->decision.note.detail));
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(to_json(f, f->decision.resolve.body), json);
}

static void part_is(struct fixture *f, uint32_t index, const char *id, const char *json)
{
	assert_true(index < f->decision.parts_count);
	assert_true(slice_is(f->decision.parts[index].id, id));
	assert_string_equal(to_json(f, f->decision.parts[index].body), json);
}

static void person_and_record(struct fixture *f, const char *policy)
{
	start(f, policy);
	node(f, "1-e4da228c29dc4ebc8b156967bbf48bd1", ROOT, "{\"type\":\"person\",\"n\":1}");
	node(f, "1-ce40d1dc470643e2b9be9368ea9ff240", ROOT, "{\"type\":\"record\",\"n\":2}");
}

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

static void test_late_edits_that_conflict_follow_their_document(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-s", P(0, 1), "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}")
	    ->flags |= REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":8}");
	node(f, "2-b", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_int_equal(f->decision.parts_count, 4);
	/* what the split made there may be more than what they have in common */
	assert_true(f->decision.parts[1].beside && !f->decision.parts[1].anew);
	/* the losers are gone: those two only, beside what is there */
	f->nodes[0].flags &= ~(uint64_t)REVISION_HAS_BODY;
	f->nodes[1].flags &= ~(uint64_t)REVISION_HAS_BODY;
	run(f);
	assert_int_equal(f->decision.parts_count, 2);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":8}");
	part_is(f, 1, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":9}");
	assert_true(f->decision.parts[0].beside && f->decision.parts[1].beside);
}

static void test_a_split_is_not_taken_back(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-s", P(0, 1), "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}")
	    ->flags |= REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "2-late", P(0), "{\"type\":\"record\",\"n\":9}");
	f->graph.policy = from_json(f, "{}");
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	node(f, "1-0123456789abcdef0", ROOT, "{\"type\":\"person\"}");
	run(f);
	becomes(f, "{\"_split\":[\"x~0123456789abcdef\",\"x~ce40d1dc470643e2\","
		   "\"x~e4da228c29dc4ebc\"]}");
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

static void test_a_late_edit_follows_its_document(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	node(f, "2-s", P(0, 1), "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}")
	    ->flags |= REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_int_equal(f->decision.parts_count, 2);
	assert_false(f->decision.parts[0].beside);
	/* the losers are gone */
	f->nodes[0].flags &= ~(uint64_t)REVISION_HAS_BODY;
	f->nodes[1].flags &= ~(uint64_t)REVISION_HAS_BODY;
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_int_equal(f->decision.parts_count, 1);
	assert_true(f->decision.parts[0].beside);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":9}");
}

static void answered(struct fixture *f, const char *json)
{
	struct answer answer;
	struct slice text;
	assert_int_equal(script_answer_read(from_json(f, json), &answer, &text), SCRIPT_ANSWERS);
	decide_answer(&f->graph, slice_text("x"), &answer, &f->arena, &f->decision);
}

#define STUB "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}"

static void person_and_record_split(struct fixture *f, const char *policy)
{
	person_and_record(f, policy);
	node(f, "2-s", P(0, 1), STUB)->flags |= REVISION_RESOLVED | REVISION_SPLIT;
}

/* It is a document of somebody's own then. */
static void test_a_late_edit_is_not_mixed_into_the_edited_stub(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-mine", P(2), "{\"mine\":1}");
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	becomes(f, "{\"mine\":1}");
	assert_false(f->decision.resolve.split);
	assert_int_equal(f->decision.how, HOW_SPLIT);
	assert_int_equal(f->decision.parts_count, 1);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":9}");
	assert_false(f->decision.parts[0].anew || f->decision.parts[0].beside);
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"documents\":[\"x~e4da228c29dc4ebc\"],"
			    "\"strategy\":\"split\"}");
	/* whatever the policy is by now, and on somebody's word */
	f->graph.policy = from_json(f, "{}");
	run(f);
	becomes(f, "{\"mine\":1}");
	answered(f, "{\"split\":true}");
	becomes(f, "{\"mine\":1}");
	assert_int_equal(f->decision.parts_count, 1);
}

/* What came late before is in the document already. */
static void test_a_second_late_edit_meets_the_first(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-mine", P(2), "{\"mine\":1}");
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":1,\"a\":1}");
	node(f, "4-r", P(3, 4), "{\"mine\":1}")->flags |= REVISION_RESOLVED;
	node(f, "5-more", P(5), "{\"mine\":2}");
	node(f, "2-second", P(0), "{\"type\":\"person\",\"n\":1,\"b\":1}");
	run(f);
	becomes(f, "{\"mine\":2}");
	assert_int_equal(f->decision.parts_count, 1);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1,\"b\":1,\"a\":1}");
	assert_false(f->decision.parts[0].beside);
	/* that is gone: both stay */
	f->nodes[4].flags &= ~(uint64_t)REVISION_HAS_BODY;
	run(f);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1,\"b\":1}");
	assert_true(f->decision.parts[0].beside);
}

static void test_late_ones_of_a_stub_deleted_and_written_anew(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-d", P(2), NULL)->flags |= REVISION_DELETED | REVISION_AGAINST;
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_true(f->decision.resolve.deleted);
	assert_int_equal(f->decision.parts_count, 1);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":9}");
	person_and_record_split(f, KINDS);
	node(f, "3-d", P(2), NULL)->flags |= REVISION_DELETED;
	node(f, "4-new", P(3), "{\"type\":\"other\"}");
	node(f, "2-late", P(0), NULL)->flags |= REVISION_DELETED | REVISION_AGAINST;
	node(f, "2-late2", P(1), "{\"type\":\"record\",\"n\":3}");
	run(f);
	becomes(f, "{\"type\":\"other\"}");
	assert_int_equal(f->decision.parts_count, 2);
	for (uint32_t i = 0; i < 2; i++)
		assert_int_equal(f->decision.parts[i].deleted,
				 slice_is(f->decision.parts[i].id, "x~e4da228c29dc4ebc"));
}

static void test_edits_of_the_stub_are_edits_of_one_document(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-a", P(2), "{\"a\":1}");
	node(f, "3-b", P(2), "{\"b\":1}");
	run(f);
	becomes(f, "{\"b\":1,\"a\":1}");
	assert_int_equal(f->decision.parts_count, 0);
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	becomes(f, "{\"b\":1,\"a\":1}");
	assert_int_equal(f->decision.parts_count, 1);
	/* where these conflict all stay */
	node(f, "3-c", P(2), "{\"a\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_non_null(strstr(to_json(f, f->decision.note.detail), "\"path\":\"a\""));
}

/* A new document meets the one that was written anew: by kinds, with ids of their own. */
static void test_a_new_collision_after_a_split(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-d", P(2), NULL)->flags |= REVISION_DELETED;
	node(f, "4-0000000000000000a", P(3), "{\"type\":\"other\"}");
	node(f, "1-0000000000000000b", ROOT, "{\"type\":\"person\"}");
	f->nodes[5].revision.hash = slice_text("1111111111111111");
	run(f);
	assert_true(f->decision.resolve.split);
	assert_int_equal(f->decision.parts_count, 2);
	part_is(f, 0, "x~1111111111111111", "{\"type\":\"person\"}");
	part_is(f, 1, "x~d", "{\"type\":\"other\"}");
	assert_true(f->decision.parts[0].anew && f->decision.parts[1].anew);
	/* one that is late to it belongs to its part, not to the old ones */
	f->decision = (struct decision){0};
	node(f, "5-s", P(4, 5), "{\"_split\":[\"x~1111111111111111\",\"x~d\"]}")->flags |=
	    REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "6-mine", P(6), "{\"mine\":1}");
	node(f, "5-late", P(4), "{\"type\":\"other\",\"n\":1}");
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	becomes(f, "{\"mine\":1}");
	assert_int_equal(f->decision.parts_count, 2);
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":9}");
	part_is(f, 1, "x~d", "{\"type\":\"other\",\"n\":1}");
}

/* The stub is deleted: the id is free for whoever knows nothing of the split. */
static void freed_id(struct fixture *f)
{
	person_and_record_split(f, KINDS);
	node(f, "3-d", P(2), NULL)->flags |= REVISION_DELETED;
}

static void late_goes_home(struct fixture *f, const char *own, const char *late)
{
	becomes(f, own);
	assert_false(f->decision.resolve.split);
	assert_int_equal(f->decision.how, HOW_SPLIT);
	assert_int_equal(f->decision.parts_count, 1);
	part_is(f, 0, "x~e4da228c29dc4ebc", late);
	assert_false(f->decision.parts[0].anew || f->decision.parts[0].beside);
}

/* Whichever comes first, and whether or not the deletion counts as a side. */
static void test_late_to_a_freed_id_that_has_a_new_root(void **state)
{
	struct fixture *f = *state;
	static const char own[] = "{\"type\":\"person\",\"own\":1}";
	static const char late[] = "{\"type\":\"person\",\"n\":9}";
	freed_id(f);
	node(f, "1-0123456789abcdef", ROOT, own);
	node(f, "2-late", P(0), late);
	run(f);
	late_goes_home(f, own, late);
	answered(f, "{\"split\":true}");
	becomes(f, own);
	f->graph.policy = from_json(f, "{}");
	run(f);
	late_goes_home(f, own, late);
	f->nodes[3].flags |= REVISION_AGAINST;
	run(f);
	late_goes_home(f, own, late);
	freed_id(f);
	f->nodes[3].flags |= REVISION_AGAINST;
	node(f, "2-late", P(0), late);
	node(f, "1-0123456789abcdef", ROOT, own);
	run(f);
	late_goes_home(f, own, late);
}

static void test_a_second_one_late_to_a_freed_id_meets_the_first(void **state)
{
	struct fixture *f = *state;
	static const char both[] = "{\"type\":\"person\",\"n\":1,\"b\":1,\"a\":1}";
	/* the first came after the new root */
	freed_id(f);
	node(f, "1-0123456789abcdef", ROOT, "{\"own\":1}");
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":1,\"a\":1}");
	node(f, "3-r", P(4, 5), "{\"own\":1}")->flags |= REVISION_RESOLVED;
	node(f, "2-second", P(0), "{\"type\":\"person\",\"n\":1,\"b\":1}");
	run(f);
	late_goes_home(f, "{\"own\":1}", both);
	f->nodes[5].flags &= ~(uint64_t)REVISION_HAS_BODY;
	run(f);
	becomes(f, "{\"own\":1}");
	part_is(f, 0, "x~e4da228c29dc4ebc", "{\"type\":\"person\",\"n\":1,\"b\":1}");
	assert_true(f->decision.parts[0].beside);
	/* and before it */
	freed_id(f);
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":1,\"a\":1}");
	node(f, "4-r", P(3, 4), NULL)->flags |= REVISION_RESOLVED | REVISION_DELETED;
	node(f, "1-0123456789abcdef", ROOT, "{\"own\":1}");
	node(f, "2-second", P(0), "{\"type\":\"person\",\"n\":1,\"b\":1}");
	run(f);
	late_goes_home(f, "{\"own\":1}", both);
}

/* What collides with each other there is decided as ever. */
static void test_late_to_a_freed_id_that_has_two_new_roots(void **state)
{
	struct fixture *f = *state;
	freed_id(f);
	node(f, "1-0123456789abcdef", ROOT, "{\"type\":\"other\",\"a\":1}");
	node(f, "1-1123456789abcdef", ROOT, "{\"type\":\"other\",\"b\":1}");
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	late_goes_home(f, "{\"type\":\"other\",\"b\":1,\"a\":1}", "{\"type\":\"person\",\"n\":9}");
	f->graph.policy = from_json(f, "{\"roots\":{\"kind\":[\"type\"],\"same\":\"open\"}}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_collision\"}");
	f->graph.policy = from_json(f, "{\"roots\":{\"kind\":[\"b\"]}}");
	run(f);
	becomes(f, "{\"_split\":[\"x~0123456789abcdef\",\"x~1123456789abcdef\","
		   "\"x~e4da228c29dc4ebc\"]}");
	assert_true(f->decision.resolve.split);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(f->decision.parts[i].anew,
				 !slice_is(f->decision.parts[i].id, "x~e4da228c29dc4ebc"));
	f->graph.policy = from_json(f, KINDS);
	answered(f, "{\"split\":true}");
	assert_int_equal(f->decision.parts_count, 3);
}

/* A split that was taken apart: what came of it is late to nothing. */
static void test_roots_that_an_undo_brought_back_after_a_deletion(void **state)
{
	struct fixture *f = *state;
	freed_id(f);
	node(f, "2-a", P(0), "{\"type\":\"person\",\"n\":1}");
	node(f, "2-b", P(1), "{\"type\":\"record\",\"n\":2}");
	run(f);
	becomes(f, STUB);
	assert_true(f->decision.parts[0].anew && f->decision.parts[1].anew);
}

/* Whether it is of what was split off nobody knows. */
static void test_what_history_cannot_tell_stays_open(void **state)
{
	struct fixture *f = *state;
	person_and_record_split(f, KINDS);
	node(f, "3-mine", P(2), "{\"type\":\"person\"}");
	node(f, "2-forgotten", ROOT, "{\"type\":\"person\",\"n\":9}");
	run(f);
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"id_collision\"}");
}

static void test_a_late_deletion_follows_its_document(void **state)
{
	struct fixture *f = *state;
	person_and_record(f, KINDS);
	run(f);
	assert_true(f->decision.parts[0].anew && f->decision.parts[1].anew);
	node(f, "2-s", P(0, 1), "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}")
	    ->flags |= REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "2-late", P(0), NULL)->flags |= REVISION_DELETED | REVISION_AGAINST;
	run(f);
	becomes(f, "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}");
	assert_int_equal(f->decision.parts_count, 2);
	for (uint32_t i = 0; i < 2; i++) {
		const struct split_part *part = &f->decision.parts[i];
		assert_false(part->anew);
		assert_int_equal(part->deleted, slice_is(part->id, "x~e4da228c29dc4ebc"));
		assert_int_equal(split_part_write(part).op,
				 part->deleted ? WRITE_DELETE : WRITE_PUT);
		assert_int_equal(split_part_check(part).deleted, part->deleted);
	}
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"deleted\":[\"x~e4da228c29dc4ebc\"],"
			    "\"documents\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"],"
			    "\"strategy\":\"split\"}");
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
	    T(test_late_edits_that_conflict_follow_their_document),
	    T(test_what_looks_like_a_stub_is_a_document),
	    T(test_a_late_edit_follows_its_document),
	    T(test_a_late_deletion_follows_its_document),
	    T(test_a_late_edit_is_not_mixed_into_the_edited_stub),
	    T(test_a_second_late_edit_meets_the_first),
	    T(test_late_ones_of_a_stub_deleted_and_written_anew),
	    T(test_edits_of_the_stub_are_edits_of_one_document),
	    T(test_a_new_collision_after_a_split),
	    T(test_late_to_a_freed_id_that_has_a_new_root),
	    T(test_a_second_one_late_to_a_freed_id_meets_the_first),
	    T(test_late_to_a_freed_id_that_has_two_new_roots),
	    T(test_roots_that_an_undo_brought_back_after_a_deletion),
	    T(test_what_history_cannot_tell_stays_open),
	    T(test_a_split_is_not_taken_back),
	    T(test_on_somebodys_word),
	    T(test_what_gets_no_id),
	    T(test_only_a_split_has_too_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
