/* The protocol: what has changed at the source, what of that the target lacks, these documents, and
 * then the checkpoint. The next page of changes is asked for while a batch is under way. */
#include <stdio.h>

#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/replicate/internal.h"

static void ask_page(struct turn *t, struct job *job);
static void take_page(struct turn *t, struct job *job);
static void fetch(struct turn *t, struct job *job);

static struct slice text_of(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
}

static void set_value(struct buf *to, struct slice value)
{
	buf_clear(to);
	buf_append_slice(to, value);
}

/* Members of an array, 0 if it is none. */
static uint32_t array_of(struct slice value, struct mp_reader *reader)
{
	*reader = mp_reader_of(value);
	struct mp_token head = mp_read(reader);
	return head.type == MP_ARRAY ? head.count : 0;
}

void job_unexpected(struct turn *t, struct job *job, const struct answer *a)
{
	struct slice error = text_of(value_member(a->value, slice_text("error")));
	struct slice why = text_of(value_member(a->value, slice_text("reason")));
	char name[64];
	char reason[REPLICATE_REASON_BYTES];
	snprintf(name, sizeof name, "%.*s", error.len < 60 ? (int)error.len : 60,
		 error.len ? (const char *)error.data : "replication_failed");
	if (error.len == 0)
		snprintf(name, sizeof name, "replication_failed");
	snprintf(reason, sizeof reason, "%s answered %d %.*s",
		 a->side == SIDE_SOURCE ? "source" : "target", a->status,
		 why.len < 150 ? (int)why.len : 150, why.len ? (const char *)why.data : "");
	bool denied = a->status == 401 || a->status == 403 || a->status == 404;
	job_end(t, job, denied ? a->status : 500, name, reason);
}

static void ask_plain(struct turn *t, struct job *job, enum side side, enum http_method method,
		      job_step *done)
{
	const struct question q = {.side = side, .method = method, .path = "", .done = done};
	ask_send(t, &job->ask, &q);
}

/* ---- are both there? ---- */

static void missing(struct turn *t, struct job *job, enum side side)
{
	const struct slice shown = job->what.sides[side].shown;
	char reason[REPLICATE_REASON_BYTES];
	snprintf(reason, sizeof reason, "could not open %.*s",
		 shown.len < 200 ? (int)shown.len : 200, (const char *)shown.data);
	job_end(t, job, 404, "db_not_found", reason);
}

static void source_looked(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status == 404)
		missing(t, job, SIDE_SOURCE);
	else if (a->status != 200)
		job_unexpected(t, job, a);
	else
		log_read(t, job);
}

static void target_made(struct turn *t, struct job *job, const struct answer *a)
{
	/* 412: somebody else made it */
	if (a->status == 201 || a->status == 202 || a->status == 412)
		ask_plain(t, job, SIDE_SOURCE, HTTP_GET, source_looked);
	else
		job_unexpected(t, job, a);
}

static void target_looked(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status == 404 && job->what.create_target)
		ask_plain(t, job, SIDE_TARGET, HTTP_PUT, target_made);
	else if (a->status == 404)
		missing(t, job, SIDE_TARGET);
	else if (a->status != 200)
		job_unexpected(t, job, a);
	else
		ask_plain(t, job, SIDE_SOURCE, HTTP_GET, source_looked);
}

void job_start(struct turn *t, struct job *job)
{
	ask_plain(t, job, SIDE_TARGET, HTTP_GET, target_looked);
}

/* ---- what has changed ---- */

/* A sequence is a number or a text, and nobody's business but the source's. */
static void print_since(const struct buf *sequence, struct buf *out)
{
	struct slice text = text_of(buf_slice(sequence));
	struct buf json = {0};
	if (text.len == 0 && json_from_msgpack(buf_slice(sequence), &json))
		text = buf_slice(&json);
	url_encode(text, out);
	buf_close(&json);
}

/* A sequence that the source does not know any more: its checkpoint outlived it. */
static bool begin_anew(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader = mp_reader_of(buf_slice(&job->start_sequence));
	struct mp_token token = mp_read(&reader);
	bool zero = token.type == MP_UINT && token.u64 == 0;
	if (a->status != 400 || zero || job->rows > 0)
		return false;
	buf_clear(&job->start_sequence);
	mp_write_u64(&job->start_sequence, 0);
	set_value(&job->asked, buf_slice(&job->start_sequence));
	ask_page(t, job);
	return true;
}

static void page_came(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader rows;
	if (begin_anew(t, job, a))
		return;
	struct slice last = value_member(a->value, slice_text("last_seq"));
	if (a->status != 200 || last.len == 0) {
		job_unexpected(t, job, a);
		return;
	}
	set_value(&job->page, a->value);
	job->page_ready = true;
	uint32_t count = array_of(value_member(a->value, slice_text("results")), &rows);
	set_value(&job->asked, last);
	job->last_page = !job->what.continuous && !job->again && count < REPLICATE_ROWS;
	if (!job->busy)
		take_page(t, job);
}

static void ask_page(struct turn *t, struct job *job)
{
	struct buf query = {0};
	job->again = false;
	job->last_page = false;
	buf_printf(&query, "style=all_docs&limit=%d&since=", REPLICATE_ROWS);
	print_since(&job->asked, &query);
	if (job->what.continuous)
		buf_printf(&query, "&feed=longpoll&timeout=%d", REPLICATE_POLL_MS);
	buf_append_slice(&query, job->what.filter_query);
	const struct question q = {
	    .side = SIDE_SOURCE,
	    .method = job->what.filter.len > 0 ? HTTP_POST : HTTP_GET,
	    .path = "/_changes",
	    .query = buf_slice(&query),
	    .body = job->what.filter,
	    .done = page_came,
	};
	ask_send(t, &job->pages, &q);
	buf_close(&query);
}

void job_pages(struct turn *t, struct job *job)
{
	set_value(&job->asked, buf_slice(&job->start_sequence));
	ask_page(t, job);
}

/* ---- what the target lacks ---- */

static void batch_done(struct turn *t, struct job *job)
{
	job->counts.checked += job->batch_counts.checked;
	job->counts.missing += job->batch_counts.missing;
	job->counts.read += job->batch_counts.read;
	job->counts.written += job->batch_counts.written;
	job->counts.refused += job->batch_counts.refused;
	log_write(t, job);
}

static void take_missing(struct job *job, struct slice id, struct slice revisions)
{
	struct mp_reader reader;
	uint32_t count = array_of(revisions, &reader);
	for (uint32_t i = 0; i < count && job->wanted_count < job->batch_counts.checked; i++) {
		struct mp_token revision = mp_read(&reader);
		if (revision.type != MP_STR)
			return;
		struct wanted *w = &job->wanted[job->wanted_count++];
		w->id = arena_copy(&job->batch, id);
		w->revision = arena_copy(&job->batch, revision.bytes);
	}
}

static void difference_came(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader = mp_reader_of(a->value);
	struct mp_token head = mp_read(&reader);
	if (a->status != 200 || head.type != MP_MAP) {
		job_unexpected(t, job, a);
		return;
	}
	job->wanted =
	    arena_alloc(&job->batch, (job->batch_counts.checked + 1) * sizeof *job->wanted);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token id = mp_read(&reader);
		struct slice of = mp_value(&reader);
		if (id.type != MP_STR)
			break;
		take_missing(job, id.bytes, value_member(of, slice_text("missing")));
	}
	job->batch_counts.missing = job->wanted_count;
	fetch(t, job);
}

/* {"id":["rev"]}, each document once: one that changes meanwhile may be told of twice. */
static void print_revisions(struct job *job, const struct map *rows, struct buf *out)
{
	size_t at = 0;
	buf_append_byte(out, '{');
	for (struct map_entry *e; (e = map_next(rows, &at)) != NULL;) {
		struct mp_reader reader;
		uint32_t count = array_of(*(const struct slice *)e->value, &reader);
		if (out->len > 1)
			buf_append_byte(out, ',');
		json_string(slice_of(e->key, e->key_len), out);
		buf_append_text(out, ":[");
		for (uint32_t i = 0; i < count; i++) {
			struct slice change = mp_value(&reader);
			if (i > 0)
				buf_append_byte(out, ',');
			json_string(text_of(value_member(change, slice_text("rev"))), out);
		}
		buf_append_byte(out, ']');
		job->batch_counts.checked += count;
	}
	buf_append_byte(out, '}');
}

static void ask_difference(struct turn *t, struct job *job, struct slice results)
{
	struct map rows = {0};
	struct mp_reader reader;
	struct buf body = {0};
	uint32_t count = array_of(results, &reader);
	if (MUTATION(job_forgets_row))
		count--;
	for (uint32_t i = 0; i < count; i++) {
		struct slice row = mp_value(&reader);
		struct slice id = text_of(value_member(row, slice_text("id")));
		struct slice *changes = arena_alloc(&job->batch, sizeof *changes);
		*changes = value_member(row, slice_text("changes"));
		if (id.len > 0)
			map_put(&rows, id, changes);
	}
	print_revisions(job, &rows, &body);
	const struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_POST,
	    .path = "/_revs_diff",
	    .body = buf_slice(&body),
	    .done = difference_came,
	};
	ask_send(t, &job->ask, &q);
	map_close(&rows);
	buf_close(&body);
}

static void take_page(struct turn *t, struct job *job)
{
	struct slice page = buf_slice(&job->page);
	struct slice results = value_member(page, slice_text("results"));
	struct mp_reader reader = mp_reader_of(value_member(page, slice_text("pending")));
	struct mp_token pending = mp_read(&reader);
	uint32_t count = array_of(results, &reader);
	job->page_ready = false;
	job->rows += count;
	job->pending = pending.type == MP_UINT ? pending.u64 : 0;
	set_value(&job->reached, value_member(page, slice_text("last_seq")));
	arena_reset(&job->batch);
	job->batch_counts = (struct counts){0};
	job->wanted_count = job->wanted_at = 0;
	job->busy = true;
	if (count > 0)
		ask_difference(t, job, results);
	if (!job->last_page)
		ask_page(t, job);
	if (count == 0)
		job_next(t, job);
}

void job_next(struct turn *t, struct job *job)
{
	job->busy = false;
	if (job->page_ready)
		take_page(t, job);
	else if (job->last_page && job->again)
		ask_page(t, job);
	else if (job->last_page)
		job_end(t, job, 200, NULL, "");
}

/* ---- the documents ---- */

/* Fewer at once; false: there is only one, and the job has ended. */
static bool take_fewer(struct turn *t, struct job *job)
{
	char reason[REPLICATE_REASON_BYTES];
	struct slice id = job->wanted[job->wanted_at].id;
	if (job->fetching > 1) {
		job->chunk = job->fetching / 2;
		return true;
	}
	snprintf(reason, sizeof reason, "document %.*s is larger than one side takes or gives",
		 id.len < 150 ? (int)id.len : 150, (const char *)id.data);
	job_end(t, job, 500, "document_too_large", reason);
	return false;
}

static void stored(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader;
	if (a->too_large) {
		if (take_fewer(t, job))
			fetch(t, job);
		return;
	}
	if (a->status != 200 && a->status != 201 && a->status != 202) {
		job_unexpected(t, job, a);
		return;
	}
	uint32_t count = array_of(a->value, &reader);
	uint32_t refused = 0;
	for (uint32_t i = 0; i < count; i++)
		refused += value_member(mp_value(&reader), slice_text("error")).len > 0;
	job->batch_counts.read += job->sending;
	job->batch_counts.refused += refused;
	job->batch_counts.written += job->sending > refused ? job->sending - refused : 0;
	job->wanted_at += job->fetching;
	if (job->chunk < REPLICATE_CHUNK)
		job->chunk = job->chunk * 2 < REPLICATE_CHUNK ? job->chunk * 2 : REPLICATE_CHUNK;
	fetch(t, job);
}

/* {"ok": document} or {"error": ...}; false: it is neither there nor known to be gone. */
static bool take_document(struct job *job, struct slice item, struct buf *out)
{
	struct slice document = value_member(item, slice_text("ok"));
	if (document.len == 0) {
		struct slice error = value_member(item, slice_text("error"));
		struct slice name = text_of(value_member(error, slice_text("error")));
		return slice_is(name, "not_found");
	}
	if (job->sending > 0)
		buf_append_byte(out, ',');
	job->sending++;
	return json_from_msgpack(document, out);
}

static bool take_documents(struct job *job, struct slice results, struct buf *out)
{
	struct mp_reader reader, items;
	uint32_t count = array_of(results, &reader);
	job->sending = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct slice docs = value_member(mp_value(&reader), slice_text("docs"));
		uint32_t items_count = array_of(docs, &items);
		for (uint32_t k = 0; k < items_count; k++)
			if (!take_document(job, mp_value(&items), out))
				return false;
	}
	return true;
}

static void documents_came(struct turn *t, struct job *job, const struct answer *a)
{
	struct slice results = value_member(a->value, slice_text("results"));
	struct buf body = {0};
	if (a->too_large) {
		if (take_fewer(t, job))
			fetch(t, job);
		return;
	}
	if (a->status != 200 || results.len == 0) {
		job_unexpected(t, job, a);
		return;
	}
	buf_append_text(&body, "{\"new_edits\":false,\"docs\":[");
	bool fine = take_documents(job, results, &body);
	buf_append_text(&body, "]}");
	const struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_POST,
	    .path = "/_bulk_docs",
	    .body = buf_slice(&body),
	    .done = stored,
	};
	if (fine)
		ask_send(t, &job->ask, &q);
	else
		job_end(t, job, 500, "replication_failed", "source can't give a document");
	buf_close(&body);
}

static void fetch(struct turn *t, struct job *job)
{
	struct buf body = {0};
	uint32_t left = job->wanted_count - job->wanted_at;
	if (left == 0) {
		batch_done(t, job);
		return;
	}
	job->fetching = left < job->chunk ? left : job->chunk;
	buf_append_text(&body, "{\"docs\":[");
	for (uint32_t i = 0; i < job->fetching; i++) {
		const struct wanted *w = &job->wanted[job->wanted_at + i];
		buf_append_text(&body, i == 0 ? "{\"id\":" : ",{\"id\":");
		json_string(w->id, &body);
		buf_append_text(&body, ",\"rev\":");
		json_string(w->revision, &body);
		buf_append_byte(&body, '}');
	}
	buf_append_text(&body, "]}");
	const struct question q = {
	    .side = SIDE_SOURCE,
	    .method = HTTP_POST,
	    .path = "/_bulk_get",
	    .query = slice_text("revs=true&latest=true&attachments=true"),
	    .body = buf_slice(&body),
	    .done = documents_came,
	};
	ask_send(t, &job->ask, &q);
	buf_close(&body);
}
