/* Design documents: their views and functions, and what is refused when one is written. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/json.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/rules.h"
#include "gateway/couch/view.h"
#include "gateway/routes.h"

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

static bool is_true(struct slice map, const char *name)
{
	struct mp_token t = token_of(value_member(map, slice_text(name)));
	return t.type == MP_BOOL && t.flag;
}

/* Of the view, or of all. */
static uint64_t options_of(struct slice body, struct slice view)
{
	struct slice all = value_member(body, slice_text("options"));
	struct slice own = value_member(view, slice_text("options"));
	bool raw = slice_is(value_text_member(all, "collation"), "raw") ||
		   slice_is(value_text_member(own, "collation"), "raw");
	return (is_true(all, "local_seq") ? VIEW_LOCAL_SEQ : 0) |
	       (is_true(all, "include_design") ? VIEW_INCLUDE_DESIGN : 0) | (raw ? VIEW_RAW : 0);
}

/* Of a design document, functions of views may require what is below views.lib. */
static bool print_library(struct slice body, struct buf *out)
{
	struct slice library =
	    value_member(value_member(body, slice_text("views")), slice_text("lib"));
	if (library.len == 0)
		return true;
	buf_append_text(out, "{\"views\":{\"lib\":");
	bool fine = json_from_msgpack(library, out);
	buf_append_text(out, "}}");
	return fine && out->len <= LIMIT_POLICY_BYTES;
}

bool design_view(struct request *r, struct slice body, struct slice name, struct design_view *out)
{
	struct slice view = value_member(value_member(body, slice_text("views")), name);
	struct buf library = {0};
	*out = (struct design_view){.map = value_text_member(view, "map"),
				    .reduce = value_text_member(view, "reduce"),
				    .options = options_of(body, view)};
	bool fine =
	    print_library(body, &library) && out->map.len > 0 && out->map.len <= LIMIT_POLICY_BYTES;
	out->library = arena_copy(&r->arena, buf_slice(&library));
	buf_close(&library);
	return fine;
}

enum collation_order design_order(const struct design_view *view)
{
	return view->options & VIEW_RAW ? COLLATION_RAW : COLLATION_UNICODE;
}

bool design_is_foreign(struct slice body)
{
	struct slice language = value_text_member(body, "language");
	return language.len > 0 && !slice_is(language, "javascript") &&
	       !slice_is(language, "query");
}

/* Rows depend on nothing else. The number counts forms of what runs the function. */
void design_signature(const struct design_view *view, uint8_t out[16])
{
	struct buf text = {0};
	buf_printf(&text, "view 3 %" PRIu64 " %zu ", view->options, view->library.len);
	buf_append_slice(&text, view->library);
	buf_append_slice(&text, view->map);
	digest16(buf_slice(&text), out);
	buf_close(&text);
}

/* [what it is called, text]; none of a text that is empty. */
static void print_function(struct slice text, const char *kind, struct slice view, struct buf *out)
{
	struct buf what = {0};
	if (text.len == 0)
		return;
	buf_printf(&what, "the %s function", kind);
	if (view.len > 0)
		buf_append_text(&what, " in the '");
	buf_append_slice(&what, view);
	buf_append_text(&what, view.len > 0 ? "' view" : "");
	buf_append_text(out, out->len > 1 ? ",[" : "[");
	json_string(buf_slice(&what), out);
	buf_append_byte(out, ',');
	json_string(text, out);
	buf_append_byte(out, ']');
	buf_close(&what);
}

bool design_functions(struct slice body, struct buf *out)
{
	struct slice language = value_member(body, slice_text("language"));
	struct mp_reader r = mp_reader_of(value_member(body, slice_text("views")));
	struct mp_token head = mp_read(&r);
	struct buf functions = {0};
	struct buf library = {0};
	buf_append_byte(&functions, '[');
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&r).bytes;
		struct slice view = mp_value(&r);
		struct slice reduce = value_text_member(view, "reduce");
		print_function(value_text_member(view, "map"), "map", name, &functions);
		if (reduce.len > 0 && reduce.data[0] != '_')
			print_function(reduce, "reduce", name, &functions);
	}
	print_function(value_text_member(body, RULE_MEMBER), RULE_MEMBER, slice_of(NULL, 0),
		       &functions);
	bool any =
	    functions.len > 1 && print_library(body, &library) &&
	    (language.len == 0 || slice_is(value_text_member(body, "language"), "javascript"));
	buf_append_byte(&functions, ']');
	mp_write_array(out, 2);
	mp_write_str(out, buf_slice(&functions));
	mp_write_str(out, buf_slice(&library));
	buf_close(&functions);
	buf_close(&library);
	return any;
}

/* ---- what is refused ---- */

enum { KIND_TEXT = 1, KIND_OBJECT = 2, KIND_LIST = 4, KIND_FLAG = 8 };

static unsigned kind_of(struct slice value)
{
	switch (token_of(value).type) {
	case MP_STR:
		return KIND_TEXT;
	case MP_MAP:
		return KIND_OBJECT;
	case MP_ARRAY:
		return KIND_LIST;
	case MP_BOOL:
		return KIND_FLAG;
	default:
		return 0;
	}
}

static const char *kind_name(unsigned kinds)
{
	switch (kinds) {
	case KIND_TEXT:
		return "string";
	case KIND_OBJECT:
		return "object";
	case KIND_FLAG:
		return "boolean";
	case KIND_TEXT | KIND_LIST:
		return "string or array";
	default:
		return "object or string";
	}
}

/* value: of the member `name`; empty: it is not there. place: what it is a member of. */
static bool check_kind(struct slice value, const char *place, struct slice name, unsigned kinds,
		       struct problem *p)
{
	char text[PLACE_BYTES];
	if (value.len == 0 || (kind_of(value) & kinds) != 0)
		return true;
	snprintf(text, sizeof text, "`%s%s%.*s` field must have %s type", place,
		 place[0] ? "." : "", (int)(name.len < 60 ? name.len : 60),
		 name.len ? (const char *)name.data : "", kind_name(kinds));
	return couch_problem(p, COUCH_BAD_DESIGN, text);
}

static bool check_member(struct slice map, const char *place, const char *name, unsigned kinds,
			 struct problem *p)
{
	return check_kind(value_member(map, slice_text(name)), place, slice_text(name), kinds, p);
}

/* A member that holds others. */
static bool check_group(struct slice body, const char *group, unsigned kinds, struct problem *p)
{
	struct slice all = value_member(body, slice_text(group));
	struct mp_reader r = mp_reader_of(all);
	struct mp_token head = mp_read(&r);
	if (!check_kind(all, "", slice_text(group), KIND_OBJECT, p))
		return false;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&r).bytes;
		if (!check_kind(mp_value(&r), group, name, kinds, p))
			return false;
	}
	return true;
}

static bool check_members(struct slice body, struct problem *p)
{
	struct slice options = value_member(body, slice_text("options"));
	return check_group(body, "filters", KIND_OBJECT | KIND_TEXT, p) &&
	       check_member(body, "", "language", KIND_TEXT, p) &&
	       check_group(body, "lists", KIND_OBJECT | KIND_TEXT, p) &&
	       check_member(body, "", "options", KIND_OBJECT, p) &&
	       check_member(options, "options", "include_design", KIND_FLAG, p) &&
	       check_member(options, "options", "local_seq", KIND_FLAG, p) &&
	       check_member(options, "options", "partitioned", KIND_FLAG, p) &&
	       check_member(body, "", "rewrites", KIND_TEXT | KIND_LIST, p) &&
	       check_group(body, "shows", KIND_OBJECT | KIND_TEXT, p) &&
	       check_group(body, "updates", KIND_OBJECT | KIND_TEXT, p) &&
	       check_member(body, "", RULE_MEMBER, KIND_TEXT, p) &&
	       check_group(body, "views", KIND_OBJECT, p);
}

static bool refuse_view(const char *before, struct slice name, const char *behind,
			struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "%s`%.*s`%s", before, (int)(name.len < 64 ? name.len : 64),
		 name.len ? (const char *)name.data : "", behind);
	return couch_problem(p, COUCH_BAD_DESIGN, text);
}

static bool check_view(struct slice name, struct slice view, bool query, struct problem *p)
{
	enum reduce_kind kind;
	struct slice reduce = value_text_member(view, "reduce");
	struct slice map = value_member(view, slice_text("map"));
	struct buf place = {0};
	buf_append_text(&place, "views.");
	buf_append(&place, name.data, name.len < 60 ? name.len : 60);
	bool fine =
	    check_member(view, buf_cstr(&place), "map", query ? KIND_OBJECT : KIND_TEXT, p) &&
	    check_member(view, buf_cstr(&place), "reduce", KIND_TEXT, p);
	buf_close(&place);
	if (!fine)
		return false;
	if (map.len == 0)
		return refuse_view("View ", name, " must contain map function", p);
	if (!query && value_text_member(view, "map").len > LIMIT_POLICY_BYTES)
		return couch_problem(p, COUCH_BAD_DESIGN, "A function has at most 64 KiB.");
	return reduce.len == 0 || reduce_kind(reduce, &kind) ||
	       refuse_view("", reduce, " is not a supported reduce function.", p);
}

bool design_check(const struct couch_document *d, struct problem *p)
{
	struct mp_reader r = mp_reader_of(value_member(d->body, slice_text("views")));
	struct mp_token head = mp_read(&r);
	bool query = slice_is(value_text_member(d->body, "language"), "query");
	if (d->deleted || d->id.len <= 8 || memcmp(d->id.data, "_design/", 8) != 0)
		return true;
	if (!check_members(d->body, p))
		return false;
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct slice name = mp_read(&r).bytes;
		struct slice view = mp_value(&r);
		if (!slice_is(name, "lib") && !check_view(name, view, query, p))
			return false;
	}
	struct buf library = {0};
	bool fits = print_library(d->body, &library);
	buf_close(&library);
	return fits || couch_problem(p, COUCH_BAD_DESIGN, "`views.lib` has at most 64 KiB.");
}

/* ---- _info ---- */

struct info {
	struct msg_doc_read read;
};

static void info_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct info *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	uint8_t signature[16];
	(void)index;
	if (!ack || !status_is_success(status) || ack->deleted) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : STATUS_NOT_FOUND,
			      "");
		return;
	}
	const struct design_view all = {.map = value_member(ack->body, slice_text("views"))};
	design_signature(&all, signature);
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_text(out, "{\"name\":");
	json_string(slice_of(op->read.id.data + 8, op->read.id.len - 8), out);
	buf_append_text(out, ",\"view_index\":{\"signature\":\"");
	buf_append_hex(out, signature, sizeof signature);
	buf_append_text(out, "\",\"language\":\"javascript\",\"compact_running\":false,"
			     "\"updater_running\":false,\"waiting_clients\":0,"
			     "\"waiting_commit\":false,\"sizes\":{\"file\":0,\"external\":0,"
			     "\"active\":0}}}");
	reply_send(t, r, reply);
}

static void info_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct info *op = r->op;
	op->read.id = r->resource;
	if (!couch_read_send(t, r, c, &op->read, info_came))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_design_info(struct turn *t, struct request *r)
{
	r->op = arena_alloc(&r->arena, sizeof(struct info));
	couch_find(t, r, info_go);
}
