/* What comes to an id after it was split: late edits and deletions of the documents that were split
 * off, and what people have made of the stub, or under the id once it was free. */
#include "tests/unit/split_case.h"

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

/* The record of a split names all documents of the stub, as far as a record may be long. */
static void test_a_stub_of_many_long_ids(void **state)
{
	enum { IDS = 140 };
	struct fixture *f = *state;
	struct buf stub = {0};
	buf_append_text(&stub, "{\"_split\":[");
	for (int i = 0; i < IDS; i++)
		buf_printf(&stub, "%s\"%0500d\"", i > 0 ? "," : "", i);
	buf_append_text(&stub, "]}");
	person_and_record(f, KINDS);
	node(f, "2-s", P(0, 1), buf_cstr(&stub))->flags |= REVISION_RESOLVED | REVISION_SPLIT;
	node(f, "2-late", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_true(f->decision.resolve.detail.len <= LIMIT_POLICY_BYTES);
	assert_non_null(strstr(to_json(f, f->decision.resolve.detail), "\"cut\":true"));
	buf_close(&stub);
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

/* Nobody has made anything under the freed id, or somebody has who knew nothing of the split. */
static void test_a_deletion_late_to_a_freed_id(void **state)
{
	struct fixture *f = *state;
	for (int has_own = 0; has_own < 2; has_own++) {
		freed_id(f);
		if (has_own)
			node(f, "1-0123456789abcdef", ROOT, "{\"type\":\"person\",\"own\":1}");
		else
			f->nodes[3].flags |= REVISION_AGAINST;
		node(f, "2-late", P(0), NULL)->flags |= REVISION_DELETED | REVISION_AGAINST;
		run(f);
		assert_int_equal(f->decision.kind, DECISION_RESOLVE);
		assert_int_equal(f->decision.resolve.deleted, !has_own);
		assert_false(f->decision.resolve.split);
		if (has_own)
			becomes(f, "{\"type\":\"person\",\"own\":1}");
		assert_int_equal(f->decision.parts_count, 1);
		assert_true(slice_is(f->decision.parts[0].id, "x~e4da228c29dc4ebc"));
		assert_true(f->decision.parts[0].deleted);
		assert_string_equal(to_json(f, f->decision.resolve.detail),
				    "{\"by\":\"arbiter\",\"deleted\":[\"x~e4da228c29dc4ebc\"],"
				    "\"documents\":[\"x~e4da228c29dc4ebc\"],"
				    "\"strategy\":\"split\"}");
	}
	/* with an edit of the same document it is the policy's business */
	node(f, "2-more", P(0), "{\"type\":\"person\",\"n\":9}");
	run(f);
	late_goes_home(f, "{\"type\":\"person\",\"own\":1}", "{\"type\":\"person\",\"n\":9}");
	f->graph.policy =
	    from_json(f, "{\"roots\":{\"kind\":[\"type\"]},\"deletes\":\"delete-wins\"}");
	run(f);
	becomes(f, "{\"type\":\"person\",\"own\":1}");
	assert_true(f->decision.parts_count == 1 && f->decision.parts[0].deleted);
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

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_late_edits_that_conflict_follow_their_document),
	    T(test_a_late_edit_follows_its_document),
	    T(test_a_stub_of_many_long_ids),
	    T(test_a_late_deletion_follows_its_document),
	    T(test_a_late_edit_is_not_mixed_into_the_edited_stub),
	    T(test_a_second_late_edit_meets_the_first),
	    T(test_late_ones_of_a_stub_deleted_and_written_anew),
	    T(test_edits_of_the_stub_are_edits_of_one_document),
	    T(test_a_new_collision_after_a_split),
	    T(test_late_to_a_freed_id_that_has_a_new_root),
	    T(test_a_second_one_late_to_a_freed_id_meets_the_first),
	    T(test_a_deletion_late_to_a_freed_id),
	    T(test_late_to_a_freed_id_that_has_two_new_roots),
	    T(test_roots_that_an_undo_brought_back_after_a_deletion),
	    T(test_what_history_cannot_tell_stays_open),
	    T(test_a_split_is_not_taken_back),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
