/* A replication between two other servers, step by step: its questions, as they stand in the
 * bench's trace, and the answers that a test gives. */
#ifndef PARLEY_TESTS_CORE_REPLICATE_STEPS_H
#define PARLEY_TESTS_CORE_REPLICATE_STEPS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/replicate/internal.h"
#include "tests/core/gateway_case.h"

#define SOURCE "https://a.example/src"
#define TARGET "https://b.example/dst"
#define BODY   "{\"source\":\"" SOURCE "\",\"target\":\"" TARGET "\"}"
#define NONE   "{\"error\":\"not_found\",\"reason\":\"missing\"}"
#define DONE   "{\"ok\":true,\"rev\":\"0-1\"}"

static inline int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 1, MODE_CONSISTENT);
	b->status = 0;
	return 0;
}

static inline uint64_t start(struct gateway_bench *b, const char *body)
{
	char text[1024];
	snprintf(text, sizeof text, "POST /_replicate\n\n%s", body);
	return gateway_bench_http(b, text);
}

/* The latest question with this in it. */
static inline const char *question(struct gateway_bench *b, const char *with)
{
	const char *found = NULL;
	for (const char *at = strstr(buf_cstr(&b->trace), "?? "); at; at = strstr(at + 1, "?? ")) {
		const char *has = strstr(at, with);
		if (has && has < strchr(at, '\n'))
			found = at;
	}
	return found;
}

static inline uint64_t question_id(struct gateway_bench *b, const char *with)
{
	const char *at = question(b, with);
	if (!at) {
		print_error("no question with %s in\n%s", with, buf_cstr(&b->trace));
		fail();
		return 0;
	}
	return strtoull(at + 3, NULL, 10);
}

static inline void fetched(struct gateway_bench *b, const struct http_fetched *answer)
{
	struct event event = {.kind = EVENT_FETCHED, .fetched = *answer};
	gateway_bench_clear(b);
	gateway_bench_event(b, &event);
}

static inline void answer_as(struct gateway_bench *b, const char *with, int status, bool too_large,
			     const char *body)
{
	fetched(b, &(struct http_fetched){.id = question_id(b, with),
					  .status = status,
					  .too_large = too_large,
					  .body = slice_text(body),
					  .error = slice_text(status ? "" : "no route")});
}

static inline void answer_nothing(struct gateway_bench *b, const char *with, bool nobody)
{
	fetched(b, &(struct http_fetched){.id = question_id(b, with),
					  .nobody = nobody,
					  .error = slice_text("no route")});
}

static inline void answer(struct gateway_bench *b, const char *with, int status, const char *body)
{
	answer_as(b, with, status, false, body);
}

static inline void expect_question(struct gateway_bench *b, const char *text)
{
	const char *at = question(b, text);
	if (!at)
		print_error("not asked: %s, but\n%s", text, buf_cstr(&b->trace));
	assert_non_null(at);
}

static inline void expect_body(struct gateway_bench *b, int status, const char *part)
{
	assert_int_equal(b->status, status);
	if (!strstr(buf_cstr(&b->body), part))
		print_error("%s\nis not in\n%s", part, buf_cstr(&b->body));
	assert_non_null(strstr(buf_cstr(&b->body), part));
}

/* Up to the first page, which is asked for. */
static inline void to_page(struct gateway_bench *b, const char *source_log, const char *target_log)
{
	answer(b, "GET " TARGET " ", 200, "{\"db_name\":\"dst\"}");
	answer(b, "GET " SOURCE " ", 200, "{\"db_name\":\"src\"}");
	answer(b, "GET " SOURCE "/_local/", source_log ? 200 : 404, source_log ? source_log : NONE);
	answer(b, "GET " TARGET "/_local/", target_log ? 200 : 404, target_log ? target_log : NONE);
}

static inline void begin(struct gateway_bench *b, const char *body, const char *source_log,
			 const char *target_log)
{
	start(b, body);
	to_page(b, source_log, target_log);
}

#define PAGE                                                                                       \
	"{\"results\":[{\"seq\":\"1-a\",\"id\":\"x\",\"changes\":[{\"rev\":\"1-x\"}]},"            \
	"{\"seq\":\"2-b\",\"id\":\"y\",\"changes\":[{\"rev\":\"1-y\"},{\"rev\":\"2-z\"}]},"        \
	"{\"seq\":\"3-c\",\"id\":\"x\",\"changes\":[{\"rev\":\"2-x\"}]}],"                         \
	"\"last_seq\":\"3-c\",\"pending\":0}"

/* 1-x and 1-y: the target has neither; the source gives them. */
#define LACKS_BOTH "{\"x\":{\"missing\":[\"1-x\"]},\"y\":{\"missing\":[\"1-y\"]}}"
#define GOT(id)    "{\"docs\":[{\"ok\":{\"_id\":\"" id "\"}}]}"
#define GOT_X      "{\"results\":[" GOT("x") "]}"
#define GOT_Y      "{\"results\":[" GOT("y") "]}"
#define GOT_BOTH   "{\"results\":[" GOT("x") "," GOT("y") "]}"

static inline void to_end(struct gateway_bench *b)
{
	answer(b, "PUT " TARGET "/_local/", 201, DONE);
	answer(b, "PUT " SOURCE "/_local/", 201, DONE);
}

/* The target takes no x: so not both at once, nor x alone, but y. */
static inline void refuses_x(struct gateway_bench *b, int status)
{
	static const char verdict[] = "{\"error\":\"doc_validation\",\"reason\":\"Bad member\"}";
	answer(b, "/_bulk_docs", status, verdict);
	expect_question(b, " {\"docs\":[{\"id\":\"x\",\"rev\":\"1-x\"}]}");
	answer(b, "/_bulk_get", 200, GOT_X);
	answer(b, "/_bulk_docs", status, verdict);
	expect_question(b, " {\"docs\":[{\"id\":\"y\",\"rev\":\"1-y\"}]}");
	answer(b, "/_bulk_get", 200, GOT_Y);
	answer(b, "/_bulk_docs", 201, "[]");
	to_end(b);
}

#endif
