/* Any bytes as a filter: as MessagePack, and as JSON that is converted first. What compiles is
 * matched against a few documents; a filter and its negation never agree. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/doc/json.h"
#include "common/doc/query.h"
#include "proto/msgpack.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const documents[] = {
    "{}",
    "{\"a\":1,\"b\":[1,2.5,\"x\",null,[3],{\"a\":1,\"c\":true}],\"c\":{\"a\":{\"b\":[]}}}",
    "{\"a\":[{\"b\":1},{\"b\":[1,2]},{}],\"b\":\"abcabc\",\"0\":[[1],[2]]}",
    "{\"a\":18446744073709551616,\"b\":-9223372036854775808,\"c\":1e-400,\"d\":\"\\u00e6\"}",
};

static struct slice negation_of(struct slice filter, struct buf *out)
{
	mp_write_map(out, 1);
	mp_write_text(out, "$nor");
	mp_write_array(out, 1);
	buf_append_slice(out, filter);
	return buf_slice(out);
}

static void match_all(struct json_parser *parser, const struct query *q, const struct query *not_q)
{
	for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
		struct buf body = {0};
		struct json_error error;
		CHECK(json_to_msgpack(parser, slice_text(documents[i]), &body, &error));
		bool holds = query_matches(q, slice_text("doc1"), buf_slice(&body));
		CHECK(query_matches(q, slice_text("doc1"), buf_slice(&body)) == holds);
		if (not_q)
			CHECK(query_matches(not_q, slice_text("doc1"), buf_slice(&body)) != holds);
		buf_close(&body);
	}
}

static void try_filter(struct json_parser *parser, struct slice filter)
{
	struct arena arena = {0};
	struct buf negated = {0};
	struct query_error error;
	struct query *q = query_compile(filter, &arena, &error);
	if (q && filter.len > 0) {
		/* The negation may be one level too deep. */
		struct slice other = negation_of(filter, &negated);
		match_all(parser, q, query_compile(other, &arena, &error));
	} else if (!q) {
		CHECK(strlen(error.text) > 0);
	}
	buf_close(&negated);
	arena_close(&arena);
}

/* The input as a document too, against a filter that looks everywhere. */
static void try_document(struct json_parser *parser, struct slice body)
{
	static const char *const filter =
	    "{\"$or\":[{\"a.b.0\":{\"$gt\":1}},{\"a\":{\"$elemMatch\":{\"b\":1}}},"
	    "{\"b\":{\"$regex\":\"a.*c\"}},{\"c\":{\"$type\":\"number\"}},"
	    "{\"d\":{\"$size\":2}},{\"e\":{\"$in\":[1,null,\"x\"]}}]}";
	struct arena arena = {0};
	struct buf bytes = {0}, scratch = {0};
	struct json_error json_problem;
	struct query_error error;
	struct query_order order;
	CHECK(json_to_msgpack(parser, slice_text(filter), &bytes, &json_problem));
	struct query *q = query_compile(buf_slice(&bytes), &arena, &error);
	CHECK(q != NULL);
	(void)query_matches(q, slice_text("doc1"), body);
	CHECK(query_order_parse(slice_text("desc(a.b)"), &order, &error));
	CHECK(query_order_value(&order, slice_text("doc1"), body, &scratch).len > 0);
	buf_close(&bytes);
	buf_close(&scratch);
	arena_close(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_parser *parser = json_parser_new();
	struct slice input = slice_of(data, size);
	struct buf packed = {0};
	struct json_error error;
	if (json_to_msgpack(parser, input, &packed, &error)) {
		try_filter(parser, buf_slice(&packed));
		try_document(parser, buf_slice(&packed));
	}
	try_filter(parser, input);
	try_document(parser, input);
	buf_close(&packed);
	json_parser_free(parser);
	return 0;
}
