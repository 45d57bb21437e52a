/* _index: making an index, listing, dropping. First the native index, then the design document: a
 * request that ends half-way can be sent again. One that is made in place of another one drops that
 * before. */
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/inner.h"
#include "gateway/couch/mango.h"
#include "gateway/routes.h"
#include "gateway/url.h"

struct index_op {
	struct mango_index index;
	struct slice body; /* of the design document as it is; empty: none */
	struct msg_doc_read read;
	struct revision revision;
	struct msg_collection_create change;
	struct index_definition native;
	struct couch_write write;
	struct native_operation operation;
	struct slice stale;   /* native: of what stood under this name; empty: nothing */
	uint64_t map_version; /* that shows the native index; UINT64_MAX: not known yet */
	bool drops;
	bool exists;
};

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* ---- the design document ---- */

static void write_view(const struct mango_index *index, struct buf *out)
{
	mp_write_str(out, index->name);
	mp_write_map(out, 3);
	mp_write_text(out, "map");
	mp_write_map(out, 2);
	mp_write_text(out, "fields");
	mp_write_map(out, index->fields.count);
	for (uint32_t i = 0; i < index->fields.count; i++) {
		mp_write_str(out, index->fields.list[i].name);
		mp_write_text(out, index->fields.descending ? "desc" : "asc");
	}
	mp_write_text(out, "partial_filter_selector");
	if (index->filter.len > 0)
		buf_append_slice(out, index->filter);
	else
		mp_write_map(out, 0);
	mp_write_text(out, "reduce");
	mp_write_text(out, "_count");
	mp_write_text(out, "options");
	mp_write_map(out, 1);
	mp_write_text(out, "def");
	buf_append_slice(out, index->definition);
}

/* The members of a map but for one; NULL: only counts them. */
static uint32_t copy_others(struct slice map, struct slice but, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(map);
	struct mp_token head = mp_read(&reader);
	uint32_t count = 0;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		struct slice value = mp_value(&reader);
		if (slice_equal(name, but))
			continue;
		count++;
		if (!out)
			continue;
		mp_write_str(out, name);
		buf_append_slice(out, value);
	}
	return count;
}

/* The document with or without the index. Returns how many views it has then. */
static uint32_t make_ddoc(struct turn *t, struct request *r, struct index_op *op,
			  struct slice *body)
{
	struct buf *out = &t->gw->scratch;
	struct slice views = value_member(op->body, slice_text("views"));
	uint32_t count = copy_others(views, op->index.name, NULL) + !op->drops;
	bool fresh = op->body.len == 0;
	buf_clear(out);
	mp_write_map(out, copy_others(op->body, slice_text("views"), NULL) + 1 + fresh);
	copy_others(op->body, slice_text("views"), out);
	if (fresh) {
		mp_write_text(out, "language");
		mp_write_text(out, "query");
	}
	mp_write_text(out, "views");
	mp_write_map(out, count);
	copy_others(views, op->index.name, out);
	if (!op->drops)
		write_view(&op->index, out);
	*body = arena_copy(&r->arena, buf_slice(out));
	return count;
}

/* ---- the end ---- */

static void answer(struct turn *t, struct request *r, const struct index_op *op)
{
	/* of a document that is a branch nobody knows before its lead has it */
	struct reply *reply = reply_begin(t, op->write.status == STATUS_ACCEPTED ? 202 : 200);
	struct buf *out = &reply->body;
	if (op->drops) {
		buf_append_text(out, "{\"ok\":true}");
	} else {
		buf_printf(out, "{\"result\":\"%s\",\"id\":", op->exists ? "exists" : "created");
		json_string(op->index.ddoc, out);
		buf_append_text(out, ",\"name\":");
		json_string(op->index.name, out);
		buf_append_byte(out, '}');
	}
	reply_send(t, r, reply);
}

static void ddoc_written(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	struct index_op *op = r->op;
	(void)index;
	if (!couch_write_done(t, r, &op->write, status, body))
		return;
	if (status_is_success(op->write.status))
		answer(t, r, op);
	else
		answer_problem(t, r, &op->write.problem);
}

static void write_ddoc(struct turn *t, struct request *r, struct index_op *op)
{
	struct couch_document d = {.id = op->index.ddoc, .revision = op->revision};
	d.deleted = make_ddoc(t, r, op, &d.body) == 0;
	couch_write_fill(t, r, &op->operation, 0, &d, &op->write);
	if (!couch_write_send(t, r, &op->write, 0, ddoc_written))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- the native index ---- */

static void next_step(struct turn *t, struct request *r, struct index_op *op);

/* Queries through this gateway know of it from now on. */
static void map_has_it(struct turn *t, struct request *r)
{
	struct index_op *op = r->op;
	if (t->gw->map.version < op->map_version)
		return;
	request_wait_end(t, r);
	if (op->stale.len > 0) {
		op->stale.len = 0;
		next_step(t, r, op);
	} else if (op->exists) {
		answer(t, r, op);
	} else {
		write_ddoc(t, r, op);
	}
}

static void native_changed(struct turn *t, struct request *r, uint32_t index, enum status status,
			   const void *body)
{
	struct index_op *op = r->op;
	const struct msg_collection_create_ack *ack = body;
	bool gone = (op->drops || op->stale.len > 0) && status == STATUS_NOT_FOUND;
	(void)index;
	if (!gone && (!ack || !status_is_success(status))) {
		answer_status(t, r, status, "");
		return;
	}
	op->map_version = gone ? 0 : ack->map_version;
	map_has_it(t, r);
}

static void change_native(struct turn *t, struct request *r, struct index_op *op)
{
	struct mango_fields *fields = &op->index.fields;
	op->map_version = UINT64_MAX;
	op->change = (struct msg_collection_create){.update = true};
	op->change.collection.name = r->collection;
	op->native = (struct index_definition){.name = slice_text(op->index.native)};
	op->native.fields = arena_alloc(&r->arena, (fields->count + 1) * sizeof(struct slice));
	for (uint32_t i = 0; i < fields->count; i++)
		op->native.fields[op->native.fields_count++] = fields->list[i].path;
	if (op->drops || op->stale.len > 0) {
		op->change.index_drop = op->stale.len > 0 ? op->stale : op->native.name;
	} else {
		op->change.index_add = &op->native;
		op->change.index_add_count = 1;
	}
	request_wait(t, r, map_has_it);
	collection_change(t, r, &op->change, native_changed);
}

/* ---- the design document as it is ---- */

static const struct mango_index *find_index(struct request *r, const struct index_op *op)
{
	struct mango_index *list = arena_alloc(&r->arena, MANGO_INDEXES_MAX * sizeof *list);
	uint32_t count = mango_ddoc_indexes(r, op->index.ddoc, op->body, list, MANGO_INDEXES_MAX);
	for (uint32_t i = 0; i < count; i++)
		if (slice_equal(list[i].name, op->index.name))
			return &list[i];
	return NULL;
}

static void next_step(struct turn *t, struct request *r, struct index_op *op)
{
	if (op->stale.len > 0 || op->index.native[0] != 0)
		change_native(t, r, op);
	else if (op->exists)
		answer(t, r, op);
	else
		write_ddoc(t, r, op);
}

static bool is_same(const struct mango_index *a, const struct mango_index *b)
{
	bool same = slice_equal(a->filter, b->filter) && a->fields.count == b->fields.count &&
		    a->fields.descending == b->fields.descending;
	for (uint32_t i = 0; same && i < a->fields.count; i++)
		same = slice_equal(a->fields.list[i].name, b->fields.list[i].name);
	return same;
}

static void have_ddoc(struct turn *t, struct request *r, struct index_op *op)
{
	struct problem problem;
	const struct mango_index *found = NULL;
	if (op->body.len > 0 && mango_is_ddoc(op->body)) {
		found = find_index(r, op);
	} else if (op->body.len > 0) {
		couch_problem(&problem, COUCH_DDOC_LANGUAGE, "");
		answer_problem(t, r, &problem);
		return;
	}
	if (op->drops && !found) {
		couch_answer_error(t, r, COUCH_MISSING);
		return;
	}
	if (op->drops)
		op->index = *found;
	else if (found && strcmp(found->native, op->index.native) != 0)
		op->stale = slice_text(found->native);
	op->exists = !op->drops && found && is_same(found, &op->index);
	next_step(t, r, op);
}

static void ddoc_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct index_op *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || (status != STATUS_NOT_FOUND && !status_is_success(status))) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	if (status_is_success(status) && !ack->deleted) {
		op->body = arena_copy(&r->arena, ack->body);
		op->revision = ack->revision;
		op->revision.hash = arena_copy(&r->arena, ack->revision.hash);
	}
	have_ddoc(t, r, op);
}

static void index_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct index_op *op = r->op;
	op->read.id = op->index.ddoc;
	if (!couch_read_send(t, r, c, &op->read, ddoc_came))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- requests ---- */

/* Of an index without a name: the same for the same fields. */
static struct slice made_name(struct request *r, struct slice definition)
{
	struct buf name = {0};
	uint8_t digest[16];
	digest16(definition, digest);
	buf_append_hex(&name, digest, sizeof digest);
	digest16(buf_slice(&name), digest);
	buf_append_hex(&name, digest, 4);
	struct slice out = arena_copy(&r->arena, buf_slice(&name));
	buf_close(&name);
	return out;
}

static bool take_text(struct slice body, const char *name, struct slice *out, struct problem *p)
{
	struct mp_token t = token_of(value_member(body, slice_text(name)));
	if (t.type == MP_INVALID)
		return true;
	if (t.type != MP_STR || t.bytes.len == 0)
		return couch_problem(p, COUCH_BAD_STRING, "`ddoc` and `name` must be strings");
	*out = t.bytes;
	return true;
}

static bool take_filter(struct turn *t, struct request *r, struct mango_index *index,
			struct problem *p)
{
	struct query_error error;
	struct slice filter =
	    value_member(index->definition, slice_text("partial_filter_selector"));
	struct mp_token head = token_of(filter);
	if (filter.len > 0 && head.type != MP_MAP)
		return couch_problem(p, COUCH_BAD_SELECTOR, "");
	if (filter.len == 0 || head.count == 0)
		return true;
	index->filter = filter;
	return query_compile(mango_filter(t, r, &filter, 1), &r->arena, &error) ||
	       mango_refuse(&error, p);
}

static bool take_type(struct slice body, struct problem *p)
{
	char text[PLACE_BYTES];
	struct mp_token type = token_of(value_member(body, slice_text("type")));
	if (type.type == MP_INVALID || (type.type == MP_STR && slice_is(type.bytes, "json")))
		return true;
	if (type.type != MP_STR)
		return couch_problem(p, COUCH_BAD_STRING, "`type` must be a string");
	if (slice_is(type.bytes, "text"))
		return couch_problem(p, COUCH_TEXT_INDEX, "");
	snprintf(text, sizeof text, "Invalid type for index: %.*s",
		 (int)(type.bytes.len < 64 ? type.bytes.len : 64), (const char *)type.bytes.data);
	return couch_problem(p, COUCH_INDEX_TYPE, text);
}

static bool has_twins(const struct mango_fields *fields)
{
	for (uint32_t i = 0; i < fields->count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(fields->list[i].name, fields->list[k].name))
				return true;
	return false;
}

static bool take_index(struct turn *t, struct request *r, struct index_op *op, struct problem *p)
{
	struct slice body;
	struct slice ddoc = {0};
	struct mango_index *index = &op->index;
	if (!native_body(t, r, &body, p))
		return false;
	index->definition = value_member(body, slice_text("index"));
	if (index->definition.len == 0)
		return couch_problem(p, COUCH_MISSING_KEY, "Missing required key: index");
	struct slice fields = value_member(index->definition, slice_text("fields"));
	if (fields.len == 0)
		return couch_problem(p, COUCH_MISSING_KEY, "Missing required key: fields");
	if (!take_type(body, p) || !take_filter(t, r, index, p))
		return false;
	if (!mango_take_fields(r, fields, COUCH_BAD_INDEX, &index->fields, p) ||
	    !take_text(body, "name", &index->name, p) || !take_text(body, "ddoc", &ddoc, p))
		return false;
	if (index->fields.count == 0)
		return couch_problem(p, COUCH_BAD_INDEX, "");
	if (has_twins(&index->fields))
		return couch_problem(p, COUCH_BAD_INDEX, "Fields must differ from each other.");
	if (index->name.len == 0)
		index->name = made_name(r, index->definition);
	index->ddoc = mango_ddoc_id(r, ddoc.len > 0 ? ddoc : made_name(r, index->definition));
	mango_index_name(index);
	return couch_id_check(index->ddoc, p);
}

void couch_index_create(struct turn *t, struct request *r)
{
	struct index_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (take_index(t, r, op, &problem) && native_operation(t, r, &op->operation, &problem))
		couch_find(t, r, index_go);
	else
		answer_problem(t, r, &problem);
}

void couch_index_drop(struct turn *t, struct request *r)
{
	struct index_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->drops = true;
	op->index.ddoc = mango_ddoc_id(r, r->resource);
	op->index.name = r->part;
	r->op = op;
	if (native_operation(t, r, &op->operation, &problem) &&
	    couch_id_check(op->index.ddoc, &problem))
		couch_find(t, r, index_go);
	else
		answer_problem(t, r, &problem);
}

/* ---- those of a design document that is gone ---- */

static void drop_told(struct turn *t, struct request *inner, const struct reply *reply)
{
	if (reply->status != 200 && reply->status != 404)
		fx_log(t->fx, LOG_LEVEL_WARN, "index_left_behind status=%d name=%.*s",
		       reply->status, (int)inner->resource.len,
		       inner->resource.len ? (const char *)inner->resource.data : "");
}

static void drop_native(struct turn *t, const struct request *r, struct slice name)
{
	struct buf path = {0};
	buf_append_text(&path, "/_/collections/");
	url_encode(r->collection, &path);
	buf_append_text(&path, "/indexes/");
	url_encode(name, &path);
	couch_inner_leave(t, HTTP_DELETE, buf_slice(&path), drop_told);
	buf_close(&path);
}

void mango_ddoc_gone(struct turn *t, const struct request *r, struct slice ddoc)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct mango_index any = {.ddoc = ddoc};
	size_t len = mango_index_asked(&any);
	mango_index_name(&any);
	for (uint32_t i = 0; c && i < c->settings.indexes_count; i++) {
		struct slice name = c->settings.indexes[i].name;
		if (name.len > len && memcmp(name.data, any.native, len) == 0)
			drop_native(t, r, name);
	}
}

/* ---- all of them ---- */

static void indexes_answer(struct turn *t, struct request *r, const struct mango_index *list,
			   uint32_t count)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_printf(out,
		   "{\"total_rows\":%u,\"indexes\":[{\"ddoc\":null,\"name\":\"_all_docs\","
		   "\"type\":\"special\",\"def\":{\"fields\":[{\"_id\":\"asc\"}]}}",
		   (unsigned)count + 1);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_byte(out, ',');
		mango_index_print(&list[i], out);
	}
	buf_append_text(out, "]}");
	reply_send(t, r, reply);
}

static void indexes_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	mango_list_indexes(t, r, indexes_answer);
}

void couch_indexes(struct turn *t, struct request *r)
{
	couch_find(t, r, indexes_go);
}
