/* The gateway's core as CouchDB's clients see it: names, errors, documents and the traces of what
 * they ask for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/timing.h"
#include "gateway/couch/couch.h"
#include "tests/core/gateway_case.h"

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 1, MODE_CONSISTENT);
	return 0;
}

static void expect_body(struct gateway_bench *b, int status, const char *body)
{
	assert_int_equal(b->status, status);
	assert_string_equal(buf_cstr(&b->body), body);
}

static bool has_header(struct gateway_bench *b, const char *text)
{
	return strstr(buf_cstr(&b->headers), text) != NULL;
}

/* ---- names ---- */

static void test_names_are_one_to_one(void **state)
{
	static const char *const pairs[][2] = {
	    {"people", "people"},
	    {"testdb_1", "testdb.5f1"},
	    {"az09_$()+-/", "az09.5f.24.28.29.2b-.2f"},
	    {"People", "People"},
	    {"system", "system"},
	    {"systems_x", "systems.5fx"},
	    {"system_local", ".73ystem.5flocal"},
	};
	struct buf out = {0};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		assert_true(couch_collection_name(slice_text(pairs[i][0]), &out));
		assert_string_equal(buf_cstr(&out), pairs[i][1]);
		assert_true(couch_database_name(slice_text(pairs[i][1]), &out));
		assert_string_equal(buf_cstr(&out), pairs[i][0]);
	}
	static const char *const no_database[] = {"a.b",          "a.5",         "a.5F", "a.61",
						  "system.local", "a.5fsystem.", "a.00"};
	for (size_t i = 0; i < ARRAY_LEN(no_database); i++)
		assert_false(couch_database_name(slice_text(no_database[i]), &out));
	assert_false(couch_collection_name(slice_text("a.b"), &out));
	assert_false(couch_collection_name(slice_text("a b"), &out));
	assert_false(couch_collection_name(slice_text(""), &out));
	assert_false(couch_name_fit(slice_text("People")));
	assert_false(couch_name_fit(slice_text("1st")));
	buf_close(&out);
}

/* ---- answers without the cluster ---- */

struct told {
	const char *request;
	int status;
	const char *body;
};

#define MISSING    "{\"error\":\"not_found\",\"reason\":\"missing\"}"
#define BAD_REV    "{\"error\":\"bad_request\",\"reason\":\"Invalid rev format\"}"
#define NOT_OBJECT "{\"error\":\"bad_request\",\"reason\":\"Document must be a JSON object\"}"
#define RESERVED                                                                                   \
	"{\"error\":\"illegal_docid\",\"reason\":\"Only reserved document ids may start with "     \
	"underscore.\"}"
#define CONFLICT   "{\"error\":\"conflict\",\"reason\":\"Document update conflict.\"}"
#define NOT_STRING "{\"error\":\"illegal_docid\",\"reason\":\"Document id must be a string\"}"
#define MEMBER                                                                                     \
	"{\"error\":\"doc_validation\",\"reason\":"                                                \
	"\"Bad special document member: _zing\"}"
#define NOT_YET                                                                                    \
	"{\"error\":\"not_implemented\",\"reason\":"                                               \
	"\"This server does not have this yet.\"}"

#define BAD_FLAG(text)                                                                             \
	"{\"error\":\"query_parse_error\",\"reason\":\"Invalid boolean parameter: \\\"" text       \
	"\\\"\"}"
#define BAD_INTEGER(kind, text)                                                                    \
	"{\"error\":\"query_parse_error\",\"reason\":\"Invalid value for " kind                    \
	"integer: \\\"" text "\\\"\"}"
#define KEYS_AND_RANGE                                                                             \
	"{\"error\":\"query_parse_error\",\"reason\":\"`keys` is incompatible with `key`, "        \
	"`start_key` and `end_key`\"}"
#define BAD_WORD(name)                                                                             \
	"{\"error\":\"query_parse_error\",\"reason\":\"Invalid value for `" name "`.\"}"
#define BAD_KIND(place, kind)                                                                      \
	"{\"error\":\"invalid_design_doc\",\"reason\":\"`" place "` field must have " kind         \
	" type\"}"

#define BAD_LIMIT(name)                                                                            \
	"{\"error\":\"bad_request\",\"reason\":\"`" name "` is a whole number, 1 or more.\"}"

static const struct told at_once[] = {
    {"GET /_up", 200, "{\"status\":\"ok\",\"seeds\":{}}"},
    {"GET /_uuids?count=1001", 400,
     "{\"error\":\"bad_request\",\"reason\":\"count parameter too large\"}"},
    {"GET /_uuids?count=x", 400, BAD_INTEGER("", "x")},
    {"GET /_nothing", 404, MISSING},
    {"GET /c/_nothing", 404, MISSING},
    {"PUT /c/_zing\n\n{}", 400, RESERVED},
    {"PUT /c/%5Fzing\n\n{}", 400, RESERVED},
    {"PATCH /c", 405,
     "{\"error\":\"method_not_allowed\",\"reason\":\"Only GET, HEAD, PUT, DELETE, POST "
     "allowed\"}"},
    {"GET /c/_purged_infos", 200, "{\"purged_infos\":[]}"},
    {"GET /c/_purged_infos_limit", 200, "0"},
    {"PUT /c/_purged_infos_limit\n\n1000", 200, "{\"ok\":true}"},
    {"PUT /c/_purged_infos_limit\n\n0", 400, BAD_LIMIT("_purged_infos_limit")},
    {"PUT /c/_revs_limit\n\n-1", 400, BAD_LIMIT("_revs_limit")},
    {"PUT /c/_revs_limit\n\n", 400,
     "{\"error\":\"bad_request\",\"reason\":\"invalid UTF-8 JSON\"}"},
    {"PUT /c/a\n\n{\"a\":1,\"a\":2}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"An object names the same member twice; remove one of "
     "them. At byte 7. (/a)\"}"},
    {"POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"_zing\"}]}", 400, RESERVED},
    {"POST /c/_bulk_docs\n\n{\"new_edits\":false,\"docs\":[{\"_id\":\"a\",\"_rev\":\"1-a\"},"
     "{\"_id\":\"_zing\",\"_rev\":\"1-a\"}]}",
     400, RESERVED},
    {"GET /_reshard", 501, NOT_YET},
    {"POST /_reshard/jobs\n\n{}", 501, NOT_YET},
    {"GET /_reshards", 404, MISSING},
    {"POST /c/_design/d/_rewrite\n\n{}", 501, NOT_YET},
    {"PUT /c/_design/d/_list/l/v\n\n{}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Attachment name '_list/l/v' starts with prohibited "
     "character '_'\"}"},
    {"DELETE /c/_design/d/_rewrite/a/b/c/d/e/f/g/h/i/j", 501, NOT_YET},
    {"POST /c/_index/_bulk_delete\n\n{}", 400,
     "{\"error\":\"missing_required_key\",\"reason\":\"Missing required key: docids\"}"},
    {"POST /c/_index/_bulk_delete\n\n{\"docids\":[5]}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"`docids` must be an array of at most 256 ids.\"}"},
    {"GET /c/_all_docs?descending=maybe", 400, BAD_FLAG("maybe")},
    {"GET /c/_all_docs?include_docs=", 400, BAD_FLAG("")},
    {"POST /c/_all_docs\n\n{\"inclusive_end\":\"no\"}", 400, BAD_FLAG("no")},
    {"GET /c/_design/d/_view/v?group=maybe", 400, BAD_FLAG("maybe")},
    {"GET /c/_design/d/_view/v?reduce=1", 400, BAD_FLAG("1")},
    {"POST /c/_design/d/_view/v\n\n{\"update_seq\":5}", 400,
     "{\"error\":\"query_parse_error\",\"reason\":\"Invalid boolean parameter\"}"},
    {"GET /c/_design/d/_view/v?stale=no", 400, BAD_WORD("stale")},
    {"GET /c/_design/d/_view/v?keys=[1]&startkey=null", 400, KEYS_AND_RANGE},
    {"POST /c/_design/d/_view/v?end_key=1\n\n{\"keys\":[1]}", 400, KEYS_AND_RANGE},
    {"POST /c/_design/d/_view/v\n\n{\"keys\":[1],\"key\":null}", 400, KEYS_AND_RANGE},
    {"GET /c/_design/d/_view/v?update=never", 400, BAD_WORD("update")},
    {"GET /c/_design/d/_view/v?stable=x", 400, BAD_WORD("stable")},
    {"PUT /c/_design/d\n\n{\"views\":5}", 400, BAD_KIND("views", "object")},
    {"PUT /c/_design/d\n\n{\"views\":{\"v\":5}}", 400, BAD_KIND("views.v", "object")},
    {"PUT /c/_design/d\n\n{\"views\":{\"v\":{\"map\":5}}}", 400, BAD_KIND("views.v.map", "string")},
    {"PUT /c/_design/d\n\n{\"views\":{\"v\":{\"map\":\"x\",\"reduce\":[]}}}", 400,
     BAD_KIND("views.v.reduce", "string")},
    {"PUT /c/_design/d\n\n{\"views\":{\"v\":{\"map\":\"x\"}},\"language\":\"query\"}", 400,
     BAD_KIND("views.v.map", "object")},
    {"PUT /c/_design/d\n\n{\"views\":{\"v\":{}}}", 400,
     "{\"error\":\"invalid_design_doc\",\"reason\":\"View `v` must contain map function\"}"},
    {"PUT /c/_design/d\n\n{\"views\":{\"lib\":\"x\"}}", 400, BAD_KIND("views.lib", "object")},
    {"PUT /c/_design/d\n\n{\"filters\":{\"f\":5}}", 400, BAD_KIND("filters.f", "object or string")},
    {"PUT /c/_design/d\n\n{\"rewrites\":5}", 400, BAD_KIND("rewrites", "string or array")},
    {"PUT /c/_design/d\n\n{\"options\":{\"local_seq\":1}}", 400,
     BAD_KIND("options.local_seq", "boolean")},
    {"PUT /c/_design/d\n\n{\"validate_doc_update\":{}}", 400,
     BAD_KIND("validate_doc_update", "string")},
    {"POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"_design/d\",\"language\":5}]}", 400,
     BAD_KIND("language", "string")},
    {"PUT /c/_local/a/b/c", 400,
     "{\"error\":\"bad_request\",\"reason\":"
     "\"_local documents do not accept attachments.\"}"},
    {"PUT /c/a/_b", 400,
     "{\"error\":\"bad_request\",\"reason\":"
     "\"Attachment name '_b' starts with prohibited character '_'\"}"},
    {"DELETE /c/a/b", 409, CONFLICT},
    {"DELETE /c/a/b/c?rev=0", 400, BAD_REV},
    {"GET /c/a?rev=x", 400, BAD_REV},
    {"GET /c/a?open_revs=[5]", 400, BAD_REV},
    {"GET /c/a?open_revs=5", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Invalid list of revisions\"}"},
    {"GET /c/a?open_revs=foo", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Invalid list of revisions\"}"},
    {"PUT /c/a", 400, "{\"error\":\"bad_request\",\"reason\":\"invalid UTF-8 JSON\"}"},
    {"PUT /c/a\n\n[]", 400, NOT_OBJECT},
    {"PUT /c/a\n\n{\"_zing\":1}", 400, MEMBER},
    {"PUT /c/a\n\n{\"_rev\":\"x\"}", 400, BAD_REV},
    {"PUT /c/a?rev=1-a\n\n{\"_rev\":\"1-b\"}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Document rev from request body and query string have "
     "different values\"}"},
    {"PUT /c/a\n\n{\"_attachments\":{\"a\":{}}}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Invalid attachment data for a\"}"},
    {"POST /c\n\n{\"_id\":5}", 400, NOT_STRING},
    {"POST /c/_bulk_docs\n\n{}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"POST body must include `docs` parameter.\"}"},
    {"POST /c/_bulk_docs\n\n{\"docs\":[{},{\"_zing\":1}]}", 400, MEMBER},
    {"POST /c/_bulk_docs\n\n{\"docs\":[{},5]}", 400, NOT_OBJECT},
    {"POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"}],\"new_edits\":false}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"When `new_edits: false`, the document needs "
     "`_rev` or `_revisions` specified\"}"},
    {"POST /c/_bulk_docs\n\n{\"docs\":[]}", 201, "[]"},
    {"POST /c/_bulk_docs\n\n{\"docs\":[],\"new_edits\":0}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"`new_edits` parameter must be a boolean.\"}"},
    {"POST /c/_all_docs\n\n{\"keys\":5}", 400,
     "{\"error\":\"bad_request\",\"reason\":\"`keys` body member must be an array.\"}"},
    {"GET /c/_all_docs?keys=[]&key=%22a%22", 400, KEYS_AND_RANGE},
    {"POST /c/_find\n\n{}", 400,
     "{\"error\":\"missing_required_key\",\"reason\":\"Missing required key: selector\"}"},
    {"POST /c/_find\n\n{\"selector\":5}", 400,
     "{\"error\":\"invalid_selector_json\",\"reason\":\"Selector must be a JSON object\"}"},
    {"POST /c/_find\n\n{\"selector\":{\"$noor\":[]}}", 400,
     "{\"error\":\"invalid_operator\",\"reason\":\"Invalid operator: $noor\"}"},
    {"POST /c/_find\n\n{\"selector\":{\"a\":{\"$in\":1}}}", 400,
     "{\"error\":\"bad_arg\",\"reason\":\"Bad argument for operator $in: 1\"}"},
    {"POST /c/_find\n\n{\"selector\":{},\"sort\":[\"a\"]}", 400,
     "{\"error\":\"no_usable_index\",\"reason\":"
     "\"No index exists for this sort, try indexing by the sort fields.\"}"},
    {"POST /c/_find\n\n{\"selector\":{},\"sort\":[{\"a\":\"asc\"},{\"b\":\"desc\"}]}", 400,
     "{\"error\":\"unsupported_mixed_sort\",\"reason\":"
     "\"Sorts currently only support a single direction for all fields.\"}"},
    {"POST /c/_find\n\n{\"selector\":{},\"limit\":-1}", 400,
     "{\"error\":\"invalid_non_neg_integer\",\"reason\":"
     "\"`limit` must be a whole number, 0 or more\"}"},
    {"POST /c/_index\n\n{\"index\":{\"fields\":[\"a\",{\"a\":\"asc\"}]}}", 400,
     "{\"error\":\"invalid_index_json\",\"reason\":\"Fields must differ from each other.\"}"},
    {"POST /c/_index\n\n{\"index\":{}}", 400,
     "{\"error\":\"missing_required_key\",\"reason\":\"Missing required key: fields\"}"},
    {"COPY /c/a", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Destination header is mandatory for COPY.\"}"},
    {"COPY /c/a\ndestination: http://a/b", 400,
     "{\"error\":\"bad_request\",\"reason\":\"Destination URL must be relative.\"}"},
    {"GET /c/_revs_limit", 200, "1000"},
    {"PUT /c/_revs_limit\n\n7", 200, "{\"ok\":true}"},
    {"PUT /c/_revs_limit\n\n0", 400, BAD_LIMIT("_revs_limit")},
    {"PUT /c/_revs_limit\n\n\"a\"", 400, BAD_LIMIT("_revs_limit")},
    {"POST /c/_compact", 202, "{\"ok\":true}"},
    {"POST /c/_ensure_full_commit", 201, "{\"ok\":true,\"instance_start_time\":\"0\"}"},
    {"GET /c/_all_docs?limit=x", 400, BAD_INTEGER("", "x")},
    {"GET /c/_all_docs?limit=-1", 400, BAD_INTEGER("positive ", "-1")},
    {"GET /c/_changes?limit=1-", 400, BAD_INTEGER("", "1-")},
};

static void test_answers_at_once(void **state)
{
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(at_once); i++) {
		gateway_bench_http(b, at_once[i].request);
		if (b->status != at_once[i].status ||
		    strcmp(buf_cstr(&b->body), at_once[i].body) != 0)
			print_error("%s\n", at_once[i].request);
		expect_body(b, at_once[i].status, at_once[i].body);
		assert_int_equal(b->sent_count, 0);
	}
	gateway_bench_http(b, "PUT /Bad.Name");
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body),
			       "{\"error\":\"illegal_database_name\",\"reason\":"
			       "\"Name: 'Bad.Name'. Only lowercase"));
	static const char *const names[] = {"9x", "_no", "Upper"};
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char text[40];
		snprintf(text, sizeof text, "PUT /%s", names[i]);
		gateway_bench_http(b, text);
		snprintf(text, sizeof text, "\"Name: '%s'. Only lowercase", names[i]);
		assert_int_equal(b->status, 400);
		assert_non_null(strstr(buf_cstr(&b->body), text));
	}
}

static void test_requests_are_counted(void **state)
{
	struct gateway_bench *b = *state;
	struct buf text = {0};
	gateway_bench_http(b, "GET /_up");
	gateway_ops.metrics(b->gw, &text);
	assert_non_null(
	    strstr(buf_cstr(&text),
		   "parley_http_requests_total{api=\"couch\",method=\"GET\",code=\"200\"} 1\n"));
	assert_null(strstr(buf_cstr(&text), "api=\"native\""));
	buf_close(&text);
}

static void test_native_answers_stay(void **state)
{
	struct gateway_bench *b = *state;
	b->dialect = DIALECT_NATIVE;
	gateway_bench_http(b, "GET /_up");
	assert_int_equal(b->status, 404);
	assert_non_null(strstr(buf_cstr(&b->body), "\"code\":\"no_route\""));
	assert_null(strstr(buf_cstr(&b->headers), "Cache-Control"));
	gateway_bench_http(b, "COPY /c/a");
	assert_int_equal(b->status, 405);
}

/* ---- documents ---- */

static void test_put(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a%2Fb\n\n{\"_id\":\"a/b\",\"id\":5,\"x\":1}");
	answer_write(b, 0, STATUS_CREATED, 1);
	expect_body(b, 201, "{\"ok\":true,\"id\":\"a/b\",\"rev\":\"1-r\"}");
	assert_non_null(strstr(buf_cstr(&b->headers), "ETag: \"1-r\"\n"));
	assert_non_null(strstr(buf_cstr(&b->headers), "Location: /c/a%2Fb\n"));
	gateway_bench_http(b, "PUT /c/a\n\n{\"_rev\":\"1-q\",\"_conflicts\":[]}");
	answer_write(b, 1, STATUS_CONFLICT, 2);
	expect_body(b, 409, "{\"error\":\"conflict\",\"reason\":\"Document update conflict.\"}");
	gateway_bench_http(b, "DELETE /c/_design%2Fx?rev=1-q");
	answer_write(b, 2, STATUS_OK, 2);
	expect_body(b, 200, "{\"ok\":true,\"id\":\"_design/x\",\"rev\":\"2-r\"}");
	gateway_bench_http(b, "DELETE /c/a");
	answer_write(b, 3, STATUS_NOT_FOUND, 3);
	expect_body(b, 404, "{\"error\":\"not_found\",\"reason\":\"deleted\"}");
	assert_non_null(strstr(buf_cstr(&b->trace), "put a/b {\"_id\":5,\"x\":1} absent\n"));
	assert_non_null(strstr(buf_cstr(&b->trace), "put a {} if=1-q\n"));
	assert_non_null(strstr(buf_cstr(&b->trace), "delete _design/x if=1-q\n"));
	assert_non_null(strstr(buf_cstr(&b->trace), "delete a absent\n"));
}

/* On the revision of a deletion a document is made again. */
static void test_put_on_a_deletion(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "PUT /c/a\n\n{\"_rev\":\"2-r\"}");
	answer_write(b, 0, STATUS_CONFLICT, 2);
	assert_int_equal(b->sent_count, 2);
	answer_write(b, 1, STATUS_CREATED, 3);
	expect_body(b, 201, "{\"ok\":true,\"id\":\"a\",\"rev\":\"3-r\"}");
}

static void test_get(void **state)
{
	struct gateway_bench *b = *state;
	struct revision leaves[] = {{3, slice_text("c")}, {2, slice_text("x")}};
	struct revision ancestors[] = {{2, slice_text("b")}, {1, slice_text("a")}};
	gateway_bench_http(b, "GET /c/a?revs=true&conflicts=true");
	struct msg_doc_read_ack ack = {
	    .status = STATUS_OK,
	    .revision = leaves[0],
	    .leaves = leaves + 1,
	    .leaves_count = 1,
	    .ancestors = ancestors,
	    .ancestors_count = 2,
	    .conflicts = 1,
	    .body = gateway_bench_document(b, "{\"_id\":5,\"_rev\":7,\"_own\":1,\"x\":[]}")};
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &ack);
	expect_body(b, 200,
		    "{\"_id\":\"a\",\"_rev\":\"3-c\",\"id\":5,\"~_rev\":7,\"~_own\":1,\"x\":[],"
		    "\"_revisions\":{\"start\":3,\"ids\":[\"c\",\"b\",\"a\"]},"
		    "\"_conflicts\":[\"2-x\"]}");
	assert_true(has_header(b, "X-Parley-Conflicts: 1\n"));
	gateway_bench_http(b, "GET /c/a");
	ack = (struct msg_doc_read_ack){
	    .status = STATUS_NOT_FOUND, .deleted = true, .revision = leaves[0]};
	gateway_bench_answer(b, 1, MSG_doc_read_ack, &ack);
	expect_body(b, 404, "{\"error\":\"not_found\",\"reason\":\"deleted\"}");
	gateway_bench_http(b, "GET /c/a?rev=3-c");
	gateway_bench_answer(b, 2, MSG_doc_read_ack, &ack);
	expect_body(b, 200, "{\"_id\":\"a\",\"_rev\":\"3-c\",\"_deleted\":true}");
	gateway_bench_http(b, "GET /c/a");
	ack = (struct msg_doc_read_ack){
	    .status = STATUS_OK, .revision = leaves[0], .body = gateway_bench_document(b, "{}")};
	gateway_bench_answer(b, 3, MSG_doc_read_ack, &ack);
	expect_body(b, 200, "{\"_id\":\"a\",\"_rev\":\"3-c\"}");
	assert_false(has_header(b, "X-Parley-Conflicts"));
	/* whoever has it already is told, too; and whoever wants its attachments as parts */
	static const char *const others[] = {"GET /c/a\nif-none-match: \"3-c\"\n",
					     "GET /c/a?attachments=true\n"
					     "accept: multipart/related\n"};
	ack.conflicts = 2;
	for (uint32_t i = 0; i < ARRAY_LEN(others); i++) {
		gateway_bench_http(b, others[i]);
		ack.body = gateway_bench_document(b, "{}");
		gateway_bench_answer(b, 4 + i, MSG_doc_read_ack, &ack);
		assert_int_equal(b->status, i == 0 ? 304 : 200);
		assert_true(has_header(b, "X-Parley-Conflicts: 2\n"));
	}
}

/* A copy is a design document like any other that is written. */
static void test_copy_onto_a_design_document(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_read_ack ack = {.status = STATUS_OK,
				       .revision = {1, slice_text("a")},
				       .body = gateway_bench_document(b, "{\"views\":{\"v\":{}}}")};
	gateway_bench_http(b, "COPY /c/a\ndestination: _design/x\n");
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &ack);
	assert_int_equal(b->status, 400);
	assert_non_null(strstr(buf_cstr(&b->body), "View `v` must contain map function"));
}

/* The digest of the write that was sent last, by which a key's other requests are told. */
static struct slice last_digest(struct gateway_bench *b, struct arena *arena)
{
	struct msg_doc_write m;
	const struct bench_sent *sent = &b->sent[b->sent_count - 1];
	assert_int_equal(sent->envelope.type, MSG_doc_write);
	assert_true(schema_decode(&schema_msg_doc_write, sent->body, arena, &m));
	assert_int_equal(m.operation_digest.len, 16);
	return arena_copy(arena, m.operation_digest);
}

/* What is to be deleted, or where a copy goes, is part of the request. */
static void test_a_key_is_of_one_revision(void **state)
{
	static const char *const requests[] = {"DELETE /c/a?rev=1-a\nidempotency-key: k\n",
					       "DELETE /c/a?rev=3-c\nidempotency-key: k\n",
					       "COPY /c/a\ndestination: b\nidempotency-key: k\n",
					       "COPY /c/a\ndestination: d\nidempotency-key: k\n"};
	struct gateway_bench *b = *state;
	struct arena arena = {0};
	struct msg_doc_read_ack ack = {.revision = {1, slice_text("a")}};
	struct slice digests[ARRAY_LEN(requests)];
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		gateway_bench_http(b, requests[i]);
		ack.body = gateway_bench_document(b, "{}");
		if (requests[i][0] == 'C')
			gateway_bench_answer(b, b->sent_count - 1, MSG_doc_read_ack, &ack);
		digests[i] = last_digest(b, &arena);
	}
	assert_false(slice_equal(digests[0], digests[1]));
	assert_false(slice_equal(digests[2], digests[3]));
	arena_close(&arena);
}

static void test_no_local_docs(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c/_local_docs?limit=0");
	expect_body(b, 200, "{\"total_rows\":null,\"offset\":null,\"rows\":[]}");
}

static void test_bulk_tells_of_each(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /c/_bulk_docs\n\n{\"docs\":[{\"_id\":\"a\"},{\"_id\":\"b\","
			      "\"_rev\":\"1-q\",\"_deleted\":true}]}");
	assert_int_equal(b->sent_count, 2);
	answer_write(b, 1, STATUS_CONFLICT, 4);
	answer_write(b, 0, STATUS_CREATED, 1);
	expect_body(
	    b, 201,
	    "[{\"ok\":true,\"id\":\"a\",\"rev\":\"1-r\"},{\"id\":\"b\",\"error\":\"conflict\","
	    "\"reason\":\"Document update conflict.\"}]");
}

static void answer_count(struct gateway_bench *b, uint32_t index)
{
	struct msg_shard_query_ack ack = {
	    .status = STATUS_OK, .count = 3, .deleted = 1, .applied = 9};
	gateway_bench_answer(b, index, MSG_shard_query_ack, &ack);
}

static void test_info(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /c/");
	answer_count(b, 0);
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->body), "{\"db_name\":\"c\",\"update_seq\":\"9-"));
	assert_non_null(strstr(buf_cstr(&b->body), "\"doc_count\":3,\"doc_del_count\":1,"));
}

static void test_range(void **state)
{
	struct gateway_bench *b = *state;
	struct row rows[3] = {
	    {.id = slice_text("b"), .revision = {1, slice_text("r")}, .conflicts = 1},
	    {.id = slice_text("c"), .revision = {1, slice_text("s")}, .conflicts = 3},
	    {.id = slice_text("d"), .revision = {1, slice_text("t")}, .conflicts = 1}};
	gateway_bench_http(b, "GET /c/_all_docs?startkey=%22b%22&endkey=%22d%22&inclusive_end="
			      "false&skip=1");
	answer_count(b, 0);
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .rows = rows, .rows_count = 3};
	gateway_bench_answer(b, 1, MSG_shard_query_ack, &ack);
	expect_body(b, 200,
		    "{\"total_rows\":3,\"offset\":null,\"rows\":[{\"id\":\"c\",\"key\":\"c\","
		    "\"value\":{\"rev\":\"1-s\"}}]}");
	assert_non_null(strstr(buf_cstr(&b->trace), "after=a\xff"));
	assert_true(has_header(b, "X-Parley-Conflicts: 1\n"));
}

/* No document has an empty id, nor one that comes before it. */
static void test_ranges_before_all_ids(void **state)
{
	static const char *const requests[] = {"GET /c/_all_docs?key=%22%22",
					       "GET /c/_all_docs?endkey=%22%22",
					       "GET /c/_all_docs?descending=true&startkey=%22%22",
					       "POST /c/_all_docs\n\n{\"key\":\"\"}",
					       "GET /c/_design_docs?key=%22%22",
					       "GET /c/_all_docs?endkey=null",
					       "GET /c/_all_docs?descending=true&startkey=null",
					       "POST /c/_all_docs\n\n{\"end_key\":null}",
					       "GET /c/_design_docs?endkey=null"};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, requests[i]);
		answer_count(b, 0);
		assert_int_equal(b->sent_count, 1);
		assert_int_equal(b->status, 200);
		assert_non_null(strstr(buf_cstr(&b->body), "\"rows\":[]}"));
	}
	static const char *const all[] = {
	    "GET /c/_all_docs?startkey=%22%22", "GET /c/_all_docs?descending=true&endkey=%22%22",
	    "GET /c/_all_docs?startkey=null", "GET /c/_all_docs?descending=true&endkey=null"};
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, all[i]);
		answer_count(b, 0);
		assert_int_equal(b->sent_count, 2);
	}
}

static void test_keys(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "POST /c/_all_docs?include_docs=true\n\n{\"keys\":[\"x\",\"a\"]}");
	answer_count(b, 0);
	struct msg_doc_read_ack ack = {.status = STATUS_NOT_FOUND};
	gateway_bench_answer(b, 1, MSG_doc_read_ack, &ack);
	ack = (struct msg_doc_read_ack){
	    .status = STATUS_NOT_FOUND, .deleted = true, .revision = {2, slice_text("r")}};
	gateway_bench_answer(b, 2, MSG_doc_read_ack, &ack);
	expect_body(b, 200,
		    "{\"total_rows\":3,\"offset\":null,\"rows\":[{\"key\":\"x\",\"error\":"
		    "\"not_found\"},{\"id\":\"a\",\"key\":\"a\",\"value\":{\"rev\":\"2-r\","
		    "\"deleted\":true},\"doc\":null}]}");
	assert_false(has_header(b, "X-Parley-Conflicts"));
}

/* Rows that `skip` and `limit` leave out are not counted. */
static void test_keys_in_conflict(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_read_ack ack = {
	    .status = STATUS_OK, .revision = {2, slice_text("r")}, .conflicts = 1};
	gateway_bench_http(b, "POST /c/_all_docs?descending=true&skip=1&limit=2\n\n"
			      "{\"keys\":[\"a\",\"b\",\"c\",\"d\"]}");
	answer_count(b, 0);
	for (uint32_t i = 0; i < 4; i++) {
		ack.conflicts = i != 1;
		ack.body = gateway_bench_document(b, "{}");
		gateway_bench_answer(b, 1 + i, MSG_doc_read_ack, &ack);
	}
	assert_int_equal(b->status, 200);
	assert_true(has_header(b, "X-Parley-Conflicts: 1\n"));
}

/* One document may be asked for as often as there are keys. */
static void test_keys_are_as_bounded_as_ranges(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_read_ack ack = {.status = STATUS_OK, .revision = {2, slice_text("r")}};
	uint32_t most = b->gw->options.limits.list_bytes_max;
	struct buf body = {0};
	buf_append_text(&body, "{\"t\":\"");
	while (body.len < most / 2)
		buf_append_text(&body, "xxxxxxxx");
	buf_append_text(&body, "\"}");
	for (uint32_t limit = 1; limit <= 2; limit++) {
		char request[128];
		snprintf(request, sizeof request,
			 "POST /c/_all_docs?include_docs=true&limit=%u\n\n{\"keys\":[\"a\",\"a\"]}",
			 (unsigned)limit);
		gateway_bench_clear(b);
		gateway_bench_http(b, request);
		answer_count(b, 0);
		for (uint32_t i = 0; i < 2; i++) {
			ack.body = gateway_bench_document(b, buf_cstr(&body));
			gateway_bench_answer(b, 1 + i, MSG_doc_read_ack, &ack);
		}
		assert_int_equal(b->status, limit == 1 ? 200 : 413);
	}
	buf_close(&body);
}

/* Whatever else the path names. */
static void test_bodies_with_gzip(void **state)
{
	/* {"keys":5} */
	static const uint8_t coded[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03,
					0xab, 0x56, 0xca, 0x4e, 0xad, 0x2c, 0x56, 0xb2, 0x32, 0xad,
					0x05, 0x00, 0x41, 0x6d, 0x36, 0x28, 0x0a, 0x00, 0x00, 0x00};
	static const char *const paths[] = {"/c/_all_docs", "/c/_design/d/_view/v"};
	struct gateway_bench *b = *state;
	struct http_field coding = {slice_text("content-encoding"), slice_text("gzip")};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		gateway_bench_clear(b);
		const struct http_request request = {.id = 100 + i,
						     .dialect = DIALECT_COUCH,
						     .method = HTTP_POST,
						     .path = slice_text(paths[i]),
						     .headers = &coding,
						     .headers_count = 1,
						     .body = slice_of(coded, sizeof coded)};
		gateway_bench_request(b, &request);
		expect_body(b, 400,
			    "{\"error\":\"bad_request\",\"reason\":\"`keys` body member must be "
			    "an array.\"}");
	}
}

/* ---- databases that come and go ---- */

/* More than a message to a shard can hold, where an operator allows so many: no lead is missing. */
static void test_view_of_too_many_large_keys(void **state)
{
	enum { KEYS = 10000, KEY_CHARS = 1000 };
	struct gateway_bench *b = *state;
	const struct gateway_limits limits = {.batch_items_max = KEYS};
	struct buf text = {0};
	gateway_bench_close(b);
	gateway_bench_open(b, &limits);
	b->dialect = DIALECT_COUCH;
	bench_map(b, 1, MODE_CONSISTENT);
	buf_append_text(&text, "POST /c/_design/d/_view/v\n\n{\"keys\":[");
	for (int i = 0; i < KEYS; i++)
		buf_printf(&text, "%s\"%0*d\"", i > 0 ? "," : "", KEY_CHARS, i);
	buf_append_text(&text, "]}");
	gateway_bench_http(b, buf_cstr(&text));
	buf_close(&text);
	struct msg_doc_read_ack design = {
	    .status = STATUS_OK,
	    .revision = {1, slice_text("r")},
	    .body = gateway_bench_document(b, "{\"views\":{\"v\":{\"map\":\"f\"}}}")};
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &design);
	assert_int_equal(b->sent_count, 1);
	assert_int_equal(b->status, 413);
	assert_non_null(strstr(buf_cstr(&b->body), "view_keys_bytes"));
}

static void test_drop(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_OK, .map_version = 6};
	uint64_t dropped = 7;
	struct msg_map_push push = {.map_version = 6, .dropped = &dropped, .dropped_count = 1};
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope envelope = {.type = MSG_map_push};
	uint64_t request = gateway_bench_http(b, "DELETE /c");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 0);
	gateway_bench_message(b, &from, &envelope, &push);
	assert_int_equal(request, 1);
	expect_body(b, 200, "{\"ok\":true}");
	/* an older map that comes late brings nothing back */
	bench_map(b, 1, MODE_CONSISTENT);
	gateway_bench_http(b, "GET /c");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_answer(b, 0, MSG_map_push, &push);
	expect_body(b, 404, "{\"error\":\"not_found\",\"reason\":\"Database does not exist.\"}");
}

/* Whether somebody finds it is not certain before its lead has it. */
static void test_an_index_whose_document_is_a_branch_says_so(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_read_ack none = {.status = STATUS_NOT_FOUND};
	struct msg_collection_create_ack made = {.status = STATUS_OK};
	struct msg_doc_write_ack branch = {.status = STATUS_ACCEPTED,
					   .revision = {1, slice_text("r")}};
	gateway_bench_map(b, 1, MODE_AVAILABLE);
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /c/_index\n\n{\"index\":{\"fields\":[\"a\"]}}");
	gateway_bench_answer(b, 0, MSG_doc_read_ack, &none);
	gateway_bench_answer(b, 1, MSG_collection_create_ack, &made);
	gateway_bench_answer(b, 2, MSG_doc_write_ack, &branch);
	assert_non_null(strstr(buf_cstr(&b->body), "\"result\":\"created\""));
	assert_int_equal(b->status, 202);
}

static void test_create(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_OK};
	gateway_bench_http(b, "PUT /new_one?q=2");
	assert_non_null(strstr(buf_cstr(&b->trace), "new.5fone"));
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 412);
}

/* As CouchDB without its quorum. */
static void test_create_not_served(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_collection_create_ack ack = {.status = STATUS_CREATED, .map_version = 5};
	b->served_held = true;
	gateway_bench_http(b, "PUT /c");
	gateway_bench_answer(b, 0, MSG_collection_create_ack, &ack);
	assert_int_equal(b->status, 0);
	b->served_asked_count = 0;
	gateway_bench_advance(b, REQUEST_DEADLINE_MS);
	expect_body(b, 202, "{\"ok\":true}");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_names_are_one_to_one),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	    TEST(test_answers_at_once),
	    TEST(test_requests_are_counted),
	    TEST(test_native_answers_stay),
	    TEST(test_put),
	    TEST(test_put_on_a_deletion),
	    TEST(test_get),
	    TEST(test_copy_onto_a_design_document),
	    TEST(test_a_key_is_of_one_revision),
	    TEST(test_no_local_docs),
	    TEST(test_bulk_tells_of_each),
	    TEST(test_info),
	    TEST(test_range),
	    TEST(test_ranges_before_all_ids),
	    TEST(test_keys),
	    TEST(test_keys_in_conflict),
	    TEST(test_keys_are_as_bounded_as_ranges),
	    TEST(test_bodies_with_gzip),
	    TEST(test_view_of_too_many_large_keys),
	    TEST(test_drop),
	    TEST(test_an_index_whose_document_is_a_branch_says_so),
	    TEST(test_create),
	    TEST(test_create_not_served),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
