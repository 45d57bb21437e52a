#include "gateway/couch/revisions.h"

#include "common/doc/revision.h"

/* ---- printing ---- */

static struct couch_document document_of(struct request *r, const struct reading *op,
					 struct slice id, const struct revision_read *read)
{
	struct couch_document d = {.id = id,
				   .revision = read->revision,
				   .deleted = read->deleted,
				   .body = read->body,
				   .revs = op->revs,
				   .ancestors_count = read->ancestors_count,
				   .data = op->data};
	struct revision *line = arena_alloc(&r->arena, (read->ancestors_count + 1) * sizeof *line);
	for (uint32_t i = 0; i < read->ancestors_count; i++)
		line[i] = (struct revision){read->revision.generation - 1 - i, read->ancestors[i]};
	d.ancestors = line;
	return d;
}

static bool print_document(struct request *r, const struct reading *op, struct slice id,
			   const struct revision_read *read, struct buf *out)
{
	struct couch_document d = document_of(r, op, id, read);
	buf_append_text(out, "{\"ok\":");
	bool ok = couch_document_print(&d, out);
	buf_append_byte(out, '}');
	return ok;
}

/* {"error":{"id":...,"rev":...,"error":...,"reason":...}}; as a part only what is in it. */
static void print_error(const struct reading *op, struct slice id, const struct revision *rev,
			const struct problem *p, struct buf *out)
{
	buf_append_text(out, op->mixed ? "{\"id\":" : "{\"error\":{\"id\":");
	json_string(id, out);
	buf_append_text(out, ",\"rev\":");
	if (rev)
		json_revision(rev, out);
	else
		buf_append_text(out, "\"undefined\"");
	buf_append_byte(out, ',');
	couch_error_members(p, out);
	buf_append_text(out, op->mixed ? "}" : "}}");
}

static void print_missing(const struct reading *op, struct slice id, const struct revision *rev,
			  struct buf *out)
{
	struct problem missing;
	couch_problem(&missing, COUCH_MISSING, "");
	if (op->bulk) {
		print_error(op, id, rev, &missing, out);
		return;
	}
	buf_append_text(out, "{\"missing\":");
	json_revision(rev, out);
	buf_append_byte(out, '}');
}

/* The only one that was asked for; NULL: none is named. */
static const struct revision *asked_revision(const struct reading *op, uint32_t index)
{
	const struct revs_asked *asked = &op->asked[index];
	return asked->revisions_count > 0 ? asked->revisions : NULL;
}

/* The revisions of one document, separated by commas. */
static bool print_item(struct request *r, const struct reading *op, uint32_t index,
		       const struct document_read *found, struct buf *out)
{
	struct slice id = op->ids[index];
	for (uint32_t i = 0; i < found->revisions_count; i++) {
		const struct revision_read *read = &found->revisions[i];
		if (i > 0)
			buf_append_byte(out, ',');
		if (read->missing)
			print_missing(op, id, &read->revision, out);
		else if (!print_document(r, op, id, read, out))
			return false;
	}
	if (found->revisions_count == 0 && op->bulk)
		print_missing(op, id, NULL, out);
	return true;
}

/* ---- as parts ---- */

/* One part, and the delimiter behind it. */
static void mix_part(const struct reading *op, struct flow *flow, const struct buf *head,
		     const struct couch_document *d, struct slice json)
{
	struct buf text = {0};
	buf_append_text(&text, "\r\n");
	buf_append_slice(&text, buf_slice(head));
	buf_append_text(&text, "\r\n\r\n");
	flow_text(flow, buf_slice(&text));
	couch_related_print(flow, op->inner, d->id, json, d->body);
	buf_clear(&text);
	buf_printf(&text, "\r\n--%s", op->outer);
	flow_text(flow, buf_slice(&text));
	buf_close(&text);
}

static void mix_error(const struct reading *op, struct flow *flow, struct slice json)
{
	const struct couch_document none = {0};
	struct buf head = {0};
	buf_append_text(&head, "Content-Type: application/json; error=\"true\"");
	mix_part(op, flow, &head, &none, json);
	buf_close(&head);
}

/* Of many documents the part says whose it is, as its first part is only the document. */
static void print_head(const struct reading *op, const struct couch_document *d, struct buf *head)
{
	if (op->bulk && attachments_of(d->body).len > 0) {
		buf_append_text(head, "X-Doc-Id: ");
		buf_append_slice(head, d->id);
		buf_append_text(head, "\r\nX-Rev-Id: ");
		revision_print(&d->revision, head);
		buf_append_text(head, "\r\n");
	}
	buf_append_text(head, "Content-Type: ");
	couch_related_type(op->inner, d->body, head);
}

static bool mix_revision(struct request *r, const struct reading *op, uint32_t index,
			 const struct revision_read *read, struct buf *out)
{
	struct couch_document d = document_of(r, op, op->ids[index], read);
	struct buf head = {0};
	if (read->missing) {
		print_missing(op, d.id, &read->revision, out);
		mix_error(op, op->flows[index], buf_slice(out));
		return true;
	}
	d.follows = true;
	bool fine = couch_document_print(&d, out);
	print_head(op, &d, &head);
	mix_part(op, op->flows[index], &head, &d, buf_slice(out));
	buf_close(&head);
	return fine;
}

static bool mix_item(struct request *r, const struct reading *op, uint32_t index,
		     const struct document_read *found, struct buf *out)
{
	struct buf one = {0};
	bool fine = true;
	for (uint32_t i = 0; fine && i < found->revisions_count; i++) {
		buf_clear(&one);
		fine = mix_revision(r, op, index, &found->revisions[i], &one);
		/* only how much it is counts */
		buf_append_slice(out, buf_slice(&one));
	}
	if (found->revisions_count == 0 && op->bulk) {
		print_missing(op, op->ids[index], NULL, out);
		mix_error(op, op->flows[index], buf_slice(out));
	}
	buf_close(&one);
	return fine;
}

static void answer_mixed(struct turn *t, struct request *r, const struct reading *op)
{
	struct reply *reply = reply_begin(t, 200);
	struct flow *all = flow_new(r);
	struct buf text = {0};
	buf_printf(&text, "%s; boundary=\"%s\"", op->mixed, op->outer);
	reply->content_type = arena_copy(&r->arena, buf_slice(&text));
	buf_clear(&text);
	buf_printf(&text, "--%s", op->outer);
	flow_text(all, buf_slice(&text));
	for (uint32_t i = 0; i < op->count; i++) {
		buf_clear(&text);
		if (op->refused[i].status != STATUS_OK) {
			print_error(op, op->ids[i], asked_revision(op, i), &op->refused[i], &text);
			mix_error(op, op->flows[i], buf_slice(&text));
		}
		flow_append(all, op->flows[i]);
	}
	buf_close(&text);
	flow_text(all, slice_text("--"));
	flow_send(t, r, all, reply);
}

/* ---- answers ---- */

static void answer_open_revs(struct turn *t, struct request *r, const struct reading *op)
{
	/* all leaves of nothing */
	if (op->printed[0].len == 0 && op->asked[0].revisions_count == 0) {
		couch_answer_error(t, r, COUCH_MISSING);
		return;
	}
	if (op->mixed) {
		answer_mixed(t, r, op);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, op->printed[0]);
	buf_append_byte(&reply->body, ']');
	couch_reply_send(t, r, reply);
}

static void answer_bulk(struct turn *t, struct request *r, const struct reading *op)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_text(out, "{\"results\":[");
	for (uint32_t i = 0; i < op->count; i++) {
		buf_append_text(out, i == 0 ? "{\"id\":" : ",{\"id\":");
		json_string(op->ids[i], out);
		buf_append_text(out, ",\"docs\":[");
		if (op->refused[i].status != STATUS_OK)
			print_error(op, op->ids[i], asked_revision(op, i), &op->refused[i], out);
		else
			buf_append_slice(out, op->printed[i]);
		buf_append_text(out, "]}");
	}
	buf_append_text(out, "]}");
	couch_reply_send(t, r, reply);
}

bool couch_revisions_item(struct request *r, const struct reading *op, uint32_t index,
			  const struct document_read *found, struct buf *out)
{
	return op->mixed ? mix_item(r, op, index, found, out)
			 : print_item(r, op, index, found, out);
}

void couch_revisions_answer(struct turn *t, struct request *r, const struct reading *op)
{
	if (!op->bulk)
		answer_open_revs(t, r, op);
	else if (op->mixed)
		answer_mixed(t, r, op);
	else
		answer_bulk(t, r, op);
}
