/* The protocol: what has changed at the source, what of that the target lacks, these documents
 * (documents.c), and then the checkpoint. The next page of changes is asked for while a batch is
 * under way. */
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/replicate/internal.h"

static void ask_page(struct turn *t, struct job *job);
static void take_page(struct turn *t, struct job *job);

static void set_value(struct buf *to, struct slice value)
{
	buf_clear(to);
	buf_append_slice(to, value);
}

void job_unexpected(struct turn *t, struct job *job, const struct answer *a)
{
	struct slice error = answer_text(value_member(a->value, slice_text("error")));
	struct slice why = answer_text(value_member(a->value, slice_text("reason")));
	char name[64];
	char reason[REPLICATE_REASON_BYTES];
	snprintf(name, sizeof name, "%.*s", error.len < 60 ? (int)error.len : 60,
		 error.len ? (const char *)error.data : "replication_failed");
	if (error.len == 0)
		snprintf(name, sizeof name, "replication_failed");
	if (why.len == 0 && a->too_large)
		why = slice_text("with more than is taken");
	else if (why.len == 0 && a->status / 100 == 2)
		why = slice_text("with something else than it was asked for");
	snprintf(reason, sizeof reason, "%s answered %d %.*s",
		 a->side == SIDE_SOURCE ? "source" : "target", a->status,
		 why.len < 150 ? (int)why.len : 150, why.len ? (const char *)why.data : "");
	bool denied = a->status == 401 || a->status == 403 || a->status == 404;
	job_end(t, job, denied ? a->status : 500, name, reason);
}

/* Its making, or what it is. */
static void ask_plain(struct turn *t, struct job *job, enum side side, enum http_method method,
		      job_step *done)
{
	struct question q = {.side = side, .method = method, .path = "", .done = done};
	if (method == HTTP_PUT && job->what.make.len > 0)
		q.query = slice_of(job->what.make.data + 1, job->what.make.len - 1);
	ask_send(t, &job->ask, &q);
}

/* ---- are both there? ---- */

/* In CouchDB's words. */
static void not_opened(struct turn *t, struct job *job, const struct answer *a)
{
	const struct slice shown = job->what.sides[a->side].shown;
	const char *error = a->status == 401   ? "unauthorized"
			    : a->status == 403 ? "forbidden"
					       : "db_not_found";
	char reason[REPLICATE_REASON_BYTES];
	if (a->status != 401 && a->status != 403 && a->status != 404) {
		job_unexpected(t, job, a);
		return;
	}
	snprintf(reason, sizeof reason, "%s%s%.*s", a->status == 404 ? "could not open " : error,
		 a->status == 404 ? "" : " to access or create database ",
		 shown.len < 200 ? (int)shown.len : 200, (const char *)shown.data);
	job_end(t, job, a->status, error, reason);
}

static void source_looked(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status != 200)
		not_opened(t, job, a);
	else
		log_read(t, job);
}

static void target_made(struct turn *t, struct job *job, const struct answer *a)
{
	/* 412: somebody else made it */
	if (a->status == 201 || a->status == 202 || a->status == 412)
		ask_plain(t, job, SIDE_SOURCE, HTTP_GET, source_looked);
	else
		not_opened(t, job, a);
}

static void target_looked(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status == 404 && job->what.create_target)
		ask_plain(t, job, SIDE_TARGET, HTTP_PUT, target_made);
	else if (a->status != 200)
		not_opened(t, job, a);
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
	struct slice text = answer_text(buf_slice(sequence));
	struct buf json = {0};
	if (text.len == 0 && json_from_msgpack(buf_slice(sequence), &json))
		text = buf_slice(&json);
	url_encode(text, out);
	buf_close(&json);
}

/* A sequence that the source does not know any more: its checkpoint outlived it. One that somebody
 * has named is not replaced by another. */
static bool begin_anew(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader = mp_reader_of(buf_slice(&job->start_sequence));
	struct mp_token token = mp_read(&reader);
	bool zero = token.type == MP_UINT && token.u64 == 0;
	if (a->status != 400 || zero || job->rows > 0 || job->what.since.len > 0)
		return false;
	buf_clear(&job->start_sequence);
	mp_write_u64(&job->start_sequence, 0);
	set_value(&job->asked, buf_slice(&job->start_sequence));
	job_page(t, job);
	return true;
}

/* Documents may have very many leaves. */
static bool ask_for_less(struct turn *t, struct job *job, const struct answer *a)
{
	if (!a->too_large || job->page_rows < 2)
		return false;
	job->page_rows /= 2;
	job_page(t, job);
	return true;
}

/* Rows behind a page, as far as its source tells. */
static uint64_t pending_of(struct slice page)
{
	struct mp_reader reader = mp_reader_of(value_member(page, slice_text("pending")));
	struct mp_token pending = mp_read(&reader);
	return pending.type == MP_UINT ? pending.u64 : 0;
}

/* A source may give less at once than it is asked for. */
static bool is_last(const struct job *job, uint32_t count, struct slice page)
{
	bool ends = job->no_news || pending_of(page) == 0;
	return !job->what.continuous && !job->again && count < job->page_rows && ends;
}

static void page_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (ask_for_less(t, job, a) || begin_anew(t, job, a))
		return;
	struct slice last = value_member(a->value, slice_text("last_seq"));
	struct mp_reader reader = mp_reader_of(value_member(a->value, slice_text("results")));
	struct mp_token results = mp_read(&reader);
	if (a->status != 200 || last.len == 0 || results.type != MP_ARRAY) {
		job_unexpected(t, job, a);
		return;
	}
	uint32_t count = results.count;
	set_value(&job->page, a->value);
	job->page_ready = true;
	job->no_news = count == 0 || slice_equal(last, buf_slice(&job->asked));
	set_value(&job->asked, last);
	job->last_page = is_last(job, count, a->value);
	job->page_rows = job->page_rows < REPLICATE_ROWS / 2 ? 2 * job->page_rows : REPLICATE_ROWS;
	if (!job->busy)
		take_page(t, job);
}

/* A source that does not wait for changes, though it is asked to, is not asked all the time. */
static int64_t pause_ms(const struct turn *t, const struct job *job)
{
	bool hasty = t->now_ms < job->page_asked_ms + REPLICATE_PAUSE_MS;
	return job->what.continuous && job->no_news && hasty ? REPLICATE_PAUSE_MS : 0;
}

void job_page(struct turn *t, struct job *job)
{
	struct buf query = {0};
	job->again = false;
	job->last_page = false;
	buf_printf(&query, "style=%s&limit=%u&since=", job->what.winners ? "main_only" : "all_docs",
		   job->page_rows);
	print_since(&job->asked, &query);
	if (job->what.continuous)
		buf_printf(&query, "&feed=longpoll&timeout=%d", REPLICATE_POLL_MS);
	else
		buf_printf(&query, "&heartbeat=%d", REPLICATE_BEAT_MS);
	buf_append_slice(&query, job->what.filter_query);
	const struct question q = {
	    .side = SIDE_SOURCE,
	    .method = job->what.filter.len > 0 ? HTTP_POST : HTTP_GET,
	    .path = "/_changes",
	    .query = buf_slice(&query),
	    .body = job->what.filter,
	    .pause_ms = pause_ms(t, job),
	    .answer_bytes_max = REPLICATE_PAGE_BYTES,
	    .done = page_came,
	};
	job->page_asked_ms = t->now_ms + q.pause_ms;
	ask_send(t, &job->pages, &q);
	buf_close(&query);
}

void job_pages(struct turn *t, struct job *job)
{
	set_value(&job->asked, buf_slice(&job->start_sequence));
	job_page(t, job);
}

/* What its filter keeps back is told of once, and never again. */
static void ask_page(struct turn *t, struct job *job)
{
	job->last_page = false;
	if (job->what.continuous && job->what.function.len > 0 && !job->what.no_logs)
		log_check(t, job);
	else
		job_page(t, job);
}

void job_filter_changed(struct turn *t, struct job *job)
{
	job->anew = true;
	if (!job->busy)
		job_next(t, job);
}

/* ---- what the target lacks ---- */

void job_batch_done(struct turn *t, struct job *job)
{
	job->counts.checked += job->batch_counts.checked;
	job->counts.missing += job->batch_counts.missing;
	job->counts.read += job->batch_counts.read;
	job->counts.written += job->batch_counts.written;
	job->counts.refused += job->batch_counts.refused;
	job->owner->written += job->batch_counts.written;
	job->owner->refused += job->batch_counts.refused;
	log_write(t, job);
}

/* A revision that the target is told of: ids are as long as a source likes. */
static void told_key(struct slice id, struct slice revision, struct buf *out)
{
	uint8_t digest[16];
	digest16(id, digest);
	buf_clear(out);
	buf_append(out, digest, sizeof digest);
	buf_append_slice(out, revision);
}

/* A target gets nothing but what it was told of: of the rest the filter may keep something back. */
static bool was_told(const struct job *job, struct slice id, struct slice revision)
{
	struct buf key = {0};
	told_key(id, revision, &key);
	bool told = map_get(&job->told, buf_slice(&key)) != NULL;
	buf_close(&key);
	return told;
}

static void take_missing(struct job *job, struct slice id, struct slice revisions)
{
	struct mp_reader reader;
	uint32_t count = answer_array(revisions, &reader);
	for (uint32_t i = 0; i < count && job->wanted_count < job->batch_counts.checked; i++) {
		struct mp_token revision = mp_read(&reader);
		if (revision.type != MP_STR)
			return;
		if (!was_told(job, id, revision.bytes))
			continue;
		struct wanted *w = &job->wanted[job->wanted_count++];
		w->id = arena_copy(&job->batch, id);
		w->revision = arena_copy(&job->batch, revision.bytes);
	}
}

static void ask_difference(struct turn *t, struct job *job);

static void difference_came(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader = mp_reader_of(a->value);
	struct mp_token head = mp_read(&reader);
	if (a->status != 200 || head.type != MP_MAP) {
		job_unexpected(t, job, a);
		return;
	}
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token id = mp_read(&reader);
		struct slice of = mp_value(&reader);
		if (id.type != MP_STR)
			break;
		take_missing(job, id.bytes, value_member(of, slice_text("missing")));
	}
	if (job->offered_left > 0) {
		ask_difference(t, job);
		return;
	}
	job->batch_counts.missing = job->wanted_count;
	job_fetch(t, job);
}

static void tell_revision(struct job *job, struct slice id, struct slice revision, struct buf *out)
{
	struct buf key = {0};
	told_key(id, revision, &key);
	map_put(&job->told, buf_slice(&key), job);
	json_string(revision, out);
	buf_close(&key);
}

/* "id":["rev"] */
static uint32_t print_row(struct job *job, const struct map_entry *row, struct buf *out)
{
	struct mp_reader reader;
	struct slice id = slice_of(row->key, row->key_len);
	uint32_t count = answer_array(*(const struct slice *)row->value, &reader);
	json_string(id, out);
	buf_append_text(out, ":[");
	for (uint32_t i = 0; i < count; i++) {
		struct slice change = mp_value(&reader);
		if (i > 0)
			buf_append_byte(out, ',');
		tell_revision(job, id, answer_text(value_member(change, slice_text("rev"))), out);
	}
	buf_append_byte(out, ']');
	return count;
}

/* Documents may have very many leaves, and a target bounds what it is asked at once. */
static void ask_difference(struct turn *t, struct job *job)
{
	struct buf body = {0};
	uint32_t told = 0;
	buf_append_byte(&body, '{');
	while (job->offered_left > 0 && told < REPLICATE_TOLD) {
		if (body.len > 1)
			buf_append_byte(&body, ',');
		told += print_row(job, map_next(&job->offered, &job->offered_at), &body);
		job->offered_left--;
	}
	buf_append_byte(&body, '}');
	job->batch_counts.checked += told;
	const struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_POST,
	    .path = "/_revs_diff",
	    .body = buf_slice(&body),
	    .done = difference_came,
	};
	ask_send(t, &job->ask, &q);
	buf_close(&body);
}

/* Every server keeps these names for itself; the native dialect does not. */
static bool is_reserved(struct slice id)
{
	static const char design[] = "_design/";
	size_t len = sizeof design - 1;
	return id.data[0] == '_' && (id.len <= len || memcmp(id.data, design, len) != 0);
}

/* Each document once: one that changes meanwhile may be told of twice. The next page may come
 * before the target has been told of them all. */
static void take_rows(struct turn *t, struct job *job, struct slice results)
{
	struct mp_reader reader;
	uint32_t count = answer_array(results, &reader);
	size_t revisions = 0;
	if (MUTATION(job_forgets_row))
		count--;
	for (uint32_t i = 0; i < count; i++) {
		struct mp_reader list;
		struct slice row = mp_value(&reader);
		struct slice id = answer_text(value_member(row, slice_text("id")));
		struct slice *changes = arena_alloc(&job->batch, sizeof *changes);
		*changes = arena_copy(&job->batch, value_member(row, slice_text("changes")));
		revisions += answer_array(*changes, &list);
		if (id.len == 0)
			job_pass_by(t, job, id, "its id is no text", 1);
		else if (is_reserved(id))
			job_pass_by(t, job, id, "its id is reserved", 1);
		else
			map_put(&job->offered, id, changes);
	}
	job->offered_left = job->offered.count;
	job->wanted = arena_alloc(&job->batch, (revisions + 1) * sizeof *job->wanted);
}

static void take_page(struct turn *t, struct job *job)
{
	struct slice page = buf_slice(&job->page);
	struct slice results = value_member(page, slice_text("results"));
	struct mp_reader reader;
	uint32_t count = answer_array(results, &reader);
	job->page_ready = false;
	job->rows += count;
	job->pending = pending_of(page);
	set_value(&job->reached, value_member(page, slice_text("last_seq")));
	arena_reset(&job->batch);
	map_clear(&job->offered);
	map_clear(&job->told);
	job->offered_at = 0;
	job->batch_counts = (struct counts){0};
	job->wanted_count = job->wanted_at = 0;
	job->busy = true;
	if (count > 0) {
		take_rows(t, job, results);
		ask_difference(t, job);
	}
	buf_close(&job->page);
	if (!job->last_page)
		ask_page(t, job);
	if (count == 0)
		job_next(t, job);
}

void job_next(struct turn *t, struct job *job)
{
	job->busy = false;
	if (job->anew) {
		job->anew = false;
		job_new_session(t->gw, job);
		log_read(t, job);
	} else if (job->page_ready) {
		take_page(t, job);
	} else if (job->last_page && job->again) {
		ask_page(t, job);
	} else if (job->last_page) {
		job_end(t, job, 200, NULL, "");
	}
}
