/* Is what clients saw of a document of the `consistent` collection linearizable? It is one chain of
 * revisions; each is attributed to the one operation that made it; and what each operation showed
 * comes no earlier in the chain than what was known before it began. Counts of the collection lie
 * between what its documents allow. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "tests/sim/checker_private.h"

struct chain {
	int nodes[512]; /* graph indexes, oldest first; position 1 is nodes[0] */
	int length;
	int made_by[513]; /* position -> op index, or -1 */
};

static bool build_chain(struct sim *sim, int document, const struct final_document *final,
			struct chain *chain)
{
	chain->length = 0;
	if (!final->exists)
		return true;
	int leaves = 0;
	for (uint32_t i = 0; i < final->doc.revisions_count; i++)
		leaves += graph_is_leaf(&final->doc, i);
	if (leaves != 1 || final->doc.revisions_count > 512) {
		sim_violation(sim, "strict/d%d has %d leaves and %u revisions", document, leaves,
			      final->doc.revisions_count);
		return false;
	}
	for (uint32_t i = 0; i < final->doc.revisions_count; i++) {
		const struct revision_node *node = &final->doc.revisions[i];
		bool follows = i == 0 ? node->parents_count == 0
				      : node->parents_count == 1 && node->parents[0] == i - 1;
		if (!follows) {
			sim_violation(sim, "strict/d%d is no chain at %u", document, i);
			return false;
		}
		chain->nodes[chain->length++] = (int)i;
	}
	return true;
}

/* Would this operation, on this state, make this revision? On success the state becomes the one
 * after it. */
static bool makes(const struct op *op, const struct revision *parent, const struct revision *wanted,
		  struct buf *state, bool *live)
{
	struct buf after = {0};
	char hash[REVISION_HASH_CHARS];
	struct revision name;
	if (op->kind == OP_PATCH && *live)
		value_merge_patch(buf_slice(state), buf_slice(&op->body), &after);
	else if (op->kind != OP_DELETE)
		buf_append_slice(&after, buf_slice(&op->body));
	struct revision_content content = {.parents = parent,
					   .parents_count = parent ? 1 : 0,
					   .deleted = op->kind == OP_DELETE,
					   .body = buf_slice(&after)};
	revision_name(&content, hash, &name);
	bool same = revision_equal(&name, wanted);
	if (same) {
		buf_clear(state);
		buf_append_slice(state, buf_slice(&after));
		*live = op->kind != OP_DELETE;
	}
	buf_close(&after);
	return same;
}

static bool for_document(const struct op *op, int document)
{
	return op->collection == COLLECTION_STRICT && op->document == document &&
	       op->kind != OP_COUNT;
}

/* Deletions of one parent all have one name. Who said so made it; else the first without an answer
 * may have; one that was refused is the last resort, and a violation. */
static int likelihood(const struct op *op, const char *revision)
{
	if (op_succeeded(op))
		return strcmp(op->revision, revision) == 0 ? 3 : 0;
	return op_refused(op) ? 1 : 2;
}

static int maker_of(const struct history *h, const bool *used, const struct revision *parent,
		    const struct revision *wanted, struct buf *state, bool *live)
{
	int maybe = -1;
	char text[128];
	snprintf(text, sizeof text, "%llu-%.*s", (unsigned long long)wanted->generation,
		 (int)wanted->hash.len, (const char *)wanted->hash.data);
	struct buf trial = {0};
	struct buf best = {0};
	bool best_live = *live;
	for (int i = 0; i < h->count; i++) {
		const struct op *op = &h->ops[i];
		bool trial_live = *live;
		if (used[i])
			continue;
		buf_clear(&trial);
		buf_append_slice(&trial, buf_slice(state));
		if (!makes(op, parent, wanted, &trial, &trial_live))
			continue;
		if (maybe < 0 || likelihood(op, text) > likelihood(&h->ops[maybe], text)) {
			maybe = i;
			best_live = trial_live;
			buf_clear(&best);
			buf_append_slice(&best, buf_slice(&trial));
		}
	}
	if (maybe >= 0) {
		buf_clear(state);
		buf_append_slice(state, buf_slice(&best));
		*live = best_live;
	}
	buf_close(&trial);
	buf_close(&best);
	return maybe;
}

static void attribute(struct sim *sim, int document, const struct final_document *final,
		      struct chain *chain)
{
	struct buf state = {0};
	bool live = false;
	char text[400];
	const struct history *h = sim->history;
	bool *used = mem_alloc_zero((size_t)h->count + 1); /* or it makes none of these */
	for (int i = 0; i < h->count; i++)
		used[i] = !for_document(&h->ops[i], document) || !op_writes(&h->ops[i]);
	for (int p = 1; p <= chain->length; p++) {
		struct revision wanted = graph_name(&final->doc, (uint32_t)chain->nodes[p - 1]);
		struct revision parent = {0};
		if (p > 1)
			parent = graph_name(&final->doc, (uint32_t)chain->nodes[p - 2]);
		int maker = maker_of(h, used, p > 1 ? &parent : NULL, &wanted, &state, &live);
		chain->made_by[p] = maker;
		if (maker < 0) {
			sim_violation(sim,
				      "strict/d%d: nobody made revision %d of its chain, or it was "
				      "made twice",
				      document, p);
			break;
		}
		used[maker] = true;
		if (op_refused(&h->ops[maker])) {
			op_describe(&h->ops[maker], text, sizeof text);
			sim_violation(sim, "a refused write was done: %s", text);
		}
	}
	free(used);
	buf_close(&state);
}

/* Positions that an operation's answer allows: exactly one, or for "absent" the smallest one from
 * `low` on. */
static int position_shown(const struct op *op, const struct final_document *final,
			  const struct chain *chain, int low)
{
	if (op->status == 404 ||
	    (op->kind == OP_CREATE && op->status == 412 && op->revision[0] == 0)) {
		if (op->status != 404)
			return low;
		for (int p = low; p <= chain->length; p++)
			if (p == 0 ||
			    (final->doc.revisions[chain->nodes[p - 1]].flags & REVISION_DELETED))
				return p;
		return -1;
	}
	if (op->revision[0] == 0)
		return low;
	int index = final->exists ? checker_find(&final->doc, op->revision) : GRAPH_NONE;
	return index == GRAPH_NONE ? -1 : index + 1;
}

/* Adds this document to what each count may have seen: the positions from what was known when it
 * began to what had begun when it ended. */
static void bound_counts(struct sim *sim, int document, const struct final_document *final,
			 const struct chain *chain, const int *shown)
{
	const struct history *h = sim->history;
	for (int i = 0; i < h->count; i++) {
		struct op *count = &h->ops[i];
		if (count->kind != OP_COUNT || count->collection != COLLECTION_STRICT)
			continue;
		int low = 0;
		int high = 0;
		for (int k = 0; k < h->count; k++)
			if (for_document(&h->ops[k], document) &&
			    h->ops[k].end_us < count->start_us && shown[k] > low)
				low = shown[k];
		while (high < chain->length && chain->made_by[high + 1] >= 0 &&
		       h->ops[chain->made_by[high + 1]].start_us <= count->end_us)
			high++;
		bool may_live = false;
		bool must_live = true;
		for (int p = low; p <= high; p++) {
			bool live = p > 0 && !(final->doc.revisions[chain->nodes[p - 1]].flags &
					       REVISION_DELETED);
			may_live = may_live || live;
			must_live = must_live && live;
		}
		count->count_min += must_live;
		count->count_max += may_live;
	}
}

void checker_count_answers(struct sim *sim)
{
	char text[400];
	for (int i = 0; i < sim->history->count; i++) {
		const struct op *op = &sim->history->ops[i];
		if (op->kind != OP_COUNT || op->collection != COLLECTION_STRICT ||
		    !op_succeeded(op) || (op->count >= op->count_min && op->count <= op->count_max))
			continue;
		op_describe(op, text, sizeof text);
		sim_violation(sim, "count %llu is not within %llu..%llu: %s",
			      (unsigned long long)op->count, (unsigned long long)op->count_min,
			      (unsigned long long)op->count_max, text);
	}
}

static void check_order(struct sim *sim, int document, const struct final_document *final,
			const struct chain *chain)
{
	const struct history *h = sim->history;
	char text[400];
	int *shown = mem_alloc((size_t)(h->count + 1) * sizeof *shown);
	for (int i = 0; i < h->count; i++)
		shown[i] = -1;
	for (int p = 1; p <= chain->length; p++)
		if (chain->made_by[p] >= 0)
			shown[chain->made_by[p]] = p;
	for (int i = 0; i < h->count; i++) {
		const struct op *op = &h->ops[i];
		if (!for_document(op, document))
			continue;
		int low = 0;
		for (int k = 0; k < h->count; k++)
			if (for_document(&h->ops[k], document) && h->ops[k].end_us < op->start_us &&
			    shown[k] > low)
				low = shown[k];
		bool made = shown[i] > 0;
		if (!made && (op->status == 0 || op->status >= 500))
			continue;
		int position = made ? shown[i] : position_shown(op, final, chain, low);
		shown[i] = position;
		if (position < low || (made && position == low)) {
			op_describe(op, text, sizeof text);
			sim_violation(
			    sim, "not linearizable: shows position %d, but %d was known before: %s",
			    position, low, text);
		}
	}
	bound_counts(sim, document, final, chain, shown);
	free(shown);
}

void checker_linearizable(struct sim *sim, int document, const struct final_document *final)
{
	struct chain *chain = arena_alloc(&sim->arena, sizeof *chain);
	if (!build_chain(sim, document, final, chain))
		return;
	attribute(sim, document, final, chain);
	if (sim->violations == 0)
		check_order(sim, document, final, chain);
}
