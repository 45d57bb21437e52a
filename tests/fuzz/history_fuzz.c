/* Histories that come from elsewhere, in any order: the input is a row of steps on one document's
 * graph (tests/fuzz/draw.h): a revision with its line, a revision made here, a resolution of
 * several leaves, a stemming. Checked: what comes in stands on what of its line was known, and
 * brings the rest; coming again it changes nothing; what has a child is no leaf; the tree that
 * CouchDB's clients are shown has each leaf once, and an end for what only the graph goes on from.
 */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/graph_line.h"
#include "common/doc/revision.h"
#include "tests/fuzz/draw.h"

enum { STEPS_MAX = 64, GENERATIONS = 8, LINE_MAX = 12, MOST = 6 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char hashes[][2] = {"a", "b", "c", "d", "e"};

static struct slice draw_hash(struct draw *d)
{
	return slice_text(hashes[draw_below(d, ARRAY_LEN(hashes))]);
}

/* ---- what must hold ---- */

static void check_leaves(const struct document *doc)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		for (uint32_t p = 0; p < doc->revisions[i].parents_count; p++) {
			uint64_t parent = doc->revisions[i].parents[p];
			CHECK(parent < i && !graph_is_leaf(doc, (uint32_t)parent));
		}
}

static void check_tips(const struct document *doc, struct arena *arena)
{
	struct graph_tip *tips;
	uint32_t work = GRAPH_ENDS_WORK;
	uint32_t count = graph_tips(doc, arena, &tips);
	uint32_t leaves = 0;
	if (!doc->revisions) {
		CHECK(count == 0);
		return;
	}
	CHECK(count == 0 ||
	      revision_equal(&tips[0].revision,
			     &(struct revision){doc->revisions[graph_winner(doc)].generation,
						doc->revisions[graph_winner(doc)].hash}));
	for (uint32_t i = 0; i < count; i++) {
		int found = graph_find(doc, &tips[i].revision);
		CHECK(tips[i].end == (found == GRAPH_NONE));
		CHECK(tips[i].end || found == (int)tips[i].index);
		CHECK(!tips[i].end ||
		      graph_find_end(doc, &tips[i].revision, &work) == (int)tips[i].index);
		leaves += !tips[i].end && graph_is_leaf(doc, tips[i].index);
		for (uint32_t k = 0; k < i; k++)
			CHECK(!revision_equal(&tips[i].revision, &tips[k].revision));
	}
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		leaves -= graph_is_leaf(doc, i);
	CHECK(leaves == 0);
}

static void check_line(const struct document *doc, uint32_t index, const struct revision *line,
		       uint32_t line_count, const int *known)
{
	for (uint32_t i = 0; i < line_count && i < MOST; i++) {
		int found = graph_find(doc, &line[i]);
		CHECK(found != GRAPH_NONE && graph_descends(doc, index, (uint32_t)found));
		if (known[i] != GRAPH_NONE)
			return; /* what is below was known before, right or wrong */
	}
}

/* ---- steps ---- */

static void import(struct draw *d, struct document *doc, uint64_t number)
{
	uint64_t generation = 1 + draw_below(d, GENERATIONS);
	uint32_t count = (uint32_t)draw_below(d, generation < LINE_MAX ? generation : LINE_MAX);
	struct revision_node leaf = {.generation = generation, .hash = draw_hash(d)};
	struct revision name = {generation, leaf.hash};
	struct revision *line = arena_alloc(d->arena, (count + 1) * sizeof *line);
	for (uint32_t i = 0; i < count; i++)
		line[i] = (struct revision){generation - 1 - i, draw_hash(d)};
	if (draw_below(d, 4) == 0)
		leaf.flags = REVISION_DELETED;
	const int *known = graph_find_all(doc, line, count, d->arena);
	uint32_t before = doc->revisions_count;
	bool there = graph_find(doc, &name) != GRAPH_NONE;
	graph_reserve(doc, d->arena, MOST + 1);
	struct graph_line with = {&leaf, line, count, MOST};
	struct graph_imported made = graph_import(doc, d->arena, &with, number);
	CHECK(there == (made.index == GRAPH_NONE) && (!there || doc->revisions_count == before));
	if (there)
		return;
	CHECK(graph_is_leaf(doc, (uint32_t)made.index));
	check_line(doc, (uint32_t)made.index, line, count, known);
	CHECK(graph_import(doc, d->arena, &with, number).index == GRAPH_NONE);
}

/* A child of one, or what becomes of all leaves; losers that are no parents are closed. */
static void write(struct draw *d, struct document *doc, uint64_t number)
{
	uint32_t *leaves = NULL;
	uint32_t count = doc->revisions ? graph_sides_set(doc, d->arena, &leaves) : 0;
	struct revision_node node = {.generation = 1, .hash = draw_hash(d)};
	bool resolves = draw_below(d, 2) == 0;
	uint32_t parents = resolves ? (uint32_t)draw_below(d, count + 1) : count > 0;
	node.parents = arena_alloc(d->arena, (parents + 1) * sizeof *node.parents);
	for (uint32_t i = 0; leaves && i < parents; i++) {
		node.parents[node.parents_count++] = leaves[i];
		if (doc->revisions[leaves[i]].generation >= node.generation)
			node.generation = doc->revisions[leaves[i]].generation + 1;
	}
	struct revision name = {node.generation, node.hash};
	if (graph_find(doc, &name) != GRAPH_NONE)
		return;
	graph_add(doc, d->arena, &node, number);
	for (uint32_t i = 0; resolves && leaves && i < count; i++)
		if (graph_is_leaf(doc, leaves[i]))
			graph_close(doc, leaves[i], number);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct buf bytes = {0};
	struct document doc = {.format = DOCUMENT_FORMAT};
	struct draw d = {.rest = slice_of(data, size), .arena = &arena};
	for (uint64_t number = 1; number <= STEPS_MAX && d.rest.len > 0; number++) {
		uint64_t step = draw_below(&d, 8);
		if (step == 0)
			graph_stem(&doc, &arena, (uint32_t)draw_below(&d, 4));
		else if (step < 3)
			write(&d, &doc, number);
		else
			import(&d, &doc, number);
		check_leaves(&doc);
		check_tips(&doc, &arena);
	}
	doc.changed = 1;
	schema_encode(&schema_document, &doc, &bytes);
	CHECK(schema_decode(&schema_document, buf_slice(&bytes), &arena, &doc));
	buf_close(&bytes);
	arena_close(&arena);
	return 0;
}
