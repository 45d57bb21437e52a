#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch_view.h"
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

bool design_view(struct slice body, struct slice name, struct slice *map, struct slice *reduce)
{
	struct slice view = value_member(value_member(body, slice_text("views")), name);
	*map = text_of(view, "map");
	*reduce = text_of(view, "reduce");
	return map->len > 0 && map->len <= LIMIT_POLICY_BYTES;
}

/* Rows depend on nothing but the function. The number counts forms of what runs it. */
void design_signature(struct slice map, uint8_t out[16])
{
	struct buf text = {0};
	buf_append_text(&text, "view 1 ");
	buf_append_slice(&text, map);
	digest16(buf_slice(&text), out);
	buf_close(&text);
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
		(void)mp_read(&r);
		if (!check_view(mp_value(&r), p))
			return false;
	}
	return true;
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
	design_signature(value_member(ack->body, slice_text("views")), signature);
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
