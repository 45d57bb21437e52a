/* The rows of _find in CouchDB's form; _explain. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/conflicts.h"
#include "gateway/couch/find.h"

#define NO_INDEX_WARNING "No matching index found, create an index to optimize query time."

static bool print_projected(const struct find *op, const struct couch_document *d, struct buf *out)
{
	struct buf body = {0};
	size_t at = out->len;
	if (op->with_id) {
		buf_append_text(out, ",\"_id\":");
		json_string(d->id, out);
	}
	if (op->with_rev) {
		buf_append_text(out, ",\"_rev\":");
		json_revision(&d->revision, out);
	}
	mango_fields_project(&op->fields, d->body, &body);
	bool printed = couch_members_print(buf_slice(&body), out);
	buf_close(&body);
	if (op->with_attachments)
		couch_attachments_print(d, out);
	if (op->with_conflicts)
		couch_conflicts_print(d, out);
	if (out->len == at)
		buf_append_byte(out, '{');
	out->data[at] = '{';
	buf_append_byte(out, '}');
	return printed;
}

/* Design documents, and what is in no list, are found by nobody. */
enum list_taken find_take_row(struct list_view *view, const struct row *row, struct buf *out)
{
	struct find *op = (struct find *)view;
	struct couch_document d = {.id = row->id, .revision = row->revision, .body = row->body};
	if (row->id.len > 0 && row->id.data[0] == '_')
		return LIST_PASSED;
	if (!out)
		return LIST_TAKEN;
	if (op->conflicts && row->others.len > 0)
		couch_conflicts_take(op->arena, row->others, &d);
	if (op->projected ? !print_projected(op, &d, out) : !couch_document_print(&d, out))
		return LIST_ENDED;
	op->returned++;
	op->conflicted += row->conflicts > 0;
	return LIST_TAKEN;
}

static void print_stats(const struct find *op, const struct turn *t, struct buf *out)
{
	uint64_t keys = 0;
	uint64_t documents = 0;
	for (uint32_t i = 0; i < op->view.costs_count; i++) {
		keys += op->view.costs[i].keys_read;
		documents += op->view.costs[i].documents_read;
	}
	buf_printf(out,
		   ",\"execution_stats\":{\"total_keys_examined\":%" PRIu64
		   ",\"total_docs_examined\":%" PRIu64
		   ",\"total_quorum_docs_examined\":0,\"results_returned\":%" PRIu64
		   ",\"execution_time_ms\":%" PRId64 "}",
		   keys, documents, op->returned, t->now_ms - op->started_ms);
}

static void print_warnings(const struct find *op, struct buf *out)
{
	struct buf text = {0};
	if (!op->indexed)
		buf_append_text(&text, NO_INDEX_WARNING);
	if (op->unused) {
		buf_append_text(&text, text.len > 0 ? "\n" : "");
		buf_append_slice(&text, op->use_ddoc);
		if (op->use_name.len > 0) {
			buf_append_text(&text, ", ");
			buf_append_slice(&text, op->use_name);
		}
		buf_append_text(&text, op->use_name.len > 0
					   ? " was not used because it is not a valid index for "
					     "this query."
					   : " was not used because it does not contain a valid "
					     "index for this query.");
	}
	if (text.len > 0) {
		buf_append_text(out, ",\"warning\":");
		json_string(buf_slice(&text), out);
	}
	buf_close(&text);
}

void find_answer(struct turn *t, struct request *r, struct list_view *view, struct slice rows)
{
	const struct find *op = (const struct find *)view;
	struct buf bookmark = {0};
	if (op->returned > 0 && view->last && view->last->id.len > 0)
		list_cursor_print(t, r, &op->params, view->last, &bookmark);
	else
		buf_append_text(&bookmark, "nil");
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	reply_conflicts(r, reply, op->conflicted);
	buf_append_text(out, "{\"docs\":[");
	buf_append_slice(out, rows);
	buf_append_text(out, "],\"bookmark\":");
	json_string(buf_slice(&bookmark), out);
	if (op->stats)
		print_stats(op, t, out);
	print_warnings(op, out);
	buf_append_byte(out, '}');
	buf_close(&bookmark);
	reply_send(t, r, reply);
}

/* ---- _explain ---- */

static void print_member(const struct find *op, const char *name, const char *otherwise,
			 struct buf *out)
{
	struct slice value = value_member(op->body, slice_text(name));
	buf_printf(out, "\"%s\":", name);
	if (value.len == 0 || !json_from_msgpack(value, out))
		buf_append_text(out, otherwise);
}

static void print_index(const struct find *op, const struct mango_index *list, uint32_t count,
			struct buf *out)
{
	for (uint32_t i = 0; op->index.len > 0 && i < count; i++) {
		if (!slice_is(op->index, list[i].native))
			continue;
		mango_index_print(&list[i], out);
		return;
	}
	buf_append_text(out, "{\"ddoc\":null,\"name\":");
	json_string(op->index.len > 0 ? op->index : slice_text("_all_docs"), out);
	buf_printf(out, ",\"type\":\"%s\",\"def\":{\"fields\":[{\"_id\":\"asc\"}]}}",
		   op->index.len > 0 ? "json" : "special");
}

void find_explain(struct turn *t, struct request *r, const struct mango_index *list, uint32_t count)
{
	const struct find *op = r->op;
	struct buf name = {0};
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	if (!couch_database_name(r->collection, &name))
		buf_append_slice(&name, r->collection);
	buf_append_text(out, "{\"dbname\":");
	json_string(buf_slice(&name), out);
	buf_close(&name);
	buf_append_text(out, ",\"index\":");
	print_index(op, list, count, out);
	buf_append_text(out, ",\"partitioned\":false,");
	print_member(op, "selector", "{}", out);
	buf_append_text(out, ",\"opts\":{");
	print_member(op, "use_index", "[]", out);
	buf_append_text(out, ",");
	print_member(op, "bookmark", "\"nil\"", out);
	buf_printf(out, ",\"limit\":%" PRIu64 ",\"skip\":%" PRIu64 ",", op->limit, op->skip);
	print_member(op, "sort", "{}", out);
	buf_append_text(out, ",");
	print_member(op, "fields", "\"all_fields\"", out);
	buf_printf(out,
		   ",\"partition\":\"\",\"r\":1,\"conflicts\":%s,\"execution_stats\":%s,"
		   "\"update\":true,\"stable\":false,\"stale\":false}",
		   op->conflicts ? "true" : "false", op->stats ? "true" : "false");
	buf_printf(out, ",\"limit\":%" PRIu64 ",\"skip\":%" PRIu64 ",", op->limit, op->skip);
	print_member(op, "fields", "\"all_fields\"", out);
	buf_append_byte(out, '}');
	reply_send(t, r, reply);
}
