/* Rows of a view as they are answered, with their documents. */
#include <inttypes.h>

#include "common/doc/json.h"
#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/view_private.h"

static void print_line(const struct view_op *op, const struct view_line *line, struct buf *out)
{
	bool reduces = op->kind != REDUCE_NONE;
	buf_append_byte(out, '{');
	if (!reduces) {
		buf_append_text(out, "\"id\":");
		json_string(line->id, out);
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"key\":");
	if (!json_from_msgpack(line->key, out))
		buf_append_text(out, "null");
	buf_append_text(out, ",\"value\":");
	if (reduces)
		buf_append_slice(out, line->value);
	else if (!json_from_msgpack(line->value, out))
		buf_append_text(out, "null");
	if (line->doc.len > 0) {
		buf_append_text(out, ",\"doc\":");
		buf_append_slice(out, line->doc);
	}
	buf_append_byte(out, '}');
}

static void print_answer(struct turn *t, struct request *r)
{
	const struct view_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	uint64_t total = 0;
	for (uint32_t i = 0; i < op->shards_count; i++)
		total += op->shards[i].total;
	buf_append_byte(out, '{');
	if (op->kind == REDUCE_NONE && op->params.ranged)
		buf_printf(out, "\"total_rows\":%" PRIu64 ",\"offset\":null,", total);
	else if (op->kind == REDUCE_NONE)
		buf_printf(out, "\"total_rows\":%" PRIu64 ",\"offset\":%" PRIu64 ",", total,
			   op->params.skip < total ? op->params.skip : total);
	if (op->params.update_seq) {
		buf_append_text(out, "\"update_seq\":");
		json_string(op->sequence, out);
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"rows\":[");
	for (uint32_t i = 0; i < op->lines.count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		print_line(op, &op->lines.list[i], out);
	}
	buf_append_text(out, "]}");
	couch_reply_send(t, r, reply);
}

/* ---- documents of the rows ---- */

static void doc_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct view_op *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct view_line *line = &op->lines.list[index];
	struct buf *out = &t->gw->scratch;
	if (!ack || (status != STATUS_NOT_FOUND && !status_is_success(status))) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	buf_clear(out);
	struct couch_document d = {.id = op->reads[index].id,
				   .revision = ack->revision,
				   .body = ack->body,
				   .data = op->params.data};
	if (op->params.conflicts && ack->leaves_count > 1) {
		d.conflicts = ack->leaves + 1;
		d.conflicts_count = ack->leaves_count - 1;
	}
	if (status == STATUS_NOT_FOUND || !couch_document_print(&d, out)) {
		buf_clear(out);
		buf_append_text(out, "null");
	}
	line->doc = arena_copy(&r->arena, buf_slice(out));
	op->lines.bytes += line->doc.len;
	if (op->lines.bytes > t->gw->options.limits.list_bytes_max)
		view_too_large(t, r, op->lines.bytes);
	else if (--op->left == 0)
		print_answer(t, r);
}

/* {"_id": another document's}, and {"_rev": a revision} */
static void fill_read(struct request *r, const struct view_op *op, const struct view_line *line,
		      struct msg_doc_read *read)
{
	struct mp_reader id = mp_reader_of(value_member(line->value, slice_text("_id")));
	struct mp_reader rev = mp_reader_of(value_member(line->value, slice_text("_rev")));
	struct mp_token id_token = mp_read(&id);
	struct mp_token rev_token = mp_read(&rev);
	struct problem ignored;
	read->id = line->id;
	read->want_leaves = op->params.conflicts;
	if (id_token.type == MP_STR && couch_id_check(id_token.bytes, &ignored))
		read->id = id_token.bytes;
	if (rev_token.type == MP_STR &&
	    !couch_revision(r, rev_token.bytes, &read->revision, &ignored))
		read->revision = (struct revision){0};
}

static void documents_go(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	op->left = op->lines.count + 1;
	op->reads = arena_alloc(&r->arena, (op->lines.count + 1) * sizeof *op->reads);
	for (uint32_t i = 0; i < op->lines.count && !r->finished; i++) {
		struct msg_doc_read *read = &op->reads[i];
		fill_read(r, op, &op->lines.list[i], read);
		read->shard = map_collection_shard(c, read->id)->shard.id;
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = read->shard,
					 .type = MSG_doc_read,
					 .answer = MSG_doc_read_ack,
					 .message = read,
					 .repeatable = true,
					 .index = i,
					 .done = doc_came};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
	if (!r->finished && --op->left == 0)
		print_answer(t, r);
}

void view_lines_answer(struct turn *t, struct request *r)
{
	const struct view_op *op = r->op;
	if (op->params.include_docs)
		documents_go(t, r);
	else
		print_answer(t, r);
}
