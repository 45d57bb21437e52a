/* The gateway's core: references to an id that was split, turned to one of its documents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/msgpack.h"
#include "tests/core/gateway_case.h"

#define POLICY                                                                                     \
	"{\"roots\":{\"kind\":[\"type\"]},\"references\":[{\"path\":\"a\",\"kind\":\"person\"}]}"

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->policy = POLICY;
	bench_map(b, 1, MODE_CONSISTENT);
	return 0;
}

static void answer(struct gateway_bench *b, uint16_t type, const void *ack)
{
	assert_true(b->sent_count > 0);
	assert_int_equal(b->sent[b->sent_count - 1].envelope.type, type);
	gateway_bench_answer(b, b->sent_count - 1, type + 1, ack);
}

static void answer_read(struct gateway_bench *b, struct slice body, bool split)
{
	struct msg_doc_read_ack ack = {
	    .status = STATUS_OK, .revision = {1, slice_text("r")}, .body = body, .split = split};
	answer(b, MSG_doc_read, &ack);
}

/* One document that refers to x so often. */
static void answer_row(struct gateway_bench *b, uint32_t references)
{
	struct buf body = {0};
	mp_write_map(&body, 1);
	mp_write_text(&body, "a");
	mp_write_array(&body, references);
	for (uint32_t i = 0; i < references; i++)
		mp_write_text(&body, "x");
	struct row row = {
	    .id = slice_text("d"), .revision = {2, slice_text("r")}, .body = buf_slice(&body)};
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .rows = &row, .rows_count = 1};
	answer(b, MSG_shard_query, &ack);
	buf_close(&body);
}

/* As far as the references are looked for. */
static void begin(struct gateway_bench *b)
{
	gateway_bench_http(b, "POST /c/x/_references/_rewrite\n\n{}");
	answer_read(b, gateway_bench_document(b, "{\"_split\":[\"x~1\",\"x~2\"]}"), true);
	answer_read(b, gateway_bench_document(b, "{\"type\":\"person\"}"), false);
	answer_read(b, gateway_bench_document(b, "{\"type\":\"record\"}"), false);
}

static bool body_has(struct gateway_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->body), text) != NULL;
}

static void test_a_reference_is_turned(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_write_ack done = {.status = STATUS_OK};
	begin(b);
	answer_row(b, 2);
	answer(b, MSG_doc_write, &done);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"rewritten\":1,\"leftCount\":0"));
}

/* What refers to it is short, what it was split into may not be. */
static void test_a_document_that_would_be_too_large(void **state)
{
	struct gateway_bench *b = *state;
	begin(b);
	answer_row(b, 5 * 1024 * 1024);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"rewritten\":0,\"leftCount\":1"));
	assert_true(body_has(b, "\"reason\":\"too_large\""));
}

/* Which of them is meant can't be told from the first ones. */
static void test_a_stub_of_very_many(void **state)
{
	enum { MANY = 65 };
	struct gateway_bench *b = *state;
	struct buf stub = {0};
	gateway_bench_http(b, "POST /c/x/_references/_rewrite\n\n{}");
	buf_append_text(&stub, "{\"_split\":[");
	for (int i = 0; i < MANY; i++)
		buf_printf(&stub, "%s\"x~%d\"", i > 0 ? "," : "", i);
	buf_append_text(&stub, "]}");
	answer_read(b, gateway_bench_document(b, buf_cstr(&stub)), true);
	for (int i = 0; i < MANY - 1; i++)
		answer_read(b,
			    gateway_bench_document(b, i == 3 ? "{\"type\":\"person\"}"
							     : "{\"type\":\"record\"}"),
			    false);
	answer_row(b, 2);
	assert_int_equal(b->status, 200);
	assert_true(body_has(b, "\"reason\":\"ambiguous\""));
	buf_close(&stub);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_a_reference_is_turned),
	    TEST(test_a_document_that_would_be_too_large),
	    TEST(test_a_stub_of_very_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
