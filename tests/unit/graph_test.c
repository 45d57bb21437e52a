/* Revision graphs: the winner, ancestors, human inputs, stemming. Random graphs are compared with
 * plain definitions of the same notions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"

struct fixture {
	struct arena arena;
	struct document doc;
	uint64_t number;
};

/* Adds a revision with these parents, written "2-a 2-b". */
static uint32_t add(struct fixture *f, const char *name, const char *parents, uint64_t flags)
{
	struct revision r;
	uint64_t list[16];
	struct revision_node node = {.flags = flags, .parents = list};
	assert_true(revision_parse(slice_text(name), &r));
	node.generation = r.generation;
	node.hash = r.hash;
	for (const char *at = parents; *at;) {
		size_t len = strcspn(at, " ");
		assert_true(revision_parse(slice_of(at, len), &r));
		int parent = graph_find(&f->doc, &r);
		assert_true(parent != GRAPH_NONE);
		list[node.parents_count++] = (uint64_t)parent;
		at += len + (at[len] == ' ');
	}
	return graph_add(&f->doc, &f->arena, &node, ++f->number);
}

static uint32_t at(struct fixture *f, const char *name)
{
	struct revision r;
	assert_true(revision_parse(slice_text(name), &r));
	int found = graph_find(&f->doc, &r);
	if (found == GRAPH_NONE)
		fail_msg("%s is not there", name);
	return (uint32_t)found;
}

static bool is_there(struct fixture *f, const char *name)
{
	struct revision r;
	assert_true(revision_parse(slice_text(name), &r));
	return graph_find(&f->doc, &r) != GRAPH_NONE;
}

static void check_winner(struct fixture *f, const char *name)
{
	assert_int_equal(graph_winner(&f->doc), at(f, name));
}

static void check_names(struct fixture *f, const uint32_t *list, uint32_t count,
			const char *expected)
{
	struct buf text = {0};
	for (uint32_t i = 0; i < count; i++) {
		struct revision r = graph_name(&f->doc, list[i]);
		if (i > 0)
			buf_append_byte(&text, ' ');
		revision_print(&r, &text);
	}
	assert_string_equal(buf_cstr(&text), expected);
	buf_close(&text);
}

static uint32_t indexes(struct fixture *f, const char *names, uint32_t *out)
{
	uint32_t count = 0;
	for (const char *p = names; *p;) {
		size_t len = strcspn(p, " ");
		struct revision r;
		assert_true(revision_parse(slice_of(p, len), &r));
		int found = graph_find(&f->doc, &r);
		assert_true(found != GRAPH_NONE);
		out[count++] = (uint32_t)found;
		p += len + (p[len] == ' ');
	}
	return count;
}

static void check_common(struct fixture *f, const char *names, const char *expected)
{
	uint32_t nodes[16], *out;
	uint32_t count = indexes(f, names, nodes);
	uint32_t found = graph_common_ancestors(&f->doc, nodes, count, &f->arena, &out);
	check_names(f, out, found, expected);
}

static void check_inputs(struct fixture *f, const char *names, const char *expected)
{
	uint32_t nodes[16], *out;
	uint32_t count = indexes(f, names, nodes);
	uint32_t found = graph_human_inputs(&f->doc, nodes, count, &f->arena, &out);
	check_names(f, out, found, expected);
}

static void check_live(struct fixture *f, const char *expected)
{
	uint32_t *out;
	uint32_t count = graph_sides(&f->doc, &f->arena, &out);
	check_names(f, out, count, expected);
	assert_int_equal(graph_conflicts(&f->doc), count > 1 ? count - 1 : 0);
}

static int fixture_open(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return 0;
}

static int fixture_close(void **state)
{
	struct fixture *f = *state;
	arena_close(&f->arena);
	free(f);
	return 0;
}

static void test_empty(void **state)
{
	struct fixture *f = *state;
	struct revision r = {.generation = 1, .hash = slice_text("x")};
	uint32_t *out;
	assert_int_equal(graph_winner(&f->doc), GRAPH_NONE);
	assert_int_equal(graph_find(&f->doc, &r), GRAPH_NONE);
	assert_int_equal(graph_conflicts(&f->doc), 0);
	assert_int_equal(graph_sides(&f->doc, &f->arena, &out), 0);
	assert_int_equal(graph_common_ancestors(&f->doc, NULL, 0, &f->arena, &out), 0);
	assert_int_equal(graph_human_inputs(&f->doc, NULL, 0, &f->arena, &out), 0);
	graph_stem(&f->doc, &f->arena, 10);
	assert_int_equal(f->doc.revisions_count, 0);
}

static void test_winner(void **state)
{
	struct fixture *f = *state;
	add(f, "1-a", "", 0);
	check_winner(f, "1-a");
	add(f, "2-b", "1-a", 0);
	check_winner(f, "2-b");
	add(f, "2-c", "1-a", 0);
	check_winner(f, "2-c"); /* equal generations: the higher hash */
	add(f, "3-a", "2-b", 0);
	check_winner(f, "3-a"); /* the longer line */
	check_live(f, "3-a 2-c");
	add(f, "4-d", "3-a", REVISION_DELETED);
	check_winner(f, "2-c"); /* a deletion loses to any live leaf */
	check_live(f, "2-c");
	add(f, "3-z", "2-c", REVISION_DELETED);
	check_winner(f, "4-d"); /* all deleted: as if none were */
	check_live(f, "");
	add(f, "10-a", "4-d", 0);
	check_winner(f, "10-a");
}

static void test_leaf_marks(void **state)
{
	struct fixture *f = *state;
	uint32_t a = add(f, "1-a", "", 0);
	assert_true(graph_is_leaf(&f->doc, a));
	assert_int_equal(f->doc.revisions[a].superseded, 0);
	uint32_t b = add(f, "2-b", "1-a", REVISION_HAS_BODY);
	assert_false(graph_is_leaf(&f->doc, a));
	assert_int_equal(f->doc.revisions[a].superseded, 2);
	uint32_t c = add(f, "2-c", "1-a", 0);
	assert_int_equal(f->doc.revisions[a].superseded, 2); /* the first child's */
	assert_true(f->doc.revisions[b].flags & REVISION_HAS_BODY);
	graph_close(&f->doc, c, 9);
	assert_false(graph_is_leaf(&f->doc, c));
	assert_int_equal(f->doc.revisions[c].superseded, 9);
	check_live(f, "2-b");
	uint32_t closed = add(f, "2-d", "1-a", REVISION_CLOSED);
	assert_false(graph_is_leaf(&f->doc, closed));
	check_live(f, "2-b");
	uint32_t m = add(f, "3-m", "2-b 2-c", REVISION_RESOLVED);
	assert_true(graph_is_live(&f->doc, m));
	assert_int_equal(f->doc.revisions[c].superseded, 9);
	check_live(f, "3-m");
}

static void test_descends(void **state)
{
	struct fixture *f = *state;
	add(f, "1-a", "", 0);
	add(f, "2-b", "1-a", 0);
	add(f, "2-c", "1-a", 0);
	add(f, "3-m", "2-b 2-c", 0);
	add(f, "1-z", "", 0);
	assert_true(graph_descends(&f->doc, at(f, "3-m"), at(f, "1-a")));
	assert_true(graph_descends(&f->doc, at(f, "3-m"), at(f, "2-c")));
	assert_true(graph_descends(&f->doc, at(f, "2-b"), at(f, "2-b")));
	assert_false(graph_descends(&f->doc, at(f, "2-b"), at(f, "2-c")));
	assert_false(graph_descends(&f->doc, at(f, "2-c"), at(f, "2-b")));
	assert_false(graph_descends(&f->doc, at(f, "1-a"), at(f, "3-m")));
	assert_false(graph_descends(&f->doc, at(f, "1-z"), at(f, "1-a")));
}

static void test_common_ancestors(void **state)
{
	struct fixture *f = *state;
	add(f, "1-r", "", 0);
	add(f, "2-a", "1-r", 0);
	add(f, "2-b", "1-r", 0);
	check_common(f, "2-a 2-b", "1-r");
	check_common(f, "2-a", "2-a");
	check_common(f, "2-a 1-r", "1-r");
	/* Criss-cross: each side took in the other, so there are two bases. */
	add(f, "3-x", "2-a 2-b", 0);
	add(f, "3-y", "2-a 2-b", 0);
	check_common(f, "3-x 3-y", "2-a 2-b");
	add(f, "4-x", "3-x", 0);
	add(f, "4-y", "3-y", 0);
	add(f, "3-z", "2-a", 0);
	check_common(f, "4-x 4-y", "2-a 2-b");
	check_common(f, "4-x 4-y 3-z", "2-a");
	add(f, "1-other", "", 0);
	check_common(f, "4-x 1-other", "");
}

static void test_human_inputs(void **state)
{
	struct fixture *f = *state;
	add(f, "1-r", "", 0);
	add(f, "2-a", "1-r", 0);
	add(f, "2-b", "1-r", 0);
	add(f, "2-c", "1-r", 0);
	check_inputs(f, "2-b 2-a", "2-a 2-b");
	add(f, "3-m", "2-a 2-b", REVISION_RESOLVED);
	check_inputs(f, "3-m", "2-a 2-b");
	check_inputs(f, "3-m 2-c", "2-a 2-b 2-c");
	/* Nested: the result of a resolution was resolved with another leaf. */
	add(f, "4-n", "2-c 3-m", REVISION_RESOLVED);
	check_inputs(f, "4-n", "2-a 2-b 2-c");
	/* Somebody edited one of the inputs meanwhile: that input is an ancestor now. */
	add(f, "3-a", "2-a", 0);
	check_inputs(f, "4-n 3-a", "2-b 2-c 3-a");
	/* A person went on from a resolution: that is human, and stands for all below it. */
	add(f, "5-h", "4-n", 0);
	check_inputs(f, "5-h", "5-h");
	check_inputs(f, "5-h 4-n 2-a", "5-h");
	/* Without parents there is nothing to go back to. */
	add(f, "1-s", "", REVISION_RESOLVED);
	check_inputs(f, "1-s", "1-s");
}

static void test_stem_keeps_depth(void **state)
{
	struct fixture *f = *state;
	add(f, "1-a", "", 0);
	add(f, "2-a", "1-a", 0);
	add(f, "3-a", "2-a", REVISION_HAS_BODY);
	add(f, "4-a", "3-a", 0);
	add(f, "5-a", "4-a", 0);
	add(f, "6-a", "5-a", 0);
	graph_stem(&f->doc, &f->arena, 1);
	assert_int_equal(f->doc.revisions_count, 3);
	assert_true(is_there(f, "6-a") && is_there(f, "5-a") && is_there(f, "3-a"));
	assert_true(graph_descends(&f->doc, at(f, "6-a"), at(f, "3-a")));
	check_winner(f, "6-a");
	f->doc.revisions[at(f, "3-a")].flags = 0;
	f->doc.revisions[at(f, "3-a")].pins = 1;
	graph_stem(&f->doc, &f->arena, 0);
	assert_int_equal(f->doc.revisions_count, 2);
	f->doc.revisions[at(f, "3-a")].pins = 0;
	graph_stem(&f->doc, &f->arena, 0);
	assert_int_equal(f->doc.revisions_count, 1);
	assert_int_equal(f->doc.revisions[0].parents_count, 0);
}

static void test_stem_keeps_bases(void **state)
{
	struct fixture *f = *state;
	static const char *const lines[2][4] = {{"2-a", "3-a", "4-a", "5-a"},
						{"2-b", "3-b", "4-b", "5-b"}};
	add(f, "1-r", "", 0);
	for (size_t line = 0; line < 2; line++)
		for (size_t i = 0; i < 4; i++)
			add(f, lines[line][i], i ? lines[line][i - 1] : "1-r", 0);
	graph_stem(&f->doc, &f->arena, 0);
	assert_int_equal(f->doc.revisions_count, 3);
	check_common(f, "5-a 5-b", "1-r");
	graph_close(&f->doc, at(f, "5-a"), 99);
	graph_stem(&f->doc, &f->arena, 0);
	assert_int_equal(f->doc.revisions_count,
			 2); /* the base goes, the closed one's name stays */
	assert_true(is_there(f, "5-a") && is_there(f, "5-b"));
}

/* However long ago it was: who comes late to one of those is none of what stands there now. */
static void test_stem_keeps_what_a_split_left(void **state)
{
	struct fixture *f = *state;
	add(f, "1-a", "", 0);
	add(f, "1-b", "", 0);
	add(f, "2-s", "1-a 1-b", REVISION_RESOLVED | REVISION_SPLIT);
	add(f, "3-d", "2-s", REVISION_DELETED);
	add(f, "4-n", "3-d", 0);
	add(f, "5-n", "4-n", 0);
	graph_stem(&f->doc, &f->arena, 0);
	assert_int_equal(f->doc.revisions_count, 4);
	assert_true(is_there(f, "1-a") && is_there(f, "1-b") && is_there(f, "2-s"));
	assert_true(graph_descends(&f->doc, at(f, "5-n"), at(f, "2-s")));
}

static void test_stem_keeps_inputs_of_resolutions(void **state)
{
	struct fixture *f = *state;
	add(f, "1-r", "", 0);
	add(f, "2-a", "1-r", 0);
	add(f, "2-b", "1-r", 0);
	add(f, "3-m", "2-a 2-b", REVISION_RESOLVED);
	add(f, "2-c", "1-r", 0);
	graph_stem(&f->doc, &f->arena, 0);
	check_inputs(f, "3-m 2-c", "2-a 2-b 2-c");
	check_common(f, "2-a 2-b 2-c", "1-r");
}

static void test_many_leaves(void **state)
{
	struct fixture *f = *state;
	enum { LEAVES = 12000 };
	struct document *doc = &f->doc;
	doc->revisions = arena_alloc(&f->arena, (LEAVES + 2) * sizeof *doc->revisions);
	static uint64_t root_parent[1] = {0};
	static char hashes[LEAVES][5];
	uint64_t *all = arena_alloc(&f->arena, LEAVES * sizeof *all);
	doc->revisions[0] = (struct revision_node){.generation = 1, .hash = slice_text("r")};
	for (uint32_t i = 0; i < LEAVES; i++) {
		for (uint32_t k = 0, left = i; k < 4; k++, left /= 26)
			hashes[i][3 - k] = (char)('a' + left % 26);
		doc->revisions[i + 1] = (struct revision_node){.generation = 2,
							       .hash = slice_of(hashes[i], 4),
							       .flags = REVISION_LEAF,
							       .parents = root_parent,
							       .parents_count = 1};
		all[i] = i + 1;
	}
	doc->revisions_count = LEAVES + 1;
	uint32_t *out, *bases;
	assert_int_equal(graph_sides(doc, &f->arena, &out), LEAVES);
	assert_int_equal(out[0], LEAVES);
	assert_int_equal(graph_common_ancestors(doc, out, LEAVES, &f->arena, &bases), 1);
	assert_int_equal(bases[0], 0);
	assert_int_equal(graph_human_inputs(doc, out, LEAVES, &f->arena, &bases), LEAVES);
	const struct revision_node result = {.generation = 3,
					     .hash = slice_text("m"),
					     .flags = REVISION_RESOLVED,
					     .parents = all,
					     .parents_count = LEAVES};
	uint32_t m = graph_add(doc, &f->arena, &result, 7);
	assert_int_equal(graph_conflicts(doc), 0);
	assert_int_equal(graph_human_inputs(doc, &m, 1, &f->arena, &bases), LEAVES);
	graph_stem(doc, &f->arena, 1);
	assert_int_equal(doc->revisions_count, LEAVES + 1);
	doc->revisions[LEAVES].flags &= ~(uint64_t)REVISION_RESOLVED;
	graph_stem(doc, &f->arena, 0);
	assert_int_equal(doc->revisions_count, 1);
}

/* ---- random graphs ---- */

enum { RANDOM_NODES = 40 };

static void random_graph(struct fixture *f, struct rng *rng)
{
	static const char hashes[RANDOM_NODES + 1] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
	f->doc = (struct document){0};
	arena_reset(&f->arena);
	for (uint32_t i = 0; i < RANDOM_NODES; i++) {
		uint64_t parents[3];
		struct revision_node node = {.hash = slice_of(&hashes[i], 1), .parents = parents};
		for (uint32_t p = 0; i > 0 && p < 3; p++) {
			uint64_t from = i > 12 ? i - 12 : 0;
			uint64_t parent = from + rng_below(rng, i - from);
			bool again = p > 0 && parent <= parents[node.parents_count - 1];
			if (again || (p > 0 && rng_chance(rng, 700000)))
				break;
			parents[node.parents_count++] = parent;
			if (f->doc.revisions[parent].generation >= node.generation)
				node.generation = f->doc.revisions[parent].generation;
		}
		node.generation++;
		node.flags = rng_chance(rng, 150000) ? REVISION_DELETED : 0;
		node.flags |= rng_chance(rng, 100000) ? REVISION_HAS_BODY : 0;
		node.flags |=
		    node.parents_count > 1 && rng_chance(rng, 500000) ? REVISION_RESOLVED : 0;
		uint32_t index = graph_add(&f->doc, &f->arena, &node, i + 1);
		if (rng_chance(rng, 50000))
			graph_close(&f->doc, index, i + 1);
	}
}

static bool is_common(const struct document *doc, const uint32_t *nodes, uint32_t count, uint32_t i)
{
	for (uint32_t n = 0; n < count; n++)
		if (!graph_descends(doc, nodes[n], i))
			return false;
	return true;
}

static bool is_maximal_common(const struct document *doc, const uint32_t *nodes, uint32_t count,
			      uint32_t i)
{
	if (!is_common(doc, nodes, count, i))
		return false;
	for (uint32_t k = i + 1; k < doc->revisions_count; k++)
		if (is_common(doc, nodes, count, k) && graph_descends(doc, k, i))
			return false;
	return true;
}

static void test_random_common_ancestors(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	rng_init(&rng, 1);
	for (int round = 0; round < 300; round++) {
		random_graph(f, &rng);
		uint32_t nodes[70], *out;
		uint32_t count = 1 + (uint32_t)rng_below(&rng, round % 10 == 0 ? 70 : 4);
		for (uint32_t i = 0; i < count; i++)
			nodes[i] = (uint32_t)rng_below(&rng, RANDOM_NODES);
		uint32_t found = graph_common_ancestors(&f->doc, nodes, count, &f->arena, &out);
		uint32_t next = 0;
		for (uint32_t i = 0; i < f->doc.revisions_count; i++)
			if (is_maximal_common(&f->doc, nodes, count, i)) {
				assert_true(next < found);
				assert_int_equal(out[next++], i);
			}
		assert_int_equal(next, found);
	}
}

static int find_in(const struct document *doc, const struct document *other, uint32_t index)
{
	struct revision r = graph_name(other, index);
	return graph_find(doc, &r);
}

/* The nodes of `list` in `before` are the nodes of `expected` in `after`, by name. */
static void check_same_nodes(const struct document *before, const uint32_t *list, uint32_t count,
			     const struct document *after, const uint32_t *expected,
			     uint32_t expected_count)
{
	assert_int_equal(count, expected_count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(find_in(after, before, list[i]), expected[i]);
}

static void check_stemmed(struct fixture *f, const struct document *before)
{
	struct document *after = &f->doc;
	for (uint32_t i = 0; i < after->revisions_count; i++)
		for (uint32_t k = 0; k < after->revisions_count; k++) {
			int a = find_in(before, after, i), b = find_in(before, after, k);
			assert_int_equal(graph_descends(after, i, k),
					 graph_descends(before, (uint32_t)a, (uint32_t)b));
		}
	uint32_t *x, *y, *x2, *y2;
	uint32_t x_count = graph_sides(before, &f->arena, &x);
	uint32_t y_count = graph_sides(after, &f->arena, &y);
	check_same_nodes(before, x, x_count, after, y, y_count);
	if (x_count < 2)
		return;
	uint32_t a = graph_common_ancestors(before, x, x_count, &f->arena, &x2);
	uint32_t b = graph_common_ancestors(after, y, y_count, &f->arena, &y2);
	check_same_nodes(before, x2, a, after, y2, b);
	a = graph_human_inputs(before, x, x_count, &f->arena, &x2);
	b = graph_human_inputs(after, y, y_count, &f->arena, &y2);
	check_same_nodes(before, x2, a, after, y2, b);
	a = graph_common_ancestors(before, x2, a, &f->arena, &x);
	b = graph_common_ancestors(after, y2, b, &f->arena, &y);
	check_same_nodes(before, x, a, after, y, b);
}

static void test_random_stemming(void **state)
{
	struct fixture *f = *state;
	struct rng rng;
	uint64_t dropped = 0;
	rng_init(&rng, 2);
	for (int round = 0; round < 300; round++) {
		random_graph(f, &rng);
		struct document before = f->doc;
		f->doc.revisions = arena_alloc(&f->arena, RANDOM_NODES * sizeof *f->doc.revisions);
		memcpy(f->doc.revisions, before.revisions, RANDOM_NODES * sizeof *f->doc.revisions);
		graph_stem(&f->doc, &f->arena, (uint32_t)rng_below(&rng, 4));
		check_stemmed(f, &before);
		dropped += RANDOM_NODES - f->doc.revisions_count;
	}
	assert_true(dropped > 1000);
}

#define GRAPH_TEST(test) cmocka_unit_test_setup_teardown(test, fixture_open, fixture_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    GRAPH_TEST(test_empty),
	    GRAPH_TEST(test_winner),
	    GRAPH_TEST(test_leaf_marks),
	    GRAPH_TEST(test_descends),
	    GRAPH_TEST(test_common_ancestors),
	    GRAPH_TEST(test_human_inputs),
	    GRAPH_TEST(test_stem_keeps_depth),
	    GRAPH_TEST(test_stem_keeps_bases),
	    GRAPH_TEST(test_stem_keeps_what_a_split_left),
	    GRAPH_TEST(test_stem_keeps_inputs_of_resolutions),
	    GRAPH_TEST(test_many_leaves),
	    GRAPH_TEST(test_random_common_ancestors),
	    GRAPH_TEST(test_random_stemming),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
