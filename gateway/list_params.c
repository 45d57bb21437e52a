/* The parameters of lists. A parameter of the query string is JSON text, but for names, flags and
 * the cursor; a member of a POST's body is the value itself. Empty and null count as absent. */
#include "gateway/list.h"

#include <stdio.h>

#include "common/doc/value.h"

/* Where they come from; what is wrong with them is told to `problem`. */
struct source {
	struct turn *turn;
	struct request *request;
	struct problem *problem;
	bool is_body;
	struct slice body;
};

/* below: a JSON pointer into the parameter's value; may be empty. */
static bool refuse(const struct source *s, const char *name, const char *below, const char *detail)
{
	char place[PLACE_BYTES];
	bool query = strcmp(name, "query") == 0;
	snprintf(place, sizeof place, "%s%s%s", s->is_body ? "/" : "", name, below);
	return problem_detail(s->problem, query ? STATUS_BAD_QUERY : STATUS_BAD_PARAMETER, place,
			      detail);
}

static enum mp_type type_of(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	return mp_peek(&reader);
}

static bool take_value(const struct source *s, const char *name, struct slice *value)
{
	if (!s->is_body)
		return native_json_parameter(s->turn, s->request, name, value, s->problem);
	*value = value_member(s->body, slice_text(name));
	if (type_of(*value) == MP_NIL)
		*value = slice_of(NULL, 0);
	return true;
}

/* A name or a cursor: no JSON in the query string. */
static bool take_text(const struct source *s, const char *name, struct slice *text)
{
	*text = slice_of(NULL, 0);
	if (!s->is_body) {
		if (request_parameter(s->request, name, text) && slice_is(*text, "null"))
			*text = slice_of(NULL, 0);
		return true;
	}
	struct mp_reader reader = mp_reader_of(value_member(s->body, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_STR)
		*text = token.bytes;
	else if (token.type != MP_NIL && token.type != MP_INVALID)
		return refuse(s, name, "", "A string.");
	return true;
}

static bool take_flag(const struct source *s, const char *name, bool *flag)
{
	*flag = !s->is_body && request_flag(s->request, name);
	if (!s->is_body)
		return true;
	struct mp_reader reader = mp_reader_of(value_member(s->body, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_BOOL)
		*flag = token.flag;
	else if (token.type != MP_NIL && token.type != MP_INVALID)
		return refuse(s, name, "", "true or false.");
	return true;
}

static bool take_number(const struct source *s, const char *name, uint64_t *number)
{
	struct slice value;
	*number = 0;
	if (!take_value(s, name, &value))
		return false;
	if (value.len == 0)
		return true;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_UINT)
		return refuse(s, name, "", "A whole number, 0 or more.");
	*number = token.u64;
	return true;
}

static bool take_texts(const struct source *s, const char *name, uint32_t max,
		       struct text_list *out)
{
	struct slice value;
	char text[PLACE_BYTES];
	char place[24];
	*out = (struct text_list){0};
	if (!take_value(s, name, &value))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (value.len == 0)
		return true;
	if (head.type != MP_ARRAY || head.count > max) {
		snprintf(text, sizeof text, "An array of at most %u strings.", (unsigned)max);
		return refuse(s, name, "", text);
	}
	out->texts = arena_alloc(&s->request->arena, (head.count + 1) * sizeof *out->texts);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token token = mp_read(&reader);
		snprintf(place, sizeof place, "/%u", (unsigned)i);
		snprintf(text, sizeof text, "A string of 1 to %d bytes.", LIMIT_PATH_BYTES);
		if (token.type != MP_STR || token.bytes.len == 0 ||
		    token.bytes.len > LIMIT_PATH_BYTES)
			return refuse(s, name, place, text);
		out->texts[out->count++] = token.bytes;
	}
	return true;
}

static bool take_filter(const struct source *s, struct slice *filter)
{
	struct query_error error = {0};
	if (!take_value(s, "query", filter))
		return false;
	if (filter->len == 0 || query_compile(*filter, &s->request->arena, &error))
		return true;
	return refuse(s, "query", error.place, error.text);
}

bool list_order_descending(struct request *r, struct list_params *out)
{
	struct query_error error;
	out->order.texts = arena_alloc(&r->arena, sizeof *out->order.texts);
	out->order.texts[0] = slice_text("desc(id)");
	out->order.count = 1;
	out->orders = arena_alloc(&r->arena, sizeof *out->orders);
	return query_order_parse(out->order.texts[0], &out->orders[0], &error);
}

static bool take_order(const struct source *s, struct list_params *out)
{
	struct query_error error = {0};
	char place[24];
	if (!take_texts(s, "order", LIMIT_ORDER_KEYS, &out->order))
		return false;
	out->orders = arena_alloc(&s->request->arena, (out->order.count + 1) * sizeof *out->orders);
	for (uint32_t i = 0; i < out->order.count; i++) {
		snprintf(place, sizeof place, "/%u", (unsigned)i);
		if (!query_order_parse(out->order.texts[i], &out->orders[i], &error))
			return refuse(s, "order", place, error.text);
	}
	return true;
}

static bool take_skip(const struct source *s, struct list_params *out)
{
	if (!take_number(s, "skip", &out->skip))
		return false;
	if (out->skip > LIST_SKIP_MAX) {
		refuse(s, "skip", "", "Go on with the cursor instead.");
		s->problem->limit_key = "max_skip";
		s->problem->limit = LIST_SKIP_MAX;
		s->problem->actual = out->skip;
		return false;
	}
	return true;
}

static bool take_cursor(const struct source *s, struct list_params *out)
{
	struct slice text;
	if (!take_text(s, "cursor", &text))
		return false;
	if (text.len == 0)
		return true;
	/* The rows skipped lie before the first page. */
	out->skip = 0;
	return list_cursor_parse(s->turn, s->request, text, out) ||
	       refuse(s, "cursor", "",
		      "Send the value of X-Parley-Cursor unchanged, with the same query and order "
		      "in the same collection.");
}

static bool take_index(const struct source *s, struct list_params *out)
{
	if (!take_text(s, "index", &out->index))
		return false;
	if (out->index.len > LIMIT_NAME_BYTES)
		return refuse(s, "index", "", "The name of an index, or none.");
	out->no_index = slice_is(out->index, "none");
	if (out->no_index)
		out->index = slice_of(NULL, 0);
	return true;
}

static bool take_consistency(const struct source *s, struct list_params *out)
{
	struct slice text;
	if (!take_text(s, "consistency", &text))
		return false;
	out->any = slice_is(text, "any");
	return out->any || text.len == 0 || slice_is(text, "strong") ||
	       refuse(s, "consistency", "", "strong or any.");
}

static bool take_body(struct source *s)
{
	static const char *const members[] = {"query",       "fields",  "order",  "limit",
					      "skip",        "count",   "cursor", "conflicts",
					      "consistency", "explain", "index",  NULL};
	s->is_body = true;
	return native_body(s->turn, s->request, &s->body, s->problem) &&
	       native_members(s->body, members, s->problem);
}

bool list_params(struct turn *t, struct request *r, struct list_params *out, struct problem *p)
{
	struct source s = {.turn = t, .request = r, .problem = p};
	*out = (struct list_params){0};
	if (r->method == HTTP_POST && !take_body(&s))
		return false;
	/* The cursor last: it belongs to a query and an order. */
	return take_filter(&s, &out->filter) && take_order(&s, out) &&
	       take_number(&s, "limit", &out->limit) && take_skip(&s, out) &&
	       take_texts(&s, "fields", LIMIT_FIELDS, &out->fields) &&
	       take_flag(&s, "count", &out->count) && take_flag(&s, "conflicts", &out->conflicts) &&
	       take_flag(&s, "explain", &out->explain) && take_index(&s, out) &&
	       take_consistency(&s, out) && take_cursor(&s, out);
}

bool list_filter(struct turn *t, struct request *r, struct slice *filter, struct problem *p)
{
	struct source s = {.turn = t, .request = r, .problem = p};
	return take_filter(&s, filter);
}

bool list_fields(struct turn *t, struct request *r, struct text_list *out, struct problem *p)
{
	struct source s = {.turn = t, .request = r, .problem = p};
	return take_texts(&s, "fields", LIMIT_FIELDS, out);
}

static struct slice key_at(const struct list_key *key, uint32_t i)
{
	static const uint8_t nil = 0xc0;
	if (i < key->order_keys_count && key->order_keys[i].len > 0)
		return key->order_keys[i];
	return slice_of(&nil, 1);
}

int list_compare(const struct list_params *params, const struct list_key *a,
		 const struct list_key *b)
{
	for (uint32_t i = 0; i < params->order.count; i++) {
		int order = value_compare(key_at(a, i), key_at(b, i));
		if (order != 0)
			return params->orders[i].descending ? -order : order;
	}
	return slice_compare(a->id, b->id);
}

struct list_key list_key_copy(struct request *r, const struct list_key *key)
{
	struct slice *keys = arena_alloc(&r->arena, (key->order_keys_count + 1) * sizeof *keys);
	for (uint32_t i = 0; i < key->order_keys_count; i++)
		keys[i] = arena_copy(&r->arena, key_at(key, i));
	return (struct list_key){arena_copy(&r->arena, key->id), keys, key->order_keys_count};
}
