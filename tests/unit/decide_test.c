#include <stdio.h>

#include "common/doc/script_decide.h"
#include "tests/unit/graph_case.h"

static void run(struct fixture *f)
{
	decide_conflict(&f->graph, slice_text("doc"), &f->arena, &f->decision);
}

static const char *names(struct fixture *f, const struct revision *list, uint32_t count)
{
	buf_clear(&f->scratch);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_text(&f->scratch, i ? " " : "");
		revision_print(&list[i], &f->scratch);
	}
	return buf_cstr(&f->scratch);
}

static void becomes(struct fixture *f, const char *leaves, const char *parents, const char *json)
{
	run(f);
	const struct msg_conflict_resolve *m = &f->decision.resolve;
	if (f->decision.kind == DECISION_NOTE)
		fail_msg("open: %s", to_json(f, f->decision.note.detail));
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(names(f, m->leaves, m->leaves_count), leaves);
	assert_string_equal(names(f, m->parents, m->parents_count), parents);
	assert_false(m->deleted);
	assert_string_equal(to_json(f, m->body), json);
}

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

/* ---- scripts and clients ---- */

#define SCRIPT_POLICY "{\"strategy\":\"script\",\"script\":\"f\",\"fallback\":\"newest\"}"

static void two_edits(struct fixture *f, const char *policy)
{
	start(f, policy);
	node(f, "1-o", ROOT, "{\"a\":1}");
	node(f, "2-a", P(0), "{\"a\":2}")->stamp = 7;
	node(f, "2-b", P(0), "{\"a\":3}")->stamp = 6;
}

static void answered(struct fixture *f, const struct answer *answer)
{
	decide_answer(&f->graph, slice_text("doc"), answer, &f->arena, &f->decision);
}

static void falls_back(struct fixture *f, const char *reason, const char *text)
{
	decide_fallback(&f->graph, slice_text("doc"), reason, slice_text(text), &f->arena,
			&f->decision);
}

static const char *detail_of(struct fixture *f)
{
	return to_json(f, f->decision.kind == DECISION_RESOLVE ? f->decision.resolve.detail
							       : f->decision.note.detail);
}

static void test_a_script_is_asked(void **state)
{
	struct fixture *f = *state;
	two_edits(f, SCRIPT_POLICY);
	node(f, "2-c", P(0), "{\"a\":4,\"_rev\":\"x\",\"_id\":[1],\"_deleted\":true}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	assert_true(slice_is(f->decision.policy.script, "f"));
	assert_string_equal(to_json(f, f->decision.input),
			    "[{\"rev\":\"1-o\",\"document\":{\"id\":\"doc\",\"a\":1}},["
			    "{\"rev\":\"2-c\",\"document\":{\"id\":\"doc\",\"a\":4,"
			    "\"_rev\":\"x\",\"_id\":[1],\"_deleted\":true}},"
			    "{\"rev\":\"2-b\",\"document\":{\"id\":\"doc\",\"a\":3}},"
			    "{\"rev\":\"2-a\",\"document\":{\"id\":\"doc\",\"a\":2}}]]");
}

static void test_a_script_sees_deletions_and_missing_bases(void **state)
{
	struct fixture *f = *state;
	start(f, SCRIPT_POLICY);
	node(f, "1-o", ROOT, NULL);
	node(f, "2-a", P(0), "{\"a\":2}");
	node(f, "2-d", P(0), NULL)->flags |= REVISION_DELETED;
	node(f, "3-r", P(1, 2), "{\"a\":2}")->flags |= REVISION_RESOLVED;
	node(f, "2-b", P(0), "{\"a\":3}");
	run(f);
	assert_string_equal(to_json(f, f->decision.input),
			    "[null,[{\"rev\":\"2-b\",\"document\":{\"id\":\"doc\",\"a\":3}},"
			    "{\"rev\":\"2-a\",\"document\":{\"id\":\"doc\",\"a\":2}},"
			    "{\"rev\":\"2-d\",\"deleted\":true}]]");
}

static void test_what_a_script_returned(void **state)
{
	struct fixture *f = *state;
	struct answer answer;
	struct slice text;
	two_edits(f, SCRIPT_POLICY);
	assert_int_equal(script_answer_read(from_json(f, "{\"resolve\":{\"_id\":\"x\",\"a\":[5],"
							 "\"_deleted\":true,\"b\":{\"_rev\":1}}}"),
					    &answer, &text),
			 SCRIPT_ANSWERS);
	answered(f, &answer);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_int_equal(f->decision.how, HOW_SCRIPT);
	assert_string_equal(to_json(f, f->decision.resolve.body),
			    "{\"_id\":\"x\",\"a\":[5],\"_deleted\":true,\"b\":{\"_rev\":1}}");
	assert_string_equal(detail_of(f),
			    "{\"by\":\"arbiter\",\"strategy\":\"script\",\"answer\":\"document\"}");
	assert_int_equal(script_answer_read(from_json(f, "{\"delete\":true}"), &answer, &text),
			 SCRIPT_ANSWERS);
	answered(f, &answer);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_true(f->decision.resolve.deleted);
	assert_int_equal(f->decision.resolve.body.len, 0);
	assert_int_equal(script_answer_read(from_json(f, "{\"pick\":\"2-b\"}"), &answer, &text),
			 SCRIPT_ANSWERS);
	assert_int_equal(answer.kind, ANSWER_PICK);
	assert_int_equal(answer.pick.generation, 2);
	assert_int_equal(script_answer_read(from_json(f, "{\"open\":\"ask Ann\"}"), &answer, &text),
			 SCRIPT_LEAVES_OPEN);
	assert_true(slice_is(text, "ask Ann"));
	struct decide_why why = {.reason = "script_open", .text = text};
	decide_open(&f->graph, slice_text("doc"), &why, &f->arena, &f->decision);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_string_equal(detail_of(f),
			    "{\"by\":\"arbiter\",\"reason\":\"script_open\",\"text\":\"ask Ann\"}");
}

static void test_what_a_script_should_not_return(void **state)
{
	struct fixture *f = *state;
	struct answer answer;
	struct slice text;
	static const char *const wrong[] = {
	    "null",
	    "[1]",
	    "{}",
	    "{\"a\":1}",
	    "{\"resolve\":1}",
	    "{\"resolve\":{},\"open\":\"x\"}",
	    "{\"delete\":false}",
	    "{\"delete\":1}",
	    "{\"pick\":2}",
	    "{\"pick\":\"nonsense\"}",
	    "{\"open\":5}",
	    "{\"open\":null}",
	};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		assert_int_equal(script_answer_read(from_json(f, wrong[i]), &answer, &text),
				 SCRIPT_SAYS_NOTHING);
		assert_true(text.len > 0);
	}
	const uint8_t cut[] = {0x81, 0xa4, 'o', 'p', 'e', 'n'};
	assert_int_equal(script_answer_read(slice_of(cut, sizeof cut), &answer, &text),
			 SCRIPT_SAYS_NOTHING);
	const uint8_t no_text[] = {0x81, 0xa4, 'o', 'p', 'e', 'n', 0xa2, 'x', 0xff};
	assert_int_equal(script_answer_read(slice_of(no_text, sizeof no_text), &answer, &text),
			 SCRIPT_LEAVES_OPEN);
	assert_true(slice_is(text, "x"));
}

static void test_what_a_client_answers(void **state)
{
	struct fixture *f = *state;
	two_edits(f, "{\"strategy\":\"external\"}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_EXTERNAL);
	assert_true(f->decision.input.len > 0);
	struct answer answer = {.kind = ANSWER_PICK, .how = HOW_EXTERNAL, .by = slice_text("ann")};
	assert_true(revision_parse(slice_text("2-a"), &answer.pick));
	answered(f, &answer);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(to_json(f, f->decision.resolve.body), "{\"a\":2}");
	assert_int_equal(f->decision.resolve.parents_count, 2);
	assert_string_equal(detail_of(f), "{\"by\":\"ann\",\"strategy\":\"external\","
					  "\"answer\":\"pick\",\"winner\":\"2-a\"}");
	assert_true(revision_parse(slice_text("1-o"), &answer.pick));
	answered(f, &answer);
	assert_string_equal(detail_of(f), "{\"by\":\"ann\",\"reason\":\"invalid_answer\"}");
	answer = (struct answer){.kind = ANSWER_BODY, .how = HOW_EXTERNAL};
	answered(f, &answer);
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"reason\":\"invalid_answer\"}");
}

static void test_fallbacks(void **state)
{
	struct fixture *f = *state;
	two_edits(f, SCRIPT_POLICY);
	falls_back(f, "script_failed", "");
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_int_equal(f->decision.how, HOW_NEWEST);
	assert_string_equal(to_json(f, f->decision.resolve.body), "{\"a\":2}");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"script_failed\","
					  "\"strategy\":\"newest\",\"winner\":\"2-a\","
					  "\"losers\":[\"2-b\"]}");
	two_edits(f, "{\"strategy\":\"script\",\"script\":\"f\"}");
	falls_back(f, "script_failed", "x is not defined");
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"reason\":\"script_failed\","
					  "\"text\":\"x is not defined\"}");
	two_edits(f, "{\"strategy\":\"external\",\"fallback\":\"script\",\"script\":\"f\"}");
	falls_back(f, "deadline", "");
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	assert_string_equal(f->decision.instead_of, "deadline");
	struct answer answer = {.kind = ANSWER_BODY,
				.how = HOW_SCRIPT,
				.body = from_json(f, "{\"a\":5}"),
				.instead_of = f->decision.instead_of};
	answered(f, &answer);
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"deadline\","
					  "\"strategy\":\"script\",\"answer\":\"document\"}");
	two_edits(f, "{\"strategy\":\"external\",\"fallback\":\"merge\"}");
	falls_back(f, "deadline", "");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"deadline\","
					  "\"strategy\":\"merge\",\"reason\":\"paths\",\"open\":["
					  "{\"path\":\"a\",\"values\":[{\"revision\":\"2-b\","
					  "\"value\":3},{\"revision\":\"2-a\",\"value\":2}]}]}");
}

static void test_merge_asks_a_script_only_for_what_it_leaves_open(void **state)
{
	struct fixture *f = *state;
	two_edits(f, "{\"fallback\":\"script\",\"script\":\"f\"}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	falls_back(f, "script_failed", "");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"reason\":\"script_failed\"}");
	f->nodes[2].body = from_json(f, "{\"a\":1,\"b\":1}");
	becomes(f, "2-a 2-b", "2-a 2-b", "{\"a\":2,\"b\":1}");
}

static void test_no_script_decides_what_waits_for_people(void **state)
{
	struct fixture *f = *state;
	const char *policy =
	    "{\"fallback\":\"script\",\"script\":\"f\",\"paths\":{\"a\":\"manual\"}}";
	two_edits(f, policy);
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_non_null(strstr(detail_of(f), "\"path\":\"a\""));
	/* nor when something else of it is open, too */
	f->nodes[1].body = from_json(f, "{\"a\":2,\"b\":1}");
	f->nodes[2].body = from_json(f, "{\"a\":3,\"b\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	f->nodes[2].body = from_json(f, "{\"a\":1,\"b\":2}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	/* or is open further down in the history */
	start(f, policy);
	node(f, "1-o", ROOT, "{\"a\":1,\"b\":1}");
	node(f, "2-a", P(0), "{\"a\":2,\"b\":1}");
	node(f, "3-a", P(1), "{\"a\":2,\"b\":2}");
	node(f, "3-b", P(1), "{\"a\":2,\"b\":3}");
	node(f, "2-b", P(0), "{\"a\":3,\"b\":1}");
	run(f);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
}

static void test_the_record_of_a_script_that_was_the_fallback(void **state)
{
	struct fixture *f = *state;
	struct answer answer = {.kind = ANSWER_DELETE, .how = HOW_SCRIPT};
	two_edits(f, "{\"strategy\":\"external\",\"fallback\":\"script\",\"script\":\"f\"}");
	falls_back(f, "deadline", "");
	answer.instead_of = f->decision.instead_of;
	answered(f, &answer);
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"deadline\","
					  "\"strategy\":\"script\",\"answer\":\"delete\"}");
	two_edits(f, "{\"fallback\":\"script\",\"script\":\"f\"}");
	run(f);
	answer.instead_of = f->decision.instead_of;
	answered(f, &answer);
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"paths\","
					  "\"strategy\":\"script\",\"answer\":\"delete\"}");
}

static void script_ends(struct fixture *f, enum script_status status, const char *output)
{
	struct slice text = slice_text(output);
	struct script_end end = {status, status == SCRIPT_OK ? from_json(f, output) : text};
	assert_int_equal(f->decision.kind, DECISION_SCRIPT);
	(void)script_decide(&f->graph, slice_text("doc"), &end, f->parser, &f->arena, &f->decision);
}

static void test_the_record_of_a_fallback_that_decides_nothing(void **state)
{
	struct fixture *f = *state;
	two_edits(f, "{\"strategy\":\"external\",\"fallback\":\"script\",\"script\":\"f\"}");
	falls_back(f, "deadline", "");
	script_ends(f, SCRIPT_THREW, "Error: no");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"deadline\","
					  "\"reason\":\"script_failed\","
					  "\"text\":\"threw: Error: no\"}");
	two_edits(f, "{\"fallback\":\"script\",\"script\":\"f\"}");
	run(f);
	script_ends(f, SCRIPT_OK, "{\"pick\":\"9-z\"}");
	assert_string_equal(detail_of(f),
			    "{\"by\":\"arbiter\",\"fallbackFor\":\"paths\","
			    "\"reason\":\"script_failed\","
			    "\"text\":\"no version that is kept has this revision\"}");
	run(f);
	script_ends(f, SCRIPT_OK, "{\"open\":\"ask Ann\"}");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"fallbackFor\":\"paths\","
					  "\"reason\":\"script_open\",\"text\":\"ask Ann\"}");
	/* a script that is the policy itself stands for nothing */
	two_edits(f, "{\"strategy\":\"script\",\"script\":\"f\"}");
	run(f);
	script_ends(f, SCRIPT_THREW, "Error: no");
	assert_string_equal(detail_of(f), "{\"by\":\"arbiter\",\"reason\":\"script_failed\","
					  "\"text\":\"threw: Error: no\"}");
}

/* Under merge with a script as fallback and this as `paths`: 1-o, of it 2-a and 2-b, and what the
 * script says of them. */
static void script_says(struct fixture *f, const char *paths, const char *const bodies[3],
			const char *output)
{
	char policy[256];
	snprintf(policy, sizeof policy, "{\"fallback\":\"script\",\"script\":\"f\",\"paths\":%s}",
		 paths);
	start(f, policy);
	node(f, "1-o", ROOT, bodies[0]);
	node(f, "2-a", P(0), bodies[1]);
	node(f, "2-b", P(0), bodies[2]);
	run(f);
	script_ends(f, SCRIPT_OK, output);
}

static void script_makes(struct fixture *f, const char *body, const char *detail)
{
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(to_json(f, f->decision.resolve.body), body);
	assert_non_null(strstr(detail_of(f), detail));
}

static void script_may_not(struct fixture *f)
{
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_non_null(strstr(detail_of(f), "\"fallbackFor\":\"paths\""));
	assert_non_null(strstr(detail_of(f), "what holds a path declared manual"));
}

static void test_what_one_side_did_to_a_path_for_people_stays(void **state)
{
	struct fixture *f = *state;
	const char *const paths = "{\"a\":\"manual\",\"n\":\"manual\"}";
	const char *const bodies[] = {"{\"a\":1,\"b\":1}", "{\"b\":2,\"a\":2}",
				      "{\"a\":1,\"b\":3}"};
	script_says(f, paths, bodies, "{\"pick\":\"2-b\"}");
	script_makes(f, "{\"a\":2,\"b\":3}",
		     "\"answer\":\"pick\",\"winner\":\"2-b\",\"manual\":[\"a\"]}");
	script_says(f, paths, bodies, "{\"resolve\":{\"b\":4,\"n\":1}}");
	script_makes(f, "{\"b\":4,\"a\":2}", "\"answer\":\"document\",\"manual\":[\"a\",\"n\"]}");
	script_says(f, paths, bodies, "{\"pick\":\"2-a\"}");
	script_makes(f, "{\"b\":2,\"a\":2}", "\"winner\":\"2-a\"}");
	script_says(f, paths, bodies, "{\"delete\":true}");
	script_may_not(f);
	script_says(f, "{\"n\":\"manual\"}", bodies, "{\"delete\":true}");
	assert_true(f->decision.resolve.deleted);
	/* one side removed it */
	const char *const removed[] = {bodies[0], "{\"b\":2}", bodies[2]};
	script_says(f, paths, removed, "{\"pick\":\"2-b\"}");
	script_makes(f, "{\"b\":3}", "\"manual\":[\"a\"]}");
}

static void test_what_holds_a_path_for_people_stays(void **state)
{
	struct fixture *f = *state;
	const char *const paths = "{\"o.d\":\"manual\"}";
	const char *const bodies[] = {"{\"o\":{\"d\":1},\"b\":1}", "{\"o\":{\"d\":2},\"b\":2}",
				      "{\"o\":{\"d\":1},\"b\":3}"};
	script_says(f, paths, bodies, "{\"resolve\":{\"o\":{\"e\":5,\"d\":1},\"b\":5}}");
	script_makes(f, "{\"o\":{\"e\":5,\"d\":2},\"b\":5}", "\"manual\":[\"o.d\"]");
	script_says(f, paths, bodies, "{\"resolve\":{\"b\":5}}");
	script_may_not(f);
	script_says(f, paths, bodies, "{\"resolve\":{\"o\":[],\"b\":5}}");
	script_may_not(f);
}

static void test_elements_with_a_path_for_people(void **state)
{
	struct fixture *f = *state;
	const char *const paths = "{\"l\":{\"map\":[\"k\"]},\"l.p\":\"manual\"}";
	const char *const bodies[] = {"{\"l\":[{\"k\":1,\"p\":1,\"n\":1},{\"k\":2}]}",
				      "{\"l\":[{\"k\":1,\"p\":2,\"n\":2},{\"k\":2}]}",
				      "{\"l\":[{\"k\":1,\"p\":1,\"n\":3},{\"k\":2}]}"};
	script_says(f, paths, bodies,
		    "{\"resolve\":{\"l\":[{\"k\":3},{\"k\":1,\"n\":5,\"p\":9}]}}");
	script_makes(f, "{\"l\":[{\"k\":3},{\"k\":1,\"n\":5,\"p\":2}]}", "\"manual\":[\"l.p\"]");
	script_says(f, paths, bodies, "{\"resolve\":{\"l\":[{\"k\":2}]}}");
	script_may_not(f);
	script_says(f, paths, bodies,
		    "{\"resolve\":{\"l\":[{\"k\":1,\"p\":2},{\"k\":3,\"p\":3}]}}");
	script_may_not(f);
	script_says(f, paths, bodies, "{\"resolve\":{\"l\":[{\"p\":2}]}}");
	script_may_not(f);
}

static void test_what_needs_nobody_is_not_asked(void **state)
{
	struct fixture *f = *state;
	two_edits(f, "{\"strategy\":\"external\"}");
	node(f, "3-r", P(1, 2), "{\"a\":9}")->flags |= REVISION_RESOLVED;
	node(f, "3-h", P(1, 2), "{\"a\":5}");
	becomes(f, "3-h 3-r", "3-h", "{\"a\":5}");
	assert_int_equal(f->decision.how, HOW_SINGLE);
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
	    T(test_a_script_is_asked),
	    T(test_a_script_sees_deletions_and_missing_bases),
	    T(test_what_a_script_returned),
	    T(test_what_a_script_should_not_return),
	    T(test_what_a_client_answers),
	    T(test_fallbacks),
	    T(test_merge_asks_a_script_only_for_what_it_leaves_open),
	    T(test_no_script_decides_what_waits_for_people),
	    T(test_the_record_of_a_script_that_was_the_fallback),
	    T(test_the_record_of_a_fallback_that_decides_nothing),
	    T(test_what_one_side_did_to_a_path_for_people_stays),
	    T(test_what_holds_a_path_for_people_stays),
	    T(test_elements_with_a_path_for_people),
	    T(test_what_needs_nobody_is_not_asked),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
