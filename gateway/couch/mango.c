#include "gateway/couch/mango.h"

#include <stdio.h>

#include "common/doc/couch_name.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/url.h"

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* ---- names ---- */

struct slice mango_ddoc_id(struct request *r, struct slice name)
{
	if (name.len > 8 && memcmp(name.data, "_design/", 8) == 0)
		return name;
	struct buf ddoc = {0};
	buf_append_text(&ddoc, "_design/");
	buf_append_slice(&ddoc, name);
	struct slice id = arena_copy(&r->arena, buf_slice(&ddoc));
	buf_close(&ddoc);
	return id;
}

struct slice mango_path(struct request *r, struct slice name)
{
	const uint8_t *dot = name.len > 0 ? memchr(name.data, '.', name.len) : NULL;
	size_t first = dot ? (size_t)(dot - name.data) : name.len;
	if (name.len == 0 || name.len >= LIMIT_PATH_BYTES || memchr(name.data, '\\', name.len))
		return slice_of(NULL, 0);
	if (slice_is(name, "_id"))
		return slice_text("id");
	struct slice member = slice_of(name.data, first);
	struct slice stored = couch_name_stored(member);
	if (couch_name_is_nobodys(member))
		return slice_of(NULL, 0);
	if (slice_equal(stored, member))
		return name;
	struct buf path = {0};
	buf_append_slice(&path, stored);
	buf_append(&path, name.data + first, name.len - first);
	struct slice copy = arena_copy(&r->arena, buf_slice(&path));
	buf_close(&path);
	return copy;
}

/* "name" or {"name": "asc"}. */
static bool take_field(struct request *r, struct slice value, struct mango_field *out,
		       bool *descending)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	*descending = false;
	out->name = head.bytes;
	if (head.type == MP_MAP && head.count == 1) {
		out->name = mp_read(&reader).bytes;
		struct mp_token way = mp_read(&reader);
		*descending = way.type == MP_STR && slice_is(way.bytes, "desc");
		if (way.type != MP_STR || (!*descending && !slice_is(way.bytes, "asc")))
			return false;
	} else if (head.type != MP_STR) {
		return false;
	}
	out->path = mango_path(r, out->name);
	return out->name.len > 0 && out->name.len < LIMIT_PATH_BYTES;
}

bool mango_take_fields(struct request *r, struct slice value, enum couch_error bad,
		       struct mango_fields *out, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	*out = (struct mango_fields){0};
	if (head.type != MP_ARRAY || head.count > LIMIT_INDEX_FIELDS)
		return couch_problem(p, bad, "");
	out->list = arena_alloc(&r->arena, (head.count + 1) * sizeof *out->list);
	for (uint32_t i = 0; i < head.count; i++) {
		bool descending;
		if (!take_field(r, mp_value(&reader), &out->list[i], &descending))
			return couch_problem(p, bad, "");
		if (i > 0 && descending != out->descending)
			return couch_problem(p, COUCH_MIXED_SORT, "");
		out->descending = descending;
		out->count++;
	}
	return true;
}

/* ---- indexes ---- */

static void add_digest(struct slice bytes, struct buf *out)
{
	uint8_t digest[16];
	digest16(bytes, digest);
	buf_append_hex(out, digest, 8);
}

void mango_index_name(struct mango_index *index)
{
	struct buf name = {0};
	struct buf paths = {0};
	bool fit = true;
	for (uint32_t i = 0; i < index->fields.count; i++) {
		fit &= index->fields.list[i].path.len > 0;
		mp_write_str(&paths, index->fields.list[i].path);
	}
	buf_append_slice(&paths, index->filter);
	buf_append_text(&name, "couch-");
	add_digest(index->ddoc, &name);
	buf_append_byte(&name, '-');
	add_digest(index->name, &name);
	buf_append_byte(&name, index->filter.len > 0 ? 'p' : '-');
	add_digest(buf_slice(&paths), &name);
	snprintf(index->native, sizeof index->native, "%s", fit ? buf_cstr(&name) : "");
	buf_close(&paths);
	buf_close(&name);
}

enum { DDOC_CHARS = sizeof "couch-" - 1 + 16, NAMES_CHARS = DDOC_CHARS + 1 + 16 };

size_t mango_index_asked(const struct mango_index *index)
{
	return index->name.len > 0 ? NAMES_CHARS : DDOC_CHARS;
}

bool mango_is_partial(struct slice native)
{
	return native.len == MANGO_NATIVE_CHARS - 1 && memcmp(native.data, "couch-", 6) == 0 &&
	       native.data[NAMES_CHARS] == 'p';
}

void mango_index_print(const struct mango_index *index, struct buf *out)
{
	buf_append_text(out, "{\"ddoc\":");
	json_string(index->ddoc, out);
	buf_append_text(out, ",\"name\":");
	json_string(index->name, out);
	buf_append_text(out, ",\"type\":\"json\",\"partitioned\":false,\"def\":{\"fields\":[");
	for (uint32_t i = 0; i < index->fields.count; i++) {
		buf_append_text(out, i > 0 ? ",{" : "{");
		json_string(index->fields.list[i].name, out);
		buf_append_text(out, index->fields.descending ? ":\"desc\"}" : ":\"asc\"}");
	}
	buf_append_byte(out, ']');
	size_t before = out->len;
	buf_append_text(out, ",\"partial_filter_selector\":");
	if (index->filter.len == 0 || !json_from_msgpack(index->filter, out))
		out->len = before;
	buf_append_text(out, "}}");
}

bool mango_is_ddoc(struct slice body)
{
	struct mp_token language = token_of(value_member(body, slice_text("language")));
	return language.type == MP_STR && slice_is(language.bytes, "query");
}

uint32_t mango_ddoc_indexes(struct request *r, struct slice ddoc, struct slice body,
			    struct mango_index *list, uint32_t max)
{
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text("views")));
	struct mp_token head = mp_read(&reader);
	uint32_t count = 0;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count && count < max; i++) {
		struct slice name = mp_read(&reader).bytes;
		struct mango_index *index = &list[count];
		struct problem problem;
		*index = (struct mango_index){.ddoc = ddoc, .name = name};
		index->definition = value_at(mp_value(&reader), slice_text("options.def"));
		struct slice fields = value_member(index->definition, slice_text("fields"));
		if (!mango_take_fields(r, fields, COUCH_BAD_INDEX, &index->fields, &problem))
			continue;
		index->filter =
		    value_member(index->definition, slice_text("partial_filter_selector"));
		if (token_of(index->filter).count == 0)
			index->filter = slice_of(NULL, 0);
		mango_index_name(index);
		count++;
	}
	return count;
}

/* ---- all of a database ---- */

struct listing {
	struct list_view view; /* first: the list's hooks lead back here */
	struct list_params params;
	struct request *request;
	struct mango_index *list;
	uint32_t count;
	mango_listed *done;
	void *op;
};

static enum list_taken take_row(struct list_view *view, const struct row *row, struct buf *out)
{
	struct listing *op = (struct listing *)view;
	if (row->id.len < 8 || memcmp(row->id.data, "_design/", 8) != 0)
		return LIST_ENDED;
	if (!mango_is_ddoc(row->body))
		return LIST_PASSED;
	if (out) {
		struct request *r = op->request;
		op->count += mango_ddoc_indexes(
		    r, arena_copy(&r->arena, row->id), arena_copy(&r->arena, row->body),
		    op->list + op->count, MANGO_INDEXES_MAX - op->count);
	}
	return LIST_TAKEN;
}

static void listed(struct turn *t, struct request *r, struct list_view *view, struct slice rows)
{
	struct listing *op = (struct listing *)view;
	(void)rows;
	r->close(r); /* the list's */
	r->close = NULL;
	r->op = op->op;
	op->done(t, r, op->list, op->count);
}

/* Behind the greatest text that comes before all of them. */
void mango_list_indexes(struct turn *t, struct request *r, mango_listed *done)
{
	static struct slice fields[2];
	struct listing *op = arena_alloc(&r->arena, sizeof *op);
	fields[0] = slice_text("language");
	fields[1] = slice_text("views");
	*op = (struct listing){.request = r, .done = done, .op = r->op};
	op->view = (struct list_view){.row = take_row, .answer = listed};
	op->list = arena_alloc(&r->arena, MANGO_INDEXES_MAX * sizeof *op->list);
	op->params.view = &op->view;
	op->params.after.id = slice_text("_design.\xff");
	op->params.fields = (struct text_list){fields, ARRAY_LEN(fields)};
	list_start(t, r, &op->params);
}

/* ---- selectors ---- */

struct slice mango_filter(struct turn *t, struct request *r, const struct slice *selectors,
			  uint32_t count)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	mp_write_map(out, 1);
	mp_write_text(out, "$mango");
	mp_write_map(out, 1);
	mp_write_text(out, "$and");
	mp_write_array(out, count);
	for (uint32_t i = 0; i < count; i++)
		buf_append_slice(out, selectors[i]);
	return arena_copy(&r->arena, buf_slice(out));
}

bool mango_refuse(const struct query_error *error, struct problem *p)
{
	static const enum couch_error errors[] = {
	    [QUERY_ERROR_OTHER] = COUCH_BAD_SELECTOR,
	    [QUERY_ERROR_OPERATOR] = COUCH_BAD_OPERATOR,
	    [QUERY_ERROR_UNSUPPORTED] = COUCH_UNSUPPORTED,
	    [QUERY_ERROR_ARGUMENT] = COUCH_BAD_ARGUMENT,
	};
	return couch_problem(p, errors[error->kind], error->text);
}
