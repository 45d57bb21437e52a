#include "storage-node/storage.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "storage-node/attachment.h"
#include "storage-node/bring.h"
#include "storage-node/changes.h"
#include "storage-node/checkpoint.h"
#include "storage-node/erase.h"
#include "storage-node/feed.h"
#include "storage-node/import.h"
#include "storage-node/index.h"
#include "storage-node/internal.h"
#include "storage-node/lock.h"
#include "storage-node/offer.h"
#include "storage-node/placed.h"
#include "storage-node/purge.h"
#include "storage-node/reopen.h"
#include "storage-node/revisions.h"
#include "storage-node/scrub.h"
#include "storage-node/shard_edit.h"
#include "storage-node/view.h"
#include "storage-node/write.h"

/* ---- life ---- */

static void set_defaults(struct storage_options *o)
{
	if (o->stream_keep_entries == 0)
		o->stream_keep_entries = STREAM_KEEP_ENTRIES;
	if (o->stream_keep_bytes == 0)
		o->stream_keep_bytes = STREAM_KEEP_BYTES;
	if (o->pending_entries_max == 0)
		o->pending_entries_max = PENDING_ENTRIES_MAX;
	if (o->index_step_documents == 0)
		o->index_step_documents = INDEX_STEP_DOCUMENTS;
	if (o->scrub_rest_ms == 0)
		o->scrub_rest_ms = SCRUB_REST_MS;
	if (o->snapshot_chunk_bytes == 0)
		o->snapshot_chunk_bytes = SNAPSHOT_CHUNK_BYTES;
	if (o->copy_entries_min == 0)
		o->copy_entries_min = COPY_ENTRIES_MIN;
	if (o->apply_bytes_turn == 0)
		o->apply_bytes_turn = APPLY_BYTES_TURN;
	if (o->changes_answer_bytes == 0)
		o->changes_answer_bytes = CHANGES_ANSWER_BYTES;
	if (o->purged_keep_ms == 0)
		o->purged_keep_ms = PURGED_KEEP_DAYS * DAY_MS;
	if (o->checkpoint_keep_ms == 0)
		o->checkpoint_keep_ms = CHECKPOINT_KEEP_DAYS * DAY_MS;
	if (o->upload_keep_ms == 0)
		o->upload_keep_ms = UPLOAD_KEEP_MIN * 60ull * 1000;
	if (o->pending_bytes_max == 0)
		o->pending_bytes_max = PENDING_BYTES_MAX;
}

struct storage *storage_new(const struct storage_options *options, struct store *store,
			    uint64_t seed)
{
	struct storage *s = mem_alloc_zero(sizeof *s);
	s->options = *options;
	set_defaults(&s->options);
	s->store = store;
	rng_init(&s->rng, seed);
	s->first_request = s->next_request = 1 + (rng_next(&s->rng) >> 1);
	if (!map_load_collections(s) || !shard_load_all(s) || !trail_load(s)) {
		storage_free(s);
		return NULL;
	}
	return s;
}

void storage_free(struct storage *s)
{
	size_t at = 0;
	query_free_jobs(s);
	edit_free_jobs(s);
	scrub_free(s);
	bring_free(s);
	for (struct map_entry *e; (e = map_next(&s->shards, &at));) {
		struct shard_copy *c = e->value;
		for (uint32_t i = 0; i < c->followers_count; i++)
			snapshot_stop(s, &c->followers[i]);
		shard_free(c);
	}
	map_close(&s->shards);
	at = 0;
	for (struct map_entry *e; (e = map_next(&s->collections, &at));) {
		struct known_collection *known = e->value;
		buf_close(&known->bytes);
		arena_close(&known->arena);
		free(known);
	}
	map_close(&s->collections);
	map_close(&s->dropped);
	view_free_all(s);
	document_free_outbox(s);
	applying_close(&s->applying);
	buf_close(&s->map_members);
	buf_close(&s->key);
	buf_close(&s->value);
	arena_close(&s->arena);
	free(s);
}

/* ---- events ---- */

typedef void message_handler(struct storage *s, const struct event *e, struct effects *fx);

static message_handler *const handlers[MSG_NUMBER_MAX + 1] = {
    [MSG_member_join_ack] = joining_on_join_ack,
    [MSG_heartbeat_ack] = joining_on_heartbeat_ack,
    [MSG_map_request] = map_on_request,
    [MSG_map_push] = map_on_push,
    [MSG_shard_newer] = map_on_shard_newer,
    [MSG_doc_write] = write_on_doc_write,
    [MSG_derived_check] = write_on_derived_check,
    [MSG_doc_read] = read_on_doc_read,
    [MSG_shard_served] = read_on_shard_served,
    [MSG_shard_query] = query_on_shard_query,
    [MSG_shard_changes] = changes_on_shard_changes,
    [MSG_index_status] = index_on_status,
    [MSG_view_query] = view_on_query,
    [MSG_shard_edit] = edit_on_shard_edit,
    [MSG_stream_append] = follow_on_append,
    [MSG_stream_append_ack] = stream_on_ack,
    [MSG_promise_request] = takeover_on_promise_request,
    [MSG_promise_ack] = takeover_on_promise_ack,
    [MSG_stream_fetch] = takeover_on_fetch,
    [MSG_stream_fetch_ack] = takeover_on_fetch_ack,
    [MSG_lease_renew] = lease_on_renew,
    [MSG_lease_grant] = lease_on_grant,
    [MSG_lease_release] = lease_on_release,
    [MSG_snapshot_chunk] = snapshot_on_chunk,
    [MSG_snapshot_chunk_ack] = snapshot_on_chunk_ack,
    [MSG_outbox_push] = outbox_on_push,
    [MSG_outbox_push_ack] = placed_on_push_ack,
    [MSG_outbox_lacks] = bring_on_lacks,
    [MSG_conflict_list] = conflict_on_list,
    [MSG_conflict_read] = conflict_on_read,
    [MSG_conflict_resolve] = conflict_on_resolve,
    [MSG_conflict_note] = conflict_on_note,
    [MSG_conflict_undo] = reopen_on_undo,
    [MSG_conflict_take] = offer_on_take,
    [MSG_conflict_lease] = offer_on_lease,
    [MSG_cleanup_prepare] = cleanup_on_prepare,
    [MSG_cleanup_commit] = cleanup_on_commit,
    [MSG_checkpoint_set] = checkpoint_on_set,
    [MSG_checkpoint_list] = checkpoint_on_list,
    [MSG_attachment_chunk] = attachment_on_chunk,
    [MSG_attachment_chunk_ack] = bring_on_chunk_ack,
    [MSG_attachment_read] = attachment_on_read,
    [MSG_attachment_forget] = attachment_on_forget,
    [MSG_doc_import] = import_on_doc_import,
    [MSG_doc_erase] = erase_on_doc_erase,
    [MSG_doc_revisions] = revisions_on_read,
    [MSG_revs_diff] = revisions_on_diff,
    [MSG_lock_set] = lock_on_set,
    [MSG_feed_open] = feed_on_open,
    [MSG_feed_ack] = feed_on_ack,
    [MSG_feed_close] = feed_on_close,
};

static void on_message(struct storage *s, const struct event *e, struct effects *fx)
{
	uint16_t type = e->message.envelope.type;
	message_handler *handler = type <= MSG_NUMBER_MAX ? handlers[type] : NULL;
	if (handler)
		handler(s, e, fx);
}

static void on_timer(struct storage *s, struct effects *fx)
{
	query_run_jobs(s, fx);
	index_run_now(s, fx);
	view_run(s, fx);
	edit_run_jobs(s, fx);
	if (s->apply_rest)
		stream_apply_rest(s, fx);
	if (s->now_ms < s->tick_ms)
		return;
	s->tick_ms = s->now_ms + TICK_MS;
	joining_tick(s, fx);
	lease_tick(s, fx);
	scrub_tick(s, fx);
	damage_tick(s, fx);
	s->feeds_count = 0;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		takeover_tick(s, c, fx);
		if (shard_is_lead(c))
			stream_tick(s, c, fx);
		outbox_tick(s, c, fx);
		placed_tick(s, c, fx);
		recent_tick(s, c);
		attempt_tick(s, c);
		lock_tick(s, c, fx);
		feed_tick(s, c, fx);
		offer_tick(s, c);
		attachment_tick(s, c, fx);
		s->feeds_count += feed_count(c);
	}
}

static void on_turn(struct storage *s, struct effects *fx)
{
	size_t at = 0;
	s->pending_bytes = 0;
	s->applied_bytes = 0;
	s->catch_up_reads = 0;
	s->catch_up_rest = false;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		s->pending_bytes += c->pending.bytes;
		feed_turn(s, c, fx);
		if (!c->turn_dirty && !c->position_dirty)
			continue;
		follow_turn(s, c, fx);
		stream_turn(s, c, fx);
	}
}

/* All that was appended is on this disk: it counts towards W. */
static void on_stored(struct storage *s, struct effects *fx)
{
	snapshot_stored(s, fx);
	view_stored(s);
	index_run_stored(s, fx);
	scrub_stored(s, fx);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		c->serving_unseen = false;
		c->committed = c->position.applied;
		if (c->durable == c->position.last)
			continue;
		c->durable = c->position.last;
		stream_settle(s, c, fx);
	}
	on_turn(s, fx);
}

/* The bug restarted_lead_leads: without a new epoch. */
static void lead_again(struct storage *s, struct effects *fx)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		if (c->placement.lead == s->options.self)
			takeover_start(s, c, fx);
	}
}

static void storage_step(void *core, const struct event *e, struct effects *fx)
{
	struct storage *s = core;
	s->now_ms = e->now_ms;
	s->wall_ms = e->wall_ms;
	switch (e->kind) {
	case EVENT_START:
		s->started = true;
		s->started_ms = e->now_ms;
		trail_start(s, fx);
		if (MUTATION(restarted_lead_leads))
			lead_again(s, fx);
		on_timer(s, fx);
		on_turn(s, fx); /* what it removed and the positions are one commit */
		break;
	case EVENT_MESSAGE:
		on_message(s, e, fx);
		break;
	case EVENT_TIMER:
		on_timer(s, fx);
		break;
	case EVENT_TURN:
		on_turn(s, fx);
		break;
	case EVENT_STORED:
		on_stored(s, fx);
		break;
	case EVENT_DISK:
		s->disk_full = e->disk.full;
		s->disk_exhausted = e->disk.exhausted;
		fx_log(fx, LOG_LEVEL_WARN, "disk_reserve full=%d exhausted=%d", e->disk.full,
		       e->disk.exhausted);
		break;
	case EVENT_SCRIPT:
		view_on_script(s, e, fx);
		break;
	case EVENT_DRAIN:
		s->draining = true;
		break;
	default: /* of gateways */
		break;
	}
	arena_reset(&s->arena);
}

static int64_t storage_deadline(const void *core)
{
	const struct storage *s = core;
	bool building = (s->indexes_building || s->views_due) && !s->disk_full;
	bool work = s->jobs || building || s->apply_rest || s->catch_up_rest || edit_wants_step(s);
	return work ? s->now_ms : s->tick_ms;
}

/* ---- what an operator sees ---- */

static const char *const state_names[SHARD_STATE_MAX + 1] = {"replica",   "promising", "fetching",
							     "preparing", "serving",   "stuck"};

/* Of all shards together. */
struct shard_sums {
	uint64_t states[SHARD_STATE_MAX + 1];
	uint64_t documents, conflicts;
	uint64_t pending;
	uint64_t outbox, outbox_ms;
	uint64_t locks;
	uint64_t feeds, feeds_lag;
};

static struct shard_sums add_up(const struct storage *s)
{
	struct shard_sums sums = {0};
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		const struct shard_copy *c = entry->value;
		sums.states[c->state]++;
		sums.documents += c->position.documents;
		sums.conflicts += c->position.conflicts;
		sums.pending += c->pending.count;
		sums.outbox += c->outbox_count;
		if (outbox_oldest_ms(s, c) > sums.outbox_ms)
			sums.outbox_ms = outbox_oldest_ms(s, c);
		sums.locks += lock_count(c);
		sums.feeds += feed_count(c);
		if (feed_lag(c) > sums.feeds_lag)
			sums.feeds_lag = feed_lag(c);
	}
	return sums;
}

static void storage_metrics(const void *core, struct buf *out)
{
	const struct storage *s = core;
	struct shard_sums sums = add_up(s);
	for (int i = 0; i <= SHARD_STATE_MAX; i++)
		buf_printf(out, "parley_shards{state=\"%s\"} %llu\n", state_names[i],
			   (unsigned long long)sums.states[i]);
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
	    {"parley_documents", sums.documents},
	    {"parley_conflicts_open", sums.conflicts},
	    {"parley_stream_pending_entries", sums.pending},
	    {"parley_outbox_entries", sums.outbox},
	    {"parley_outbox_oldest_ms", sums.outbox_ms},
	    {"parley_locks", sums.locks},
	    {"parley_feeds", sums.feeds},
	    {"parley_feed_lag_entries", sums.feeds_lag},
	    {"parley_query_jobs", s->jobs_count},
	    {"parley_edit_jobs", s->edit_jobs_count},
	    {"parley_edits_total", s->edits_total},
	    {"parley_writes_total", s->writes_total},
	    {"parley_writes_stale_total", s->stale_total},
	    {"parley_writes_refused_total", s->refused_total},
	    {"parley_reads_total", s->reads_total},
	    {"parley_queries_total", s->queries_total},
	    {"parley_entries_applied_total", s->applied_total},
	    {"parley_entries_discarded_total", s->discarded_total},
	    {"parley_takeovers_total", s->takeovers_total},
	    {"parley_snapshots_sent_total", s->snapshots_total},
	    {"parley_resolutions_applied_total", s->resolved_total},
	    {"parley_cleanups_applied_total", s->cleaned_total},
	    {"parley_view_documents_skipped_total", s->view_skipped},
	    {"parley_view_rows_left_out_total", s->view_left_out},
	    {"parley_disk_full", s->disk_full},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		buf_printf(out, "%s %llu\n", rows[i].name, (unsigned long long)rows[i].value);
	offer_metrics(s, out);
	purge_metrics(s, out);
	attachment_metrics(s, out);
	scrub_metrics(s, out);
}

static bool storage_ready(const void *core, int64_t now_ms, struct buf *out)
{
	(void)now_ms;
	const struct storage *s = core;
	bool copying = false;
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		const struct shard_copy *c = entry->value;
		copying = copying || (c->position.copying && shard_self(s, c));
	}
	buf_append_text(out, s->joined ? "joined ok\n"
				       : "joined failed: the coordinator has not answered\n");
	buf_append_text(out,
			s->disk_full ? "disk failed: less space than the reserve\n" : "disk ok\n");
	buf_append_text(out,
			copying ? "copies failed: a snapshot is being received\n" : "copies ok\n");
	return s->joined && !s->disk_full && !copying;
}

const struct core_ops storage_ops = {
    .name = "storage-node",
    .role = ROLE_STORAGE,
    .step = storage_step,
    .deadline = storage_deadline,
    .metrics = storage_metrics,
    .ready = storage_ready,
};
