/* Parameters of a view: keys become ranges of places (see view_range). */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/view.h"
#include "gateway/list.h"

/* Behind all ids, which are UTF-8; behind one id and its rows. */
enum { AFTER_IDS = 255, AFTER_ID = 1 };

/* Of all that are asked for together: they go to each shard in one message, with the functions. */
enum { RANGES_BYTES = LIMIT_BODY_BYTES };

struct source {
	struct turn *t;
	struct request *r;
	struct slice body;
	struct problem *p;
};

static bool take_one_key(const struct source *s, const char *name, struct slice *out)
{
	struct slice value;
	if (!couch_take_any_key(s->t, s->r, s->body, name, &value, s->p))
		return false;
	if (value.len > 0)
		*out = value;
	return true;
}

static bool take_key(const struct source *s, const char *name, const char *other, struct slice *out)
{
	return take_one_key(s, name, out) && take_one_key(s, other, out);
}

/* Ids are texts; in the query string as they are, or as JSON. */
static void take_id(const struct source *s, const char *name, struct slice *out)
{
	struct slice text;
	struct mp_reader reader = mp_reader_of(value_member(s->body, slice_text(name)));
	struct mp_token t = mp_read(&reader);
	if (t.type == MP_STR)
		*out = t.bytes;
	else if (request_parameter(s->r, name, &text))
		*out = text;
	if (out->len >= 2 && out->data[0] == '"' && out->data[out->len - 1] == '"')
		*out = slice_of(out->data + 1, out->len - 2);
	if (out->len > LIMIT_ID_BYTES)
		out->len = LIMIT_ID_BYTES;
}

static bool take_number(const struct source *s, const char *name, uint64_t *out)
{
	return couch_take_count(s->r, s->body, name, out, s->p);
}

/* ---- ranges ---- */

static bool take_range(const struct source *s, struct view_params *out)
{
	struct view_span *span = arena_alloc(&s->r->arena, sizeof *span);
	struct slice key = {0};
	if (!take_key(s, "startkey", "start_key", &span->start.key) ||
	    !take_key(s, "endkey", "end_key", &span->end.key) || !take_key(s, "key", "key", &key))
		return false;
	take_id(s, "startkey_docid", &span->start.id);
	take_id(s, "start_key_doc_id", &span->start.id);
	take_id(s, "endkey_docid", &span->end.id);
	take_id(s, "end_key_doc_id", &span->end.id);
	span->inclusive = true;
	if (!couch_take_flag(s->r, s->body, "inclusive_end", &span->inclusive, s->p))
		return false;
	if (key.len > 0)
		*span = (struct view_span){{.key = key}, {.key = key}, true};
	out->ranged = span->start.key.len > 0 || span->end.key.len > 0;
	out->spans = span;
	out->spans_count = 1;
	return true;
}

static bool has_range(const struct source *s)
{
	static const char *const names[] = {"key", "startkey", "start_key", "endkey", "end_key"};
	struct slice text;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (value_member(s->body, slice_text(names[i])).len > 0 ||
		    request_parameter(s->r, names[i], &text))
			return true;
	return false;
}

static bool take_keys(const struct source *s, struct slice keys, struct view_params *out)
{
	if (has_range(s))
		return couch_problem(s->p, COUCH_KEYS_AND_RANGE, "");
	struct mp_reader reader = mp_reader_of(keys);
	struct mp_token head = mp_read(&reader);
	uint32_t max = s->t->gw->options.limits.batch_items_max;
	max = max < LIMIT_ROWS ? max : LIMIT_ROWS;
	if (head.type != MP_ARRAY)
		return couch_problem(s->p, COUCH_KEYS_NOT_LIST, "");
	if (head.count > max)
		return problem_limit(s->p, STATUS_BODY_TOO_LARGE, "max_batch_items", max,
				     head.count);
	out->keyed = out->ranged = true;
	out->spans = arena_alloc(&s->r->arena, (head.count + 1) * sizeof *out->spans);
	out->spans_count = head.count;
	for (uint32_t i = 0; i < head.count; i++) {
		struct view_bound bound = {.key = mp_value(&reader)};
		out->spans[out->descending ? head.count - 1 - i : i] =
		    (struct view_span){bound, bound, true};
	}
	return true;
}

struct placing {
	struct request *r;
	enum collation_order order;
	struct problem *p;
};

static bool place_of(const struct placing *x, const struct view_bound *b, int tail,
		     struct slice *out)
{
	struct buf place = {0};
	if (b->key.len == 0)
		return true;
	bool fits = collation_key(x->order, b->key, &place);
	if (b->id.len > 0)
		buf_append_slice(&place, b->id);
	if (tail > 0)
		buf_append_byte(&place, (uint8_t)tail);
	*out = arena_copy(&x->r->arena, buf_slice(&place));
	buf_close(&place);
	return fits || couch_problem(x->p, COUCH_BAD_PARAMETER, "A key is too long.");
}

/* Behind the bound, or before it. */
static int tail_of(const struct view_bound *b, bool behind)
{
	return !behind ? 0 : b->id.len > 0 ? AFTER_ID : AFTER_IDS;
}

static bool is_before(const struct placing *x, struct slice a, struct slice b)
{
	struct buf low = {0};
	struct buf high = {0};
	bool before = a.len == 0 || b.len == 0 || !collation_key(x->order, a, &low) ||
		      !collation_key(x->order, b, &high) ||
		      slice_compare(buf_slice(&low), buf_slice(&high)) <= 0;
	buf_close(&low);
	buf_close(&high);
	return before;
}

static bool range_of(const struct placing *x, const struct view_span *span, bool down,
		     struct view_range *out)
{
	const struct view_bound *low = down ? &span->end : &span->start;
	const struct view_bound *high = down ? &span->start : &span->end;
	if (!place_of(x, low, tail_of(low, down && !span->inclusive), &out->first) ||
	    !place_of(x, high, tail_of(high, down || span->inclusive), &out->end))
		return false;
	return is_before(x, low->key, high->key) ||
	       couch_problem(x->p, COUCH_BAD_PARAMETER,
			     "No rows can match your key range, reverse your start_key and "
			     "end_key or set descending=true");
}

bool view_params_ranges(struct request *r, struct view_params *params, enum collation_order order,
			struct problem *p)
{
	const struct placing x = {r, order, p};
	size_t bytes = 0;
	params->ranges = arena_alloc(&r->arena, (params->spans_count + 1) * sizeof *params->ranges);
	for (uint32_t i = 0; i < params->spans_count; i++) {
		struct view_range *range = &params->ranges[i];
		if (!range_of(&x, &params->spans[i], params->descending, range))
			return false;
		bytes += range->first.len + range->end.len;
		if (bytes > RANGES_BYTES)
			return problem_limit(p, STATUS_BODY_TOO_LARGE, "view_keys_bytes",
					     RANGES_BYTES, bytes);
	}
	return true;
}

/* ---- the rest ---- */

/* A word of the query string, or of the body, where it may be true or false, too. False: it is
 * absent. */
static bool take_word(const struct source *s, const char *name, struct slice *out)
{
	struct slice member = value_member(s->body, slice_text(name));
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token t = mp_read(&reader);
	if (t.type == MP_BOOL)
		*out = slice_text(t.flag ? "true" : "false");
	else
		*out = t.type == MP_STR ? t.bytes : slice_of(NULL, 0);
	return member.len > 0 || request_parameter(s->r, name, out);
}

static bool refuse_word(const struct source *s, const char *name)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "Invalid value for `%s`.", name);
	return couch_problem(s->p, COUCH_BAD_PARAMETER, text);
}

static bool take_update(const struct source *s, struct view_params *out)
{
	struct slice text;
	bool stable = false;
	if (!couch_take_flag(s->r, s->body, "stable", &stable, s->p))
		return refuse_word(s, "stable");
	if (take_word(s, "update", &text)) {
		if (slice_is(text, "false"))
			out->update = VIEW_UPDATE_NEVER;
		else if (slice_is(text, "lazy"))
			out->update = VIEW_UPDATE_LATER;
		else if (!slice_is(text, "true"))
			return refuse_word(s, "update");
	}
	if (!take_word(s, "stale", &text))
		return true;
	out->update = slice_is(text, "ok") ? VIEW_UPDATE_NEVER : VIEW_UPDATE_LATER;
	return slice_is(text, "ok") || slice_is(text, "update_after") || refuse_word(s, "stale");
}

static bool take_grouping(const struct source *s, struct view_params *out)
{
	struct slice text;
	uint64_t level = UINT64_MAX;
	out->reduce_asked = request_parameter(s->r, "reduce", &text) ||
			    value_member(s->body, slice_text("reduce")).len > 0;
	bool whole = false;
	out->reduce = true;
	if (!couch_take_flag(s->r, s->body, "reduce", &out->reduce, s->p) ||
	    !take_number(s, "group_level", &level) ||
	    !couch_take_flag(s->r, s->body, "group", &whole, s->p))
		return false;
	out->group_level = level;
	out->grouped = whole || (level != UINT64_MAX && level > 0);
	return true;
}

static bool take_flags(const struct source *s, struct view_params *out)
{
	if (!couch_take_flag(s->r, s->body, "descending", &out->descending, s->p) ||
	    !couch_take_flag(s->r, s->body, "include_docs", &out->include_docs, s->p) ||
	    !couch_take_flag(s->r, s->body, "conflicts", &out->conflicts, s->p) ||
	    !couch_take_flag(s->r, s->body, "update_seq", &out->update_seq, s->p) ||
	    !couch_take_flag(s->r, s->body, "attachments", &out->data, s->p))
		return false;
	out->data &= out->include_docs;
	return true;
}

bool view_params_take(struct turn *t, struct request *r, struct slice body, struct view_params *out,
		      struct problem *p)
{
	const struct source s = {t, r, body, p};
	struct slice keys = {0};
	*out = (struct view_params){.limit = UINT64_MAX};
	if (!take_flags(&s, out) || !take_number(&s, "limit", &out->limit) ||
	    !take_number(&s, "skip", &out->skip) || !take_grouping(&s, out) ||
	    !take_update(&s, out) || !couch_take_value(t, r, body, "keys", &keys, p))
		return false;
	return keys.len > 0 ? take_keys(&s, keys, out) : take_range(&s, out);
}

bool view_params_check(const struct view_params *params, bool reduces, struct problem *p)
{
	if (!reduces && params->grouped)
		return couch_problem(p, COUCH_BAD_PARAMETER,
				     "Invalid use of grouping on a map view.");
	if (!reduces && params->reduce && params->reduce_asked)
		return couch_problem(p, COUCH_BAD_PARAMETER,
				     "Reduce is invalid for map-only views.");
	if (reduces && params->include_docs)
		return couch_problem(p, COUCH_BAD_PARAMETER,
				     "`include_docs` is invalid for reduce");
	if (reduces && params->keyed && !(params->grouped && params->group_level == UINT64_MAX))
		return couch_problem(p, COUCH_BAD_PARAMETER,
				     "Multi-key fetches for reduce views must use `group=true`");
	return true;
}
