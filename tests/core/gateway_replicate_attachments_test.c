/* Replications of what is too large for one answer: documents by themselves, attachments in
 * pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/replicate/internal.h"
#include "tests/core/replicate_steps.h"

static void test_what_is_too_large_is_fetched_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200,
	       "{\"x\":{\"missing\":[\"2-x\"]},\"y\":{\"missing\":[\"1-y\",\"2-z\"]}}");
	answer_as(b, "/_bulk_get", 0, true, "");
	expect_question(b, " {\"docs\":[{\"id\":\"x\",\"rev\":\"2-x\"}]}");
	answer(b, "/_bulk_get", 200, GOT_X);
	/* without its attachments it is still too large: the others go on */
	answer(b, "/_bulk_docs", 413, "{\"error\":\"too_large\"}");
	answer(b, "GET " SOURCE "/x?revs=true", 200, "[{\"ok\":{\"_id\":\"x\"}}]");
	answer(b, "PUT " TARGET "/x?new_edits=false {\"_id\":\"x\"}", 413, "{}");
	expect_question(b, " {\"docs\":[{\"id\":\"y\",\"rev\":\"1-y\"}]}");
	answer_as(b, "/_bulk_get", 0, true, "");
	answer_as(b, "GET " SOURCE "/y?revs=true", 0, true, "");
	answer(b, "/_bulk_get", 200, GOT_Y);
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
	expect_body(b, 200, "\"docs_read\":3,\"docs_written\":1,\"doc_write_failures\":2");
}

static void answer_id(struct gateway_bench *b, uint64_t id, int status, const char *body)
{
	fetched(b, &(struct http_fetched){.id = id, .status = status, .body = slice_text(body)});
}

/* Of the body that goes in pieces. */
static void expect_piece(struct gateway_bench *b, uint64_t id, const char *part)
{
	char head[32];
	snprintf(head, sizeof head, "?+ %llu ", (unsigned long long)id);
	const char *at = strstr(buf_cstr(&b->trace), head);
	if (!at || !strstr(at, part))
		print_error("not sent: %s, but\n%s", part, buf_cstr(&b->trace));
	assert_true(at && strstr(at, part));
}

#define CONTENTS                                                                                   \
	"[{\"ok\":{\"_id\":\"x\",\"_attachments\":{\"a/b\":{\"content_type\":\"t/x\",\"digest\":"  \
	"\"md5-x\",\"length\":5,\"stub\":true},\"z\":{\"content_type\":\"t/y\",\"digest\":\"md5-"  \
	"y\",\"length\":3,\"stub\":true,\"encoding\":\"gzip\",\"encoded_length\":20}}}}]"

/* Up to the first content, which is asked for. The question that takes the body. */
static uint64_t to_contents(struct gateway_bench *b, const char *contents)
{
	begin(b, BODY, NULL, NULL);
	answer(b, "/_changes", 200, PAGE);
	answer(b, "/_revs_diff", 200, "{\"x\":{\"missing\":[\"2-x\"]}}");
	answer_as(b, "/_bulk_get", 0, true, "");
	expect_question(b, "GET " SOURCE
			   "/x?revs=true&att_encoding_info=true&open_revs=%5B%222-x%22%5D ");
	answer(b, "GET " SOURCE "/x?revs", 200, contents);
	return question_id(b, "PUT " TARGET "/x?new_edits=false Content-Type: multipart/related;");
}

static void test_attachments_go_in_pieces(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t put = to_contents(b, CONTENTS);
	expect_piece(b, put,
		     "{\"_id\":\"x\",\"_attachments\":{\"a/b\":{\"content_type\":\"t/"
		     "x\",\"digest\":\"md5-x\",\"length\":5,\"follows\":true},"
		     "\"z\":{\"content_type\":\"t/y\",\"length\":3,\"follows\":true}}}");
	expect_piece(b, put, "Content-Disposition: attachment; filename=\"a/b\"");
	answer(b, "GET " SOURCE "/x/a%2Fb?rev=2-x Range: bytes=0-4 ", 206, "hello");
	expect_piece(b, put, "hello");
	/* who knows no ranges, and is not there for a moment */
	answer(b, "GET " SOURCE "/x/z?rev=2-x Range: bytes=0-2 ", 503, "");
	gateway_bench_clear(b);
	gateway_bench_advance(b, 1000);
	answer(b, "GET " SOURCE "/x/z?rev=2-x Range: bytes=0-2 ", 200, "abc");
	expect_piece(b, put, "abc");
	/* what could not be taken begins again */
	answer_id(b, put, 503, "");
	gateway_bench_clear(b);
	gateway_bench_advance(b, 1000);
	uint64_t again = question_id(b, "PUT " TARGET "/x?new_edits=false ");
	assert_int_not_equal(again, put);
	expect_piece(b, again, "{\"_id\":\"x\"");
	answer(b, "GET " SOURCE "/x/a%2Fb?rev=2-x Range: bytes=0-4 ", 206, "hello");
	expect_piece(b, again, "hello");
	struct event late = {.kind = EVENT_FETCH_ROOM, .fetch_room = {.request = put, .bytes = 9}};
	gateway_bench_event(b, &late);
	answer(b, "GET " SOURCE "/x/z?rev=2-x Range: bytes=0-2 ", 206, "abc");
	expect_piece(b, again, "abc");
	answer_id(b, again, 201, DONE);
	to_end(b);
	expect_body(b, 200, "\"docs_read\":1,\"docs_written\":1,\"doc_write_failures\":0");
}

/* Bytes of an answer in pieces. */
static void give_piece(struct gateway_bench *b, uint64_t id, uint32_t bytes)
{
	struct buf text = {0};
	for (uint32_t i = 0; i < bytes; i++)
		buf_append_byte(&text, 'x');
	struct event event = {.kind = EVENT_FETCH_PIECE,
			      .http_body = {.request = id, .bytes = buf_slice(&text)}};
	gateway_bench_clear(b);
	gateway_bench_event(b, &event);
	buf_close(&text);
}

static void give_room(struct gateway_bench *b, uint64_t id, uint32_t bytes)
{
	struct event event = {.kind = EVENT_FETCH_ROOM,
			      .fetch_room = {.request = id, .bytes = bytes}};
	gateway_bench_event(b, &event);
}

static bool traced(struct gateway_bench *b, const char *mark, uint64_t id)
{
	char line[32];
	snprintf(line, sizeof line, "%s %llu\n", mark, (unsigned long long)id);
	return strstr(buf_cstr(&b->trace), line) != NULL;
}

enum { LARGE = 3 << 19 }; /* more than there is room for at once */

/* Up to the content, which does not come in a range. The question for the whole. */
static uint64_t to_whole(struct gateway_bench *b)
{
	answer_as(b, "GET " SOURCE "/x/a?rev=2-x Range: bytes=0-1048575 ", 0, true, "");
	return question_id(b, "GET " SOURCE "/x/a?rev=2-x \n");
}

#define LARGE_CONTENT                                                                              \
	"[{\"ok\":{\"_id\":\"x\",\"_attachments\":{\"a\":{\"length\":1572867,\"stub\":true}}}}]"

static void test_a_source_without_ranges_is_asked_once(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t put = to_contents(b, LARGE_CONTENT);
	uint64_t get = to_whole(b);
	give_piece(b, get, LARGE);
	assert_false(traced(b, "?>", get));
	give_room(b, put, LARGE);
	assert_true(traced(b, "?>", get));
	/* what breaks off begins again, all of it */
	answer_id(b, get, 0, "");
	assert_true(traced(b, "?|", put));
	gateway_bench_advance(b, 1000);
	uint64_t again = question_id(b, "PUT " TARGET "/x?new_edits=false ");
	expect_piece(b, again, "{\"_id\":\"x\"");
	get = to_whole(b);
	give_piece(b, get, LARGE);
	give_room(b, again, LARGE);
	answer_id(b, get, 200, "end");
	expect_piece(b, again, "end");
	answer_id(b, again, 201, DONE);
	to_end(b);
	expect_body(b, 200, "\"docs_read\":1,\"docs_written\":1,\"doc_write_failures\":0");
}

static void test_a_whole_that_is_not_what_it_says(void **state)
{
	struct gateway_bench *b = *state;
	for (int longer = 0; longer < 2; longer++) {
		b->status = 0;
		to_contents(b, LARGE_CONTENT);
		uint64_t get = to_whole(b);
		if (longer)
			give_piece(b, get, LARGE + 4);
		else
			answer_id(b, get, 200, "short");
		to_end(b);
		expect_body(b, 200, "\"docs_written\":0,\"doc_write_failures\":1");
	}
}

static void test_attachments_that_can_not_be_had_are_passed_by(void **state)
{
	static const char *const none[] = {
	    "[{\"ok\":{\"_id\":\"x\",\"_attachments\":5}}]",
	    "[{\"ok\":{\"_id\":\"x\",\"_attachments\":{\"a\":5}}}]",
	    "[{\"ok\":{\"_id\":\"x\",\"_attachments\":{\"a\":{\"length\":-1}}}}]",
	    "[{\"ok\":{\"_id\":\"x\",\"_attachments\":{\"a\":{\"length\":1e15}}}}]"};
	static const struct {
		int status;
		const char *text;
	} answers[] = {{404, NONE}, {206, "hell"}, {200, "hello!"}};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		uint64_t put = to_contents(b, CONTENTS);
		char end[32];
		snprintf(end, sizeof end, "?| %llu\n", (unsigned long long)put);
		answer(b, "GET " SOURCE "/x/a%2Fb", answers[i].status, answers[i].text);
		assert_non_null(strstr(buf_cstr(&b->trace), end));
		to_end(b);
		expect_body(b, 200, "\"docs_written\":0,\"doc_write_failures\":1");
		b->status = 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(none); i++) {
		begin(b, BODY, NULL, NULL);
		answer(b, "/_changes", 200, PAGE);
		answer(b, "/_revs_diff", 200, "{\"x\":{\"missing\":[\"2-x\"]}}");
		answer_as(b, "/_bulk_get", 0, true, "");
		answer(b, "GET " SOURCE "/x?revs", 200, none[i]);
		to_end(b);
		expect_body(b, 200, "\"docs_written\":0,\"doc_write_failures\":1");
		b->status = 0;
	}
	/* and refused before all of it was asked for */
	answer_id(b, to_contents(b, CONTENTS), 403, "{\"error\":\"forbidden\"}");
	to_end(b);
	expect_body(b, 200, "\"docs_written\":0,\"doc_write_failures\":1");
}

#define on_bench(f) cmocka_unit_test_setup_teardown(f, setup, gateway_bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    on_bench(test_what_is_too_large_is_fetched_in_parts),
	    on_bench(test_attachments_go_in_pieces),
	    on_bench(test_a_source_without_ranges_is_asked_once),
	    on_bench(test_a_whole_that_is_not_what_it_says),
	    on_bench(test_attachments_that_can_not_be_had_are_passed_by),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
