/* The glance at a record says what decoding it says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "storage-node/record_peek.h"

enum { RECORDS = 20000, REVISIONS = 6, BODY_BYTES = 300 };

static struct slice random_bytes(struct rng *rng, struct arena *arena, size_t most)
{
	size_t len = rng_below(rng, most) + 1;
	uint8_t *bytes = arena_alloc(arena, len);
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)rng_next(rng);
	return slice_of(bytes, len);
}

static void random_record(struct rng *rng, struct arena *arena, struct document *doc)
{
	*doc = (struct document){.format = DOCUMENT_FORMAT, .changed = rng_next(rng)};
	doc->revisions_count = (uint32_t)rng_below(rng, REVISIONS);
	doc->revisions = arena_alloc(arena, REVISIONS * sizeof *doc->revisions);
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct revision_node *node = &doc->revisions[i];
		node->generation = rng_below(rng, 1000) + 1;
		node->hash = random_bytes(rng, arena, 16);
		node->flags = rng_below(rng, 512);
		node->stamp = rng_below(rng, 2) ? rng_next(rng) : 0;
		node->superseded = rng_below(rng, 100);
		node->parents = arena_alloc(arena, sizeof *node->parents);
		node->parents_count = i > 0 && rng_below(rng, 2);
	}
	if (rng_below(rng, 4) > 0)
		doc->body = random_bytes(rng, arena, BODY_BYTES);
	if (rng_below(rng, 3) == 0) {
		doc->operations = arena_alloc(arena, sizeof *doc->operations);
		doc->operations_count = 1;
		doc->operations[0].id = random_bytes(rng, arena, 16);
		doc->operations[0].digest = random_bytes(rng, arena, 16);
	}
}

static uint32_t live_leaves(const struct document *doc)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		count += graph_is_leaf(doc, i) && graph_is_live(doc, i);
	return count;
}

static void agrees_with_decoding(void **state)
{
	(void)state;
	struct rng rng;
	struct arena arena = {0};
	struct buf record = {0};
	uint32_t live = 0;
	rng_init(&rng, 7);
	for (int i = 0; i < RECORDS; i++) {
		struct document made;
		struct document doc;
		struct record_peek peek;
		arena_reset(&arena);
		buf_clear(&record);
		random_record(&rng, &arena, &made);
		schema_encode(&schema_document, &made, &record);
		assert_true(schema_decode(&schema_document, buf_slice(&record), &arena, &doc));
		assert_true(record_peek(buf_slice(&record), &peek));
		int winner = graph_winner(&doc);
		assert_int_equal(peek.live,
				 winner != GRAPH_NONE && graph_is_live(&doc, (uint32_t)winner));
		assert_true(slice_equal(peek.body, doc.body));
		struct revision name = winner != GRAPH_NONE ? graph_name(&doc, (uint32_t)winner)
							    : (struct revision){0};
		if (peek.live && peek.leaves == 1)
			assert_true(revision_equal(&peek.winner, &name));
		assert_int_equal(peek.leaves, live_leaves(&doc));
		live += peek.live;
	}
	assert_in_range(live, RECORDS / 5, RECORDS * 4 / 5);
	buf_close(&record);
	arena_close(&arena);
}

/* Cut or changed bytes are read no further than they reach, and cut ones are no record. */
static void survives_broken_records(void **state)
{
	(void)state;
	struct rng rng;
	struct arena arena = {0};
	struct buf record = {0};
	rng_init(&rng, 8);
	for (int i = 0; i < RECORDS; i++) {
		struct document made;
		struct record_peek peek;
		arena_reset(&arena);
		buf_clear(&record);
		random_record(&rng, &arena, &made);
		made.body = random_bytes(&rng, &arena, BODY_BYTES);
		made.operations_count = 0;
		schema_encode(&schema_document, &made, &record);
		struct slice cut =
		    arena_copy(&arena, slice_of(record.data, rng_below(&rng, record.len)));
		assert_false(record_peek(cut, &peek));
		record.data[rng_below(&rng, record.len)] ^= (uint8_t)(1 << rng_below(&rng, 8));
		if (record_peek(buf_slice(&record), &peek))
			assert_true(peek.body.len <= record.len);
	}
	buf_close(&record);
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(agrees_with_decoding),
	    cmocka_unit_test(survives_broken_records),
	};
	return cmocka_run_group_tests_name("record_peek", tests, NULL, NULL);
}
