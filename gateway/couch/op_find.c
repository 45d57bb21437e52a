/* _find and _explain: a selector is a native list with the filter {"$mango": selector}. Which
 * indexes there are is known from the map, so that a query needs no more messages than a list. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/mango_fields.h"
#include "common/doc/query_conditions.h"
#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/conflicts.h"
#include "gateway/couch/mango.h"
#include "gateway/routes.h"

enum { FIND_LIMIT = 25 };

#define NO_INDEX_WARNING "No matching index found, create an index to optimize query time."

struct find {
	struct list_view view; /* first: the list's hooks lead back here */
	struct list_params params;
	struct slice body;
	struct slice selector;
	struct mango_fields sort;
	struct slice bookmark;
	uint64_t limit;
	uint64_t skip;
	bool projected; /* to these: */
	struct mango_fields_paths fields;
	bool with_id;
	bool with_rev;
	bool with_attachments;
	bool with_conflicts;
	bool conflicts; /* they are looked for */
	struct arena *arena;
	bool stats;
	bool explain;
	bool indexed;          /* an index of the map fits */
	struct slice index;    /* its native name */
	struct slice partial;  /* its filter; empty: none */
	bool unused;           /* the one asked for does not */
	struct slice use_ddoc; /* with _design/; empty: any */
	struct slice use_name;
	uint64_t returned;
	int64_t started_ms;
};

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* ---- what was asked ---- */

static bool bad_member(struct problem *p, enum couch_error error, const char *name,
		       const char *wanted)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "`%s` must be %s", name, wanted);
	return couch_problem(p, error, text);
}

static bool take_count(const struct find *op, const char *name, uint64_t *out, struct problem *p)
{
	struct mp_token t = token_of(value_member(op->body, slice_text(name)));
	if (t.type == MP_UINT)
		*out = t.u64;
	return t.type == MP_UINT || t.type == MP_INVALID ||
	       bad_member(p, COUCH_BAD_COUNT, name, "a whole number, 0 or more");
}

static bool take_flag(const struct find *op, const char *name, bool *out, struct problem *p)
{
	struct mp_token t = token_of(value_member(op->body, slice_text(name)));
	*out = t.type == MP_BOOL && t.flag;
	return t.type == MP_BOOL || t.type == MP_INVALID ||
	       bad_member(p, COUCH_BAD_BOOLEAN, name, "true or false");
}

/* What is no member of the body, or has another form there. */
static bool take_special(struct find *op, struct slice name)
{
	struct {
		const char *name;
		bool *flag;
	} rows[] = {{"_id", &op->with_id},
		    {"_rev", &op->with_rev},
		    {"_attachments", &op->with_attachments},
		    {"_conflicts", &op->with_conflicts}};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!slice_is(name, rows[i].name))
			continue;
		*rows[i].flag = true;
		return true;
	}
	return false;
}

/* The storage nodes leave away members that no path begins with. They know no escapes: with a name
 * that would need one they send all. */
static void ask_fields(struct request *r, struct find *op)
{
	struct text_list *ask = &op->params.fields;
	ask->texts = arena_alloc(&r->arena, (op->fields.count + 2) * sizeof *ask->texts);
	for (uint32_t i = 0; i < op->fields.count; i++) {
		struct slice name = mango_fields_first(&op->fields, i);
		if (name.len == 0 || memchr(name.data, '.', name.len)) {
			ask->count = 0;
			return;
		}
		ask->texts[ask->count++] = name;
	}
	if (op->with_attachments)
		ask->texts[ask->count++] = slice_text("_attachments");
	if (ask->count == 0)
		ask->texts[ask->count++] = slice_text("id");
}

static bool take_projection(struct request *r, struct find *op, struct problem *p)
{
	struct slice value = value_member(op->body, slice_text("fields"));
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	uint32_t count = 0;
	if (value.len == 0 || (head.type == MP_STR && slice_is(head.bytes, "all_fields")))
		return true;
	if (head.type != MP_ARRAY || head.count >= LIMIT_FIELDS)
		return couch_problem(p, COUCH_BAD_FIELDS, "");
	op->projected = head.count > 0;
	struct slice *texts = arena_alloc(&r->arena, (head.count + 1) * sizeof *texts);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token name = mp_read(&reader);
		if (name.type != MP_STR || name.bytes.len == 0 ||
		    name.bytes.len >= LIMIT_PATH_BYTES)
			return couch_problem(p, COUCH_BAD_FIELDS, "");
		if (!take_special(op, name.bytes))
			texts[count++] = name.bytes;
	}
	if (!mango_fields_parse(texts, count, &r->arena, &op->fields))
		return couch_problem(p, COUCH_BAD_FIELDS, "");
	if (op->projected)
		ask_fields(r, op);
	return true;
}

/* "ddoc", ["ddoc"] or ["ddoc", "name"]. */
static bool take_use_index(struct request *r, struct find *op, struct problem *p)
{
	struct slice value = value_member(op->body, slice_text("use_index"));
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token first = mp_read(&reader);
	if (value.len == 0 || (first.type == MP_ARRAY && first.count == 0))
		return true;
	bool pair = first.type == MP_ARRAY && first.count == 2;
	if (first.type == MP_ARRAY)
		first = first.count <= 2 ? mp_read(&reader) : first;
	struct mp_token second = pair ? mp_read(&reader) : first;
	if (first.type != MP_STR || second.type != MP_STR || first.bytes.len == 0)
		return bad_member(p, COUCH_BAD_STRING, "use_index",
				  "a design document, or [design document, index]");
	op->use_ddoc = mango_ddoc_id(r, first.bytes);
	op->use_name = pair ? second.bytes : slice_of(NULL, 0);
	return true;
}

static bool take_bookmark(struct find *op, struct problem *p)
{
	struct slice value = value_member(op->body, slice_text("bookmark"));
	struct mp_token t = token_of(value);
	if (value.len == 0 || t.type == MP_NIL)
		return true;
	if (t.type != MP_STR)
		return couch_problem(p, COUCH_BAD_BOOKMARK, "");
	if (t.bytes.len > 0 && !slice_is(t.bytes, "nil"))
		op->bookmark = t.bytes;
	return true;
}

static bool take_all(struct turn *t, struct request *r, struct find *op, struct problem *p)
{
	if (!native_body(t, r, &op->body, p))
		return false;
	if (token_of(op->body).type != MP_MAP)
		return couch_problem(p, COUCH_BAD_REQUEST, "Request body must be a JSON object");
	op->selector = value_member(op->body, slice_text("selector"));
	if (op->selector.len == 0)
		return couch_problem(p, COUCH_MISSING_KEY, "Missing required key: selector");
	if (token_of(op->selector).type != MP_MAP)
		return couch_problem(p, COUCH_BAD_SELECTOR, "");
	struct slice sort = value_member(op->body, slice_text("sort"));
	if (sort.len > 0 && !mango_take_fields(r, sort, COUCH_BAD_SORT, &op->sort, p))
		return false;
	if (!take_flag(op, "conflicts", &op->conflicts, p) ||
	    !take_flag(op, "execution_stats", &op->stats, p) ||
	    !take_count(op, "limit", &op->limit, p) || !take_count(op, "skip", &op->skip, p))
		return false;
	if (op->skip > LIST_SKIP_MAX)
		return couch_problem(p, COUCH_BAD_COUNT, "`skip` is larger than the limit.");
	return take_projection(r, op, p) && take_use_index(r, op, p) && take_bookmark(op, p);
}

/* ---- as a native list ---- */

/* Whoever sorts by a field wants documents that have it; whoever names an index with a filter, what
 * is in it. */
static void make_filter(struct turn *t, struct request *r, struct find *op)
{
	uint32_t count = 0;
	struct slice *all = arena_alloc(&r->arena, (op->sort.count + 2) * sizeof *all);
	all[count++] = op->selector;
	for (uint32_t i = 0; i < op->sort.count; i++) {
		struct buf *out = &t->gw->scratch;
		buf_clear(out);
		mp_write_map(out, 1);
		mp_write_str(out, op->sort.list[i].name);
		mp_write_map(out, 1);
		mp_write_text(out, "$exists");
		mp_write_bool(out, true);
		all[count++] = arena_copy(&r->arena, buf_slice(out));
	}
	if (op->partial.len > 0)
		all[count++] = op->partial;
	op->params.filter = mango_filter(t, r, all, count);
}

static bool by_id_only(const struct mango_fields *sort)
{
	return sort->count == 1 && slice_is(sort->list[0].name, "_id");
}

static bool make_order(struct turn *t, struct request *r, struct find *op, struct problem *p)
{
	struct list_params *params = &op->params;
	uint32_t count = op->sort.count;
	if (count == 0 || (by_id_only(&op->sort) && !op->sort.descending))
		return true;
	params->order.texts = arena_alloc(&r->arena, count * sizeof *params->order.texts);
	params->orders = arena_alloc(&r->arena, count * sizeof *params->orders);
	for (uint32_t i = 0; i < count; i++) {
		struct query_error error;
		struct buf *out = &t->gw->scratch;
		if (op->sort.list[i].path.len == 0)
			return couch_problem(p, COUCH_NO_INDEX, "");
		buf_clear(out);
		buf_append_text(out, op->sort.descending ? "desc(" : "asc(");
		buf_append_slice(out, op->sort.list[i].path);
		buf_append_byte(out, ')');
		params->order.texts[i] = arena_copy(&r->arena, buf_slice(out));
		if (!query_order_parse(params->order.texts[i], &params->orders[i], &error))
			return couch_problem(p, COUCH_BAD_SORT, "");
	}
	params->order.count = count;
	return true;
}

/* ---- which index fits ---- */

struct demands {
	struct query_condition *list;
	uint32_t count;
};

static bool is_demanded(const struct demands *d, struct slice path, bool constant)
{
	for (uint32_t i = 0; i < d->count; i++) {
		const struct query_condition *c = &d->list[i];
		bool one = c->comparison == COMPARE_IN && c->values_count == 1;
		if (slice_equal(c->path, path) && (one || !constant))
			return true;
	}
	return false;
}

/* Fields that the selector gives one value apart, an index begins with those of the sort. */
static bool fits_sort(const struct find *op, const struct demands *d,
		      const struct index_definition *index)
{
	uint32_t at = 0;
	for (uint32_t i = 0; i < op->sort.count; i++) {
		struct slice path = op->sort.list[i].path;
		while (at < index->fields_count && !slice_equal(index->fields[at], path) &&
		       is_demanded(d, index->fields[at], true))
			at++;
		if (at == index->fields_count || !slice_equal(index->fields[at++], path))
			return false;
	}
	return true;
}

static bool fits(const struct find *op, const struct demands *d,
		 const struct index_definition *index)
{
	if (op->sort.count > 0 && !by_id_only(&op->sort))
		return fits_sort(op, d, index);
	return is_demanded(d, index->fields[0], false);
}

/* An index made by _index has its design document's and its own name in that of the native one. */
static bool is_asked_for(const struct find *op, const struct index_definition *index)
{
	struct mango_index asked = {.ddoc = op->use_ddoc, .name = op->use_name};
	mango_index_name(&asked);
	return op->use_ddoc.len > 0 && index->name.len == MANGO_NATIVE_CHARS - 1 &&
	       memcmp(index->name.data, asked.native, mango_index_asked(&asked)) == 0;
}

/* One with a filter is nobody's but theirs who ask for it, as it lessens what is found. */
static void choose(struct request *r, struct find *op, const struct map_collection *c,
		   const struct query *query)
{
	struct demands d;
	d.count = query_conditions(query, &r->arena, &d.list);
	op->unused = op->use_ddoc.len > 0;
	for (uint32_t i = 0; i < c->settings.indexes_count; i++) {
		const struct index_definition *index = &c->settings.indexes[i];
		bool asked = is_asked_for(op, index);
		bool partial = mango_is_partial(index->name);
		if (!fits(op, &d, index) || (partial && !asked))
			continue;
		if (!op->indexed || (asked && (!partial || op->unused)))
			op->index = arena_copy(&r->arena, index->name);
		op->indexed = true;
		op->unused &= !asked;
	}
}

/* ---- the answer ---- */

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
static enum list_taken take_row(struct list_view *view, const struct row *row, struct buf *out)
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

static void find_answer(struct turn *t, struct request *r, struct list_view *view,
			struct slice rows)
{
	const struct find *op = (const struct find *)view;
	struct buf bookmark = {0};
	if (op->returned > 0 && view->last && view->last->id.len > 0)
		list_cursor_print(t, r, &op->params, view->last, &bookmark);
	else
		buf_append_text(&bookmark, "nil");
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
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

static void explain_answer(struct turn *t, struct request *r, const struct mango_index *list,
			   uint32_t count)
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

/* ---- beginning ---- */

static bool needs_index(const struct find *op)
{
	return op->sort.count > 0 && !by_id_only(&op->sort) && !op->indexed;
}

static void find_start(struct turn *t, struct request *r, struct find *op)
{
	struct problem problem;
	if (op->bookmark.len > 0 && !list_cursor_parse(t, r, op->bookmark, &op->params)) {
		couch_problem(&problem, COUCH_BAD_BOOKMARK, "");
		answer_problem(t, r, &problem);
		return;
	}
	op->params.view = &op->view;
	op->params.want_others = op->conflicts;
	op->params.limit = op->limit;
	op->params.skip = op->skip;
	if (op->explain)
		mango_list_indexes(t, r, explain_answer);
	else if (op->limit == 0)
		find_answer(t, r, &op->view, slice_of(NULL, 0));
	else
		list_start(t, r, &op->params);
}

/* The native index says only that there is a filter: which, its design document. */
static void find_partial(struct turn *t, struct request *r, const struct mango_index *list,
			 uint32_t count)
{
	struct find *op = r->op;
	struct query_error error;
	struct problem problem;
	bool fine = true;
	for (uint32_t i = 0; i < count && op->partial.len == 0; i++)
		if (slice_is(op->index, list[i].native))
			op->partial = list[i].filter;
	if (op->partial.len > 0) {
		make_filter(t, r, op);
		fine = query_compile(op->params.filter, &r->arena, &error) ||
		       mango_refuse(&error, &problem);
	} else {
		op->index = slice_of(NULL, 0);
		op->indexed = false;
		op->unused = true;
		fine = !needs_index(op) || couch_problem(&problem, COUCH_NO_INDEX, "");
	}
	if (fine)
		find_start(t, r, op);
	else
		answer_problem(t, r, &problem);
}

static void find_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct find *op = r->op;
	struct query_error error;
	struct problem problem;
	make_filter(t, r, op);
	const struct query *query = query_compile(op->params.filter, &r->arena, &error);
	bool fine = query ? make_order(t, r, op, &problem) : mango_refuse(&error, &problem);
	if (fine)
		choose(r, op, c, query);
	if (fine && needs_index(op))
		fine = couch_problem(&problem, COUCH_NO_INDEX, "");
	if (!fine)
		answer_problem(t, r, &problem);
	else if (mango_is_partial(op->index))
		mango_list_indexes(t, r, find_partial);
	else
		find_start(t, r, op);
}

static void find_begin(struct turn *t, struct request *r, bool explain)
{
	struct find *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	*op = (struct find){
	    .arena = &r->arena, .limit = FIND_LIMIT, .explain = explain, .started_ms = t->now_ms};
	op->view = (struct list_view){.row = take_row, .answer = find_answer};
	r->op = op;
	if (take_all(t, r, op, &problem))
		couch_find(t, r, find_go);
	else
		answer_problem(t, r, &problem);
}

void couch_mango_find(struct turn *t, struct request *r)
{
	find_begin(t, r, false);
}

void couch_mango_explain(struct turn *t, struct request *r)
{
	find_begin(t, r, true);
}
