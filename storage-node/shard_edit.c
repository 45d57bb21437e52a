#include "storage-node/shard_edit.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/query.h"
#include "common/doc/update.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "storage-node/plan.h"
#include "storage-node/query_look.h"
#include "storage-node/scan.h"
#include "storage-node/write.h"

struct asker {
	struct peer peer;
	struct envelope envelope;
};

struct edit_failure {
	enum status status; /* OK: none */
	struct buf id;      /* of the document */
	struct buf place;
	struct buf detail;
};

struct edit_job {
	struct edit_job *next;
	struct shard_copy *copy;
	uint64_t epoch;
	struct arena arena;         /* of the query and the message */
	struct query *query;        /* NULL: all */
	struct msg_shard_edit edit; /* slices into the arena */
	struct scan scan;           /* one view of the store, as of its first step */
	uint64_t count;             /* changed, those under way included */
	uint64_t last_number;       /* newest entry ordered; 0: none */
	uint64_t flight_bytes;      /* ordered since nothing was under way */
	bool walked;                /* CHANGE_EDIT is ordered */
	bool moved;                 /* since the last answer */
	struct edit_failure failure;
	struct asker askers[EDIT_ASKERS];
	uint32_t askers_count;
	uint32_t askers_next;
	int64_t answer_ms; /* when to say how far it is */
	int64_t idle_ms;   /* when to stop */
};

/* ---- life ---- */

static void job_free(struct edit_job *job)
{
	arena_close(&job->arena);
	scan_close(&job->scan);
	buf_close(&job->failure.id);
	buf_close(&job->failure.place);
	buf_close(&job->failure.detail);
	free(job);
}

void edit_free_jobs(struct storage *s)
{
	while (s->edit_jobs) {
		struct edit_job *job = s->edit_jobs;
		s->edit_jobs = job->next;
		job_free(job);
	}
	s->edit_jobs_count = 0;
}

static void job_append(struct storage *s, struct edit_job *job)
{
	struct edit_job **end = &s->edit_jobs;
	while (*end)
		end = &(*end)->next;
	job->next = NULL;
	*end = job;
	s->edit_jobs_count++;
}

static struct edit_job *job_find(const struct storage *s, const struct shard_copy *c,
				 struct slice id)
{
	for (struct edit_job *job = s->edit_jobs; job; job = job->next)
		if (job->copy == c && job->epoch == c->lead_epoch &&
		    slice_equal(job->edit.operation_id, id))
			return job;
	return NULL;
}

/* ---- answers ---- */

static void refuse(const struct storage *s, const struct event *e, enum status status,
		   const char *place, const char *detail, struct effects *fx)
{
	struct msg_shard_edit_ack ack = {
	    .status = status, .clock_ms = (uint64_t)s->now_ms, .life = s->options.life};
	ack.place = slice_text(place);
	ack.detail = slice_text(detail);
	fx_reply(fx, WHEN_NOW, e, MSG_shard_edit_ack, &ack);
}

static uint64_t applied_count(const struct edit_job *job)
{
	const struct edit_record *record = edits_find(job->copy, job->edit.operation_id);
	return record ? record->count : 0;
}

static void answer_askers(const struct storage *s, struct edit_job *job, enum status status,
			  bool done, struct effects *fx)
{
	struct msg_shard_edit_ack ack = {.status = status,
					 .changes = applied_count(job),
					 .done = done,
					 .clock_ms = (uint64_t)s->now_ms,
					 .life = s->options.life};
	if (status != STATUS_OK && status == job->failure.status) {
		ack.id = buf_slice(&job->failure.id);
		ack.place = buf_slice(&job->failure.place);
		ack.detail = buf_slice(&job->failure.detail);
	}
	for (uint32_t i = 0; i < job->askers_count; i++) {
		struct envelope envelope = job->askers[i].envelope;
		envelope.type = MSG_shard_edit_ack;
		fx_send(fx, WHEN_NOW, job->askers[i].peer.member, job->askers[i].peer.route,
			&envelope, &ack);
	}
	job->askers_count = job->askers_next = 0;
	job->moved = false;
	job->answer_ms = s->now_ms + EDIT_ANSWER_MS;
}

static void add_asker(struct storage *s, struct edit_job *job, const struct event *e)
{
	uint64_t until_ms = ((const struct msg_shard_edit *)e->message.body)->until_ms;
	uint32_t at = job->askers_count;
	if (at < EDIT_ASKERS)
		job->askers_count++;
	else
		at = job->askers_next++ % EDIT_ASKERS;
	job->askers[at] = (struct asker){e->message.from, e->message.envelope};
	/* by then its client has been answered, and may write something else */
	int64_t idle_ms = s->now_ms + EDIT_IDLE_MS;
	if (until_ms > 0 && until_ms < (uint64_t)idle_ms)
		idle_ms = (int64_t)until_ms;
	if (idle_ms > job->idle_ms)
		job->idle_ms = idle_ms;
}

/* ---- the walk ---- */

static void fail_at(struct edit_job *job, struct slice id, enum status status,
		    const struct update_error *why)
{
	job->failure.status = status;
	buf_append_slice(&job->failure.id, id);
	if (why) {
		buf_append_text(&job->failure.place, why->place);
		buf_append_text(&job->failure.detail, why->text);
	}
}

static bool passes(struct edit_job *job, struct slice id, bool match)
{
	if (!job->query || !query_too_costly(job->query))
		return match;
	fail_at(job, id, STATUS_PATTERN_TOO_COSTLY, NULL);
	return false;
}

/* What can't be read is looked at once more, and found out then. */
static bool matches(struct storage *s, struct edit_job *job, const struct scan_row *row,
		    int64_t *budget)
{
	bool match = true;
	bool read = !job->query || query_look_row(job->query, row, false, &s->arena, &match);
	*budget -= query_look_cost(job->query);
	return !read || passes(job, row->id, match);
}

static bool matches_pending(struct storage *s, struct edit_job *job, const struct document_view *v)
{
	int winner = v->exists ? graph_winner(&v->doc) : GRAPH_NONE;
	if (winner == GRAPH_NONE || !graph_is_live(&v->doc, (uint32_t)winner))
		return false;
	return !job->query ||
	       passes(job, v->id,
		      query_look_document(job->query, v->id, &v->doc, false, &s->arena));
}

/* The scan shows documents as they were when it began, or before. What it leaves out did not match
 * then, while the edit was wanted already; what it shows is held against the filter once more, as
 * it will be after all entries under way. */
static void edit_document(struct storage *s, struct edit_job *job, struct slice id, int64_t *budget,
			  struct effects *fx)
{
	struct document_view view;
	struct edit_written written;
	if (MUTATION(edit_without_look))
		document_load(s, job->copy, id, &view);
	else
		document_load_pending(s, job->copy, id, &view);
	if (!matches_pending(s, job, &view))
		return;
	struct msg_doc_write m = {.shard = job->copy->id,
				  .op = job->edit.op,
				  .id = id,
				  .body = job->edit.body,
				  .expect = EXPECT_PRESENT,
				  .operation_id = job->edit.operation_id,
				  .lock_ids = job->edit.lock_ids,
				  .lock_ids_count = job->edit.lock_ids_count};
	struct edit_part part = {job->edit.operation_id, job->edit.operation_digest,
				 job->count + 1};
	enum status status = write_edit_document(&view, &m, &part, &written, fx);
	*budget -= EDIT_COST_WRITE + (int64_t)(written.bytes / EDIT_COST_BYTES);
	*budget -= query_look_cost(job->query);
	if (!status_is_success(status)) {
		fail_at(job, id, status, written.why);
		return;
	}
	job->count++;
	job->flight_bytes += written.bytes;
	if (written.number > 0)
		job->last_number = written.number;
}

static void order_end(struct storage *s, struct edit_job *job, struct effects *fx)
{
	struct shard_copy *c = job->copy;
	struct change change = {.kind = CHANGE_EDIT,
				.edit_id = job->edit.operation_id,
				.operation_digest = job->edit.operation_digest,
				.edit_count = job->count,
				.edit_done = true,
				.stamp = write_stamp(s, c),
				.floor = c->floor,
				.wall_ms = (uint64_t)s->wall_ms};
	job->last_number = stream_append_change(s, c, &change, fx);
	job->walked = true;
	s->edits_total++;
}

static bool under_way(const struct edit_job *job)
{
	return job->last_number > job->copy->position.applied;
}

static bool has_room(const struct storage *s, const struct edit_job *job)
{
	const struct shard_copy *c = job->copy;
	if (!stream_has_room(s, c))
		return false;
	uint64_t flight = s->options.edit_flight_entries;
	flight = flight ? flight : EDIT_FLIGHT_ENTRIES;
	return !under_way(job) || (job->last_number - c->position.applied < flight &&
				   job->flight_bytes < EDIT_FLIGHT_BYTES);
}

static bool walks(const struct storage *s, const struct edit_job *job)
{
	return !job->walked && job->failure.status == STATUS_OK && s->now_ms < job->idle_ms;
}

static void walk_end(struct storage *s, struct edit_job *job, enum scan_result result,
		     struct effects *fx)
{
	if (result == SCAN_BROKEN)
		fail_at(job, slice_of(NULL, 0), STATUS_INTERNAL, NULL);
	else if (result == SCAN_END)
		order_end(s, job, fx);
}

static void walk(struct storage *s, struct edit_job *job, int64_t *budget, struct effects *fx)
{
	enum scan_result result = SCAN_ROW;
	struct scan_row row;
	if (!under_way(job))
		job->flight_bytes = 0;
	job->moved = true;
	while (result == SCAN_ROW && *budget > 0 && walks(s, job) && has_room(s, job)) {
		struct arena_mark mark = arena_mark(&s->arena);
		result = scan_next(&job->scan, budget, &row);
		if (result == SCAN_ROW && matches(s, job, &row, budget))
			edit_document(s, job, arena_copy(&s->arena, row.id), budget, fx);
		arena_rewind(&s->arena, mark);
	}
	walk_end(s, job, result, fx);
}

/* ---- steps ---- */

static bool still_leads(const struct edit_job *job)
{
	return job->copy->state == SHARD_SERVING && job->copy->lead_epoch == job->epoch;
}

/* True when the job is over. While anything of it is under way it stays, or another job of the same
 * edit would begin before that. */
static bool job_step(struct storage *s, struct edit_job *job, int64_t *budget, struct effects *fx)
{
	if (!still_leads(job)) {
		answer_askers(s, job, STATUS_NO_LEAD, false, fx);
		return true;
	}
	if (walks(s, job) && write_disks_full(s, job->copy))
		fail_at(job, slice_of(NULL, 0), STATUS_DISK_FULL, NULL);
	if (walks(s, job) && has_room(s, job) && *budget > 0)
		walk(s, job, budget, fx);
	if (!under_way(job) && job->walked) {
		answer_askers(s, job, STATUS_OK, true, fx);
		return true;
	}
	if (!under_way(job) && job->failure.status != STATUS_OK) {
		answer_askers(s, job, job->failure.status, false, fx);
		return true;
	}
	if (job->moved && job->askers_count > 0 && s->now_ms >= job->answer_ms)
		answer_askers(s, job, STATUS_OK, false, fx);
	return !under_way(job) && s->now_ms >= job->idle_ms;
}

void edit_run_jobs(struct storage *s, struct effects *fx)
{
	int64_t budget = EDIT_STEP;
	for (uint32_t left = s->edit_jobs_count; left > 0; left--) {
		struct edit_job *job = s->edit_jobs;
		s->edit_jobs = job->next;
		s->edit_jobs_count--;
		if (job_step(s, job, &budget, fx))
			job_free(job);
		else
			job_append(s, job);
	}
}

bool edit_wants_step(const struct storage *s)
{
	for (const struct edit_job *job = s->edit_jobs; job; job = job->next)
		if (!still_leads(job) || (walks(s, job) ? has_room(s, job) : !under_way(job)))
			return true;
	return false;
}

void edit_forget_shard(struct storage *s, const struct shard_copy *c)
{
	struct edit_job **at = &s->edit_jobs;
	while (*at) {
		struct edit_job *job = *at;
		if (job->copy != c) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		s->edit_jobs_count--;
		job_free(job);
	}
}

/* ---- taking an edit ---- */

static void copy_message(struct edit_job *job, const struct msg_shard_edit *m)
{
	struct arena *arena = &job->arena;
	job->edit = *m;
	job->edit.filter = arena_copy(arena, m->filter);
	job->edit.body = arena_copy(arena, m->body);
	job->edit.operation_id = arena_copy(arena, m->operation_id);
	job->edit.operation_digest = arena_copy(arena, m->operation_digest);
	job->edit.lock_ids =
	    arena_alloc(arena, (m->lock_ids_count + 1) * sizeof *job->edit.lock_ids);
	for (uint32_t i = 0; i < m->lock_ids_count; i++)
		job->edit.lock_ids[i] = arena_copy(arena, m->lock_ids[i]);
}

static bool compile(struct storage *s, struct edit_job *job, struct query_error *query_error,
		    struct update_error *update_error)
{
	*update_error = (struct update_error){.status = STATUS_OK};
	if (job->edit.filter.len > 0) {
		job->query = query_compile(job->edit.filter, &job->arena, query_error);
		if (!job->query)
			return false;
	}
	return job->edit.op != WRITE_UPDATE ||
	       update_compile(job->edit.body, &s->arena, update_error);
}

static bool well_formed(const struct msg_shard_edit *m)
{
	bool changes = m->op == WRITE_PUT || m->op == WRITE_PATCH || m->op == WRITE_UPDATE;
	return m->operation_id.len == 16 && m->operation_digest.len == 16 &&
	       (changes ? value_is_document(m->body) : m->op == WRITE_DELETE);
}

static void open_scan(struct storage *s, struct edit_job *job, struct slice after)
{
	const struct msg_shard_query as_query = {
	    .shard = job->copy->id, .filter = job->edit.filter, .after = after};
	const struct plan *plan =
	    job->query ? plan_make(job->copy, &as_query, job->query, NULL, 0, &job->arena) : NULL;
	scan_open(&job->scan, s->store, job->copy->id, plan, after, job->copy->position.documents);
}

static void job_start(struct storage *s, struct shard_copy *c, const struct event *e,
		      const struct edit_record *record, struct effects *fx)
{
	struct edit_job *job = mem_alloc_zero(sizeof *job);
	struct query_error query_error;
	struct update_error update_error;
	copy_message(job, e->message.body);
	if (!compile(s, job, &query_error, &update_error)) {
		if (update_error.status != STATUS_OK)
			refuse(s, e, STATUS_BAD_UPDATE, update_error.place, update_error.text, fx);
		else
			refuse(s, e, STATUS_BAD_QUERY, query_error.place, query_error.text, fx);
		job_free(job);
		return;
	}
	job->copy = c;
	job->epoch = c->lead_epoch;
	job->answer_ms = s->now_ms + EDIT_ANSWER_MS;
	if (MUTATION(edit_from_start))
		record = NULL;
	job->count = record ? record->count : 0;
	open_scan(s, job, record ? record->last : slice_of(NULL, 0));
	add_asker(s, job, e);
	job_append(s, job);
}

static void answer_done(const struct storage *s, const struct event *e,
			const struct edit_record *record, struct effects *fx)
{
	struct msg_shard_edit_ack ack = {.changes = record->count,
					 .done = true,
					 .clock_ms = (uint64_t)s->now_ms,
					 .life = s->options.life};
	fx_reply(fx, WHEN_NOW, e, MSG_shard_edit_ack, &ack);
}

void edit_on_shard_edit(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_edit *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	const struct edit_record *record = c ? edits_find(c, m->operation_id) : NULL;
	struct edit_job *job = c ? job_find(s, c, m->operation_id) : NULL;
	enum status refused = c ? STATUS_BAD_MESSAGE : STATUS_NO_SHARD;
	if (c && well_formed(m))
		refused = write_taken_by_lead(s, c, e, m->until_ms, m->life, fx);
	/* what is done, or about to be, needs no room; a job that needs some says what it did, be
	 * it one that goes on where another stopped */
	if (refused == STATUS_DISK_FULL && (job || record))
		refused = STATUS_OK;
	if (refused != STATUS_OK) {
		refuse(s, e, refused, "", "", fx);
		return;
	}
	struct slice digest = job      ? job->edit.operation_digest
			      : record ? record->digest
				       : m->operation_digest;
	if (!slice_equal(digest, m->operation_digest))
		refuse(s, e, STATUS_OPERATION_ID_REUSED, "", "", fx);
	else if (job)
		add_asker(s, job, e);
	else if (record && record->done)
		answer_done(s, e, record, fx);
	else if (s->edit_jobs_count >= BOUND(edit_jobs, EDIT_JOBS_MAX))
		refuse(s, e, STATUS_OVERLOADED, "", "", fx);
	else
		job_start(s, c, e, record, fx);
}
