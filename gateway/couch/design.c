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

static struct slice text_of(struct slice map, const char *name)
{
	struct mp_token t = token_of(value_member(map, slice_text(name)));
	return t.type == MP_STR ? t.bytes : slice_of(NULL, 0);
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
	bool raw = slice_is(text_of(all, "collation"), "raw") ||
		   slice_is(text_of(own, "collation"), "raw");
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
	*out = (struct design_view){.map = text_of(view, "map"),
				    .reduce = text_of(view, "reduce"),
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

/* Rows depend on nothing else. The number counts forms of what runs the function. */
void design_signature(const struct design_view *view, uint8_t out[16])
{
	struct buf text = {0};
	buf_printf(&text, "view 2 %" PRIu64 " %zu ", view->options, view->library.len);
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
		struct slice reduce = text_of(view, "reduce");
		print_function(text_of(view, "map"), "map", name, &functions);
		if (reduce.len > 0 && reduce.data[0] != '_')
			print_function(reduce, "reduce", name, &functions);
	}
	print_function(text_of(body, RULE_MEMBER), RULE_MEMBER, slice_of(NULL, 0), &functions);
	bool any = functions.len > 1 && print_library(body, &library) &&
		   (language.len == 0 || slice_is(text_of(body, "language"), "javascript"));
	buf_append_byte(&functions, ']');
	mp_write_array(out, 2);
	mp_write_str(out, buf_slice(&functions));
	mp_write_str(out, buf_slice(&library));
	buf_close(&functions);
	buf_close(&library);
	return any;
}

static bool check_view(struct slice view, struct problem *p)
{
	enum reduce_kind kind;
	char text[PLACE_BYTES];
	struct slice reduce = text_of(view, "reduce");
	struct mp_token map = token_of(value_member(view, slice_text("map")));
	if (token_of(view).type != MP_MAP)
		return couch_problem(p, COUCH_BAD_DESIGN, "`views` must hold objects.");
	if (map.type == MP_STR && map.bytes.len > LIMIT_POLICY_BYTES)
		return couch_problem(p, COUCH_BAD_DESIGN, "A function has at most 64 KiB.");
	if (reduce.len == 0 || reduce_kind(reduce, &kind))
		return true;
	snprintf(text, sizeof text, "`%.*s` is not a supported reduce function.",
		 (int)(reduce.len < 64 ? reduce.len : 64), (const char *)reduce.data);
	return couch_problem(p, COUCH_BAD_DESIGN, text);
}

bool design_check(const struct couch_document *d, struct problem *p)
{
	struct slice views = value_member(d->body, slice_text("views"));
	struct mp_reader r = mp_reader_of(views);
	struct mp_token head = mp_read(&r);
	if (d->deleted || d->id.len <= 8 || memcmp(d->id.data, "_design/", 8) != 0)
		return true;
	if (views.len > 0 && head.type != MP_MAP)
		return couch_problem(p, COUCH_BAD_DESIGN, "`views` must be an object.");
	for (uint32_t i = 0; views.len > 0 && i < head.count; i++) {
		bool is_library = slice_is(mp_read(&r).bytes, "lib");
		struct slice view = mp_value(&r);
		if (!is_library && !check_view(view, p))
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
