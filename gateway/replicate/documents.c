/* The documents of a batch: from the source, as many at once as both sides take, to the target. */
#include <stdio.h>
#include <string.h>

#include "common/doc/value.h"
#include "gateway/replicate/internal.h"
#include "gateway/url.h"

/* ---- to the target ---- */

void job_pass_by(struct turn *t, struct job *job, struct slice id, const char *reason,
		 uint32_t revisions)
{
	struct buf name = {0};
	json_string(slice_of(id.data, id.len < 200 ? id.len : 200), &name);
	fx_log(t->fx, LOG_LEVEL_WARN, "replication_passes_by id=%s reason=\"%s\" document=%s",
	       job->what.id, reason, buf_cstr(&name));
	job->batch_counts.refused += revisions;
	buf_close(&name);
}

/* Fewer at once. A single one is passed by for a reason: it would stop all those behind it for
 * ever. NULL: it is only too large. */
static void fetch_fewer(struct turn *t, struct job *job, const char *reason)
{
	if (job->fetching > 1) {
		job->chunk = job->fetching / 2;
	} else if (!reason) {
		job_parcel(t, job);
		return;
	} else {
		job->batch_counts.read += job->sending;
		job_pass_by(t, job, job->wanted[job->wanted_at].id, reason,
			    job->sending > 0 ? job->sending : 1);
		job->wanted_at++;
	}
	job_fetch(t, job);
}

/* Half as many, from the source on. */
static bool fetch_less(struct turn *t, struct job *job)
{
	if (job->fetching < 2)
		return false;
	job->chunk = job->fetching / 2;
	job_fetch(t, job);
	return true;
}

/* The request as a whole, for what is in one of its documents. */
static bool refuses_document(const struct answer *a)
{
	bool told = answer_text(value_member(a->value, slice_text("error"))).len > 0;
	return told &&
	       (a->status == 400 || a->status == 412 || a->status == 415 || answer_is_verdict(a));
}

/* [{"id": ..., "error": ...}, ...] */
static uint32_t rows_refused(struct turn *t, struct job *job, const struct answer *a)
{
	struct mp_reader reader;
	uint32_t count = answer_array(a->value, &reader);
	uint32_t refused = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct slice row = mp_value(&reader);
		struct slice error = answer_text(value_member(row, slice_text("error")));
		char reason[REPLICATE_REASON_BYTES];
		if (value_member(row, slice_text("error")).len == 0)
			continue;
		snprintf(reason, sizeof reason, "refused: %.*s",
			 error.len < 60 ? (int)error.len : 60,
			 error.len ? (const char *)error.data : "");
		job_pass_by(t, job, answer_text(value_member(row, slice_text("id"))), reason, 1);
		refused++;
	}
	return refused;
}

static void stored(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->too_large || refuses_document(a)) {
		fetch_fewer(t, job, a->too_large ? NULL : "refused");
		return;
	}
	if (a->status != 200 && a->status != 201 && a->status != 202) {
		job_unexpected(t, job, a);
		return;
	}
	uint32_t refused = rows_refused(t, job, a);
	job->batch_counts.read += job->sending;
	job->batch_counts.written += job->sending > refused ? job->sending - refused : 0;
	job->wanted_at += job->fetching;
	if (job->chunk < REPLICATE_CHUNK)
		job->chunk = job->chunk * 2 < REPLICATE_CHUNK ? job->chunk * 2 : REPLICATE_CHUNK;
	job_fetch(t, job);
}

/* ---- from the source ---- */

/* {"ok": document} or {"error": ...}; false: it is neither there nor known to be gone. */
static bool take_document(struct job *job, struct slice item, struct buf *out)
{
	struct slice document = value_member(item, slice_text("ok"));
	if (document.len == 0 && value_member(item, slice_text("missing")).len > 0)
		return true;
	if (document.len == 0) {
		struct slice error = value_member(item, slice_text("error"));
		struct slice name = answer_text(value_member(error, slice_text("error")));
		return slice_is(name, "not_found");
	}
	if (job->sending > 0)
		buf_append_byte(out, ',');
	job->sending++;
	return json_from_msgpack(document, out);
}

/* [{"ok": ...}, ...] */
static bool take_list(struct job *job, struct slice list, struct buf *out)
{
	struct mp_reader items;
	uint32_t count = answer_array(list, &items);
	for (uint32_t i = 0; i < count; i++)
		if (!take_document(job, mp_value(&items), out))
			return false;
	return true;
}

static bool take_documents(struct job *job, const struct answer *a, struct buf *out)
{
	struct slice results = value_member(a->value, slice_text("results"));
	struct mp_reader reader;
	job->sending = 0;
	if (job->single) /* a 404 is no list: the document is gone */
		return take_list(job, a->value, out);
	uint32_t count = answer_array(results, &reader);
	for (uint32_t i = 0; i < count; i++)
		if (!take_list(job, value_member(mp_value(&reader), slice_text("docs")), out))
			return false;
	return true;
}

/* A server that does not know _bulk_get. */
static bool knows_no_bulk(const struct job *job, const struct answer *a)
{
	return !job->single && (a->status == 400 || a->status == 404 || a->status == 405 ||
				a->status == 415 || a->status == 501);
}

static bool are_documents(const struct job *job, const struct answer *a)
{
	struct mp_reader reader = mp_reader_of(a->value);
	if (job->single)
		return (a->status == 200 && mp_peek(&reader) == MP_ARRAY) || a->status == 404;
	return a->status == 200 && value_member(a->value, slice_text("results")).len > 0;
}

static void send_documents(struct turn *t, struct job *job, const struct answer *a)
{
	struct buf body = {0};
	buf_append_text(&body, "{\"new_edits\":false,\"docs\":[");
	bool fine = take_documents(job, a, &body);
	buf_append_text(&body, "]}");
	const struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_POST,
	    .path = "/_bulk_docs",
	    .body = buf_slice(&body),
	    .less = fetch_less,
	    .done = stored,
	};
	if (fine)
		ask_send(t, &job->ask, &q);
	else
		job_end(t, job, 500, "replication_failed", "source can't give a document");
	buf_close(&body);
}

/* A whole text of JSON that holds what no document here may: too many levels, a lone surrogate, a
 * name twice. A page of something else, or half an answer, is none. */
static bool is_unreadable(const struct answer *a)
{
	size_t start = 0;
	size_t end = a->text.len;
	if (a->status != 200 || a->value.len > 0)
		return false;
	while (start < end && strchr(" \t\r\n", a->text.data[start]))
		start++;
	while (end > start && strchr(" \t\r\n", a->text.data[end - 1]))
		end--;
	if (end - start < 2)
		return false;
	uint8_t first = a->text.data[start];
	uint8_t last = a->text.data[end - 1];
	return (first == '{' && last == '}') || (first == '[' && last == ']');
}

static void documents_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->too_large) {
		fetch_fewer(t, job, NULL);
	} else if (is_unreadable(a)) {
		job->sending = 0;
		fetch_fewer(t, job, "unreadable");
	} else if (are_documents(job, a)) {
		send_documents(t, job, a);
	} else if (knows_no_bulk(job, a)) {
		job->single = true;
		job_fetch(t, job);
	} else {
		job_unexpected(t, job, a);
	}
}

void job_ask_version(struct turn *t, struct job *job, const char *parameters,
		     const struct question *more)
{
	const struct wanted *w = &job->wanted[job->wanted_at];
	struct question q = *more;
	struct buf path = {0};
	struct buf list = {0};
	struct buf query = {0};
	buf_append_byte(&path, '/');
	url_encode(w->id, &path);
	buf_append_byte(&list, '[');
	json_string(w->revision, &list);
	buf_append_byte(&list, ']');
	buf_printf(&query, "revs=true&%s&open_revs=", parameters);
	url_encode(buf_slice(&list), &query);
	q.side = SIDE_SOURCE;
	q.method = HTTP_GET;
	q.path = buf_cstr(&path);
	q.query = buf_slice(&query);
	ask_send(t, &job->ask, &q);
	buf_close(&path);
	buf_close(&list);
	buf_close(&query);
}

/* One document, as CouchDB's replicator asked before there was _bulk_get. */
static void fetch_single(struct turn *t, struct job *job)
{
	const struct question q = {.answer_bytes_max = REPLICATE_INLINE_BYTES,
				   .done = documents_came};
	job->fetching = 1;
	job_ask_version(t, job, "latest=true&attachments=true", &q);
}

static void fetch_many(struct turn *t, struct job *job, uint32_t left)
{
	struct buf body = {0};
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
	    .answer_bytes_max = REPLICATE_INLINE_BYTES,
	    .less = fetch_less,
	    .done = documents_came,
	};
	ask_send(t, &job->ask, &q);
	buf_close(&body);
}

void job_fetch(struct turn *t, struct job *job)
{
	uint32_t left = job->wanted_count - job->wanted_at;
	if (left == 0)
		job_batch_done(t, job);
	else if (job->single)
		fetch_single(t, job);
	else
		fetch_many(t, job, left);
}
