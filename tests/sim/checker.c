/* What must hold, whatever happened; here what is judged at the end of a run:
 * - acknowledged: every acknowledged write is in the graph of its document, and so is every
 *   revision that a reader was shown
 * - linearizable (linearizable.c): in `consistent` collections each document is one chain of
 *   revisions, every link made by exactly one client's operation, and the chain respects real time,
 *   reads and refusals included
 * - replicas: documents and conflicts are equal on all replicas after healing
 * - counts: counters equal what a walk finds; answers to counts fit
 * - conflicts: none is left, every loser went into something, nothing is pinned any more
 * and elsewhere:
 * - cleanup (sent.c, at each message): no trace goes before all replicas have passed the resolution
 *   and hold no branch of the document
 * - progress (quiet.c): after healing everything finishes: shards led, outboxes empty, conflicts
 *   resolved and cleaned up */
#include <stdio.h>
#include <string.h>

#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "storage-node/keys.h"
#include "tests/sim/checker_private.h"
#include "tests/sim/records.h"

/* ---- one document's final graph ---- */

static const struct shard *shard_of(struct sim *sim, const struct shard_list *list,
				    enum collection_kind kind, struct slice id)
{
	uint64_t hash = shard_hash(id);
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		struct collection collection;
		struct buf key = {0};
		bool ok = disk_record(sim, sim_node_of(sim, shard->replicas[0].node)->disk,
				      STORE_META, key_shard(&key, 'c', shard->collection),
				      &schema_collection, &collection);
		buf_close(&key);
		if (ok && slice_is(collection.name, collection_names[kind]) &&
		    hash >= shard->hash_first && hash <= shard->hash_last)
			return shard;
	}
	return NULL;
}

static struct final_document load_final(struct sim *sim, const struct shard_list *list,
					enum collection_kind kind, int document)
{
	struct final_document out = {0};
	char id[16];
	snprintf(id, sizeof id, "d%d", document);
	const struct shard *shard = shard_of(sim, list, kind, slice_text(id));
	if (!shard)
		return out;
	struct buf key = {0};
	out.exists =
	    disk_record(sim, sim_node_of(sim, shard->replicas[0].node)->disk, STORE_DOCUMENTS,
			key_document(&key, shard->id, slice_text(id)), &schema_document, &out.doc);
	buf_close(&key);
	return out;
}

int checker_find(const struct document *doc, const char *text)
{
	struct revision r;
	return revision_parse(slice_text(text), &r) ? graph_find(doc, &r) : GRAPH_NONE;
}

/* Revisions, each ended by a comma. */
static bool any_stands(const struct document *doc, struct slice names)
{
	struct revision name;
	while (names.len > 0) {
		const uint8_t *comma = memchr(names.data, ',', names.len);
		size_t len = (size_t)(comma - names.data);
		if (revision_parse(slice_of(names.data, len), &name) &&
		    graph_find(doc, &name) != GRAPH_NONE)
			return true;
		names = slice_of(comma + 1, names.len - len - 1);
	}
	return false;
}

static void check_acknowledged(struct sim *sim, const struct op *op,
			       const struct final_document *final)
{
	char text[400];
	if (!op_writes(op) || !op_succeeded(op) || op->revision[0] == 0)
		return;
	if (op->status == 202 && sim->losses > 0)
		return; /* durable on one disk, lost only with it */
	if (final->exists && checker_find(&final->doc, op->revision) != GRAPH_NONE)
		return;
	char id[16];
	snprintf(id, sizeof id, "d%d", op->document);
	struct slice ordered = checker_ordered_as(sim, slice_text(op->revision), slice_text(id));
	if (op->status == 202 && final->exists && any_stands(&final->doc, ordered))
		return;
	op_describe(op, text, sizeof text);
	sim_violation(sim, "acknowledged write lost: %s", text);
}

/* What a reader was shown stays known, whoever answered. */
static void check_shown(struct sim *sim, const struct op *op, const struct final_document *final)
{
	char text[400];
	bool shown = op->kind == OP_GET && op_succeeded(op) && op->revision[0];
	if (!shown || (final->exists && checker_find(&final->doc, op->revision) != GRAPH_NONE))
		return;
	op_describe(op, text, sizeof text);
	sim_violation(sim, "a reader was shown what was never settled: %s", text);
}

/* ---- conflicts: nothing is hidden ---- */

static bool is_parent(const struct document *doc, uint32_t index)
{
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		for (uint64_t p = 0; p < doc->revisions[i].parents_count; p++)
			if (doc->revisions[i].parents[p] == index)
				return true;
	return false;
}

/* Every revision of a client is a leaf, or something was made of it. When all is quiet, one leaf is
 * left, and nothing is pinned. */
static void check_leaves(struct sim *sim, enum collection_kind kind, int document,
			 const struct final_document *final)
{
	const char *name = collection_names[kind];
	if (!final->exists)
		return;
	if (graph_conflicts(&final->doc) > 0)
		sim_violation(sim, "%s/d%d is still in conflict", name, document);
	for (uint32_t i = 0; i < final->doc.revisions_count; i++) {
		const struct revision_node *node = &final->doc.revisions[i];
		if (node->pins > 0)
			sim_violation(sim, "%s/d%d: generation %llu is still pinned", name,
				      document, (unsigned long long)node->generation);
		if ((node->flags & REVISION_CLOSED) && node->policy == 0 &&
		    !is_parent(&final->doc, i))
			sim_violation(sim,
				      "%s/d%d: a revision of generation %llu was closed, and "
				      "nothing made of it",
				      name, document, (unsigned long long)node->generation);
	}
}

/* ---- all together ---- */

static void check_replicas(struct sim *sim, const struct shard_list *list)
{
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		for (uint32_t k = 1; k < shard->replicas_count; k++)
			for (int f = STORE_DOCUMENTS; f < STORE_FAMILIES; f++)
				if (f != STORE_STREAM &&
				    digest_of(sim, shard->replicas[k].node, (enum store_family)f,
					      shard->id) != digest_of(sim, shard->replicas[0].node,
								      (enum store_family)f,
								      shard->id))
					sim_violation(
					    sim, "replicas of shard %016llx differ in family %d",
					    (unsigned long long)shard->id, f);
	}
}

struct counted {
	struct sim *sim;
	uint64_t live, deleted;
};

static void count_document(void *context, struct slice key, struct slice value)
{
	struct counted *c = context;
	struct slice id;
	struct slice rest;
	struct document doc;
	if (!key_split(key, &id, &rest) || rest.len > 0 ||
	    !schema_decode(&schema_document, value, &c->sim->arena, &doc))
		return;
	bool live = graph_is_live(&doc, (uint32_t)graph_winner(&doc));
	c->live += live;
	c->deleted += !live;
}

static void check_counts(struct sim *sim, const struct shard_list *list)
{
	for (int i = 0; i < list->count; i++) {
		struct counted counted = {sim, 0, 0};
		struct shard_position p;
		struct buf key = {0};
		const struct shard *shard = &list->shards[i];
		disk_walk(sim_node_of(sim, shard->replicas[0].node)->disk, STORE_DOCUMENTS,
			  key_shard(&key, 'd', shard->id), count_document, &counted);
		buf_close(&key);
		if (position_of(sim, shard->replicas[0].node, shard->id, &p) &&
		    (p.documents != counted.live || p.deleted != counted.deleted))
			sim_violation(
			    sim, "shard %016llx counts %llu live %llu deleted, holds %llu and %llu",
			    (unsigned long long)shard->id, (unsigned long long)p.documents,
			    (unsigned long long)p.deleted, (unsigned long long)counted.live,
			    (unsigned long long)counted.deleted);
	}
}

static void check_document(struct sim *sim, const struct shard_list *list,
			   enum collection_kind kind, int document)
{
	struct final_document final = load_final(sim, list, kind, document);
	for (int i = 0; i < sim->history->count; i++) {
		const struct op *op = &sim->history->ops[i];
		if (op->collection == kind && op->document == document && op->kind != OP_COUNT)
			check_acknowledged(sim, op, &final);
		if (op->collection == kind && op->document == document)
			check_shown(sim, op, &final);
	}
	check_leaves(sim, kind, document, &final);
	if (kind == COLLECTION_STRICT)
		checker_linearizable(sim, document, &final);
}

void checker_final(struct sim *sim)
{
	const struct shard_list *list = all_shards(sim);
	check_replicas(sim, list);
	check_counts(sim, list);
	for (int kind = 0; kind < COLLECTION_KINDS; kind++)
		for (int document = 0; document < sim->settings.documents; document++)
			check_document(sim, list, (enum collection_kind)kind, document);
	if (sim->violations == 0)
		checker_count_answers(sim);
	arena_reset(&sim->arena);
}
