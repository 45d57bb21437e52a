/* What _find is asked: from the body to a list. */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/couch/find.h"

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

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

bool find_take(struct turn *t, struct request *r, struct find *op, struct problem *p)
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
