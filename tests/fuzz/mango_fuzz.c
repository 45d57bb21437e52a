/* Any bytes as a selector of CouchDB's, alone or before a byte 0 and a document. What compiles is
 * matched; a selector and its negation never both hold; and what an index would be asked for holds
 * for every document that the selector holds for. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/collation.h"
#include "common/doc/collation_key.h"
#include "common/doc/json.h"
#include "common/doc/query.h"
#include "common/doc/query_conditions.h"
#include "common/doc/value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"b\":[1,2.5,\"x\",null,[3],{\"a\":1,\"c\":true}],\"c\":{\"a\":{\"b\":[]}}}",
    "{\"a\":[{\"b\":1},{\"b\":[1,2]},{}],\"b\":\"abcabc\",\"0\":[[1],[2]],\"_id\":5}",
    "{\"a\":18446744073709551616,\"b\":-9223372036854775808,\"c\":1e-400,\"d\":\"\\u00e6\"}",
};

static bool to_value(struct slice text, struct arena *arena, struct slice *out)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf packed = {0};
	bool fine = json_to_msgpack(parser, text, &packed, &error);
	if (fine)
		*out = arena_copy(arena, buf_slice(&packed));
	buf_close(&packed);
	json_parser_free(parser);
	return fine;
}

static struct query *compile(const char *wrap, struct slice selector, struct arena *arena)
{
	struct buf filter = {0};
	struct query_error error;
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "$mango");
	if (wrap) {
		mp_write_map(&filter, 1);
		mp_write_text(&filter, wrap);
	}
	buf_append_slice(&filter, selector);
	struct query *q = query_compile(arena_copy(arena, buf_slice(&filter)), arena, &error);
	if (!q)
		CHECK(strlen(error.text) > 0);
	buf_close(&filter);
	return q;
}

/* Of a condition of ours: the same as a filter of ours. */
static void check_condition(const struct query_condition *c, struct slice body, struct arena *arena)
{
	static const char *const names[] = {
	    [COMPARE_IN] = "$in", [COMPARE_GT] = "$gt",   [COMPARE_GTE] = "$gte",
	    [COMPARE_LT] = "$lt", [COMPARE_LTE] = "$lte",
	};
	struct buf filter = {0};
	struct query_error error;
	if (c->comparison == COMPARE_FROM)
		return;
	mp_write_map(&filter, 1);
	mp_write_str(&filter, c->path);
	mp_write_map(&filter, 1);
	mp_write_text(&filter, names[c->comparison]);
	if (c->comparison == COMPARE_IN)
		mp_write_array(&filter, c->values_count);
	for (uint32_t i = 0; i < c->values_count; i++)
		buf_append_slice(&filter, c->values[i]);
	/* values that look like operators, and names that do, can't be written so */
	struct query *q = query_compile(buf_slice(&filter), arena, &error);
	if (q)
		CHECK(query_matches(q, slice_text("doc1"), body));
	buf_close(&filter);
}

static void match(struct slice selector, struct slice body, struct arena *arena)
{
	struct query *q = compile(NULL, selector, arena);
	struct query *turned = compile("$not", selector, arena);
	struct query_condition *conditions;
	if (!q)
		return;
	bool holds = query_matches(q, slice_text("doc1"), body);
	if (query_too_costly(q) || !holds)
		return;
	if (turned && query_matches(turned, slice_text("doc1"), body))
		CHECK(query_too_costly(turned));
	uint32_t count = query_conditions(q, arena, &conditions);
	CHECK(count <= QUERY_CONDITIONS_MAX);
	for (uint32_t i = 0; i < count; i++)
		check_condition(&conditions[i], body, arena);
}

/* Two documents as values. As keys of views: neither begins with the other. */
static void compare(struct slice a, struct slice b)
{
	int order = collation_compare(a, b);
	CHECK(order == -collation_compare(b, a));
	for (enum collation_order as = COLLATION_UNICODE; as <= COLLATION_RAW; as++) {
		struct buf x = {0}, y = {0};
		bool fit = collation_key(as, a, &x) && collation_key(as, b, &y);
		size_t len = x.len < y.len ? x.len : y.len;
		if (fit && x.len != y.len)
			CHECK(memcmp(x.data, y.data, len) != 0);
		buf_close(&x);
		buf_close(&y);
	}
}

static void try_selector(struct slice selector, struct slice body)
{
	struct arena arena = {0};
	if (mp_valid(selector) && body.len > 0 && value_is_document(body))
		match(selector, body, &arena);
	for (size_t i = 0; i < ARRAY_LEN(documents) && mp_valid(selector); i++) {
		struct slice document;
		CHECK(to_value(slice_text(documents[i]), &arena, &document));
		match(selector, document, &arena);
	}
	if (mp_valid(selector) && value_is_document(selector) && value_is_document(body))
		compare(selector, body);
	arena_close(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	const uint8_t *end = size > 0 ? memchr(data, 0, size) : NULL;
	size_t len = end ? (size_t)(end - data) : size;
	struct slice selector = slice_of(data, len);
	struct slice body = end ? slice_of(end + 1, size - len - 1) : slice_of(NULL, 0);
	struct slice value;
	try_selector(slice_of(data, size), slice_of(NULL, 0));
	if (to_value(selector, &arena, &value)) {
		struct slice document = {0};
		(void)to_value(body, &arena, &document);
		try_selector(value, document);
	}
	arena_close(&arena);
	return 0;
}
