/* Any bytes as what a list is asked for with: as the JSON body of a query, and as the parameters
 * order, fields and cursor of a query string. What is taken is used: documents get values to sort
 * by, are projected, and are named by cursors, which must come back as they were and be refused
 * with any other list. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/routes.h"
#include "proto/enums.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct gateway gw;
	struct turn turn;
	struct request request;
	struct route route;
	struct http_request http;
	struct http_field parameters[3];
};

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"b\":[1,2.5,\"x\",null,[3],{\"a\":1,\"c\":true}],\"c\":{\"a\":{\"b\":[]}}}",
    "{\"a\":[{\"b\":1},{\"b\":[1,2]},{}],\"b\":\"abcabc\",\"0\":[[1],[2]],\"n\":1e400}",
};

static void check_cursor_of_another(struct world *w, const struct list_params *params,
				    struct slice text)
{
	struct list_params other = *params;
	w->request.collection = slice_text("d");
	CHECK(!list_cursor_parse(&w->turn, &w->request, text, &other));
	w->request.collection = slice_text("c");
}

/* One byte changed: refused, or still a place in the list. */
static void check_broken_cursor(struct world *w, const struct list_params *params, struct buf *text,
				size_t at)
{
	struct list_params other = *params;
	text->data[at % text->len] ^= 1 + (at & 15);
	if (!list_cursor_parse(&w->turn, &w->request, buf_slice(text), &other))
		return;
	CHECK(other.after.id.len > 0 && other.after.id.len <= LIMIT_ID_BYTES);
	for (uint32_t i = 0; i < other.after.order_keys_count; i++)
		CHECK(mp_valid(other.after.order_keys[i]));
}

static void check_cursor(struct world *w, const struct list_params *params,
			 const struct list_key *last, size_t at)
{
	struct buf text = {0};
	struct list_params other = *params;
	list_cursor_print(&w->turn, &w->request, params, last, &text);
	CHECK(list_cursor_parse(&w->turn, &w->request, buf_slice(&text), &other));
	CHECK(slice_equal(other.after.id, last->id));
	CHECK(other.after.order_keys_count == last->order_keys_count);
	CHECK(list_compare(params, &other.after, last) == 0);
	check_cursor_of_another(w, params, buf_slice(&text));
	check_broken_cursor(w, params, &text, at);
	buf_close(&text);
}

static struct slice sort_value(struct world *w, struct query_order order, struct slice body,
			       struct buf *scratch)
{
	struct slice value = query_order_value(&order, slice_text("doc1"), body, scratch);
	CHECK(mp_valid(value) && value.len <= LIMIT_ORDER_KEY_BYTES);
	return arena_copy(&w->request.arena, value);
}

static void use_document(struct world *w, const struct list_params *params, struct slice body,
			 size_t at)
{
	struct slice keys[LIMIT_ORDER_KEYS];
	struct buf scratch = {0}, once = {0}, twice = {0};
	for (uint32_t i = 0; i < params->order.count; i++) {
		struct query_order up = params->orders[i], down = params->orders[i];
		up.descending = false;
		down.descending = true;
		struct slice least = sort_value(w, up, body, &scratch);
		struct slice greatest = sort_value(w, down, body, &scratch);
		CHECK(value_compare(least, greatest) <= 0);
		keys[i] = params->orders[i].descending ? greatest : least;
	}
	struct list_key last = {slice_text("doc1"), keys, params->order.count};
	check_cursor(w, params, &last, at);
	value_project(body, params->fields.texts, params->fields.count, &once);
	CHECK(value_is_document(buf_slice(&once)));
	value_project(buf_slice(&once), params->fields.texts, params->fields.count, &twice);
	CHECK(slice_equal(buf_slice(&once), buf_slice(&twice)));
	buf_close(&scratch);
	buf_close(&once);
	buf_close(&twice);
}

static void use(struct world *w, const struct list_params *params, struct slice input)
{
	struct json_error error;
	CHECK(params->order.count <= LIMIT_ORDER_KEYS && params->fields.count <= LIMIT_FIELDS);
	CHECK(params->skip <= LIST_SKIP_MAX);
	for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
		struct buf body = {0};
		CHECK(json_to_msgpack(w->gw.json, slice_text(documents[i]), &body, &error));
		use_document(w, params, buf_slice(&body), input.len + i);
		buf_close(&body);
	}
	struct buf body = {0};
	if (json_to_msgpack(w->gw.json, input, &body, &error) &&
	    value_is_document(buf_slice(&body)))
		use_document(w, params, buf_slice(&body), input.len * 7);
	buf_close(&body);
}

static void try_params(struct world *w, enum http_method method, struct slice input)
{
	struct list_params params;
	struct problem problem = {0};
	w->request.method = method;
	if (list_params(&w->turn, &w->request, &params, &problem)) {
		use(w, &params, input);
	} else {
		CHECK(problem.status == STATUS_BAD_PARAMETER ||
		      problem.status == STATUS_BAD_QUERY || method == HTTP_POST);
		CHECK(problem.status != STATUS_OK);
	}
	arena_reset(&w->request.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct world *w = calloc(1, sizeof *w);
	struct slice input = slice_of(data, size);
	CHECK(w);
	w->gw.json = json_parser_new();
	w->turn.gw = &w->gw;
	w->route.pattern = "/{collection}";
	w->http.body = input;
	w->request.route = &w->route;
	w->request.http = &w->http;
	w->request.collection = slice_text("c");
	w->request.parameters = w->parameters;
	try_params(w, HTTP_POST, input);
	static const char *const names[] = {"order", "fields", "cursor"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		w->parameters[0] = (struct http_field){slice_text(names[i]), input};
		w->request.parameters_count = 1;
		try_params(w, HTTP_GET, input);
	}
	arena_close(&w->request.arena);
	buf_close(&w->gw.scratch);
	json_parser_free(w->gw.json);
	free(w);
	return 0;
}
