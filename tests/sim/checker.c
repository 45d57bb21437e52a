/* What must hold, whatever happened:
 * - acknowledged: every acknowledged write is in the graph of its document, and so is every
 * revision that a reader was shown
 * - linearizable: in `consistent` collections each document is one chain of revisions, every link
 *   made by exactly one client's operation, and the chain respects real time, reads and refusals
 *   included
 * - replicas: documents and conflicts are equal on all replicas after healing
 * - counts: counters equal what a walk finds; answers to counts fit
 * - conflicts: none is left, every loser went into something, nothing is pinned any more
 * - cleanup: no trace goes before all replicas have passed the resolution and hold no branch of the
 *   document
 * - progress: after healing everything finishes: shards led, outboxes empty, conflicts resolved and
 *   cleaned up */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"
#include "common/doc/value.h"
#include "common/quorum.h"
#include "storage-node/keys.h"
#include "tests/sim/history.h"
#include "tests/sim/records.h"

/* ---- quiet: nothing left to do ---- */

static bool has_branches(struct sim *sim, uint64_t node, uint64_t shard)
{
	struct buf key = {0};
	bool any =
	    disk_has_any(sim_node_of(sim, node)->disk, STORE_STREAM, key_shard(&key, 'o', shard));
	buf_close(&key);
	return any;
}

static bool shard_quiet(struct sim *sim, const struct shard *shard, struct buf *why)
{
	struct shard_position first;
	if (shard->lead == 0) {
		buf_printf(why, "shard %016llx has no lead", (unsigned long long)shard->id);
		return false;
	}
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		struct shard_position p;
		uint64_t node = shard->replicas[i].node;
		if (shard->replicas[i].learning || !position_of(sim, node, shard->id, &p)) {
			buf_printf(why, "shard %016llx: node %llu is not in sync",
				   (unsigned long long)shard->id, (unsigned long long)node);
			return false;
		}
		if (i == 0)
			first = p;
		if (p.applied != first.applied || p.last != p.applied || p.copying) {
			buf_printf(why, "shard %016llx: node %llu applied %llu of %llu, first %llu",
				   (unsigned long long)shard->id, (unsigned long long)node,
				   (unsigned long long)p.applied, (unsigned long long)p.last,
				   (unsigned long long)first.applied);
			return false;
		}
		if (has_branches(sim, node, shard->id)) {
			buf_printf(why, "shard %016llx: node %llu has branches in its outbox",
				   (unsigned long long)shard->id, (unsigned long long)node);
			return false;
		}
		if (sim->healed && conflicts_on(sim, node, shard->id) > 0) {
			buf_printf(why, "shard %016llx: conflicts are left",
				   (unsigned long long)shard->id);
			return false;
		}
	}
	return true;
}

bool checker_quiet(struct sim *sim, struct buf *why)
{
	for (int i = 0; i < sim->nodes_count; i++)
		if (!sim->nodes[i].core) {
			buf_printf(why, "%s is down", sim->nodes[i].name);
			return false;
		} else if (flip_stands(sim, &sim->nodes[i])) {
			buf_printf(why, "%s has not noticed its flipped bit", sim->nodes[i].name);
			return false;
		}
	const struct shard_list *list = all_shards(sim);
	bool quiet = true;
	for (int i = 0; i < list->count && quiet; i++)
		quiet = shard_quiet(sim, &list->shards[i], why);
	arena_reset(&sim->arena);
	return quiet;
}

bool checker_whole(struct sim *sim)
{
	const struct shard_list *list = all_shards(sim);
	bool whole = list->count > 0;
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		for (uint32_t k = 0; k < shard->replicas_count; k++) {
			const struct replica *r = &shard->replicas[k];
			struct shard_position p;
			const struct sim_node *node = sim_node_of(sim, r->node);
			whole = whole && !r->learning && node->incarnation == r->incarnation &&
				node->incarnation != node->aged &&
				position_of(sim, r->node, shard->id, &p) && !p.copying;
		}
	}
	arena_reset(&sim->arena);
	return whole;
}

uint64_t checker_followed(struct sim *sim, uint64_t member)
{
	const struct shard_list *list = all_shards(sim);
	uint64_t found = 0;
	for (int i = 0; i < list->count; i++) {
		const struct shard *shard = &list->shards[i];
		for (uint32_t k = 1; k < shard->replicas_count && !shard->dropped; k++)
			if (shard->replicas[k].node == member && shard->lead != member)
				found = shard->id;
	}
	arena_reset(&sim->arena);
	return found;
}

/* ---- cleanup: only after all have acknowledged ---- */

/* What a flipped bit took from it, it does not know yet: its copy will be given up. */
static bool is_damaged(struct sim *sim, struct sim_node *node, const struct shard *shard)
{
	return flip_stands(sim, node) && node->flipped_shard == shard->id;
}

static void check_cleanup(struct sim *sim, const struct shard *shard, const struct change *change)
{
	struct buf key = {0};
	struct conflict resolved;
	/* the only replica has done it long before it sends the entry to one that joins */
	if (quorum_places(shard) == 1)
		return;
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		struct sim_node *node = sim_node_of(sim, shard->replicas[i].node);
		struct shard_position p;
		if (node->incarnation != shard->replicas[i].incarnation ||
		    node->incarnation == node->aged || shard->replicas[i].learning)
			continue;
		/* one that is copied to since is given the lead's state in place of its own */
		if (position_of(sim, node->member, shard->id, &p) && p.copying)
			continue;
		if (!disk_record(
			sim, node->disk, STORE_CONFLICTS,
			key_conflict_resolved(&key, shard->id, change->id, change->resolution_id),
			&schema_conflict, &resolved) &&
		    !is_damaged(sim, node, shard))
			sim_violation(sim, "cleanup of %.*s ordered before %s had the resolution",
				      (int)change->id.len, (const char *)change->id.data,
				      node->name);
	}
	buf_close(&key);
}

/* ---- which operation made which revision ---- */

/* Strings kept for the run, under a key of two parts. */
static void remember(struct map *map, struct slice a, struct slice b, struct slice value)
{
	struct buf key = {0};
	buf_append_slice(&key, a);
	buf_append_slice(&key, b);
	struct buf *kept = mem_alloc_zero(sizeof *kept);
	buf_append_slice(kept, value);
	struct buf *before = map_put(map, buf_slice(&key), kept);
	if (before) {
		buf_close(before);
		free(before);
	}
	buf_close(&key);
}

static struct slice recall(const struct map *map, struct slice a, struct slice b)
{
	struct buf key = {0};
	buf_append_slice(&key, a);
	buf_append_slice(&key, b);
	struct buf *kept = map_get(map, buf_slice(&key));
	buf_close(&key);
	return kept ? buf_slice(kept) : (struct slice){0};
}

void checker_close(struct sim *sim)
{
	struct map *maps[] = {&sim->operation_of_request, &sim->operation_of_branch,
			      &sim->ordered_as};
	for (size_t i = 0; i < ARRAY_LEN(maps); i++) {
		size_t at = 0;
		for (struct map_entry *e; (e = map_next(maps[i], &at));) {
			buf_close(e->value);
			free(e->value);
		}
		map_close(maps[i]);
	}
	map_close(&sim->cleanups_seen);
	map_close(&sim->entries_seen);
}

static bool slice_contains(struct slice whole, struct slice part)
{
	return whole.len > 0 && memmem(whole.data, whole.len, part.data, part.len) != NULL;
}

/* A lead that was replaced may have ordered it too, under a name that was cut again: all count. */
static void note_ordered(struct sim *sim, const struct change *change)
{
	struct buf text = {0};
	if (change->operation_id.len == 0)
		return;
	revision_print(&change->revision, &text);
	buf_append_byte(&text, ',');
	struct slice before = recall(&sim->ordered_as, change->operation_id, change->id);
	if (!slice_contains(before, buf_slice(&text))) {
		struct buf all = {0};
		buf_append_slice(&all, before);
		buf_append_slice(&all, buf_slice(&text));
		remember(&sim->ordered_as, change->operation_id, change->id, buf_slice(&all));
		buf_close(&all);
	}
	buf_close(&text);
}

/* An answer 202 promises the operation. If a lead had taken it too, it stands in the stream under
 * the revision that the lead gave it, and once is enough. */
static void note_branches(struct sim *sim, const struct effect *effect)
{
	struct slice request =
	    slice_of(&effect->send.envelope.request_id, sizeof effect->send.envelope.request_id);
	struct msg_doc_write write;
	struct msg_doc_write_ack ack;
	if (effect->send.envelope.type == MSG_doc_write) {
		CHECK(schema_decode(&schema_msg_doc_write, effect->send.body, &sim->arena, &write));
		struct buf both = {0};
		buf_append_slice(&both, write.operation_id);
		buf_append_slice(&both, write.id);
		remember(&sim->operation_of_request, request, (struct slice){0}, buf_slice(&both));
		buf_close(&both);
	} else if (effect->send.envelope.type == MSG_doc_write_ack) {
		CHECK(
		    schema_decode(&schema_msg_doc_write_ack, effect->send.body, &sim->arena, &ack));
		struct slice operation =
		    recall(&sim->operation_of_request, request, (struct slice){0});
		if (ack.status != STATUS_ACCEPTED || operation.len == 0)
			return;
		struct buf text = {0};
		revision_print(&ack.revision, &text);
		remember(&sim->operation_of_branch, buf_slice(&text),
			 slice_of(operation.data + 16, operation.len - 16), operation);
		buf_close(&text);
	}
}

static void check_entry(struct sim *sim, uint64_t shard_id, struct slice encoded)
{
	struct change change;
	struct buf seen = {0};
	if (!schema_decode(&schema_change, encoded, &sim->arena, &change))
		return;
	note_ordered(sim, &change);
	if (change.kind != CHANGE_CLEANUP)
		return;
	buf_append_be64(&seen, shard_id);
	buf_append_slice(&seen, change.resolution_id);
	buf_append_slice(&seen, change.id);
	if (!map_put(&sim->cleanups_seen, buf_slice(&seen), sim)) {
		const struct shard_list *list = all_shards(sim);
		for (int i = 0; i < list->count; i++)
			if (list->shards[i].id == shard_id)
				check_cleanup(sim, &list->shards[i], &change);
	}
	buf_close(&seen);
}

void checker_on_send(struct sim *sim, const struct effect *effect)
{
	struct msg_stream_append m;
	struct msg_stream_fetch_ack fetched;
	if (effect->send.envelope.type == MSG_stream_append) {
		CHECK(schema_decode(&schema_msg_stream_append, effect->send.body, &sim->arena, &m));
		entries_note(sim, m.shard, m.previous.number, m.entries, m.entries_count);
		for (uint32_t i = 0; i < m.entries_count; i++)
			check_entry(sim, m.shard, m.entries[i].change);
	} else if (effect->send.envelope.type == MSG_stream_fetch_ack) {
		CHECK(schema_decode(&schema_msg_stream_fetch_ack, effect->send.body, &sim->arena,
				    &fetched));
		entries_note(sim, fetched.shard, fetched.previous.number, fetched.entries,
			     fetched.entries_count);
		for (uint32_t i = 0; i < fetched.entries_count; i++)
			check_entry(sim, fetched.shard, fetched.entries[i].change);
	} else {
		note_branches(sim, effect);
	}
	arena_reset(&sim->arena);
}

/* ---- one document's final graph ---- */

struct final_document {
	bool exists;
	struct document doc;
};

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

static int find_text(const struct document *doc, const char *text)
{
	struct revision r;
	return revision_parse(slice_text(text), &r) ? graph_find(doc, &r) : GRAPH_NONE;
}

static void describe(const struct op *op, char *out, size_t size)
{
	static const char *const kinds[] = {"GET",    "PUT",    "CREATE", "PATCH",
					    "DELETE", "BRANCH", "COUNT"};
	snprintf(
	    out, size, "op %d client %d %s %s/d%d expected=%s status=%d rev=%s at %lld..%lld ms",
	    op->number, op->client, kinds[op->kind], collection_names[op->collection], op->document,
	    op->expected, op->status, op->revision, (long long)(op->start_us / 1000),
	    (long long)(op->end_us == INT64_MAX ? -1 : op->end_us / 1000));
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
	if (final->exists && find_text(&final->doc, op->revision) != GRAPH_NONE)
		return;
	char id[16];
	snprintf(id, sizeof id, "d%d", op->document);
	struct slice operation =
	    recall(&sim->operation_of_branch, slice_text(op->revision), slice_text(id));
	struct slice ordered = {0};
	if (operation.len > 16)
		ordered = recall(&sim->ordered_as, slice_of(operation.data, 16), slice_text(id));
	if (op->status == 202 && final->exists && any_stands(&final->doc, ordered))
		return;
	describe(op, text, sizeof text);
	sim_violation(sim, "acknowledged write lost: %s", text);
}

/* What a reader was shown stays known, whoever answered. */
static void check_shown(struct sim *sim, const struct op *op, const struct final_document *final)
{
	char text[400];
	bool shown = op->kind == OP_GET && op_succeeded(op) && op->revision[0];
	if (!shown || (final->exists && find_text(&final->doc, op->revision) != GRAPH_NONE))
		return;
	describe(op, text, sizeof text);
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

/* ---- linearizability of one document of the consistent collection ---- */

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
			describe(&h->ops[maker], text, sizeof text);
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
	int index = final->exists ? find_text(&final->doc, op->revision) : GRAPH_NONE;
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

static void check_count_answers(struct sim *sim)
{
	char text[400];
	for (int i = 0; i < sim->history->count; i++) {
		const struct op *op = &sim->history->ops[i];
		if (op->kind != OP_COUNT || op->collection != COLLECTION_STRICT ||
		    !op_succeeded(op) || (op->count >= op->count_min && op->count <= op->count_max))
			continue;
		describe(op, text, sizeof text);
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
			describe(op, text, sizeof text);
			sim_violation(
			    sim, "not linearizable: shows position %d, but %d was known before: %s",
			    position, low, text);
		}
	}
	bound_counts(sim, document, final, chain, shown);
	free(shown);
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
	if (kind != COLLECTION_STRICT)
		return;
	struct chain *chain = arena_alloc(&sim->arena, sizeof *chain);
	if (!build_chain(sim, document, &final, chain))
		return;
	attribute(sim, document, &final, chain);
	if (sim->violations == 0)
		check_order(sim, document, &final, chain);
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
		check_count_answers(sim);
	arena_reset(&sim->arena);
}
