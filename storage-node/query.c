/* Listing, filtering, ordering and counting one shard. A query is a job that walks one store
 * iterator, a few thousand documents a step, so that nobody waits behind a long scan. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/graph.h"
#include "common/doc/query.h"
#include "common/doc/value.h"
#include "storage-node/internal.h"

struct query_row {
	struct buf id;
	struct buf body;
	struct buf keys[LIMIT_ORDER_KEYS];
	uint64_t generation;
	struct buf hash;
	uint64_t conflicts;
};

struct query_job {
	struct query_job *next;
	struct peer peer;
	struct envelope envelope;
	uint64_t shard;
	struct arena arena; /* filter, order, fields */
	struct query *query;
	struct query_order order[LIMIT_ORDER_KEYS];
	uint32_t order_count;
	struct slice *fields;
	uint32_t fields_count;
	uint64_t limit; /* rows wanted; 0: as many as fit */
	bool count_only;
	uint64_t count;
	uint64_t documents_read;
	struct store_iterator *it;
	struct query_row **rows;
	uint32_t rows_count;
	uint32_t rows_cap;
	size_t bytes;
	bool full;   /* no more rows fit: go on after the last one */
	bool sorted; /* rows[0..limit) are the best so far */
	struct buf scratch;
};

static size_t row_bytes(const struct query_row *row)
{
	size_t bytes = row->id.len + row->body.len;
	for (uint32_t i = 0; i < LIMIT_ORDER_KEYS; i++)
		bytes += row->keys[i].len;
	return bytes;
}

static void row_free(struct query_row *row)
{
	buf_close(&row->id);
	buf_close(&row->body);
	buf_close(&row->hash);
	for (uint32_t i = 0; i < LIMIT_ORDER_KEYS; i++)
		buf_close(&row->keys[i]);
	free(row);
}

static void job_free(struct storage *s, struct query_job *job)
{
	for (uint32_t i = 0; i < job->rows_count; i++)
		row_free(job->rows[i]);
	free(job->rows);
	if (job->it)
		store_iterator_free(s->store, job->it);
	arena_close(&job->arena);
	buf_close(&job->scratch);
	free(job);
}

void query_free_jobs(struct storage *s)
{
	while (s->jobs) {
		struct query_job *job = s->jobs;
		s->jobs = job->next;
		job_free(s, job);
	}
	s->jobs_count = 0;
}

/* ---- order ---- */

static int compare_rows(const struct query_job *job, const struct query_row *a,
			const struct query_row *b)
{
	for (uint32_t i = 0; i < job->order_count; i++) {
		int order = value_compare(buf_slice(&a->keys[i]), buf_slice(&b->keys[i]));
		if (order != 0)
			return job->order[i].descending ? -order : order;
	}
	return slice_compare(buf_slice(&a->id), buf_slice(&b->id));
}

/* Sorts the rows (merge sort: qsort has no room for the job) and drops those past the limit. */
static void sort_range(const struct query_job *job, struct query_row **rows,
		       struct query_row **spare, uint32_t count)
{
	if (count < 2)
		return;
	uint32_t half = count / 2;
	sort_range(job, rows, spare, half);
	sort_range(job, rows + half, spare, count - half);
	memcpy(spare, rows, count * sizeof *rows);
	uint32_t left = 0;
	uint32_t right = half;
	for (uint32_t i = 0; i < count; i++) {
		bool take_left = right == count ||
				 (left < half && compare_rows(job, spare[left], spare[right]) <= 0);
		rows[i] = take_left ? spare[left++] : spare[right++];
	}
}

static void keep_best(struct query_job *job)
{
	struct query_row **spare = mem_alloc((job->rows_count + 1) * sizeof(struct query_row *));
	sort_range(job, job->rows, spare, job->rows_count);
	free(spare);
	while (job->limit > 0 && job->rows_count > job->limit) {
		struct query_row *row = job->rows[--job->rows_count];
		job->bytes -= row_bytes(row);
		row_free(row);
	}
	job->sorted = true;
}

/* A key that is too long to travel is cut: documents that differ only beyond that sort by id. */
static void order_key(struct query_job *job, uint32_t i, struct slice id, struct slice body,
		      struct buf *out)
{
	struct slice value = query_order_value(&job->order[i], id, body, &job->scratch);
	if (value.len <= LIMIT_ORDER_KEY_BYTES) {
		buf_append_slice(out, value);
		return;
	}
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_STR)
		mp_write_str(out, slice_of(token.bytes.data, LIMIT_ORDER_KEY_BYTES - 8));
	else
		mp_write_nil(out);
}

/* ---- rows ---- */

static void add_row(struct query_job *job, struct query_row *row)
{
	if (job->rows_count == job->rows_cap) {
		job->rows_cap = job->rows_cap ? job->rows_cap * 2 : 64;
		job->rows = mem_realloc(job->rows, job->rows_cap * sizeof *job->rows);
	}
	job->rows[job->rows_count++] = row;
	job->bytes += row_bytes(row);
}

static void take_row(struct query_job *job, struct slice id, const struct document *doc, int winner)
{
	struct query_row *row = mem_alloc_zero(sizeof *row);
	buf_append_slice(&row->id, id);
	for (uint32_t i = 0; i < job->order_count; i++)
		order_key(job, i, id, doc->body, &row->keys[i]);
	if (job->order_count > 0 && job->sorted && job->limit > 0 &&
	    job->rows_count >= job->limit &&
	    compare_rows(job, row, job->rows[job->limit - 1]) >= 0) {
		row_free(row);
		return;
	}
	if (job->fields_count > 0)
		value_project(doc->body, job->fields, job->fields_count, &row->body);
	else
		buf_append_slice(&row->body, doc->body);
	row->generation = doc->revisions[winner].generation;
	buf_append_slice(&row->hash, doc->revisions[winner].hash);
	row->conflicts = graph_conflicts(doc);
	add_row(job, row);
	if (job->order_count == 0) {
		bool enough = job->limit > 0 && job->rows_count >= job->limit;
		job->full =
		    enough || job->bytes >= QUERY_ANSWER_BYTES || job->rows_count >= LIMIT_ROWS;
	} else if (job->limit > 0 && job->rows_count >= 2 * job->limit + 64) {
		keep_best(job);
	}
}

static void look_at(struct storage *s, struct query_job *job, struct slice id, struct slice record)
{
	struct document doc;
	if (!schema_decode(&schema_document, record, &s->arena, &doc))
		return;
	int winner = graph_winner(&doc);
	job->documents_read++;
	if (winner == GRAPH_NONE || !graph_is_live(&doc, (uint32_t)winner))
		return;
	if (job->query && !query_matches(job->query, id, doc.body))
		return;
	if (job->count_only)
		job->count++;
	else
		take_row(job, id, &doc, winner);
}

/* ---- steps ---- */

static void answer(struct query_job *job, enum status status, const char *text, struct effects *fx)
{
	struct msg_shard_query_ack ack = {
	    .status = status, .count = job->count, .documents_read = job->documents_read};
	struct arena arena = {0};
	if (text)
		ack.text = slice_text(text);
	if (status == STATUS_OK) {
		ack.rows = arena_alloc(&arena, (job->rows_count + 1) * sizeof *ack.rows);
		for (uint32_t i = 0; i < job->rows_count; i++) {
			struct query_row *from = job->rows[i];
			struct row *to = &ack.rows[ack.rows_count++];
			to->id = buf_slice(&from->id);
			to->revision = (struct revision){from->generation, buf_slice(&from->hash)};
			to->body = buf_slice(&from->body);
			to->conflicts = from->conflicts;
			to->order_key =
			    arena_alloc(&arena, (job->order_count + 1) * sizeof *to->order_key);
			for (uint32_t k = 0; k < job->order_count; k++)
				to->order_key[to->order_key_count++] = buf_slice(&from->keys[k]);
		}
		if (job->full && job->rows_count > 0)
			ack.more_after = buf_slice(&job->rows[job->rows_count - 1]->id);
	}
	struct envelope envelope = job->envelope;
	envelope.type = MSG_shard_query_ack;
	fx_send(fx, WHEN_NOW, job->peer.member, job->peer.route, &envelope, &ack);
	arena_close(&arena);
}

/* An ordered list is one answer: it must fit, once the rows past the limit are dropped. */
static bool too_much(struct query_job *job)
{
	if (job->order_count == 0)
		return false;
	bool large = job->bytes > QUERY_ORDERED_BYTES;
	if (large && job->limit > 0 && job->rows_count > job->limit) {
		keep_best(job);
		large = job->bytes > QUERY_ORDERED_BYTES;
	}
	return (large && job->rows_count > 1) || (job->limit == 0 && job->rows_count > LIMIT_ROWS);
}

/* One step of a job, as far as the budget reaches; true when it is answered. */
static bool job_step(struct storage *s, struct query_job *job, int64_t *budget, struct effects *fx)
{
	while (*budget > 0 && !job->full) {
		struct slice id;
		struct slice rest;
		bool valid = store_valid(s->store, job->it);
		struct slice key = valid ? store_key(s->store, job->it) : (struct slice){0};
		if (!valid || key.len < KEY_SHARD_BYTES || be64_read(key.data + 1) != job->shard) {
			bool broken = store_iterator_result(s->store, job->it) != STORE_OK;
			if (job->order_count > 0)
				keep_best(job);
			answer(job, broken ? STATUS_INTERNAL : STATUS_OK, NULL, fx);
			return true;
		}
		if (key_split(key, &id, &rest) && rest.len == 0) {
			struct arena_mark mark = arena_mark(&s->arena);
			struct slice record = store_value(s->store, job->it);
			*budget -= (int64_t)(record.len / QUERY_STEP_BYTES);
			look_at(s, job, id, record);
			arena_rewind(&s->arena, mark);
		}
		--*budget;
		store_next(s->store, job->it);
		if (too_much(job)) {
			answer(job, STATUS_LIMIT_REACHED,
			       "an ordered list without a small limit: send limit", fx);
			return true;
		}
	}
	if (!job->full)
		return false;
	answer(job, STATUS_OK, NULL, fx);
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

/* All jobs share one budget a step, in turns: however many there are, leases are renewed in time.
 */
void query_run_jobs(struct storage *s, struct effects *fx)
{
	int64_t budget = QUERY_STEP_DOCUMENTS;
	while (s->jobs && budget > 0) {
		struct query_job *job = s->jobs;
		s->jobs = job->next;
		s->jobs_count--;
		if (job_step(s, job, &budget, fx))
			job_free(s, job);
		else
			job_append(s, job);
	}
}

/* ---- taking a query ---- */

static bool job_parse(struct query_job *job, const struct msg_shard_query *m,
		      struct query_error *error)
{
	if (m->filter.len > 0) {
		job->query = query_compile(arena_copy(&job->arena, m->filter), &job->arena, error);
		if (!job->query)
			return false;
	}
	for (uint32_t i = 0; i < m->order_count; i++) {
		if (!query_order_parse(arena_copy(&job->arena, m->order[i]), &job->order[i], error))
			return false;
		job->order_count++;
	}
	job->fields = arena_alloc(&job->arena, (m->fields_count + 1) * sizeof *job->fields);
	for (uint32_t i = 0; i < m->fields_count; i++)
		job->fields[job->fields_count++] = arena_copy(&job->arena, m->fields[i]);
	job->limit = m->limit > LIMIT_ROWS ? LIMIT_ROWS : m->limit;
	job->count_only = m->count;
	return true;
}

static enum status may_query(struct storage *s, struct shard_copy *c, const struct event *e)
{
	const struct msg_shard_query *m = e->message.body;
	if (!c)
		return STATUS_NO_SHARD;
	if (s->jobs_count >= QUERY_JOBS_MAX)
		return STATUS_OVERLOADED;
	if (m->any)
		return shard_vouching(s, c) ? STATUS_OK : STATUS_NOT_VOUCHING;
	if (e->message.envelope.epoch < c->placement.epoch)
		return STATUS_OLD_EPOCH;
	if (c->state != SHARD_SERVING || e->message.envelope.epoch != c->lead_epoch)
		return c->placement.lead == s->options.self ? STATUS_NO_LEAD : STATUS_NOT_LEAD;
	return lease_held(s, c) ? STATUS_OK : STATUS_NO_LEAD;
}

static void refuse(const struct event *e, enum status status, const char *text, struct effects *fx)
{
	struct msg_shard_query_ack ack = {.status = status};
	if (text)
		ack.text = slice_text(text);
	fx_reply(fx, WHEN_NOW, e, MSG_shard_query_ack, &ack);
}

void query_on_shard_query(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_shard_query *m = e->message.body;
	struct shard_copy *c = shard_get(s, m->shard);
	enum status status = may_query(s, c, e);
	if (c && (status == STATUS_OLD_EPOCH || status == STATUS_NOT_LEAD))
		map_send_newer(c, e, fx);
	if (status != STATUS_OK) {
		refuse(e, status, NULL, fx);
		return;
	}
	if (m->count && m->filter.len == 0) {
		/* all live documents: the counter is exact */
		struct msg_shard_query_ack ack = {.status = STATUS_OK,
						  .count = c->position.documents};
		fx_reply(fx, WHEN_NOW, e, MSG_shard_query_ack, &ack);
		return;
	}
	struct query_job *job = mem_alloc_zero(sizeof *job);
	struct query_error error = {{0}, {0}};
	job->peer = e->message.from;
	job->envelope = e->message.envelope;
	job->shard = m->shard;
	if (!job_parse(job, m, &error)) {
		buf_printf(&job->scratch, "%s: %s", error.place, error.text);
		refuse(e, STATUS_BAD_QUERY, buf_cstr(&job->scratch), fx);
		job_free(s, job);
		return;
	}
	job->it = store_iterate(s->store, STORE_DOCUMENTS);
	store_seek(s->store, job->it,
		   m->after.len > 0 ? key_document_end(&s->key, m->shard, m->after)
				    : key_shard(&s->key, 'd', m->shard));
	s->queries_total++;
	job_append(s, job);
}
