/* Listing, filtering, ordering and counting one shard. A query is a job that takes a scan some
 * thousand documents further a step, so that nobody waits behind a long one.
 *
 * Rows come by id, or by (order, id). Both can be paged: the next page begins behind the last row
 * of the one before. With an order all that matches is looked at for each page, unless an index
 * has that order; only the rows of the page are kept. */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/query.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "storage-node/index.h"
#include "storage-node/internal.h"
#include "storage-node/query_look.h"
#include "storage-node/query_rows.h"
#include "storage-node/scan.h"
#include "storage-node/sequence.h"

enum { QUERY_FIRST_DOCUMENTS = 200 };

struct query_job {
	struct query_job *next;
	struct peer peer;
	struct envelope envelope;
	struct arena arena; /* filter, order, fields, plan */
	struct query *query;
	struct slice *fields;
	uint32_t fields_count;
	bool count_only;
	bool want_others;
	bool want_sides;
	uint64_t count;
	struct plan *plan;
	struct scan scan;
	struct query_rows rows;
	uint64_t limit;          /* rows wanted; at most LIMIT_ROWS */
	struct query_row *after; /* with an order: only rows behind this one; NULL: all */
	bool full;               /* no more rows fit: the next page goes on after the last one */
	struct buf body;         /* scratch for projections */
	struct buf keys[LIMIT_ORDER_KEYS];
};

static void job_free(struct query_job *job)
{
	scan_close(&job->scan);
	rows_close(&job->rows);
	arena_close(&job->arena);
	buf_close(&job->body);
	for (uint32_t i = 0; i < LIMIT_ORDER_KEYS; i++)
		buf_close(&job->keys[i]);
	free(job);
}

void query_free_jobs(struct storage *s)
{
	while (s->jobs) {
		struct query_job *job = s->jobs;
		s->jobs = job->next;
		job_free(job);
	}
	s->jobs_count = 0;
}

/* The index gives the rows in their order: the first ones are the ones. */
static bool job_sorts(const struct query_job *job)
{
	return job->rows.order_count > 0 && !(job->plan && job->plan->ordered);
}

/* ---- rows ---- */

/* Before the record is decoded: is it a row of this page? */
static bool belongs(struct query_job *job, const struct scan_row *found, struct query_row *row)
{
	row->id = found->id;
	for (uint32_t i = 0; i < job->rows.order_count; i++)
		row->keys[i] =
		    query_order_value(&job->rows.order[i], found->id, found->body, &job->keys[i]);
	if (job->after && rows_compare(&job->rows, row, job->after) <= 0)
		return false;
	return !job_sorts(job) || rows_wants(&job->rows, row);
}

/* As many names as an answer takes. sides: deletions that edits stand against, too. */
static struct slice others_of(struct storage *s, const struct document *doc, int winner, bool sides)
{
	struct buf names = {0};
	for (uint32_t i = 0; i < doc->revisions_count; i++) {
		struct revision name = graph_name(doc, i);
		if ((int)i == winner || !(sides ? graph_is_side(doc, i) : graph_is_live(doc, i)))
			continue;
		if (names.len + REVISION_TEXT_BYTES + 1 > LIMIT_POLICY_BYTES)
			break;
		if (names.len > 0)
			buf_append_byte(&names, ',');
		revision_print(&name, &names);
	}
	struct slice kept = arena_copy(&s->arena, buf_slice(&names));
	buf_close(&names);
	return kept;
}

/* False if the record can't be read. */
static bool take_row(struct storage *s, struct query_job *job, const struct scan_row *found)
{
	struct query_row row = {0};
	struct document doc;
	if (!belongs(job, found, &row))
		return true;
	if (!schema_decode(&schema_document, found->record, &s->arena, &doc))
		return false;
	int winner = graph_winner(&doc);
	if (winner == GRAPH_NONE)
		return false;
	row.generation = doc.revisions[winner].generation;
	row.hash = doc.revisions[winner].hash;
	row.conflicts = graph_conflicts(&doc);
	if ((job->want_others || job->want_sides) && row.conflicts > 0)
		row.others = others_of(s, &doc, winner, job->want_sides);
	row.body = found->body;
	if (job->fields_count > 0) {
		buf_clear(&job->body);
		value_project(found->body, job->fields, job->fields_count, &job->body);
		row.body = buf_slice(&job->body);
	}
	if (job_sorts(job)) {
		rows_add(&job->rows, &row);
		return true;
	}
	rows_append(&job->rows, &row);
	job->full = job->rows.count >= job->limit ||
		    job->rows.bytes >= BOUND(query_bytes, QUERY_ANSWER_BYTES);
	return true;
}

/* False: the document can't be read. */
static bool look_at(struct storage *s, struct query_job *job, const struct scan_row *found,
		    int64_t *budget)
{
	bool wanted = true;
	struct arena_mark mark = arena_mark(&s->arena);
	bool fine =
	    !job->query || query_look_row(job->query, found, job->want_others, &s->arena, &wanted);
	*budget -= query_look_cost(job->query);
	if (fine && wanted && job->count_only)
		job->count++;
	else if (fine && wanted)
		fine = take_row(s, job, found);
	arena_rewind(&s->arena, mark);
	return fine;
}

/* ---- steps ---- */

static void answer(struct query_job *job, enum status status, struct effects *fx)
{
	struct msg_shard_query_ack ack = {.status = status,
					  .count = job->count,
					  .documents_read = job->scan.documents_read,
					  .keys_read = job->scan.keys_read,
					  .sorted = job_sorts(job)};
	struct arena arena = {0};
	if (scan_uses_index(&job->scan))
		ack.index = job->plan->index;
	if (status == STATUS_OK && !job->count_only) {
		if (job_sorts(job))
			rows_sort(&job->rows);
		rows_fill(&job->rows, &arena, &ack);
		if ((job->full || job->rows.dropped) && ack.rows_count > 0)
			ack.more_after = ack.rows[ack.rows_count - 1].id;
	}
	struct envelope envelope = job->envelope;
	envelope.type = MSG_shard_query_ack;
	fx_send(fx, WHEN_NOW, job->peer.member, job->peer.route, &envelope, &ack);
	arena_close(&arena);
}

/* One step of a job, as far as the budget reaches; true when it is answered. */
static bool job_step(struct storage *s, struct query_job *job, int64_t *budget, struct effects *fx)
{
	enum status status = STATUS_OK;
	while (status == STATUS_OK && !job->full) {
		struct scan_row row;
		enum scan_result result = scan_next(&job->scan, budget, &row);
		if (result == SCAN_LATER)
			return false;
		if (result == SCAN_END)
			break;
		if (result == SCAN_BROKEN || !look_at(s, job, &row, budget))
			status = STATUS_INTERNAL;
		else if (job->query && query_too_costly(job->query))
			status = STATUS_PATTERN_TOO_COSTLY;
		else if (job_sorts(job) && job->rows.bytes > QUERY_ORDERED_BYTES)
			status = STATUS_SORT_TOO_LARGE;
	}
	answer(job, status, fx);
	return true;
}

static void job_append(struct storage *s, struct query_job *job)
{
	struct query_job **end = &s->jobs;
	while (*end)
		end = &(*end)->next;
	job->next = NULL;
	*end = job;
	s->jobs_count++;
}

static void run_jobs(struct storage *s, int64_t budget, struct effects *fx)
{
	while (s->jobs && budget > 0) {
		struct query_job *job = s->jobs;
		s->jobs = job->next;
		s->jobs_count--;
		if (job_step(s, job, &budget, fx))
			job_free(job);
		else
			job_append(s, job);
	}
}

/* All jobs share one budget a step, in turns: however many there are, leases are renewed in time.
 */
void query_run_jobs(struct storage *s, struct effects *fx)
{
	run_jobs(s, QUERY_STEP_DOCUMENTS, fx);
}

/* ---- taking a query ---- */

static bool parse_order(struct query_job *job, const struct msg_shard_query *m,
			struct query_error *error)
{
	struct query_rows *rows = &job->rows;
	for (uint32_t i = 0; i < m->order_count && !m->count; i++) {
		if (!query_order_parse(arena_copy(&job->arena, m->order[i]), &rows->order[i],
				       error))
			return false;
		rows->order_count++;
	}
	if (rows->order_count == 0 || m->after.len == 0)
		return true;
	if (m->after_keys_count != rows->order_count) {
		snprintf(error->text, sizeof error->text,
			 "a row to go on after has a value for "
			 "each key of the order");
		return false;
	}
	job->after = arena_alloc(&job->arena, sizeof *job->after);
	job->after->id = arena_copy(&job->arena, m->after);
	for (uint32_t i = 0; i < m->after_keys_count; i++)
		job->after->keys[i] = arena_copy(&job->arena, m->after_keys[i]);
	return true;
}

static bool job_parse(struct query_job *job, const struct msg_shard_query *m,
		      struct query_error *error)
{
	if (m->filter.len > 0) {
		job->query = query_compile(arena_copy(&job->arena, m->filter), &job->arena, error);
		if (!job->query)
			return false;
	}
	if (!parse_order(job, m, error))
		return false;
	job->fields = arena_alloc(&job->arena, (m->fields_count + 1) * sizeof *job->fields);
	for (uint32_t i = 0; i < m->fields_count; i++)
		job->fields[job->fields_count++] = arena_copy(&job->arena, m->fields[i]);
	job->limit = m->limit == 0 || m->limit > LIMIT_ROWS ? LIMIT_ROWS : m->limit;
	job->rows.limit = job->limit;
	job->count_only = m->count;
	job->want_others = m->want_others;
	job->want_sides = m->want_sides;
	return true;
}

static void refuse(const struct event *e, enum status status, const char *text, struct effects *fx)
{
	struct msg_shard_query_ack ack = {.status = status};
	if (text)
		ack.text = slice_text(text);
	fx_reply(fx, WHEN_NOW, e, MSG_shard_query_ack, &ack);
}

static bool plan(struct query_job *job, const struct shard_copy *c, const struct msg_shard_query *m,
		 struct query_error *error)
{
	if (m->index.len > 0 && !index_named(c, m->index)) {
		snprintf(error->place, sizeof error->place, "index");
		snprintf(error->text, sizeof error->text, "the collection has no such index");
		return false;
	}
	job->plan =
	    plan_make(c, m, job->query, job->rows.order, job->rows.order_count, &job->arena);
	return true;
}

static void start(struct storage *s, struct shard_copy *c, const struct event *e,
		  struct effects *fx)
{
	const struct msg_shard_query *m = e->message.body;
	struct query_job *job = mem_alloc_zero(sizeof *job);
	struct query_error error = {0};
	job->peer = e->message.from;
	job->envelope = e->message.envelope;
	if (!job_parse(job, m, &error) || !plan(job, c, m, &error)) {
		buf_printf(&job->body, "%s: %s", error.place, error.text);
		refuse(e, STATUS_BAD_QUERY, buf_cstr(&job->body), fx);
		job_free(job);
		return;
	}
	struct slice after = job->rows.order_count > 0 ? (struct slice){0} : m->after;
	scan_open(&job->scan, s->store, m->shard, job->plan, after, c->position.documents);
	s->queries_total++;
	job_append(s, job);
	/* a small one is done with that: it need not wait for the next turn */
	if (s->jobs_count == 1)
		run_jobs(s, QUERY_FIRST_DOCUMENTS, fx);
}

void query_on_shard_query(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_query *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = read_allowed(s, c, e, m->any, fx);
	if (status == STATUS_OK && s->jobs_count >= BOUND(query_jobs, QUERY_JOBS_MAX))
		status = STATUS_OVERLOADED;
	if (status != STATUS_OK) {
		refuse(e, status, NULL, fx);
		return;
	}
	if (m->count && m->filter.len == 0) {
		/* all live documents: the counter is exact */
		struct msg_shard_query_ack ack = {.status = STATUS_OK,
						  .count = c->position.documents,
						  .deleted = c->position.deleted,
						  .applied = c->position.applied,
						  .erased = c->position.erased,
						  .changed = sequence_last(s, c)};
		fx_reply(fx, WHEN_NOW, e, MSG_shard_query_ack, &ack);
		return;
	}
	start(s, c, e, fx);
}
