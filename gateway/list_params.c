/* The parameters of lists, the cursor, and the order of rows. */
#include "gateway/native.h"

#include "common/doc/value.h"
#include "gateway/url.h"

/* The cursor's form, so that another one can follow. */
static const char cursor_form = '1';

static bool take_filter(struct turn *t, struct request *r, struct list_params *out,
			struct problem *p)
{
	struct query_error error = {0};
	if (!native_json_parameter(t, r, "query", &out->filter, p))
		return false;
	if (out->filter.len == 0)
		return true;
	struct mp_reader reader = mp_reader_of(out->filter);
	if (mp_peek(&reader) != MP_MAP)
		return problem_detail(p, STATUS_BAD_QUERY, "query", "A query is a JSON object.");
	if (out->filter.len > LIMIT_QUERY_BYTES)
		return problem_limit(p, STATUS_BAD_QUERY, "query", LIMIT_QUERY_BYTES,
				     out->filter.len);
	if (!query_compile(out->filter, &r->arena, &error))
		return problem_detail(p, STATUS_BAD_QUERY, error.place, error.text);
	return true;
}

static bool take_order(struct turn *t, struct request *r, struct list_params *out,
		       struct problem *p)
{
	struct query_error error = {0};
	struct slice value;
	if (!native_json_parameter(t, r, "order", &value, p))
		return false;
	if (!native_text_list(r, value, LIMIT_ORDER_KEYS, LIMIT_PATH_BYTES, &out->order))
		return problem_detail(p, STATUS_BAD_PARAMETER, "order",
				      "An array of asc(field) or desc(field).");
	out->orders = arena_alloc(&r->arena, (out->order.count + 1) * sizeof *out->orders);
	for (uint32_t i = 0; i < out->order.count; i++)
		if (!query_order_parse(out->order.texts[i], &out->orders[i], &error))
			return problem_detail(p, STATUS_BAD_PARAMETER, "order", error.text);
	return true;
}

static bool take_limit(struct turn *t, struct request *r, struct list_params *out,
		       struct problem *p)
{
	struct slice value;
	if (!native_json_parameter(t, r, "limit", &value, p))
		return false;
	if (value.len == 0)
		return true;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_UINT)
		return problem_detail(p, STATUS_BAD_PARAMETER, "limit",
				      "A whole number, 0 for none.");
	out->limit = token.u64;
	return true;
}

static bool take_cursor(struct turn *t, struct request *r, struct list_params *out,
			struct problem *p)
{
	struct slice text;
	struct buf *bytes = &t->gw->scratch;
	if (!request_parameter(r, "cursor", &text) || text.len == 0)
		return true;
	if (out->order.count > 0)
		return problem_detail(p, STATUS_BAD_PARAMETER, "cursor",
				      "Lists in an order of their own have no cursor.");
	buf_clear(bytes);
	bool fine =
	    base64url_decode(text, bytes) && bytes->len > 1 && bytes->data[0] == cursor_form;
	struct slice id = fine ? slice_of(bytes->data + 1, bytes->len - 1) : slice_of(NULL, 0);
	if (!document_id_valid(id))
		return problem_detail(p, STATUS_BAD_PARAMETER, "cursor",
				      "Send the value of X-Parley-Cursor unchanged.");
	out->after = arena_copy(&r->arena, id);
	return true;
}

bool list_params(struct turn *t, struct request *r, struct list_params *out, struct problem *p)
{
	struct slice value;
	*out = (struct list_params){0};
	if (!take_filter(t, r, out, p) || !take_order(t, r, out, p) || !take_limit(t, r, out, p) ||
	    !take_cursor(t, r, out, p) || !native_json_parameter(t, r, "fields", &value, p) ||
	    !native_consistency(r, &out->any, p))
		return false;
	if (!native_text_list(r, value, LIMIT_FIELDS, LIMIT_PATH_BYTES, &out->fields))
		return problem_detail(p, STATUS_BAD_PARAMETER, "fields", "An array of names.");
	out->count = request_flag(r, "count");
	return true;
}

void list_cursor_print(struct slice last_id, struct buf *out)
{
	struct buf bytes = {0};
	buf_append_byte(&bytes, (uint8_t)cursor_form);
	buf_append_slice(&bytes, last_id);
	base64url_encode(buf_slice(&bytes), out);
	buf_close(&bytes);
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
