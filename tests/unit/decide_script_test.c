/* What scripts and clients are asked, what counts of their answers, and what is decided when there
 * is none. */
#include <stdio.h>

#include "common/doc/script_decide.h"
#include "tests/unit/decide_case.h"

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
