/* The gateway's core and clients of the couch listener that have no certificate: what credentials
 * look like, who is let in, and how often somebody may guess. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <zlib.h>

#include "common/doc/base64.h"
#include "common/timing.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/auth_private.h"
#include "gateway/inflate.h"
#include "gateway/url.h"
#include "tests/sim/gateway_bench.h"

#define SECRET "0123456789abcdef0123456789abcdef"
#define OTHER  "fedcba9876543210fedcba9876543210"
#define SALT   "73616c74"
#define HASH   "0101010101010101010101010101010101010101010101010101010101010101"
#define SITE   "https://app.example.org"

enum { USERS = 8, LOCAL = 9, TRIES = 3, SESSION_S = 600 };

/* The collections "c", and those of users and rights: one shard each. */
static void send_map(struct gateway_bench *b)
{
	static const char *const names[] = {"c", COLLECTION_USERS, COLLECTION_LOCAL};
	struct collection collections[3] = {{0}};
	struct shard shards[3] = {{0}};
	struct replica replica = {.node = BENCH_NODE, .incarnation = 1};
	struct msg_member_join_ack welcome = {.status = STATUS_OK};
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope joined = {.type = MSG_member_join_ack};
	struct envelope pushed = {.type = MSG_map_push};
	for (uint64_t i = 0; i < 3; i++) {
		collections[i] = (struct collection){.id = 7 + i,
						     .name = slice_text(names[i]),
						     .version = 1,
						     .replicas = 1,
						     .write_quorum = 1,
						     .mode = MODE_CONSISTENT};
		shards[i] = (struct shard){.id = 1 + i,
					   .collection = 7 + i,
					   .epoch = 1,
					   .lead = BENCH_NODE,
					   .replicas = &replica,
					   .replicas_count = 1,
					   .write_quorum = 1,
					   .hash_last = UINT64_MAX};
	}
	struct msg_map_push push = {.map_version = 5,
				    .collections = collections,
				    .collections_count = 3,
				    .shards = shards,
				    .shards_count = 3};
	gateway_bench_message(b, &from, &joined, &welcome);
	gateway_bench_message(b, &from, &pushed, &push);
}

static int setup_with(void **state, bool passwords)
{
	struct gateway_bench *b = malloc(sizeof *b);
	struct buf problem = {0};
	struct gateway_limits limits = {.couch_tries_max = TRIES, .couch_session_s = SESSION_S};
	struct couch_options couch = {.passwords = passwords,
				      .cors_origins = "https://x.example, " SITE,
				      .cors_methods = "GET, PUT",
				      .cors_headers = "content-type"};
	gateway_bench_open_couch(b, &limits, &couch);
	assert_true(gateway_set_couch_secrets(b->gw, slice_text(SECRET "\n" OTHER), &problem));
	b->dialect = DIALECT_COUCH;
	send_map(b);
	gateway_bench_clear(b);
	buf_close(&problem);
	*state = b;
	return 0;
}

static int setup(void **state)
{
	return setup_with(state, true);
}

static int setup_without(void **state)
{
	return setup_with(state, false);
}

/* ---- asking and answering ---- */

static void ask(struct gateway_bench *b, const char *line, const char *header, const char *value)
{
	char text[2048];
	snprintf(text, sizeof text, "%s\n%s: %s\n", line, header, value);
	gateway_bench_clear(b);
	gateway_bench_http(b, text);
}

static void ask_basic(struct gateway_bench *b, const char *line, const char *credentials)
{
	struct buf value = {0};
	buf_append_text(&value, "Basic ");
	base64_encode(slice_text(credentials), &value);
	ask(b, line, "authorization", buf_cstr(&value));
	buf_close(&value);
}

/* out: 4,096 bytes */
static struct slice gzip_of(struct slice plain, uint8_t *out)
{
	z_stream z = {.next_in = (Bytef *)(uintptr_t)plain.data,
		      .avail_in = (uInt)plain.len,
		      .next_out = out,
		      .avail_out = 4096};
	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(deflateEnd(&z), Z_OK);
	return slice_of(out, 4096 - z.avail_out);
}

static void answer_user(struct gateway_bench *b, uint32_t index, const char *salt)
{
	char body[512];
	struct msg_doc_read_ack ack = {.status = STATUS_OK, .revision = {1, slice_text("r")}};
	snprintf(body, sizeof body,
		 "{\"type\":\"user\",\"name\":\"joe\",\"roles\":[\"nurse\"],\"password_scheme\":"
		 "\"scrypt\",\"salt\":\"%s\",\"derived_key\":\"" HASH "\",\"cost\":16384}",
		 salt);
	ack.body = gateway_bench_document(b, body);
	gateway_bench_answer(b, index, MSG_doc_read_ack, &ack);
}

static void answer_absent(struct gateway_bench *b, uint32_t index)
{
	struct msg_doc_read_ack ack = {.status = STATUS_NOT_FOUND};
	gateway_bench_answer(b, index, MSG_doc_read_ack, &ack);
}

static void answer_hash(struct gateway_bench *b, bool right)
{
	struct password_reply reply = {.id = b->requests};
	struct event event = {.kind = EVENT_PASSWORD, .password = &reply};
	memset(reply.hash, right ? 1 : 2, sizeof reply.hash);
	gateway_bench_event(b, &event);
}

static void cookie_of(const struct gateway_bench *b, const char *secret, const char *salt,
		      int64_t in_s, struct buf *out)
{
	buf_clear(out);
	buf_append_text(out, "a=b; AuthSession=");
	couch_cookie_print(slice_text(secret), slice_text(salt), slice_text("joe"),
			   (uint64_t)(b->now_ms / 1000 + in_s), out);
}

/* ---- what credentials look like ---- */

static void test_basic_is_taken_apart(void **state)
{
	struct arena arena = {0};
	struct slice name, password;
	(void)state;
	assert_true(couch_basic_parse(slice_text("basic am9lOnA6dw=="), &arena, &name, &password));
	assert_true(slice_is(name, "joe") && slice_is(password, "p:w"));
	static const char *const bad[] = {
	    "",           "Basic",         "Basic ",     "Basic: am9lOnA=",
	    "Basic am9l", "Basic am9lOnA", "Basic OnB3", "Bearer am9lOnA="};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(couch_basic_parse(slice_text(bad[i]), &arena, &name, &password));
	arena_close(&arena);
}

static void test_cookies_are_signed(void **state)
{
	struct arena arena = {0};
	struct buf text = {0};
	struct couch_cookie cookie;
	(void)state;
	buf_append_text(&text, "x=1;AuthSession=");
	size_t start = text.len;
	couch_cookie_print(slice_text(SECRET), slice_text(SALT), slice_text("j:oe"), 77, &text);
	assert_true(couch_cookie_parse(buf_slice(&text), &arena, &cookie));
	assert_true(slice_is(cookie.name, "j:oe"));
	assert_int_equal(cookie.expiry_s, 77);
	assert_true(couch_cookie_signed(slice_text(SECRET), slice_text(SALT), &cookie));
	assert_false(couch_cookie_signed(slice_text(OTHER), slice_text(SALT), &cookie));
	assert_false(couch_cookie_signed(slice_text(SECRET), slice_text("x"), &cookie));
	/* no bit of it may change */
	for (size_t i = start; i < text.len; i++) {
		text.data[i] ^= 1;
		assert_false(couch_cookie_parse(buf_slice(&text), &arena, &cookie) &&
			     couch_cookie_signed(slice_text(SECRET), slice_text(SALT), &cookie));
		text.data[i] ^= 1;
	}
	for (size_t len = 0; len < text.len; len++)
		assert_false(couch_cookie_parse(slice_of(text.data, len), &arena, &cookie) &&
			     couch_cookie_signed(slice_text(SECRET), slice_text(SALT), &cookie));
	buf_close(&text);
	arena_close(&arena);
}

/* ---- who is let in ---- */

static void test_nobody_gets_nothing(void **state)
{
	static const char *const lines[] = {"GET /",       "GET /_session",   "GET /c",
					    "PUT /c/x",    "GET /_users",     "OPTIONS /c",
					    "GET /_up/..", "POST /_session/x"};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
		ask(b, lines[i], "x", "y");
		assert_int_equal(b->status, 401);
	}
	ask(b, "GET /_up", "x", "y");
	assert_int_equal(b->status, 200);
	b->principal = "admin";
	ask(b, "GET /_session", "x", "y");
	assert_non_null(strstr(buf_cstr(&b->body), "\"name\":\"admin\",\"roles\":[\"_admin\"]"));
}

static void test_certificates_only(void **state)
{
	struct gateway_bench *b = *state;
	ask_basic(b, "GET /", "joe:pw");
	assert_int_equal(b->status, 403);
	assert_int_equal(b->sent_count, 0);
	b->principal = "admin";
	ask(b, "GET /", "x", "y");
	assert_int_equal(b->status, 200);
	ask(b, "GET /_users", "x", "y");
	assert_int_equal(b->status, 404);
}

static void test_password_is_hashed_once(void **state)
{
	struct gateway_bench *b = *state;
	ask_basic(b, "GET /", "joe:pw");
	assert_int_equal(b->sent_count, 1);
	answer_user(b, 0, SALT);
	assert_non_null(strstr(buf_cstr(&b->trace), "## 1 cost=16384"));
	answer_hash(b, true);
	assert_int_equal(b->status, 200);
	/* known, and the document still fresh */
	ask_basic(b, "GET /", "joe:pw");
	assert_int_equal(b->sent_count, 0);
	assert_int_equal(b->status, 200);
	/* read again, not hashed again */
	gateway_bench_advance(b, COUCH_KNOWN_MS);
	ask_basic(b, "GET /", "joe:pw");
	assert_int_equal(b->sent_count, 1);
	answer_user(b, 0, SALT);
	assert_int_equal(b->status, 200);
	/* another password in the document: what was verified is void */
	gateway_bench_advance(b, COUCH_KNOWN_MS);
	ask_basic(b, "GET /", "joe:pw");
	answer_user(b, 0, "other");
	assert_non_null(strstr(buf_cstr(&b->trace), "## 4"));
	answer_hash(b, false);
	assert_int_equal(b->status, 401);
}

/* Nobody learns whether there is such a name: it takes a hash all the same. */
static void test_unknown_name_is_hashed(void **state)
{
	struct gateway_bench *b = *state;
	ask_basic(b, "GET /", "joe:pw");
	answer_absent(b, 0);
	assert_non_null(strstr(buf_cstr(&b->trace), "## 1 cost=16384"));
	answer_hash(b, true);
	assert_int_equal(b->status, 401);
}

static void test_guesses_are_counted(void **state)
{
	struct gateway_bench *b = *state;
	for (int i = 0; i < TRIES; i++) {
		ask_basic(b, "GET /", "joe:wrong");
		if (i == 0)
			answer_user(b, 0, SALT);
		answer_hash(b, false);
		assert_int_equal(b->status, 401);
	}
	ask_basic(b, "GET /", "joe:right");
	assert_int_equal(b->status, 429);
	assert_non_null(strstr(buf_cstr(&b->headers), "Retry-After: 300\n"));
	assert_null(strstr(buf_cstr(&b->trace), "##"));
	gateway_bench_advance(b, 300000);
	ask_basic(b, "GET /", "joe:right");
	answer_user(b, 0, SALT);
	answer_hash(b, true);
	assert_int_equal(b->status, 200);
}

/* Guesses under way count, too. */
static void test_guesses_at_once(void **state)
{
	struct gateway_bench *b = *state;
	ask_basic(b, "GET /", "joe:0");
	answer_user(b, 0, SALT);
	for (int i = 1; i < TRIES; i++)
		ask_basic(b, "GET /", "joe:1");
	ask_basic(b, "GET /", "joe:2");
	assert_int_equal(b->status, 429);
}

static void test_cookies_last(void **state)
{
	struct gateway_bench *b = *state;
	struct buf cookie = {0};
	cookie_of(b, SECRET, SALT, SESSION_S, &cookie);
	ask(b, "GET /", "cookie", buf_cstr(&cookie));
	answer_user(b, 0, SALT);
	assert_int_equal(b->status, 200);
	assert_null(strstr(buf_cstr(&b->headers), "Set-Cookie"));
	/* made anew after a tenth of its time */
	cookie_of(b, OTHER, SALT, SESSION_S - SESSION_S / 10 - 1, &cookie);
	ask(b, "GET /", "cookie", buf_cstr(&cookie));
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->headers), "Set-Cookie: AuthSession="));
	static const char *const wrong[][2] = {{SECRET, "x"}, {"another secret", SALT}};
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		cookie_of(b, wrong[i][0], wrong[i][1], SESSION_S, &cookie);
		ask(b, "GET /", "cookie", buf_cstr(&cookie));
		assert_int_equal(b->status, 401);
	}
	cookie_of(b, SECRET, SALT, 0, &cookie);
	ask(b, "GET /", "cookie", buf_cstr(&cookie));
	assert_int_equal(b->status, 401);
	buf_close(&cookie);
}

/* ---- who may do what ---- */

static void answer_security(struct gateway_bench *b, uint32_t index, const char *json)
{
	struct msg_doc_read_ack ack = {.status = STATUS_OK, .revision = {1, slice_text("r")}};
	ack.body = gateway_bench_document(b, json);
	gateway_bench_answer(b, index, MSG_doc_read_ack, &ack);
}

/* status of a request under rights; 0: it went on to the cluster */
static int try(struct gateway_bench *b, const char *line, const char *security)
{
	struct buf cookie = {0};
	cookie_of(b, SECRET, SALT, SESSION_S, &cookie);
	gateway_bench_advance(b, COUCH_KNOWN_MS);
	ask(b, line, "cookie", buf_cstr(&cookie));
	buf_close(&cookie);
	answer_user(b, 0, SALT);
	if (b->sent_count > 1 && security)
		answer_security(b, 1, security);
	else if (b->sent_count > 1)
		answer_absent(b, 1);
	return b->sent_count > 2 ? 0 : b->status;
}

static void test_rights(void **state)
{
	static const char member[] = "{\"members\":{\"roles\":[\"nurse\"]}}";
	static const char other[] = "{\"members\":{\"names\":[\"ann\"]}}";
	static const char owner[] = "{\"admins\":{\"names\":[\"joe\"]}}";
	static const struct {
		const char *line;
		const char *security;
		int status;
	} cases[] = {
	    {"GET /c/x", NULL, 403},
	    {"GET /c/x", member, 0},
	    {"GET /c/x", other, 403},
	    {"GET /c/x", "{}", 0},
	    {"GET /c/x", owner, 0},
	    {"GET /c/_design/x", member, 0},
	    {"DELETE /c/_design/x?rev=1-a", member, 403},
	    {"DELETE /c/_design/x?rev=1-a", owner, 0},
	    {"PUT /c/_design/x/a", member, 403},
	    {"PUT /c/%5Fdesign%2Fx/a", member, 403},
	    {"DELETE /c/%5fdesign%2fx?rev=1-a", member, 403},
	    {"PUT /c/x/a", member, 0},
	    {"COPY /c/_design/x", member, 400},
	    {"POST /c/_compact", member, 403},
	    {"POST /c/_compact", owner, 202},
	    {"DELETE /c", owner, 401},
	    {"PUT /c", owner, 401},
	    {"GET /_all_dbs", owner, 401},
	    {"GET /_uuids", NULL, 200},
	    {"GET /_users", NULL, 403},
	    {"GET /_users/org.couchdb.user:ann", NULL, 403},
	    {"PUT /_users/org.couchdb.user:joe?new_edits=false", NULL, 403},
	    {"COPY /_users/org.couchdb.user:joe", NULL, 403},
	};
	struct gateway_bench *b = *state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++)
		assert_int_equal(try(b, cases[i].line, cases[i].security), cases[i].status);
	/* who may only read by certificate reads databases, not users */
	b->principal = "viewer";
	b->roles = HTTP_ROLE_READER;
	ask(b, "GET /_users", "x", "y");
	assert_int_equal(b->status, 403);
	ask(b, "GET /c/x", "x", "y");
	assert_int_equal(b->sent_count, 1);
}

static void test_password_is_replaced(void **state)
{
	struct gateway_bench *b = *state;
	b->principal = "admin";
	gateway_bench_http(b, "PUT /_users/org.couchdb.user:joe\n\n"
			      "{\"name\":\"joe\",\"type\":\"user\",\"roles\":[],"
			      "\"password\":\"clear\",\"salt\":\"mine\",\"x\":1}");
	assert_int_equal(b->sent_count, 0);
	answer_hash(b, true);
	assert_int_equal(b->sent_count, 1);
	assert_non_null(strstr(buf_cstr(&b->trace), "\"derived_key\":\"" HASH "\""));
	assert_null(strstr(buf_cstr(&b->trace), "clear"));
	assert_null(strstr(buf_cstr(&b->trace), "mine"));
	/* no other way puts one there */
	gateway_bench_clear(b);
	gateway_bench_http(b, "POST /_users/_bulk_docs\n\n{\"docs\":[{\"_id\":\"org.couchdb.user:"
			      "joe\",\"name\":\"joe\",\"type\":\"user\",\"roles\":[],\"password\":"
			      "\"clear\"}]}");
	assert_int_equal(b->status, 403);
	assert_int_equal(b->sent_count, 0);
}

/* A user whom a replicator brings, or somebody purges, is another one at once, as one that is
 * written. */
static void test_who_is_pushed_or_purged_is_read_again(void **state)
{
	struct gateway_bench *b = *state;
	struct msg_doc_import_ack taken = {.status = STATUS_OK};
	struct msg_doc_erase_ack erased = {.status = STATUS_OK};
	for (int i = 0; i < 2; i++) {
		gateway_bench_advance(b, COUCH_KNOWN_MS);
		b->principal = NULL;
		ask_basic(b, "GET /", "joe:pw");
		answer_user(b, 0, SALT);
		if (i == 0)
			answer_hash(b, true);
		b->principal = "admin";
		gateway_bench_clear(b);
		if (i == 0) {
			gateway_bench_http(b, "PUT /_users/org.couchdb.user:joe?new_edits=false"
					      "\n\n{\"name\":\"joe\",\"type\":\"user\","
					      "\"roles\":[],\"_rev\":\"2-x\"}");
			gateway_bench_answer(b, 0, MSG_doc_import_ack, &taken);
		} else {
			gateway_bench_http(b, "POST /_users/_purge\n\n"
					      "{\"org.couchdb.user:joe\":[\"2-x\"]}");
			gateway_bench_answer(b, 0, MSG_doc_erase_ack, &erased);
		}
		assert_int_equal(b->status, 201);
		b->principal = NULL;
		ask_basic(b, "GET /", "joe:pw");
		assert_int_equal(b->sent_count, 1);
		answer_user(b, 0, SALT);
		assert_int_equal(b->status, 200);
	}
}

/* However many have guessed: who sets a password need not try it. */
static void test_new_password_is_no_guess(void **state)
{
	struct gateway_bench *b = *state;
	char salt[33] = "";
	for (int i = 0; i < TRIES; i++) {
		ask_basic(b, "GET /", "joe:wrong");
		if (i == 0)
			answer_user(b, 0, SALT);
		answer_hash(b, false);
	}
	gateway_bench_clear(b);
	b->principal = "admin";
	gateway_bench_http(b, "PUT /_users/org.couchdb.user:joe\n\n"
			      "{\"name\":\"joe\",\"type\":\"user\",\"roles\":[],"
			      "\"password\":\"clear\"}");
	answer_hash(b, true);
	const char *at = strstr(buf_cstr(&b->trace), "\"salt\":\"");
	assert_non_null(at);
	memcpy(salt, at + 8, sizeof salt - 1);
	b->principal = NULL;
	gateway_bench_advance(b, COUCH_KNOWN_MS);
	ask_basic(b, "GET /", "joe:clear");
	answer_user(b, 0, salt);
	assert_int_equal(b->status, 200);
	ask_basic(b, "GET /", "joe:wrong");
	assert_int_equal(b->status, 429);
}

/* Users may put into their documents what they like. */
static void test_large_users_are_not_all_remembered(void **state)
{
	enum { LARGE = 8000000, MANY = 10, MOST = 64 << 20 };
	struct gateway_bench *b = *state;
	struct buf body = {0};
	buf_append_text(&body, "{\"pad\":\"");
	while (body.len < LARGE)
		buf_append_text(&body, "xxxxxxxx");
	buf_append_text(&body, "\"}");
	for (int i = 0; i < MANY; i++) {
		char credentials[16];
		struct msg_doc_read_ack ack = {.status = STATUS_OK,
					       .revision = {1, slice_text("r")}};
		snprintf(credentials, sizeof credentials, "joe%d:p", i);
		ask_basic(b, "GET /", credentials);
		ack.body = gateway_bench_document(b, buf_cstr(&body));
		gateway_bench_answer(b, 0, MSG_doc_read_ack, &ack);
		assert_true(b->gw->auth->known.count > 0);
		assert_true(b->gw->auth->known.count <= MOST / LARGE);
		answer_hash(b, false);
		assert_int_equal(b->status, 401);
	}
	buf_close(&body);
}

/* What nobody in particular sends is not let grow. */
static void test_login_with_gzip(void **state)
{
	static const char login[] = "name=joe&password=right";
	static const char *const names[] = {"content-encoding", "content-type"};
	static const char *const values[] = {"gzip", "application/x-www-form-urlencoded"};
	struct gateway_bench *b = *state;
	struct http_field headers[2];
	uint8_t coded[4096];
	uint8_t large[INFLATE_BYTES + 1] = {0};
	for (int i = 0; i < 2; i++)
		headers[i] = (struct http_field){slice_text(names[i]), slice_text(values[i])};
	struct http_request request = {.id = 1,
				       .dialect = DIALECT_COUCH,
				       .method = HTTP_POST,
				       .path = slice_text("/_session"),
				       .headers = headers,
				       .headers_count = 2};
	request.body = gzip_of(slice_of((const uint8_t *)large, sizeof large), coded);
	gateway_bench_clear(b);
	gateway_bench_request(b, &request);
	assert_int_equal(b->status, 413);
	request.id = 2;
	request.body = gzip_of(slice_text(login), coded);
	gateway_bench_clear(b);
	gateway_bench_request(b, &request);
	assert_int_equal(b->sent_count, 1);
	request.id = 3;
	request.body.len--;
	gateway_bench_clear(b);
	gateway_bench_request(b, &request);
	assert_int_equal(b->status, 400);
	assert_string_equal(buf_cstr(&b->body),
			    "{\"error\":\"bad_request\",\"reason\":\"Request body is not properly "
			    "gzipped.\"}");
}

/* ---- pages of other sites ---- */

static void test_cors(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "OPTIONS /c\norigin: " SITE "\naccess-control-request-method: PUT");
	assert_int_equal(b->status, 204);
	assert_non_null(strstr(buf_cstr(&b->headers), "Access-Control-Allow-Origin: " SITE "\n"));
	assert_non_null(strstr(buf_cstr(&b->headers), "Access-Control-Allow-Methods: GET, PUT\n"));
	assert_null(strstr(buf_cstr(&b->headers), "Allow-Credentials"));
	ask(b, "GET /_up", "origin", SITE);
	assert_non_null(strstr(buf_cstr(&b->headers), "Access-Control-Allow-Origin: " SITE "\n"));
	ask(b, "GET /_up", "origin", "https://app.example");
	assert_null(strstr(buf_cstr(&b->headers), "Access-Control-Allow-Origin"));
	assert_non_null(strstr(buf_cstr(&b->headers), "Vary: Origin\n"));
}

/* Where new collections are available ones, so is that of rights: but what is revoked has no effect
 * while it lies in an outbox. */
static void test_rights_are_no_branch(void **state)
{
	struct gateway_bench *b = *state;
	struct replica replicas[] = {{.node = BENCH_NODE, .incarnation = 1},
				     {.node = BENCH_NODE + 1, .incarnation = 1}};
	struct collection local = {.id = LOCAL,
				   .name = slice_text(COLLECTION_LOCAL),
				   .version = 2,
				   .replicas = 2,
				   .write_quorum = 2,
				   .mode = MODE_AVAILABLE};
	struct shard shard = {.id = 3,
			      .collection = LOCAL,
			      .epoch = 2,
			      .lead = BENCH_NODE,
			      .replicas = replicas,
			      .replicas_count = 2,
			      .write_quorum = 2,
			      .hash_last = UINT64_MAX};
	struct msg_map_push push = {.map_version = 6,
				    .collections = &local,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	struct peer from = {BENCH_NODE, ROLE_STORAGE, 1};
	struct envelope pushed = {.type = MSG_map_push};
	gateway_bench_message(b, &from, &pushed, &push);
	gateway_bench_clear(b);
	b->principal = "admin";
	gateway_bench_http(b, "PUT /c/_security\n\n{\"members\":{\"names\":[\"ann\"]}}");
	assert_int_equal(b->sent_count, 1);
	gateway_bench_advance(b, 2 * BRANCH_AFTER_MS);
	for (uint32_t i = 0; i < b->sent_count; i++)
		assert_int_equal(b->sent[i].member, BENCH_NODE);
	gateway_bench_advance(b, 10 * BRANCH_AFTER_MS);
	assert_int_equal(b->status, 503);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_basic_is_taken_apart),
	    cmocka_unit_test(test_cookies_are_signed),
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	    TEST(test_nobody_gets_nothing),
	    cmocka_unit_test_setup_teardown(test_rights_are_no_branch, setup_without,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_certificates_only, setup_without,
					    gateway_bench_teardown),
	    TEST(test_password_is_hashed_once),
	    TEST(test_unknown_name_is_hashed),
	    TEST(test_guesses_are_counted),
	    TEST(test_guesses_at_once),
	    TEST(test_cookies_last),
	    TEST(test_rights),
	    TEST(test_password_is_replaced),
	    TEST(test_new_password_is_no_guess),
	    TEST(test_who_is_pushed_or_purged_is_read_again),
	    TEST(test_large_users_are_not_all_remembered),
	    TEST(test_login_with_gzip),
	    TEST(test_cors),
#undef TEST
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
