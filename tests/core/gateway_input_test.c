/* The gateway's core against bad input: every refusal with its status, code and place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/gateway_bench.h"

struct refusal {
	const char *request;
	int status;
	const char *code;
	const char *place; /* NULL: none */
};

#define LONG_16  "abcdefghijklmnop"
#define LONG_65  LONG_16 LONG_16 LONG_16 LONG_16 "q"
#define LONG_128 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16 LONG_16
#define LONG_513 LONG_128 LONG_128 LONG_128 LONG_128 "q"

static const struct refusal refusals[] = {
    /* bodies */
    {"POST /c", 400, "empty_body", NULL},
    {"PUT /c/a", 400, "empty_body", NULL},
    {"POST /c\n\nnot json", 400, "invalid_json", NULL},
    {"POST /c\n\n{\"a\":1} x", 400, "invalid_json", NULL},
    {"POST /c\n\n{\"a\":{\"b\":1,\"b\":2}}", 400, "duplicate_key", "/a/b"},
    {"POST /c\n\n{\"a\":\"\xff\"}", 400, "invalid_utf8", NULL},
    {"POST /c\n\n5", 400, "wrong_type", NULL},
    {"POST /c\n\n\"text\"", 400, "wrong_type", NULL},
    {"POST /c\n\nnull", 400, "wrong_type", NULL},
    {"POST /c\n\n[null]", 400, "wrong_type", NULL},
    {"POST /c\n\n[{},[]]", 400, "wrong_type", "/1"},
    {"POST /c\n\n{\"id\":5}", 400, "wrong_type", "/id"},
    {"POST /c\n\n[{},{\"id\":true}]", 400, "wrong_type", "/1/id"},
    {"POST /c\n\n{\"id\":\"\"}", 422, "bad_id", "/id"},
    {"POST /c\n\n{\"id\":\"a\\u0001\"}", 422, "bad_id", "/id"},
    {"POST /c\n\n[{},{\"id\":\"\"}]", 422, "bad_id", "/1/id"},
    {"PUT /c/a\n\n[]", 400, "wrong_type", NULL},
    {"PUT /c/a\n\n{\"id\":\"b\"}", 400, "bad_parameter", "/id"},
    {"PATCH /c/a\n\n{\"id\":null}", 400, "wrong_type", "/id"},
    {"PATCH /c/a\ncontent-type: application/json-patch+json\n\n[]", 415, "unsupported_type",
     "Content-Type"},
    {"PATCH /c/a\ncontent-type: application/vnd.parley.update+json\n\n{\"a\":1}", 400, "bad_update",
     "/a"},
    {"PATCH /c/a\ncontent-type: Application/vnd.parley.Update+JSON; a=b\n\n{\"$set\":{\"id\":1}}",
     400, "bad_update", "/$set/id"},
    /* writes by query */
    {"PUT /c", 400, "empty_body", NULL},
    {"PUT /c\n\n[]", 400, "wrong_type", NULL},
    {"PATCH /c?query={\n\n{}", 400, "bad_parameter", "query"},
    {"DELETE /c?query={}&limit=1", 400, "bad_parameter", "limit"},
    {"PUT /c?order=%5B%5D\n\n{}", 400, "bad_parameter", "order"},
    {"DELETE /c?mode=odd", 400, "bad_parameter", "mode"},
    {"POST /_/collections/c/indexes\n\n{\"name\":\"none\",\"fields\":[\"a\"]}", 400,
     "bad_parameter", "/name"},
    {"DELETE /c?query={%22a%22:{%22b%22:1,%22b%22:2}}", 400, "bad_parameter", "query/a/b"},
    {"DELETE /c?query=[]", 400, "bad_query", NULL},
    {"DELETE /c?query={\"a\":{\"$foo\":1}}", 400, "bad_query", "query/a/$foo"},
    {"DELETE /c\nif-match: \"1-a\"", 400, "bad_parameter", "if-match"},
    {"PUT /c?branch=true\n\n{}", 400, "bad_parameter", "branch"},
    {"PUT /c/a\n\n{\"t\":\"0123456789012345678901234567890123456789\"}", 413, "body_too_large",
     "max_document_bytes"},
    {"POST /c\n\n[{},{\"t\":\"0123456789012345678901234567890123456789\"}]", 413, "body_too_large",
     "/1"},
    {"POST /c\n\n[{},{},{},{}]", 413, "body_too_large", "max_batch_items"},
    /* names and ids */
    {"GET /a_b", 422, "bad_name", "path"},
    {"GET /" LONG_65, 422, "bad_name", "path"},
    {"GET /a%20b/x", 422, "bad_name", "path"},
    {"GET /c/%00", 422, "bad_id", "path"},
    {"GET /c/%7f", 422, "bad_id", "path"},
    {"GET /c/%ff", 422, "bad_id", "path"},
    {"GET /c/%c2%85", 422, "bad_id", "path"},
    {"GET /c/%ed%a0%80", 422, "bad_id", "path"},
    {"GET /c/" LONG_513, 422, "bad_id", "path"},
    {"GET /c/%zz", 400, "bad_parameter", "path"},
    {"GET /c/%4", 400, "bad_parameter", "path"},
    /* routes */
    {"GET /c/a/b", 404, "no_route", "path"},
    {"GET /c/a/b/d/e/f", 404, "no_route", "path"},
    {"GET /_/nothing", 404, "no_route", "path"},
    {"GET /_x", 404, "no_route", "path"},
    {"GET /system.other", 404, "no_route", "path"},
    {"GET c", 404, "no_route", "path"},
    {"POST /", 405, "method_not_allowed", NULL},
    {"DELETE /_/limits", 405, "method_not_allowed", NULL},
    {"POST /c/a\n\n{}", 405, "method_not_allowed", NULL},
    {"PUT /system.collections/a\n\n{}", 405, "method_not_allowed", NULL},
    {"POST /system.other\n\n{}", 405, "method_not_allowed", NULL},
    {"POST /_/limits", 405, "method_not_allowed", NULL},
    {"TRACE /c", 405, "method_not_allowed", NULL},
    /* parameters */
    {"GET /c?limit=-1", 400, "bad_parameter", "limit"},
    {"GET /c?limit=1.5", 400, "bad_parameter", "limit"},
    {"GET /c?limit=%222%22", 400, "bad_parameter", "limit"},
    {"GET /c?limit=abc", 400, "bad_parameter", "limit"},
    {"GET /c?limit=%", 400, "bad_parameter", "query string"},
    {"GET /c?query=x", 400, "bad_parameter", "query"},
    {"GET /c?query=%5B%5D", 400, "bad_query", "query"},
    {"GET /c?query=5", 400, "bad_query", "query"},
    {"GET /c?query=%7B%22a%22%3A%7B%22%24up%22%3A1%7D%7D", 400, "bad_query", "query/a/$up"},
    {"GET /c?fields=5", 400, "bad_parameter", "fields"},
    {"GET /c?fields=%5B5%5D", 400, "bad_parameter", "fields/0"},
    {"GET /c/a?fields=%7B%7D", 400, "bad_parameter", "fields"},
    {"GET /c?order=%5B%22up(n)%22%5D", 400, "bad_parameter", "order/0"},
    {"GET /c?order=desc(n)", 400, "bad_parameter", "order"},
    {"GET /c?skip=-1", 400, "bad_parameter", "skip"},
    {"GET /c?skip=1000001", 400, "bad_parameter", "skip"},
    {"GET /system.nodes?skip=x", 400, "bad_parameter", "skip"},
    {"GET /c?query=%7B%22%24or%22%3A%5B%7B%7D%2C%7B%22a%2Fb%22%3A%7B%22%24in%22%3A1%7D%7D%5D%7D",
     400, "bad_query", "query/$or/1/a~1b/$in"},
    {"POST /c/_query", 400, "empty_body", NULL},
    {"POST /c/_query\n\n[]", 400, "wrong_type", NULL},
    {"POST /c/_query\n\n{\"quest\":{}}", 400, "bad_parameter", "/quest"},
    {"POST /c/_query\n\n{\"query\":[]}", 400, "bad_query", "/query"},
    {"POST /c/_query\n\n{\"query\":{\"a\":{\"$in\":[{\"$x\":1}]}}}", 400, "bad_query",
     "/query/a/$in/0"},
    {"POST /c/_query\n\n{\"fields\":[\"a\",\"\"]}", 400, "bad_parameter", "/fields/1"},
    {"POST /c/_query\n\n{\"order\":\"asc(a)\"}", 400, "bad_parameter", "/order"},
    {"POST /c/_query\n\n{\"order\":[\"asc(a)\",\"a\"]}", 400, "bad_parameter", "/order/1"},
    {"POST /c/_query\n\n{\"limit\":\"5\"}", 400, "bad_parameter", "/limit"},
    {"POST /c/_query\n\n{\"skip\":1.5}", 400, "bad_parameter", "/skip"},
    {"POST /c/_query\n\n{\"count\":\"yes\"}", 400, "bad_parameter", "/count"},
    {"POST /c/_query\n\n{\"cursor\":5}", 400, "bad_parameter", "/cursor"},
    {"POST /c/_query\n\n{\"cursor\":\"Mpe2\"}", 400, "bad_parameter", "/cursor"},
    {"POST /c/_query\n\n{\"consistency\":\"weak\"}", 400, "bad_parameter", "/consistency"},
    {"POST /c/_query\n\n{\"index\":{}}", 400, "bad_parameter", "/index"},
    {"POST /system.nodes/_query\n\n{\"query\":5}", 400, "bad_query", "/query"},
    {"POST /system.conflicts\n\n{}", 405, "method_not_allowed", NULL},
    {"GET /c?cursor=Mt66hjQwOvZhAAAAAQd6", 400, "bad_parameter", "cursor"},
    {"GET /c?cursor=!", 400, "bad_parameter", "cursor"},
    {"GET /c?cursor=MQ", 400, "bad_parameter", "cursor"},
    {"GET /c?cursor=MWM&order=%5B%22asc(n)%22%5D", 400, "bad_parameter", "cursor"},
    {"GET /c?consistency=some", 400, "bad_parameter", "consistency"},
    {"GET /c/a?rev=x", 400, "bad_revision", "rev"},
    {"GET /_/conflicts?state=odd", 400, "bad_parameter", "state"},
    {"GET /_/conflicts?limit=0", 400, "bad_parameter", "limit"},
    {"GET /_/conflicts?collection=a_b", 422, "bad_name", "collection"},
    /* preconditions */
    {"PUT /c/a\nif-match: x\n\n{}", 400, "bad_revision", "If-Match"},
    {"PUT /c/a\nif-match: ,\n\n{}", 400, "bad_revision", "If-Match"},
    {"PUT /c/a\nif-match: \n\n{}", 400, "bad_parameter", "If-Match"},
    {"DELETE /c/a\nif-match:\n", 400, "bad_parameter", "If-Match"},
    {"PUT /c/a\nif-none-match: \n\n{}", 400, "bad_parameter", "If-None-Match"},
    {"PATCH /c/a\nidempotency-key: \t\n\n{}", 400, "bad_parameter", "Idempotency-Key"},
    {"DELETE /c\nif-match: \n", 400, "bad_parameter", "If-Match"},
    {"PUT /system.policies/c\nif-match: \n\n{}", 400, "bad_parameter", "If-Match"},
    {"PUT /c/a\nif-match: \"1-a\"\nif-none-match: *\n\n{}", 400, "bad_parameter", "If-None-Match"},
    {"PUT /c/a\nif-none-match: \"1-a\"\n\n{}", 400, "bad_parameter", "If-None-Match"},
    {"PATCH /c/a\nif-none-match: *\n\n{}", 400, "bad_parameter", "If-None-Match"},
    {"POST /c\nif-match: \"1-a\"\n\n{}", 400, "bad_parameter", "If-Match"},
    {"PUT /c/a?branch=true\n\n{}", 400, "bad_parameter", "branch"},
    {"PUT /c/a\nif-match: "
     "\"1-a\",\"2-a\",\"3-a\",\"4-a\",\"5-a\",\"6-a\",\"7-a\",\"8-a\",\"9-a\",\"10-a\","
     "\"11-a\",\"12-a\",\"13-a\",\"14-a\",\"15-a\",\"16-a\",\"17-a\"\n\n{}",
     400, "bad_parameter", "If-Match"},
    {"PUT /c/a\nidempotency-key: \xc3\xa4\n\n{}", 400, "bad_parameter", "Idempotency-Key"},
    {"PUT /c/a\nidempotency-key: " LONG_128 LONG_128 "\n\n{}", 400, "bad_parameter",
     "Idempotency-Key"},
    /* settings */
    {"POST /_/collections\n\n{}", 422, "bad_name", "/name"},
    {"POST /_/collections\n\n[]", 400, "wrong_type", NULL},
    {"POST /_/collections\n\n{\"name\":5}", 400, "wrong_type", "/name"},
    {"POST /_/collections\n\n{\"name\":\"a b\"}", 422, "bad_name", "/name"},
    {"POST /_/collections\n\n{\"name\":\"system.x\"}", 422, "bad_name", "/name"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"replica\":3}", 400, "bad_parameter", "/replica"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"replicas\":-1}", 400, "wrong_type", "/replicas"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"replicas\":8}", 400, "bad_parameter", "/replicas"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"replicas\":4,\"writeQuorum\":2}", 400,
     "bad_parameter", "/writeQuorum"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"shards\":65}", 400, "bad_parameter", "/shards"},
    {"POST /_/collections\n\n{\"name\":\"x\",\"mode\":\"fast\"}", 400, "bad_parameter", "/mode"},
    {"PATCH /_/collections/system.x\n\n{}", 422, "bad_name", "path"},
    {"PATCH /_/collections/c\n\n{\"name\":\"d\"}", 400, "bad_parameter", "/name"},
};

static void open_bench(struct gateway_bench *b)
{
	gateway_bench_open(b, &(struct gateway_limits){.document_bytes_max = 40,
						       .batch_items_max = 3,
						       .uri_bytes_max = 1000});
	gateway_bench_map(b, 1, MODE_CONSISTENT);
	gateway_bench_clear(b);
}

static void check_refusal(struct gateway_bench *b, const struct refusal *want)
{
	char text[256];
	gateway_bench_clear(b);
	gateway_bench_http(b, want->request);
	snprintf(text, sizeof text, "\"code\":\"%s\",\"status\":%d", want->code, want->status);
	bool right = b->status == want->status && strstr(buf_cstr(&b->body), text);
	snprintf(text, sizeof text, "\"place\":\"%s\"", want->place ? want->place : "");
	if (want->place)
		right = right && strstr(buf_cstr(&b->body), text);
	if (!right)
		print_error("%s\ngave %s\n", want->request, buf_cstr(&b->trace));
	assert_true(right);
	/* nothing has gone to the cluster, and the refusal can be found again */
	assert_int_equal(b->sent_count, 0);
	assert_non_null(strstr(buf_cstr(&b->body), "\"requestId\":\""));
	assert_non_null(strstr(buf_cstr(&b->headers), "X-Request-Id: "));
}

static void test_refusals(void **state)
{
	struct gateway_bench b;
	(void)state;
	open_bench(&b);
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		check_refusal(&b, &refusals[i]);
	gateway_bench_close(&b);
}

static void test_too_large(void **state)
{
	struct gateway_bench b;
	struct http_request request = {
	    .id = 1, .method = HTTP_POST, .path = slice_text("/c"), .body_too_large = true};
	static char uri[1100];
	(void)state;
	open_bench(&b);
	gateway_bench_request(&b, &request);
	assert_int_equal(b.status, 413);
	assert_non_null(
	    strstr(buf_cstr(&b.body), "\"key\":\"max_request_bytes\",\"limit\":67108864"));
	memset(uri, 'a', sizeof uri);
	uri[0] = '/';
	request = (struct http_request){.id = 2, .path = slice_of(uri, sizeof uri)};
	gateway_bench_request(&b, &request);
	assert_int_equal(b.status, 414);
	gateway_bench_close(&b);
}

static void test_too_deep(void **state)
{
	struct gateway_bench b;
	struct buf text = {0};
	(void)state;
	open_bench(&b);
	buf_append_text(&text, "POST /c\n\n{\"a\":");
	for (int i = 0; i < LIMIT_JSON_DEPTH; i++)
		buf_append_byte(&text, '[');
	for (int i = 0; i < LIMIT_JSON_DEPTH; i++)
		buf_append_byte(&text, ']');
	buf_append_byte(&text, '}');
	gateway_bench_http(&b, buf_cstr(&text));
	assert_int_equal(b.status, 400);
	assert_non_null(strstr(buf_cstr(&b.body), "\"code\":\"json_too_deep\""));
	buf_close(&text);
	gateway_bench_close(&b);
}

static void test_allow_and_options(void **state)
{
	struct gateway_bench b;
	(void)state;
	open_bench(&b);
	gateway_bench_http(&b, "OPTIONS /c");
	assert_non_null(
	    strstr(buf_cstr(&b.headers), "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\n"));
	gateway_bench_http(&b, "OPTIONS /c/a");
	assert_int_equal(b.status, 204);
	assert_non_null(
	    strstr(buf_cstr(&b.headers), "Allow: GET, HEAD, PUT, PATCH, DELETE, OPTIONS\n"));
	gateway_bench_http(&b, "DELETE /system.nodes");
	assert_non_null(strstr(buf_cstr(&b.headers), "Allow: GET, HEAD, OPTIONS\n"));
	gateway_bench_close(&b);
}

/* What is odd but right. */
static void test_accepted(void **state)
{
	static const char *const requests[] = {
	    "GET /c/",
	    "HEAD /c/a",
	    "GET /c/a%2Fb",
	    "GET /c/%E2%82%AC",
	    "GET /c?limit=&query=&fields=&order=&count=",
	    "GET /c?limit=null&query=null",
	    "GET /c?count=false",
	    "GET /c?query=%7B+%22a%22+%3A+1+%7D",
	    "GET /c?lockId=x&lockStrategy=y&skip=3",
	    "GET /c/a?consistency=strong",
	    "PUT /c/a\nif-match: 1-a\n\n {\"id\":\"a\"} ",
	    "PATCH /c/a\ncontent-type: application/x-www-form-urlencoded\n\n{}",
	};
	struct gateway_bench b;
	(void)state;
	open_bench(&b);
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		gateway_bench_clear(&b);
		gateway_bench_http(&b, requests[i]);
		if (b.sent_count != 1)
			print_error("%s\ngave %s\n", requests[i], buf_cstr(&b.trace));
		assert_int_equal(b.sent_count, 1);
	}
	gateway_bench_http(&b, "GET /");
	assert_string_equal(buf_cstr(&b.body),
			    "{\"status\":200,\"name\":\"parley\",\"version\":\"0.0-test\"}");
	gateway_bench_http(&b, "GET /_/limits");
	assert_non_null(strstr(buf_cstr(&b.body), "\"max_document_bytes\":40,"));
	assert_non_null(strstr(buf_cstr(&b.body), "\"max_lock_waiters\":"));
	gateway_bench_close(&b);
}

static int status_of(struct gateway_bench *b, const char *request)
{
	gateway_bench_clear(b);
	b->status = 0;
	gateway_bench_http(b, request);
	return b->status;
}

/* 0: it is under way, so it was allowed. */
static void test_readers(void **state)
{
	static const char *const allowed[] = {"GET /c", "GET /c/a", "POST /c/_query\n\n{}",
					      "GET /c/a/_references", "GET /system.collections"};
	static const char *const refused[] = {
	    "PUT /c/a\n\n{}",
	    "POST /c\n\n{}",
	    "DELETE /c?query={}",
	    "GET /_/conflicts",
	    "GET /_/conflicts/c/a",
	    "GET /system.conflicts",
	    "POST /system.resolutions/_query\n\n{}",
	    "GET /_/arbiter/_stream",
	    "POST /_/policies/_test\n\n{}",
	    "POST /_/locks\n\n[\"c\"]",
	};
	struct http_request socket = {.id = 1000,
				      .method = HTTP_GET,
				      .path = slice_text("/"),
				      .roles = HTTP_ROLE_READER,
				      .websocket = true};
	struct gateway_bench b;
	(void)state;
	open_bench(&b);
	b.roles = HTTP_ROLE_READER;
	for (size_t i = 0; i < ARRAY_LEN(allowed); i++)
		assert_int_not_equal(status_of(&b, allowed[i]), 403);
	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		assert_int_equal(status_of(&b, refused[i]), 403);
	gateway_bench_request(&b, &socket);
	assert_int_equal(b.status, 403);
	b.dialect = DIALECT_COUCH;
	assert_int_not_equal(status_of(&b, "POST /c/_all_docs\n\n{}"), 403);
	assert_int_equal(status_of(&b, "PUT /c/_security\n\n{}"), 403);
	assert_int_equal(status_of(&b, "POST /c/_bulk_docs\n\n{\"docs\":[]}"), 403);
	assert_int_not_equal(status_of(&b, "POST /c/_design/d/_view/v\n\n{}"), 403);
	assert_int_not_equal(status_of(&b, "POST /c/_design/d/_list/l/v\n\n{}"), 403);
	assert_int_not_equal(status_of(&b, "POST /c/_design/d/_list/l/e/v\n\n{}"), 403);
	assert_int_equal(status_of(&b, "PUT /c/_design/d/_list/l/v\n\n{}"), 403);
	assert_int_equal(status_of(&b, "POST /c/_design/d/_update/u\n\n{}"), 403);
	assert_int_equal(status_of(&b, "POST /c/_design/d/_update/u/id\n\n{}"), 403);
	gateway_bench_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals), cmocka_unit_test(test_too_large),
	    cmocka_unit_test(test_too_deep), cmocka_unit_test(test_allow_and_options),
	    cmocka_unit_test(test_accepted), cmocka_unit_test(test_readers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
