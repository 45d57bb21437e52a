/* Attachments that come to the gateway's core in pieces: what it asks for, sends on, and makes of
 * clients that go on and on, or away. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <zlib.h>

#include "tests/core/gateway_case.h"

enum { PIECE = 64 << 10, MOST = 100000 };

static int setup(void **state)
{
	struct gateway_limits limits = {.attachment_bytes_max = MOST, .transfers_max = 1};
	struct gateway_bench *b = bench_open(state, &limits);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 1, MODE_CONSISTENT);
	return 0;
}

static void put(struct gateway_bench *b, uint64_t id)
{
	struct http_request request = {.id = id,
				       .dialect = DIALECT_COUCH,
				       .method = HTTP_PUT,
				       .path = slice_text("/c/d/a"),
				       .in_pieces = true,
				       .connection = id};
	gateway_bench_request(b, &request);
}

static void piece(struct gateway_bench *b, uint64_t id, size_t bytes, bool last)
{
	static const uint8_t some[PIECE];
	struct event event = {.kind = EVENT_HTTP_BODY,
			      .http_body = {id, slice_of(some, bytes), last}};
	gateway_bench_event(b, &event);
}

static void leave(struct gateway_bench *b, uint64_t id)
{
	struct event event = {.kind = EVENT_HTTP_GONE, .http_gone = id};
	gateway_bench_event(b, &event);
}

static void test_gone_in_the_middle(void **state)
{
	struct gateway_bench *b = *state;
	put(b, 1);
	assert_string_equal(buf_cstr(&b->trace), "++ 1 1048576\n");
	piece(b, 1, PIECE, false);
	assert_int_equal(b->sent_count, 0); /* a chunk is not full yet */
	leave(b, 1);
	assert_non_null(strstr(buf_cstr(&b->trace), "++ 1 1048576\n"));
	/* another one has its place */
	put(b, 2);
	piece(b, 2, 5, false);
	piece(b, 2, 0, true);
	assert_int_equal(b->sent_count, 1);
	assert_int_equal(b->sent[0].envelope.type, MSG_attachment_chunk);
	leave(b, 2);
}

static void test_too_many_at_once(void **state)
{
	struct gateway_bench *b = *state;
	put(b, 1);
	put(b, 2);
	assert_int_equal(b->status, 429);
	leave(b, 1);
	gateway_bench_clear(b);
	put(b, 3);
	assert_int_equal(b->status, 0);
	leave(b, 3);
}

static void test_too_long(void **state)
{
	struct gateway_bench *b = *state;
	put(b, 1);
	piece(b, 1, PIECE, false);
	assert_int_equal(b->status, 0);
	piece(b, 1, PIECE, false);
	assert_int_equal(b->status, 413);
	assert_string_equal(buf_cstr(&b->body),
			    "{\"error\":\"attachment_too_large\",\"reason\":\"a\"}");
	piece(b, 1, PIECE, true); /* late: nobody's */
}

/* Some kilobytes that would be 64 MiB: refused at the limit, before a chunk of it is sent. */
static void test_gzip_bomb(void **state)
{
	struct gateway_bench *b = *state;
	static uint8_t zeros[1 << 20];
	static uint8_t coded[1 << 17];
	z_stream z = {0};
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = coded;
	z.avail_out = sizeof coded;
	for (int i = 0; i < 64; i++) {
		z.next_in = zeros;
		z.avail_in = sizeof zeros;
		assert_int_equal(deflate(&z, i == 63 ? Z_FINISH : Z_NO_FLUSH),
				 i == 63 ? Z_STREAM_END : Z_OK);
	}
	size_t len = sizeof coded - z.avail_out;
	deflateEnd(&z);
	struct http_field coding = {slice_text("content-encoding"), slice_text("gzip")};
	struct http_request request = {.id = 1,
				       .dialect = DIALECT_COUCH,
				       .method = HTTP_PUT,
				       .path = slice_text("/c/d/a"),
				       .headers = &coding,
				       .headers_count = 1,
				       .in_pieces = true,
				       .connection = 1};
	gateway_bench_request(b, &request);
	struct event event = {.kind = EVENT_HTTP_BODY,
			      .http_body = {1, slice_of(coded, len), true}};
	gateway_bench_event(b, &event);
	assert_int_equal(b->status, 413);
	assert_int_equal(b->sent_count, 0);
}

/* A client that sends nothing for too long, while nothing else is waited for. */
static void test_silent(void **state)
{
	struct gateway_bench *b = *state;
	put(b, 1);
	gateway_bench_advance(b, 299000);
	assert_int_equal(b->status, 0);
	gateway_bench_advance(b, 2000);
	assert_int_equal(b->status, 503);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_gone_in_the_middle, setup, gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_too_many_at_once, setup, gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_too_long, setup, gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_gzip_bomb, setup, gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_silent, setup, gateway_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
