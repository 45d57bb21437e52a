/* A document whose attachments come and go in pieces: asked for with stubs, then written as
 * multipart/related, while its contents are asked for in ranges. Doing so twice does no harm, so
 * what breaks off begins again. */
#include "gateway/replicate/parcel.h"

#include <inttypes.h>

#include "common/doc/attachment.h"
#include "common/doc/value.h"
#include "gateway/couch/multipart.h"
#include "gateway/replicate/internal.h"
#include "gateway/url.h"

/* Greater ones are none: sums of them stay in bounds. */
#define CONTENT_BYTES_MAX (UINT64_C(1) << 40)

/* Of the body: a text, or a content. */
struct parcel_piece {
	struct slice text;
	struct slice name;
	uint64_t length;
};

void parcel_close(struct parcel *parcel)
{
	ask_close(&parcel->read);
	buf_close(&parcel->ready);
	arena_close(&parcel->arena);
}

/* ---- its end ---- */

static void next_document(struct turn *t, struct job *job)
{
	struct parcel *parcel = &job->parcel;
	ask_end(t, &parcel->read);
	buf_close(&parcel->ready);
	arena_reset(&parcel->arena);
	parcel->count = parcel->at = 0;
	job->wanted_at++;
	job_fetch(t, job);
}

static void give_up(struct turn *t, struct job *job, const char *reason)
{
	ask_end(t, &job->ask);
	job->batch_counts.read++;
	job_pass_by(t, job, job->wanted[job->wanted_at].id, reason, 1);
	next_document(t, job);
}

static bool refuses(const struct answer *a)
{
	bool told = answer_text(value_member(a->value, slice_text("error"))).len > 0;
	return told && (a->status == 400 || a->status == 401 || a->status == 403 ||
			a->status == 412 || a->status == 415);
}

static void sent(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status >= 200 && a->status <= 202) {
		job->batch_counts.read++;
		job->batch_counts.written++;
		next_document(t, job);
	} else if (a->too_large || refuses(a)) {
		give_up(t, job, a->too_large ? "too_large" : "refused");
	} else {
		ask_end(t, &job->parcel.read);
		job_unexpected(t, job, a);
	}
}

/* ---- its bytes ---- */

static void pump(struct turn *t, struct job *job);

static uint64_t bytes_left(const struct parcel *parcel)
{
	return parcel->pieces[parcel->at].length - parcel->piece_at;
}

static uint64_t range_bytes(const struct parcel *parcel)
{
	uint64_t left = bytes_left(parcel);
	return left < LIMIT_CHUNK_BYTES ? left : LIMIT_CHUNK_BYTES;
}

static void have_bytes(struct turn *t, struct job *job, struct slice bytes)
{
	job->parcel.piece_at += bytes.len;
	buf_append_slice(&job->parcel.ready, bytes);
	pump(t, job);
}

static void piece_came(struct turn *t, struct job *job, struct slice bytes)
{
	if (bytes.len > bytes_left(&job->parcel))
		give_up(t, job, "its attachment is longer than it says");
	else
		have_bytes(t, job, bytes);
}

/* What broke off can't be gone on with: the document begins again. */
static void whole_came(struct turn *t, struct job *job, const struct answer *a)
{
	if (a->status == 200 && a->text.len == bytes_left(&job->parcel)) {
		have_bytes(t, job, a->text);
	} else if (a->status == 200 || a->status == 404) {
		give_up(t, job, "its attachment is not there");
	} else if (a->status == 0) {
		ask_break(t, &job->ask, "the source broke off");
	} else {
		job_unexpected(t, job, a);
	}
}

static void ask_content(struct turn *t, struct job *job, struct question *q);

static void ask_whole(struct turn *t, struct job *job)
{
	struct question q = {.piece = piece_came, .done = whole_came};
	ask_content(t, job, &q);
}

/* A server that knows no ranges gives the whole: that will do, as long as it is not too much. */
static void range_came(struct turn *t, struct job *job, const struct answer *a)
{
	struct parcel *parcel = &job->parcel;
	uint64_t whole = parcel->pieces[parcel->at].length;
	bool part = a->status == 206 && a->text.len == range_bytes(parcel);
	bool all = a->status == 200 && parcel->piece_at == 0 && a->text.len == whole;
	if (part || all) {
		have_bytes(t, job, a->text);
	} else if (a->too_large && parcel->piece_at == 0) {
		ask_whole(t, job);
	} else if (a->too_large) {
		give_up(t, job, "too_large");
	} else if (a->status == 200 || a->status == 206 || a->status == 404) {
		give_up(t, job, "its attachment is not there");
	} else {
		job_unexpected(t, job, a);
	}
}

/* The one that is next. */
static void ask_content(struct turn *t, struct job *job, struct question *q)
{
	const struct parcel *parcel = &job->parcel;
	const struct wanted *w = &job->wanted[job->wanted_at];
	struct buf path = {0};
	struct buf query = {0};
	buf_append_byte(&path, '/');
	url_encode(w->id, &path);
	buf_append_byte(&path, '/');
	url_encode(parcel->pieces[parcel->at].name, &path);
	buf_append_text(&query, "rev=");
	url_encode(w->revision, &query);
	q->side = SIDE_SOURCE;
	q->method = HTTP_GET;
	q->path = buf_cstr(&path);
	q->query = buf_slice(&query);
	ask_send(t, &job->parcel.read, q);
	buf_close(&path);
	buf_close(&query);
}

static void ask_range(struct turn *t, struct job *job)
{
	const struct parcel *parcel = &job->parcel;
	struct buf range = {0};
	buf_printf(&range, "bytes=%" PRIu64 "-%" PRIu64, parcel->piece_at,
		   parcel->piece_at + range_bytes(parcel) - 1);
	struct question q = {
	    .range = buf_slice(&range), .answer_bytes_max = LIMIT_CHUNK_BYTES, .done = range_came};
	ask_content(t, job, &q);
	buf_close(&range);
}

/* False: there is no room for all of it, or nobody who takes it. */
static bool give_ready(struct turn *t, struct job *job)
{
	struct parcel *parcel = &job->parcel;
	size_t bytes = parcel->ready.len - parcel->ready_at;
	if (bytes > job->ask.space)
		bytes = job->ask.space;
	if (!job->ask.flying)
		return false;
	if (bytes > 0)
		ask_give(t, &job->ask, slice_of(parcel->ready.data + parcel->ready_at, bytes));
	parcel->ready_at += bytes;
	if (parcel->ready_at < parcel->ready.len)
		return false;
	buf_clear(&parcel->ready);
	parcel->ready_at = 0;
	return job->ask.flying;
}

/* What comes next is asked for while the target takes what there is. */
static void pump(struct turn *t, struct job *job)
{
	struct parcel *parcel = &job->parcel;
	while (give_ready(t, job) && parcel->at < parcel->count) {
		if (parcel->read.id != 0) {
			ask_more(t, &parcel->read);
			return;
		}
		const struct parcel_piece *piece = &parcel->pieces[parcel->at];
		if (parcel->piece_at < piece->length) {
			ask_range(t, job);
			return;
		}
		buf_append_slice(&parcel->ready, piece->text);
		parcel->at++;
		parcel->piece_at = 0;
	}
}

static void have_room(struct turn *t, struct job *job)
{
	struct parcel *parcel = &job->parcel;
	if (job->ask.given == 0) {
		ask_end(t, &parcel->read);
		buf_clear(&parcel->ready);
		parcel->ready_at = 0;
		parcel->at = 0;
		parcel->piece_at = 0;
	}
	pump(t, job);
}

/* ---- the document ---- */

/* As it came, but that its content follows. What is kept coded has a digest of the coded bytes,
 * and comes decoded. */
static bool print_stub(struct slice stub, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(stub);
	uint32_t count = mp_read(&reader).count;
	bool coded = value_member(stub, slice_text("encoding")).len > 0;
	for (uint32_t i = 0; i < count; i++) {
		struct slice name = mp_read(&reader).bytes;
		struct slice value = mp_value(&reader);
		if (slice_is(name, "stub") || slice_is(name, "encoding") ||
		    slice_is(name, "encoded_length") || (coded && slice_is(name, "digest")))
			continue;
		json_string(name, out);
		buf_append_byte(out, ':');
		if (!json_from_msgpack(value, out))
			return false;
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"follows\":true}");
	return true;
}

static bool take_length(struct slice stub, uint64_t *length)
{
	struct mp_reader reader = mp_reader_of(value_member(stub, slice_text("length")));
	struct mp_token token = mp_read(&reader);
	*length = token.type == MP_UINT ? token.u64 : CONTENT_BYTES_MAX;
	return *length < CONTENT_BYTES_MAX;
}

/* The document in its new form, at the end of *out; one piece with each content's head, one with
 * the content. */
static bool take_attachments(struct parcel *parcel, const char *boundary, struct slice attachments,
			     struct buf *out)
{
	struct mp_reader reader = mp_reader_of(attachments);
	struct mp_token all = mp_read(&reader);
	uint32_t count = all.type == MP_MAP ? all.count : 0;
	struct buf head = {0};
	bool fine = count > 0;
	parcel->pieces =
	    arena_alloc(&parcel->arena, (2 * (size_t)count + 2) * sizeof *parcel->pieces);
	parcel->count = 1; /* what comes before them all is not known yet */
	for (uint32_t i = 0; fine && i < count; i++) {
		struct slice name = arena_copy(&parcel->arena, mp_read(&reader).bytes);
		struct slice stub = mp_value(&reader);
		struct slice type = answer_text(value_member(stub, slice_text("content_type")));
		uint64_t length;
		if (i > 0)
			buf_append_byte(out, ',');
		json_string(name, out);
		buf_append_text(out, ":{");
		fine = take_length(stub, &length) && print_stub(stub, out);
		if (!fine)
			break;
		buf_clear(&head);
		couch_part_print(boundary, name, type, length, &head);
		parcel->pieces[parcel->count++] =
		    (struct parcel_piece){.text = arena_copy(&parcel->arena, buf_slice(&head))};
		parcel->pieces[parcel->count++] =
		    (struct parcel_piece){.name = name, .length = length};
	}
	buf_close(&head);
	return fine;
}

/* The pieces of its body; false: its contents can't be asked for. */
static bool make_pieces(struct job *job, const char *boundary, struct slice document)
{
	static const char member[] = ATTACHMENTS_MEMBER;
	struct parcel *parcel = &job->parcel;
	struct slice attachments = value_member(document, slice_text(member));
	struct buf rest = {0};
	struct buf text = {0};
	buf_printf(&text, "--%s\r\nContent-Type: application/json\r\n\r\n", boundary);
	value_without_member(document, slice_text(member), &rest);
	bool fine = json_from_msgpack(buf_slice(&rest), &text);
	if (fine) {
		text.len--; /* the brace; there is an _id before it */
		buf_printf(&text, ",\"%s\":{", member);
		fine = take_attachments(parcel, boundary, attachments, &text);
		buf_append_text(&text, "}}");
	}
	if (fine) {
		parcel->pieces[0] =
		    (struct parcel_piece){.text = arena_copy(&parcel->arena, buf_slice(&text))};
		buf_clear(&text);
		buf_printf(&text, "\r\n--%s--", boundary);
		parcel->pieces[parcel->count++] =
		    (struct parcel_piece){.text = arena_copy(&parcel->arena, buf_slice(&text))};
	}
	buf_close(&rest);
	buf_close(&text);
	return fine;
}

static void send(struct turn *t, struct job *job, const char *boundary)
{
	const struct parcel *parcel = &job->parcel;
	struct buf path = {0};
	struct buf type = {0};
	buf_append_byte(&path, '/');
	url_encode(job->wanted[job->wanted_at].id, &path);
	buf_printf(&type, "multipart/related; boundary=\"%s\"", boundary);
	struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_PUT,
	    .path = buf_cstr(&path),
	    .query = slice_text("new_edits=false"),
	    .type = buf_slice(&type),
	    .room = have_room,
	    .done = sent,
	};
	for (uint32_t i = 0; i < parcel->count; i++)
		q.length += parcel->pieces[i].text.len + parcel->pieces[i].length;
	ask_send(t, &job->ask, &q);
	buf_close(&path);
	buf_close(&type);
}

/* Without attachments it is no more than a side takes. */
static void send_alone(struct turn *t, struct job *job, struct slice document)
{
	struct buf path = {0};
	struct buf body = {0};
	buf_append_byte(&path, '/');
	url_encode(job->wanted[job->wanted_at].id, &path);
	const struct question q = {
	    .side = SIDE_TARGET,
	    .method = HTTP_PUT,
	    .path = buf_cstr(&path),
	    .query = slice_text("new_edits=false"),
	    .body = json_from_msgpack(document, &body) ? buf_slice(&body) : slice_text("{}"),
	    .done = sent,
	};
	ask_send(t, &job->ask, &q);
	buf_close(&path);
	buf_close(&body);
}

static void document_came(struct turn *t, struct job *job, const struct answer *a)
{
	char boundary[PART_BOUNDARY_BYTES];
	struct slice item = value_element(a->value, 0);
	struct slice document = value_member(item, slice_text("ok"));
	couch_boundary_draw(t, boundary);
	if (a->too_large)
		give_up(t, job, "too_large");
	else if (a->status == 404 || value_member(item, slice_text("missing")).len > 0)
		next_document(t, job); /* what came after it is told of by itself */
	else if (a->status != 200 || document.len == 0)
		job_unexpected(t, job, a);
	else if (value_member(document, slice_text(ATTACHMENTS_MEMBER)).len == 0)
		send_alone(t, job, document);
	else if (make_pieces(job, boundary, document))
		send(t, job, boundary);
	else
		give_up(t, job, "its attachments are none");
}

void job_parcel(struct turn *t, struct job *job)
{
	const struct question q = {.done = document_came};
	job_ask_version(t, job, "att_encoding_info=true", &q);
}
