/* The gateway's core: notifications. `<< streams: text` is sent to streams, `|| stream code reason`
 * closes one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/core/notify_steps.h"

static int setup(void **state)
{
	struct gateway_limits limits = {.subscribers_max = 4};
	struct gateway_bench *b = bench_open(state, &limits);
	bench_map(b, 2, MODE_CONSISTENT);
	return 0;
}

/* ---- what peers and clients do ---- */

static uint64_t socket_open(struct gateway_bench *b)
{
	struct http_request request = {
	    .id = ++b->requests, .method = HTTP_GET, .path = slice_text("/"), .websocket = true};
	gateway_bench_request(b, &request);
	return request.id;
}

static void say(struct gateway_bench *b, uint64_t stream, const char *text)
{
	struct event event = {.kind = EVENT_STREAM_MESSAGE};
	event.stream.stream = stream;
	event.stream.bytes = slice_text(text);
	event.stream.text = true;
	gateway_bench_event(b, &event);
}

static void gone(struct gateway_bench *b, uint64_t stream)
{
	struct event event = {.kind = EVENT_STREAM_GONE};
	event.stream.stream = stream;
	gateway_bench_event(b, &event);
}

/* A socket that listens to this pattern; its two feeds stand at 5. */
static uint64_t listen(struct gateway_bench *b, const char *pattern, struct bench_sent open[2])
{
	uint64_t stream = socket_open(b);
	struct buf frame = {0};
	gateway_bench_clear(b);
	buf_printf(&frame, "[1,\"NOTIFY\",\"%s\"]", pattern);
	say(b, stream, buf_cstr(&frame));
	buf_close(&frame);
	assert_int_equal(b->sent_count, 2);
	for (int i = 0; i < 2; i++)
		open[i] = b->sent[i];
	for (uint64_t i = 0; i < 2; i++) {
		assert_null(strstr(buf_cstr(&b->trace), "<< "));
		feed_says(b, &open[i], i + 1, 5, 5, NULL);
	}
	return stream;
}

/* ---- subscriptions ---- */

static void test_notify_waits_for_feeds(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	uint64_t stream = listen(b, "POST:/c/.*", open);
	char wanted[64];
	snprintf(wanted, sizeof wanted, "<< %llu: [\"A\",1]\n", (unsigned long long)stream);
	assert_non_null(strstr(buf_cstr(&b->trace), wanted));
	gateway_bench_clear(b);
	struct feed_event events[] = {event_of(6, WRITE_POST, "a"), event_of(7, WRITE_PUT, "a")};
	feed_says_two(b, &open[0], 5, 8, events);
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "<< 1: [\"T\",[\"POST:/c/a\",\"c\",\"a\",\"POST:/c/.*\"]]\n"));
	assert_null(strstr(buf_cstr(&b->trace), "PUT:"));
	gateway_bench_clear(b);
	/* the same once more, as its acknowledgement was lost: nothing but another one */
	feed_says_two(b, &open[0], 5, 8, events);
	assert_null(strstr(buf_cstr(&b->trace), "<<"));
	assert_int_equal(b->sent_count, 1);
	assert_int_equal(b->sent[0].envelope.type, MSG_feed_ack);
}

static void test_notify_twice_and_unnotify(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	uint64_t stream = listen(b, "c", open);
	gateway_bench_clear(b);
	say(b, stream, "[\"x\",\"NOTIFY\",\"c\"]");
	say(b, stream, "[3,\"UNNOTIFY\",\"never\"]");
	expect(b, "<< 1: [\"A\",\"x\"]\n<< 1: [\"A\",3]\n");
	say(b, stream, "[4,\"UNNOTIFY\",\"c\"]");
	assert_int_equal(b->sent_count, 2); /* both feeds are closed */
	assert_int_equal(b->sent[0].envelope.type, MSG_feed_close);
	gateway_bench_clear(b);
	struct feed_event events[] = {event_of(6, WRITE_POST, "a")};
	feed_says(b, &open[0], 1, 5, 6, events);
	expect(b, "");
}

/* No lead answers, and the client thinks better of it: it waits for its answers all the same. */
static void test_unnotify_before_the_answer(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_open(b);
	say(b, stream, "[1,\"NOTIFY\",\"c\"]");
	say(b, stream, "[2,\"NOTIFY\",\"POST:/c/\"]");
	say(b, stream, "[3,\"NOTIFY\",\"c\"]");
	gateway_bench_clear(b);
	say(b, stream, "[4,\"UNNOTIFY\",\"c\"]");
	const char *first = strstr(buf_cstr(&b->trace), "<<");
	assert_non_null(first);
	assert_string_equal(first, "<< 1: [\"A\",1]\n<< 1: [\"A\",3]\n<< 1: [\"A\",4]\n");
}

/* No lead answers: what one client may have waiting is bounded, and told from the first that is
 * not taken. */
static void test_notify_again_and_again(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_open(b);
	for (uint32_t i = 0; i < 2 * NOTIFY_PATTERNS_MAX; i++) {
		gateway_bench_clear(b);
		say(b, stream, "[1,\"NOTIFY\",\"c\"]");
		assert_null(strstr(buf_cstr(&b->trace), "<<"));
	}
	say(b, stream, "[2,\"NOTIFY\",\"c\"]");
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: [\"A\",2,{\"1\":429,"));
	gateway_bench_clear(b);
	say(b, stream, "[3,\"UNNOTIFY\",\"c\"]");
	say(b, stream, "[4,\"NOTIFY\",\"c\"]");
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: [\"A\",3]\n"));
	assert_null(strstr(buf_cstr(&b->trace), "429"));
}

/* Of all subscribers together; what others listen to already is no more. */
static void test_too_many_patterns(void **state)
{
	struct gateway_bench *b = *state;
	b->gw->options.limits.patterns_max = 2;
	uint64_t first = socket_open(b);
	uint64_t second = socket_open(b);
	say(b, first, "[1,\"NOTIFY\",\"POST:/x/\"]");
	say(b, first, "[2,\"NOTIFY\",\"PUT:/x/\"]");
	gateway_bench_clear(b);
	say(b, second, "[3,\"NOTIFY\",\"DELETE:/x/\"]");
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 2: [\"A\",3,{\"1\":503,"));
	gateway_bench_clear(b);
	say(b, second, "[4,\"NOTIFY\",\"PUT:/x/\"]");
	expect(b, "<< 2: [\"A\",4]\n");
	gone(b, first);
	gateway_bench_clear(b);
	say(b, second, "[5,\"NOTIFY\",\"DELETE:/x/\"]");
	expect(b, "<< 2: [\"A\",5]\n");
}

/* Few bytes that are compiled to many count as many patterns. */
static void test_patterns_compiled_large(void **state)
{
	struct gateway_bench *b = *state;
	b->gw->options.limits.patterns_max = 4;
	uint64_t stream = socket_open(b);
	say(b, stream, "[1,\"NOTIFY\",\"POST:/x/(((a{20}){50}){20})\"]");
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: [\"A\",1,{\"1\":503,"));
	gateway_bench_clear(b);
	say(b, stream, "[2,\"NOTIFY\",\"POST:/x/a{20}\"]");
	expect(b, "<< 1: [\"A\",2]\n");
}

/* Those that wait are answered in the order in which they asked; who went meanwhile is not. */
static void test_waiters_in_order(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t streams[3];
	for (int i = 0; i < 3; i++) {
		streams[i] = socket_open(b);
		say(b, streams[i], "[1,\"NOTIFY\",\"c\"]");
		say(b, streams[i], "[2,\"NOTIFY\",\"POST:/c/\"]");
	}
	struct bench_sent open[2] = {b->sent[0], b->sent[1]};
	say(b, streams[0], "[3,\"UNNOTIFY\",\"c\"]");
	gone(b, streams[1]);
	feed_says(b, &open[0], 1, 5, 5, NULL);
	gateway_bench_clear(b);
	feed_says(b, &open[1], 2, 5, 5, NULL);
	const char *rest = strstr(buf_cstr(&b->trace), "<<");
	assert_non_null(rest);
	assert_string_equal(rest, "<< 1: [\"A\",2]\n<< 3: [\"A\",1]\n<< 3: [\"A\",2]\n");
}

static void test_equal_patterns_are_one_effect(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	listen(b, "^POST:", open);
	uint64_t second = socket_open(b);
	gateway_bench_clear(b);
	say(b, second, "[7,\"NOTIFY\",\"^POST:\"]");
	expect(b, "<< 2: [\"A\",7]\n");
	struct feed_event events[] = {event_of(6, WRITE_POST, "a")};
	feed_says(b, &open[1], 2, 5, 6, events);
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1,2: [\"T\""));
	gone(b, 1);
	gateway_bench_clear(b);
	events[0].number = 7;
	feed_says(b, &open[1], 2, 6, 7, events);
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 2: [\"T\""));
}

static void test_new_lead_goes_on(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	listen(b, "c", open);
	gateway_bench_clear(b);
	gateway_bench_newer(b, 1, 2, BENCH_NODE + 2);
	bool opened = false;
	for (uint32_t i = 0; i < b->sent_count; i++)
		opened |= b->sent[i].envelope.type == MSG_feed_open &&
			  b->sent[i].member == BENCH_NODE + 2 && b->sent[i].envelope.epoch == 2;
	assert_true(opened);
	assert_non_null(strstr(buf_cstr(&b->trace), "after=5"));
	gateway_bench_clear(b);
	/* silence: the other one is opened again, too */
	gateway_bench_advance(b, FEED_SILENCE_MS + 2 * NOTIFY_TICK_MS);
	assert_non_null(strstr(buf_cstr(&b->trace), "-> 12@1 feed_open"));
}

/* The map of a storage node, which has no more than its own shards: this half of the collection. */
static void storage_tells(struct gateway_bench *b, uint64_t node, uint64_t half)
{
	const uint64_t middle = UINT64_MAX / 2;
	struct collection c = {
	    .id = 7, .name = slice_text("c"), .version = 1, .replicas = 1, .write_quorum = 1};
	struct replica replica = {.node = node, .incarnation = 1};
	struct shard shard = {.id = half,
			      .collection = c.id,
			      .epoch = 1,
			      .lead = node,
			      .replicas = &replica,
			      .replicas_count = 1,
			      .write_quorum = 1,
			      .hash_first = half == 1 ? 0 : middle + 1,
			      .hash_last = half == 1 ? middle : UINT64_MAX};
	struct msg_map_push push = {.map_version = 5,
				    .collections = &c,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	struct peer from = {node, ROLE_STORAGE, 1};
	struct envelope envelope = {.type = MSG_map_push};
	gateway_bench_message(b, &from, &envelope, &push);
}

/* Without the coordinator the map comes in parts. Nobody has his answer before all of it is there,
 * and nobody is told what was before that. */
static void test_a_map_in_parts(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const patterns[] = {"[1,\"NOTIFY\",\"POST:/c/\"]",
					       "[1,\"NOTIFY\",\"POST\"]"};
	for (size_t i = 0; i < ARRAY_LEN(patterns); i++) {
		gateway_bench_close(b);
		gateway_bench_open(b, NULL);
		say(b, socket_open(b), patterns[i]);
		gateway_bench_clear(b);
		for (uint64_t half = 1; half <= 2; half++) {
			assert_null(strstr(buf_cstr(&b->trace), "<<"));
			gateway_bench_clear(b);
			storage_tells(b, BENCH_NODE + half, half);
			assert_int_equal(b->sent_count, 1);
			struct bench_sent open = b->sent[0];
			assert_non_null(strstr(buf_cstr(&b->trace), " tail=true"));
			feed_says(b, &open, half, 5, 5, NULL);
		}
		assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: [\"A\",1]\n"));
	}
}

static void test_gap_cuts_off(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	listen(b, "c", open);
	gateway_bench_clear(b);
	feed_is_trimmed(b, &open[0], 1);
	assert_non_null(strstr(buf_cstr(&b->trace), "|| 1 1013 events_gone\n"));
}

static void test_bad_frames(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const bad[] = {"{", "null", "[]", "[1]", "{\"a\":1}", "", "[1,2,3,4]"};
	uint64_t stream = socket_open(b);
	gateway_bench_clear(b);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		say(b, stream, bad[i]);
		assert_int_equal(strncmp(buf_cstr(&b->trace), "<< 1: [\"E\",null,", 16), 0);
		gateway_bench_clear(b);
	}
	say(b, stream, "[5,\"PUT\",{}]");
	say(b, stream, "[6,7]");
	expect(b, "<< 1: [\"R\",5,\"COMMAND_NOT_FOUND\"]\n<< 1: [\"R\",6,\"COMMAND_NOT_FOUND\"]\n");
	say(b, stream, "[8,\"NOTIFY\",\"(\"]");
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: [\"A\",8,{\"1\":400,\"4\":{\"error\":"));
	gateway_bench_clear(b);
	for (int i = 0; i < 10; i++)
		say(b, stream, "x");
	assert_non_null(strstr(buf_cstr(&b->trace), "|| 1 1008 invalid_json\n"));
	gateway_bench_clear(b);
	say(b, stream, "[1,\"NOTIFY\",\"c\"]");
	expect(b, "");
}

static void test_exploding_pattern(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	char id[400];
	listen(b, "(a+)+(b+)+(a+)+$", open);
	uint64_t other = socket_open(b);
	say(b, other, "[1,\"NOTIFY\",\"POST\"]");
	gateway_bench_clear(b);
	memset(id, 'a', sizeof id - 1);
	id[sizeof id - 1] = 0;
	struct feed_event events[] = {event_of(6, WRITE_POST, id)};
	for (uint64_t n = 6; n < 40; n++) {
		events[0].number = n;
		feed_says(b, &open[0], 1, n - 1, n, events);
	}
	assert_non_null(strstr(buf_cstr(&b->trace), "|| 1 1008 subscription_costly\n"));
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 2: [\"T\""));
	assert_null(strstr(buf_cstr(&b->trace), "|| 2"));
}

static void test_too_many_subscribers(void **state)
{
	struct gateway_bench *b = *state;
	for (int i = 0; i < 4; i++)
		socket_open(b);
	gateway_bench_clear(b);
	socket_open(b);
	assert_int_equal(b->status, 503);
	assert_non_null(strstr(buf_cstr(&b->body), "too_many_subscribers"));
	gone(b, 1);
	socket_open(b);
	assert_int_equal(b->status, 101);
}

/* It was answered in the turn in which its client left: the shell never began the stream, and tells
 * of the request alone. */
static void test_client_gone_before_its_stream(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	listen(b, "c", open);
	uint64_t events = gateway_bench_http(b, "GET /_/notify?path=c\n");
	assert_int_equal(b->status, 200);
	uint64_t socket = socket_open(b);
	assert_int_equal(b->status, 101);
	struct event left[] = {{.kind = EVENT_HTTP_GONE, .http_gone = events},
			       {.kind = EVENT_HTTP_GONE, .http_gone = socket}};
	for (size_t i = 0; i < ARRAY_LEN(left); i++)
		gateway_bench_event(b, &left[i]);
	assert_int_equal(b->gw->notify->subscribers.count, 1);
	gone(b, 1);
	assert_int_equal(b->gw->notify->subscribers.count, 0);
	assert_int_equal(b->gw->notify->live.count, 0);
}

static void test_drain(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	listen(b, "c", open);
	gateway_bench_clear(b);
	struct event event = {.kind = EVENT_DRAIN};
	gateway_bench_event(b, &event);
	assert_non_null(strstr(buf_cstr(&b->trace), "|| 1 1001 draining\n"));
}

/* ---- GET and POST ---- */

static void test_socket_get(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_open(b);
	gateway_bench_clear(b);
	say(b, stream, "[1,\"GET\",{\"20\":\"c\",\"22\":{\"x\":1},\"24\":1}]");
	assert_int_equal(b->sent_count, 2);
	struct row row = {.id = slice_text("i"), .revision = {1, slice_text("r")}};
	row.body = gateway_bench_document(b, "{\"x\":1}");
	struct msg_shard_query_ack ack = {.status = STATUS_OK, .rows = &row, .rows_count = 1};
	gateway_bench_answer(b, 0, MSG_shard_query_ack, &ack);
	ack = (struct msg_shard_query_ack){.status = STATUS_OK};
	gateway_bench_answer(b, 1, MSG_shard_query_ack, &ack);
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "<< 1: [\"A\",1,{\"1\":200,\"3\":[{\"id\":\"i\",\"x\":1}]}]\n"));
	gateway_bench_clear(b);
	say(b, stream, "[2,\"GET\",{\"20\":\"c\",\"22\":{\"$nin\":[\"1\"]},\"24\":1}]");
	assert_non_null(
	    strstr(buf_cstr(&b->trace), "<< 1: [\"A\",2,{\"1\":400,\"4\":{\"error\":\""));
	assert_non_null(
	    strstr(buf_cstr(&b->trace),
		   ",\"type\":\"GET\",\"collectionId\":\"c\",\"query\":{\"$nin\":[\"1\"]},"
		   "\"limit\":1}}]\n"));
	gateway_bench_clear(b);
	say(b, stream, "[3,\"GET\",{\"20\":\"../../evil\"}]");
	assert_non_null(strstr(buf_cstr(&b->trace), "[\"A\",3,{\"1\":422,\"4\":{"));
}

/* Over a socket nothing would tell that there are more, unless the client asked for so many. */
static void test_socket_gets_no_part_of_a_list(void **state)
{
	const struct gateway_limits limits = {.list_rows_max = 2};
	struct gateway_bench *b = *state;
	struct row rows[2] = {{.id = slice_text("i"), .revision = {1, slice_text("r")}},
			      {.id = slice_text("j"), .revision = {1, slice_text("r")}}};
	static const struct {
		const char *frame, *says;
	} cases[] = {
	    {"[1,\"GET\",{\"20\":\"c\"}]", "[\"A\",1,{\"1\":413,\"4\":{\"error\":"},
	    {"[1,\"GET\",{\"20\":\"c\",\"24\":9}]", "[\"A\",1,{\"1\":413,\"4\":{\"error\":"},
	    {"[1,\"GET\",{\"20\":\"c\",\"24\":2}]", "[\"A\",1,{\"1\":200,\"3\":[{\"id\":\"i\"},"},
	};
	gateway_bench_close(b);
	gateway_bench_open(b, &limits);
	bench_map(b, 1, MODE_CONSISTENT);
	uint64_t stream = socket_open(b);
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct msg_shard_query_ack ack = {.status = STATUS_OK,
						  .rows = rows,
						  .rows_count = 2,
						  .more_after = slice_text("j")};
		gateway_bench_clear(b);
		say(b, stream, cases[i].frame);
		rows[0].body = rows[1].body = gateway_bench_document(b, "{}");
		gateway_bench_answer(b, 0, MSG_shard_query_ack, &ack);
		if (!strstr(buf_cstr(&b->trace), cases[i].says))
			fail_msg("%s: %s", cases[i].frame, buf_cstr(&b->trace));
	}
}

static void test_socket_post(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t stream = socket_open(b);
	gateway_bench_clear(b);
	say(b, stream, "[1,\"POST\",{\"20\":\"c\",\"2\":{\"id\":\"i\",\"x\":1}}]");
	struct msg_doc_write_ack ack = {.status = STATUS_CREATED, .revision = {1, slice_text("r")}};
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	assert_non_null(strstr(buf_cstr(&b->trace),
			       "<< 1: [\"A\",1,{\"1\":201,\"2\":{\"id\":\"i\",\"x\":1}}]\n"));
	gateway_bench_clear(b);
	say(b, stream, "[2,\"POST\",{\"20\":\"c\",\"2\":null}]");
	assert_non_null(strstr(buf_cstr(&b->trace), "[\"A\",2,{\"1\":400,\"4\":{\"error\":"));
	gateway_bench_clear(b);
	say(b, stream, "[3,\"POST\",{\"20\":\"c\",\"2\":{\"id\":\"j\"}}]");
	gone(b, stream); /* the write goes on; nobody hears of it */
	gateway_bench_answer(b, 0, MSG_doc_write_ack, &ack);
	assert_null(strstr(buf_cstr(&b->trace), "<<"));
}

/* ---- patterns ---- */

static void test_collections_of_patterns(void **state)
{
	static const struct {
		const char *pattern;
		const char *collection;
	} rows[] = {
	    {"POST:/tests/.*", "tests"},
	    {"^PUT:/tests/a$", "tests"},
	    {".*:/a-B9/", "a-B9"},
	    {"(POST|PUT):/tests/x", "tests"},
	    {"(?:POST|PUT):/tests/x", "tests"},
	    {"\\w+:/tests/", "tests"},
	    {"POST:/tests", ""},
	    {"POST:/tests/?", ""},
	    {"POST:/tests/.*|PUT:/other/.*", ""},
	    {"POST:/te.ts/", ""},
	    {"POST:/(a|b)/", ""},
	    {"(?i)post:/tests/", ""},
	    {"(POST|PUT:/tests/", ""},
	    {"tests", ""},
	    {"", ""},
	    {"POST:/", ""},
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct slice found = pattern_collection(slice_text(rows[i].pattern));
		if (!slice_is(found, rows[i].collection))
			fail_msg("%s", rows[i].pattern);
	}
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_notify_waits_for_feeds),
	    T(test_notify_twice_and_unnotify),
	    T(test_unnotify_before_the_answer),
	    T(test_notify_again_and_again),
	    T(test_too_many_patterns),
	    T(test_patterns_compiled_large),
	    T(test_waiters_in_order),
	    T(test_equal_patterns_are_one_effect),
	    T(test_new_lead_goes_on),
	    T(test_a_map_in_parts),
	    T(test_gap_cuts_off),
	    T(test_bad_frames),
	    T(test_exploding_pattern),
	    T(test_too_many_subscribers),
	    T(test_client_gone_before_its_stream),
	    T(test_drain),
	    T(test_socket_get),
	    T(test_socket_gets_no_part_of_a_list),
	    T(test_socket_post),
	    cmocka_unit_test(test_collections_of_patterns),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
