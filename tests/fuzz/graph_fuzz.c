/* Documents' graphs as a disk or a peer might have them. The first byte chooses: 'R' the record of
 * a document, as bytes; 'D' one drawn from the input (tests/fuzz/draw.h); 'C' the bytes of a
 * conflict that an arbiter was answered; 'A' such an answer drawn. Every operation on the graph
 * stands any such record; what the glance at a record says is what the whole says; what an arbiter
 * decides is the same each time, and can be sent. */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/script_answer.h"
#include "storage-node/record_peek.h"
#include "tests/fuzz/draw.h"

enum { NODES_MAX = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define TEXT(t)                                                                                    \
	{                                                                                          \
		(const uint8_t *)(t), sizeof(t) - 1                                                \
	}

static const struct draw_texts texts[] = {
    {"hash", 0, {TEXT("a"), TEXT("b"), TEXT("c"), TEXT("d")}, 4},
    {"body",
     0,
     {TEXT("\x81\xa1v\x01"), TEXT("\x81\xa1v\x92\x01\x02"), TEXT("\x80"), TEXT("\x81\xa1v\x02")},
     4},
    {"policy",
     0,
     {TEXT(""), TEXT("\x81\xa8strategy\xa6newest"),
      TEXT("\x81\xa8strategy\xa8"
	   "external"),
      TEXT("\x83\xa8strategy\xa6script\xa6script\xa1x\xa8"
	   "fallback\xa6oldest")},
     4},
};
static const struct draw_numbers numbers[] = {
    {"generation", {1, 2, 3, 4}, 4},
    {"flags",
     {REVISION_LEAF | REVISION_HAS_BODY, REVISION_HAS_BODY, 0,
      REVISION_LEAF | REVISION_HAS_BODY | REVISION_RESOLVED, REVISION_LEAF | REVISION_DELETED,
      REVISION_RESOLVED | REVISION_HAS_BODY},
     6},
    {"parents", {0, 1, 2, 3, 4, 5, 6, 7}, 8},
};

static struct draw draw_of(struct slice rest, struct arena *arena)
{
	return (struct draw){.rest = rest,
			     .arena = arena,
			     .numbers = numbers,
			     .numbers_count = ARRAY_LEN(numbers),
			     .texts = texts,
			     .texts_count = ARRAY_LEN(texts)};
}

/* More of them than draw_struct makes. */
static void draw_nodes(struct draw *d, struct document *doc)
{
	uint32_t count = (uint32_t)draw_below(d, NODES_MAX);
	doc->revisions = arena_alloc(d->arena, (count + 1) * sizeof *doc->revisions);
	doc->revisions_count = count;
	for (uint32_t i = 0; i < count; i++)
		draw_struct(d, &schema_revision_node, &doc->revisions[i]);
}

/* ---- a record ---- */

static void ask_of_all(const struct document *doc, struct arena *arena)
{
	uint32_t *leaves, *found;
	uint32_t count = graph_sides(doc, arena, &leaves);
	CHECK(count == 0 || graph_conflicts(doc) == count - 1);
	uint32_t inputs = graph_human_inputs(doc, leaves, count, arena, &found);
	CHECK(inputs <= doc->revisions_count && (inputs > 0) == (count > 0));
	uint32_t bases = graph_common_ancestors(doc, found, inputs, arena, &found);
	CHECK(bases <= doc->revisions_count);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct revision name = graph_name(doc, i);
		CHECK(graph_find(doc, &name) != GRAPH_NONE && graph_descends(doc, i, i));
		(void)graph_descends(doc, doc->revisions_count - 1, i);
	}
}

static void grow(struct document *doc, struct arena *arena)
{
	uint64_t parent = doc->revisions_count - 1;
	struct revision_node node = {.generation = 9,
				     .hash = slice_text("new"),
				     .parents = &parent,
				     .parents_count = doc->revisions_count > 0};
	if (doc->revisions_count >= LIMIT_REVISIONS)
		return;
	uint32_t index = graph_add(doc, arena, &node, 7);
	CHECK(graph_is_leaf(doc, index));
	graph_close(doc, index, 8);
	graph_stem(doc, arena, 2);
}

static void use_document(struct document *doc, struct arena *arena)
{
	struct buf bytes = {0};
	struct record_peek peek;
	int winner = graph_winner(doc);
	schema_encode(&schema_document, doc, &bytes);
	CHECK(record_peek(buf_slice(&bytes), &peek));
	CHECK(peek.live == (winner != GRAPH_NONE && graph_is_live(doc, (uint32_t)winner)));
	CHECK(slice_equal(peek.body, doc->body));
	ask_of_all(doc, arena);
	grow(doc, arena);
	ask_of_all(doc, arena);
	buf_clear(&bytes);
	schema_encode(&schema_document, doc, &bytes);
	buf_close(&bytes);
}

static void try_record(struct slice bytes, struct arena *arena)
{
	struct document doc;
	struct record_peek peek;
	bool glance = record_peek(bytes, &peek);
	if (!schema_decode(&schema_document, bytes, arena, &doc))
		return;
	CHECK(glance);
	use_document(&doc, arena);
}

/* ---- what an arbiter makes of it ---- */

static void check_decision(const struct decision *d, struct buf *out)
{
	buf_append_byte(out, (uint8_t)d->kind);
	if (d->kind == DECISION_RESOLVE)
		schema_encode(&schema_msg_conflict_resolve, &d->resolve, out);
	else if (d->kind == DECISION_NOTE)
		schema_encode(&schema_msg_conflict_note, &d->note, out);
	else if (d->kind == DECISION_SCRIPT || d->kind == DECISION_EXTERNAL)
		buf_append_slice(out, d->input);
}

/* What a script or a client says when it is asked. */
static void answer(struct draw *d, const struct msg_conflict_read_ack *graph)
{
	struct decision decision;
	struct buf out = {0};
	struct answer answer = {.how = draw_below(d, 2) ? HOW_SCRIPT : HOW_EXTERNAL};
	uint64_t kind = draw_below(d, 4);
	struct slice text = {0};
	answer.body = d->texts[1].values[draw_below(d, d->texts[1].count)];
	if (kind < 3)
		answer.kind = (enum answer_kind)kind;
	else if (script_answer_read(draw_raw(d, 255), &answer, &text) != SCRIPT_ANSWERS)
		text = script_text(text);
	if (graph->nodes_count > 0)
		answer.pick = graph->nodes[draw_below(d, graph->nodes_count)].revision;
	decide_answer(graph, slice_text("doc"), &answer, d->arena, &decision);
	check_decision(&decision, &out);
	decide_fallback(graph, slice_text("doc"), "deadline", text, d->arena, &decision);
	check_decision(&decision, &out);
	struct decide_why why = {.reason = "script_failed", .text = text};
	decide_open(graph, slice_text("doc"), &why, d->arena, &decision);
	check_decision(&decision, &out);
	buf_close(&out);
}

static void decide(struct draw *d, const struct msg_conflict_read_ack *graph)
{
	struct decision once, twice;
	struct buf a = {0}, b = {0};
	decide_conflict(graph, slice_text("doc"), d->arena, &once);
	decide_conflict(graph, slice_text("doc"), d->arena, &twice);
	check_decision(&once, &a);
	check_decision(&twice, &b);
	CHECK(slice_equal(buf_slice(&a), buf_slice(&b)));
	buf_close(&a);
	buf_close(&b);
	answer(d, graph);
}

static void draw_answer(struct draw *d, struct msg_conflict_read_ack *graph)
{
	draw_struct(d, &schema_msg_conflict_read_ack, graph);
	uint32_t count = (uint32_t)draw_below(d, NODES_MAX);
	graph->nodes = arena_alloc(d->arena, (count + 1) * sizeof *graph->nodes);
	graph->nodes_count = count;
	for (uint32_t i = 0; i < count; i++) {
		struct graph_node *node = &graph->nodes[i];
		draw_struct(d, &schema_graph_node, node);
		uint32_t kept = 0;
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (node->parents[p] < i)
				node->parents[kept++] = node->parents[p];
		node->parents_count = kept;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct document doc;
	struct msg_conflict_read_ack graph;
	struct slice rest = slice_of(data + 1, size ? size - 1 : 0);
	struct draw d = draw_of(rest, &arena);
	switch (size ? data[0] : 0) {
	case 'R':
		try_record(rest, &arena);
		break;
	case 'D':
		draw_struct(&d, &schema_document, &doc);
		draw_nodes(&d, &doc);
		use_document(&doc, &arena);
		break;
	case 'C':
		if (schema_decode(&schema_msg_conflict_read_ack, rest, &arena, &graph))
			decide(&d, &graph);
		break;
	case 'A':
		draw_answer(&d, &graph);
		decide(&d, &graph);
		break;
	default:
		break;
	}
	arena_close(&arena);
	return 0;
}
