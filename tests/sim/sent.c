/* What is seen in messages between nodes, as they are sent:
 * - cleanup: no trace goes before all replicas have passed the resolution and hold no branch of the
 *   document
 * - which operation a branch was made for, and as what revisions a lead ordered that operation: it
 *   may stand under another name than the client was told */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/doc/revision.h"
#include "common/quorum.h"
#include "storage-node/keys.h"
#include "tests/sim/checker_private.h"
#include "tests/sim/records.h"

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
	map_close_owned(&sim->copied);
	map_close_owned(&sim->spared);
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

struct slice checker_ordered_as(struct sim *sim, struct slice revision, struct slice id)
{
	struct slice operation = recall(&sim->operation_of_branch, revision, id);
	if (operation.len <= 16)
		return (struct slice){0};
	return recall(&sim->ordered_as, slice_of(operation.data, 16), id);
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
