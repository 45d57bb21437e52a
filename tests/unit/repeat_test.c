/* An answer that comes again when its losers are gone, or the policy is another. */
#include "tests/unit/graph_case.h"

/* Two edits; their names cover what they say, as names do. */
static void two_edits(struct fixture *f)
{
	static char hashes[2][REVISION_HASH_CHARS];
	static const char *const bodies[] = {"{\"a\":2}", "{\"a\":3}"};
	start(f, "{\"strategy\":\"none\"}");
	node(f, "1-o", ROOT, "{\"a\":1}");
	for (int i = 0; i < 2; i++) {
		struct graph_node *n = node(f, "2-x", P(0), bodies[i]);
		struct revision_content content = {
		    .parents = &f->nodes[0].revision, .parents_count = 1, .body = n->body};
		revision_name(&content, hashes[i], &n->revision);
	}
}

/* Orders what was answered, forgets the losers' bodies, and has a newer policy. */
static struct revision resolved(struct fixture *f, const struct answer *answer)
{
	decide_answer(&f->graph, slice_text("x"), answer, &f->arena, &f->decision);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	struct graph_node *n = node(f, "3-r", P(1, 2), NULL);
	n->revision = f->decision.resolve.revision;
	n->revision.hash = arena_copy(&f->arena, n->revision.hash);
	n->body = f->decision.resolve.body;
	n->flags |= f->decision.resolve.deleted ? REVISION_DELETED : REVISION_HAS_BODY;
	for (uint32_t i = 0; i < 3; i++) {
		f->nodes[i].flags &= ~(uint64_t)REVISION_HAS_BODY;
		f->nodes[i].body = (struct slice){0};
	}
	f->graph.policy_version += 2;
	return n->revision;
}

static bool repeats(struct fixture *f, const struct answer *answer)
{
	struct revision leaves[] = {f->nodes[1].revision, f->nodes[2].revision};
	struct decide_asked asked = {leaves, 2, answer};
	return decide_repeat(&f->graph, slice_text("x"), &asked, &f->arena, &f->decision);
}

static void test_a_document_that_was_given(void **state)
{
	struct fixture *f = *state;
	two_edits(f);
	struct answer answer = {
	    .kind = ANSWER_BODY, .how = HOW_PERSON, .body = from_json(f, "{\"a\":5}")};
	struct answer other = {
	    .kind = ANSWER_BODY, .how = HOW_PERSON, .body = from_json(f, "{\"a\":6}")};
	struct revision made = resolved(f, &answer);
	uint8_t id[16];
	memcpy(id, f->decision.resolution_id, sizeof id);
	assert_true(repeats(f, &answer));
	assert_true(revision_equal(&f->decision.resolve.revision, &made));
	assert_int_equal(f->decision.resolve.policy_version, 3);
	assert_memory_equal(f->decision.resolution_id, id, sizeof id);
	assert_false(repeats(f, &other));
	answer.kind = ANSWER_DELETE;
	assert_false(repeats(f, &answer));
}

static void test_a_version_that_was_picked(void **state)
{
	struct fixture *f = *state;
	two_edits(f);
	struct answer answer = {.kind = ANSWER_PICK, .pick = f->nodes[1].revision};
	struct answer other = {.kind = ANSWER_PICK, .pick = f->nodes[2].revision};
	resolved(f, &answer);
	assert_true(repeats(f, &answer)); /* its name tells what its body was */
	assert_false(repeats(f, &other));
	other.pick = (struct revision){.generation = 2, .hash = slice_text("unheard")};
	assert_false(repeats(f, &other));
}

static void test_a_deletion(void **state)
{
	struct fixture *f = *state;
	two_edits(f);
	struct answer answer = {.kind = ANSWER_DELETE};
	struct answer pick = {.kind = ANSWER_PICK, .pick = f->nodes[1].revision};
	resolved(f, &answer);
	assert_true(repeats(f, &answer));
	assert_false(repeats(f, &pick));
}

static void test_what_cannot_be_told(void **state)
{
	struct fixture *f = *state;
	two_edits(f);
	struct answer answer = {.kind = ANSWER_BODY, .body = from_json(f, "{\"a\":5}")};
	assert_false(repeats(f, &answer)); /* nothing stands there yet */
	resolved(f, &answer);
	f->nodes[3].flags |= REVISION_CLOSED; /* taken apart again */
	assert_false(repeats(f, &answer));
	f->nodes[3].flags &= ~(uint64_t)(REVISION_CLOSED | REVISION_HAS_BODY); /* edited since */
	assert_false(repeats(f, &answer));
}

static void test_a_leaf_that_an_arbiter_made_may_be_picked(void **state)
{
	struct fixture *f = *state;
	two_edits(f);
	node(f, "3-m", P(1, 2), "{\"a\":4}")->flags |= REVISION_RESOLVED;
	node(f, "2-late", P(0), "{\"a\":7}");
	struct answer answer = {.kind = ANSWER_PICK, .pick = f->nodes[3].revision};
	decide_answer(&f->graph, slice_text("x"), &answer, &f->arena, &f->decision);
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(to_json(f, f->decision.resolve.body), "{\"a\":4}");
	answer.pick = f->nodes[0].revision;
	decide_answer(&f->graph, slice_text("x"), &answer, &f->arena, &f->decision);
	assert_int_equal(f->decision.kind, DECISION_NOTE);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(test_a_document_that_was_given),
	    T(test_a_version_that_was_picked),
	    T(test_a_deletion),
	    T(test_what_cannot_be_told),
	    T(test_a_leaf_that_an_arbiter_made_may_be_picked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
