/* What an arbiter decides by itself: which versions are merged, on which base, and what is left to
 * people. */
#include <stdio.h>

#include "tests/unit/decide_case.h"

static void noted(struct fixture *f, const char *detail)
{
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_string_equal(to_json(f, f->decision.note.detail), detail);
}

static void test_edits_of_one_base(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-b", P(0), "{\"a\":2,\"b\":1}");
	node(f, "2-a", P(0), "{\"a\":1,\"b\":2}");
	becomes(f, "2-a 2-b", "2-a 2-b", "{\"a\":2,\"b\":2}");
	assert_int_equal(f->decision.resolve.revision.generation, 3);
	assert_int_equal(f->decision.how, HOW_MERGE);
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"strategy\":\"merge\"}");
}

static void test_resolutions_give_way_to_human_revisions(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\"}}");
	node(f, "1-o", ROOT, "{\"n\":1}");
	node(f, "2-a", P(0), "{\"n\":2}");
	node(f, "2-b", P(0), "{\"n\":3}");
	node(f, "2-c", P(0), "{\"n\":4}");
	becomes(f, "2-a 2-b 2-c", "2-a 2-b 2-c", "{\"n\":7}");
	struct revision direct = f->decision.resolve.revision;
	uint8_t id[16];
	char hash[REVISION_HASH_CHARS];
	memcpy(hash, f->decision.hash, sizeof hash);
	memcpy(id, f->decision.resolution_id, sizeof id);
	direct.hash = slice_of(hash, sizeof hash);
	/* the same three, met as two resolutions of two each */
	node(f, "3-x", P(1, 2), "{\"n\":4}")->flags |= REVISION_RESOLVED;
	node(f, "3-y", P(2, 3), "{\"n\":6}")->flags |= REVISION_RESOLVED;
	becomes(f, "3-x 3-y", "2-a 2-b 2-c", "{\"n\":7}");
	assert_true(revision_equal(&f->decision.resolve.revision, &direct));
	assert_memory_equal(f->decision.resolution_id, id, sizeof id);
}

static void test_an_edit_of_a_resolution_is_human(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1,\"c\":1}");
	node(f, "2-a", P(0), "{\"a\":2,\"b\":1,\"c\":1}");
	node(f, "2-b", P(0), "{\"a\":1,\"b\":2,\"c\":1}");
	node(f, "3-r", P(1, 2), "{\"a\":2,\"b\":2,\"c\":1}")->flags |= REVISION_RESOLVED;
	node(f, "4-x", P(3), "{\"a\":3,\"b\":2,\"c\":1}");
	node(f, "4-y", P(3), "{\"a\":2,\"b\":2,\"c\":3}");
	becomes(f, "4-x 4-y", "4-x 4-y", "{\"a\":3,\"b\":2,\"c\":3}");
}

static void test_one_that_has_all_the_others_in_it(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1}");
	node(f, "2-a", P(0), "{\"a\":2}");
	node(f, "2-b", P(0), "{\"a\":3}");
	node(f, "3-r", P(1, 2), "{\"a\":9}")->flags |= REVISION_RESOLVED;
	node(f, "3-h", P(1, 2), "{\"a\":5}");
	becomes(f, "3-h 3-r", "3-h", "{\"a\":5}");
	assert_int_equal(f->decision.how, HOW_SINGLE);
}

static void test_without_human_bodies_the_leaves_are_merged(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-a", P(0), NULL);
	node(f, "2-b", P(0), NULL);
	node(f, "3-r", P(1, 2), "{\"a\":2,\"b\":1}")->flags |= REVISION_RESOLVED;
	node(f, "2-c", P(0), "{\"a\":1,\"b\":2}");
	becomes(f, "2-c 3-r", "2-c 3-r", "{\"a\":2,\"b\":2}");
	f->nodes[4].flags &= ~(uint64_t)REVISION_HAS_BODY;
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"body_missing\"}");
}

/* Of the same two, as many people as one likes: another one would name them once more. */
static void test_in_a_crowded_graph_the_leaves_are_merged(void **state)
{
	enum { CLOSED = 70, PARENTS = 16000 };
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-a", P(0), "{\"a\":2,\"b\":1}");
	node(f, "2-b", P(0), "{\"a\":1,\"b\":2}");
	for (int i = 0; i < CLOSED; i++) {
		char name[16];
		snprintf(name, sizeof name, "3-x%d", i);
		struct graph_node *n = node(f, name, P(1, 2), "{}");
		n->flags = REVISION_RESOLVED | REVISION_CLOSED;
		n->parents = arena_alloc(&f->arena, PARENTS * sizeof *n->parents);
		n->parents_count = PARENTS;
		for (uint32_t p = 0; p < PARENTS; p++)
			n->parents[p] = 1 + p % 2;
	}
	node(f, "3-r", P(1, 2), "{\"a\":2,\"b\":2}")->flags |= REVISION_RESOLVED;
	node(f, "2-c", P(0), "{\"a\":1,\"b\":1,\"c\":1}");
	becomes(f, "2-c 3-r", "2-c 3-r", "{\"a\":2,\"b\":2,\"c\":1}");
}

/* 1-o, two edits, and two people who merged these differently. */
static void criss_cross(struct fixture *f, const char *x, const char *y)
{
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-x", P(0), "{\"a\":2,\"b\":2}");
	node(f, "2-y", P(0), "{\"a\":3,\"b\":1}");
	node(f, "3-x", P(1, 2), x);
	node(f, "3-y", P(1, 2), y);
}

static void test_a_criss_cross_has_a_merged_base(void **state)
{
	struct fixture *f = *state;
	criss_cross(f, "{\"a\":4,\"b\":2}", "{\"a\":4,\"b\":5}");
	becomes(f, "3-x 3-y", "3-x 3-y", "{\"a\":4,\"b\":5}");
}

static void test_what_ancestors_disagree_on_is_not_taken_silently(void **state)
{
	struct fixture *f = *state;
	criss_cross(f, "{\"a\":2,\"b\":2}", "{\"a\":3,\"b\":5}");
	noted(f, "{\"by\":\"arbiter\",\"strategy\":\"merge\",\"reason\":\"paths\",\"open\":["
		 "{\"path\":\"a\",\"values\":[{\"revision\":\"3-y\",\"value\":3},"
		 "{\"revision\":\"3-x\",\"value\":2}]}]}");
}

/* y and z have w in common, which counts once in the base, too. */
static void test_bases_that_have_more_in_common(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\",\"log\":\"append\"}}");
	node(f, "1-o", ROOT, "{\"n\":0,\"log\":[]}");
	node(f, "2-x", P(0), "{\"n\":1,\"log\":[1]}");
	node(f, "2-w", P(0), "{\"n\":1,\"log\":[2]}");
	node(f, "3-y", P(2), "{\"n\":2,\"log\":[2,3]}");
	node(f, "3-z", P(2), "{\"n\":2,\"log\":[2,4]}");
	node(f, "4-r", P(1, 3, 4), "{\"n\":4,\"log\":[1,2,3,4]}")->flags |= REVISION_RESOLVED;
	node(f, "4-z", P(4), "{\"n\":3,\"log\":[2,4,5]}");
	node(f, "5-r", P(1, 3, 6), "{\"n\":5,\"log\":[1,2,3,4,5]}")->flags |= REVISION_RESOLVED;
	node(f, "5-a", P(5), "{\"n\":5,\"log\":[1,2,3,4,6]}");
	node(f, "6-b", P(7), "{\"n\":6,\"log\":[1,2,3,4,5,7]}");
	becomes(f, "5-a 6-b", "5-a 6-b", "{\"n\":7,\"log\":[1,2,3,4,6,5,7]}");
}

/* 4-r was replaced by 5-r, which names what it was made of, and cleaned up. */
static void test_what_bases_came_to_stands_for_them(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\"}}");
	node(f, "1-o", ROOT, NULL);
	node(f, "2-a", P(0), NULL);
	node(f, "3-b", P(0), "{\"n\":2}");
	node(f, "4-r", P(1, 2), "{\"n\":3}")->flags |= REVISION_CLOSED;
	node(f, "4-c", P(2), "{\"n\":3}");
	node(f, "5-r", P(1, 4), "{\"n\":4}")->flags |= REVISION_RESOLVED;
	node(f, "5-x", P(3), "{\"n\":4}");
	node(f, "6-y", P(5), "{\"n\":5}");
	becomes(f, "5-x 6-y", "5-x 6-y", "{\"n\":6}");
	f->nodes[1].flags |= REVISION_HAS_BODY; /* the base of the bases is gone all the same */
	f->nodes[1].body = from_json(f, "{\"n\":2}");
	becomes(f, "5-x 6-y", "5-x 6-y", "{\"n\":6}");
	/* what people made says more; and who knows what both bases counted from? */
	f->nodes[3].flags &= ~(uint64_t)REVISION_CLOSED;
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
}

static void test_two_roots(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-a", ROOT, "{\"a\":1}");
	node(f, "1-b", ROOT, "{\"b\":1}");
	becomes(f, "1-a 1-b", "1-a 1-b", "{\"b\":1,\"a\":1}");
	node(f, "1-c", ROOT, "{\"b\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
}

static void test_a_deletion_in_the_common_past(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"paths\":{\"n\":\"counter\"}}");
	node(f, "1-o", ROOT, "{\"n\":7}");
	node(f, "2-d", P(0), NULL)->flags |= REVISION_DELETED;
	node(f, "3-a", P(1), "{\"n\":1}");
	node(f, "3-b", P(1), "{\"n\":2}");
	becomes(f, "3-a 3-b", "3-a 3-b", "{\"n\":3}");
}

static void test_a_deletion_against_an_edit(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-b", P(0), "{\"a\":2,\"b\":1}");
	node(f, "2-d", P(0), NULL)->flags |= REVISION_DELETED;
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTHING); /* a client ended it */
	f->nodes[2].flags |= REVISION_AGAINST;
	becomes(f, "2-b 2-d", "2-b 2-d", "{\"a\":2,\"b\":1}");
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"strategy\":\"merge\",\"deletes\":\"edit-wins\","
			    "\"deleted\":[\"2-d\"]}");
	f->graph.policy = from_json(f, "{\"deletes\":\"delete-wins\"}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_true(f->decision.resolve.deleted);
	f->graph.policy = from_json(f, "{\"strategy\":\"none\"}");
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"policy_none\"}");
}

/* What a person sees of a note that is too long: as many paths as fit, and that there were more. */
static void test_long_notes_are_cut(void **state)
{
	struct fixture *f = *state;
	struct buf one = {0}, other = {0};
	for (int i = 0; i < 200; i++) {
		buf_printf(&one, "%s\"path-%03d\":\"%0200d\"", i ? "," : "{", i, 1);
		buf_printf(&other, "%s\"path-%03d\":\"%0200d\"", i ? "," : "{", i, 2);
	}
	buf_append_byte(&one, '}');
	buf_append_byte(&other, '}');
	start(f, "{}");
	node(f, "1-o", ROOT, "{}");
	node(f, "2-a", P(0), buf_cstr(&one));
	node(f, "2-b", P(0), buf_cstr(&other));
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	struct slice detail = f->decision.note.detail;
	assert_true(detail.len <= LIMIT_NOTE_BYTES && detail.len > LIMIT_NOTE_BYTES / 2);
	const char *json = to_json(f, detail);
	assert_non_null(strstr(json, "\"reason\":\"paths\",\"open\":[{\"path\":\"path-000\""));
	assert_string_equal(json + strlen(json) - 11, "\"cut\":true}");
	buf_close(&one);
	buf_close(&other);
}

static void test_a_deletion_below_a_resolution(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"deletes\":\"delete-wins\"}");
	node(f, "1-o", ROOT, "{\"n\":7}");
	node(f, "2-d", P(0), NULL)->flags |= REVISION_DELETED;
	node(f, "2-a", P(0), "{\"n\":8}");
	node(f, "3-r", P(1, 2), "{\"n\":8}")->flags |= REVISION_RESOLVED;
	node(f, "2-b", P(0), "{\"n\":9}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_true(f->decision.resolve.deleted);
	assert_int_equal(f->decision.resolve.body.len, 0);
	assert_int_equal(f->decision.resolve.parents_count, 3);
}

static void test_newest(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"newest\"}");
	node(f, "1-o", ROOT, "{\"a\":1}");
	node(f, "2-b", P(0), "{\"a\":2}")->stamp = 5;
	node(f, "2-a", P(0), "{\"a\":3}")->stamp = 6;
	becomes(f, "2-a 2-b", "2-a 2-b", "{\"a\":3}");
	assert_int_equal(f->decision.how, HOW_NEWEST);
	assert_string_equal(to_json(f, f->decision.resolve.detail),
			    "{\"by\":\"arbiter\",\"strategy\":\"newest\",\"winner\":\"2-a\","
			    "\"losers\":[\"2-b\"]}");
}

static void test_the_name_covers_the_policy_version(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-a", ROOT, "{\"a\":1}");
	node(f, "1-b", ROOT, "{\"b\":1}");
	run(f);
	struct decision first = f->decision;
	f->graph.policy_version = 4;
	decide_conflict(&f->graph, slice_text("doc"), &f->arena, &f->decision);
	assert_memory_not_equal(first.hash, f->decision.hash, sizeof first.hash);
	assert_memory_not_equal(first.resolution_id, f->decision.resolution_id, 16);
}

static void test_the_order_of_nodes_does_not_matter(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-b", P(0), "{\"a\":2,\"b\":1}");
	node(f, "2-a", P(0), "{\"a\":1,\"b\":2,\"c\":1}");
	run(f);
	struct decision first = f->decision;
	struct graph_node moved = f->nodes[1];
	f->nodes[1] = f->nodes[2];
	f->nodes[2] = moved;
	run(f);
	assert_memory_equal(first.hash, f->decision.hash, sizeof first.hash);
	assert_memory_equal(first.resolution_id, f->decision.resolution_id, 16);
}

static void test_no_conflict_any_more(void **state)
{
	struct fixture *f = *state;
	start(f, "{}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTHING);
	node(f, "1-o", ROOT, "{\"a\":1}");
	node(f, "2-d", ROOT, NULL)->flags |= REVISION_DELETED;
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTHING);
}

static void test_what_can_not_be_decided(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"sometimes\"}");
	node(f, "1-a", ROOT, "{\"a\":1}");
	node(f, "1-b", ROOT, "{\"b\":1}");
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"invalid_policy\",\"place\":\"/strategy\"}");
	f->graph.policy = from_json(f, "{\"strategy\":\"none\"}");
	noted(f, "{\"by\":\"arbiter\",\"reason\":\"policy_none\"}");
	node(f, "2-c", P(7), "{}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_BROKEN);
}

static void test_a_body_that_is_none(void **state)
{
	struct fixture *f = *state;
	start(f, "{\"strategy\":\"external\"}");
	node(f, "1-a", ROOT, "{\"a\":1}")->body.len--;
	node(f, "1-b", ROOT, "{\"b\":1}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_BROKEN);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_edits_of_one_base),
	    T(test_resolutions_give_way_to_human_revisions),
	    T(test_an_edit_of_a_resolution_is_human),
	    T(test_one_that_has_all_the_others_in_it),
	    T(test_without_human_bodies_the_leaves_are_merged),
	    T(test_in_a_crowded_graph_the_leaves_are_merged),
	    T(test_a_criss_cross_has_a_merged_base),
	    T(test_what_ancestors_disagree_on_is_not_taken_silently),
	    T(test_bases_that_have_more_in_common),
	    T(test_what_bases_came_to_stands_for_them),
	    T(test_two_roots),
	    T(test_a_deletion_in_the_common_past),
	    T(test_a_deletion_against_an_edit),
	    T(test_long_notes_are_cut),
	    T(test_a_deletion_below_a_resolution),
	    T(test_newest),
	    T(test_the_name_covers_the_policy_version),
	    T(test_the_order_of_nodes_does_not_matter),
	    T(test_no_conflict_any_more),
	    T(test_what_can_not_be_decided),
	    T(test_a_body_that_is_none),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
