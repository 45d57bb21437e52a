/* _changes: pages of shards merged into one answer, and feeds that wait. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/couch/changes.h"
#include "gateway/position.h"
#include "tests/sim/gateway_bench.h"

static void open_with(void **state, const char *collection, uint32_t shards)
{
	struct gateway_bench *b = malloc(sizeof *b);
	assert_non_null(b);
	struct couch_options couch = {.passwords =
					  collection != NULL}; /* else there is no _users */
	gateway_bench_open_couch(b, NULL, &couch);
	b->dialect = DIALECT_COUCH;
	b->principal = "ann";
	b->name = collection;
	gateway_bench_map(b, shards, MODE_CONSISTENT);
	gateway_bench_clear(b);
	*state = b;
}

static int setup(void **state)
{
	open_with(state, NULL, 1);
	return 0;
}

static int setup_two(void **state)
{
	open_with(state, NULL, 2);
	return 0;
}

static int setup_hidden(void **state)
{
	open_with(state, COLLECTION_USERS, 1);
	return 0;
}

/* A row whose change is of time `stamp`. */
static struct change_row row_of(uint64_t number, const char *id, uint64_t stamp)
{
	return (struct change_row){.number = number,
				   .id = slice_text(id),
				   .revision = {1, slice_text("r")},
				   .stamp = stamp};
}

static void page(struct gateway_bench *b, uint32_t index, const struct change_row *rows,
		 uint32_t count, uint64_t last, uint64_t pending)
{
	struct msg_shard_changes_ack ack = {.status = STATUS_OK,
					    .rows = (struct change_row *)rows,
					    .rows_count = count,
					    .last = last,
					    .pending = pending};
	gateway_bench_answer(b, index, MSG_shard_changes_ack, &ack);
}

static void expect_text(const struct buf *text, const char *wanted)
{
	if (!strstr(buf_cstr((struct buf *)text), wanted))
		fail_msg("%s is not in\n%s", wanted, buf_cstr((struct buf *)text));
}

static void stream_event(struct gateway_bench *b, enum event_kind kind, uint64_t stream)
{
	struct event event = {.kind = kind, .stream = {.stream = stream}};
	gateway_bench_event(b, &event);
}

/* The feed that was opened by message `index` stands at `last` and tells of these. */
static void feed_tells(struct gateway_bench *b, const struct bench_sent *open, uint64_t previous,
		       uint64_t last)
{
	struct feed_event event = {.number = last,
				   .op = WRITE_PUT,
				   .id = slice_text("x"),
				   .revision = {1, slice_text("r")}};
	struct msg_feed_events m = {.shard = 1,
				    .feed = open->envelope.request_id,
				    .previous = previous,
				    .last = last,
				    .events = &event,
				    .events_count = last > previous};
	struct peer from = {open->member, ROLE_STORAGE, 1};
	struct envelope envelope = {.type = MSG_feed_events, .epoch = open->envelope.epoch};
	gateway_bench_message(b, &from, &envelope, &m);
}

static const struct bench_sent *sent_of(const struct gateway_bench *b, uint16_t type)
{
	for (uint32_t i = b->sent_count; i-- > 0;)
		if (b->sent[i].envelope.type == type)
			return &b->sent[i];
	fail_msg("nothing of that type was sent");
	return NULL;
}

static void test_pages_follow_until_there_is_nothing_more(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row first[] = {row_of(3, "a", 1), row_of(4, "b", 2)};
	struct change_row second[] = {row_of(7, "c", 3)};
	gateway_bench_http(b, "GET /c/_changes");
	page(b, 0, first, 2, 4, 1);
	assert_int_equal(b->status, 0);
	expect_text(&b->trace, "after=4");
	page(b, 1, second, 1, 9, 0);
	assert_int_equal(b->status, 200);
	expect_text(&b->body, "{\"results\":[\n{\"seq\":\"3-");
	expect_text(&b->body,
		    "\"id\":\"c\",\"changes\":[{\"rev\":\"1-r\"}]}\n],\n\"last_seq\":\"9-");
	expect_text(&b->body, "\",\"pending\":0}\n");
}

static void test_rows_of_shards_come_by_time(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row first[] = {row_of(3, "a", 1), row_of(4, "d", 4)};
	struct change_row second[] = {row_of(3, "b", 2), row_of(4, "c", 3)};
	gateway_bench_http(b, "GET /c/_changes?limit=3&seq_interval=3");
	assert_int_equal(b->sent_count, 2);
	page(b, 1, second, 2, 4, 0);
	assert_int_equal(b->status, 0);
	page(b, 0, first, 2, 4, 0);
	assert_int_equal(b->status, 200);
	expect_text(&b->body, "{\"seq\":null,\"id\":\"a\"");
	expect_text(&b->body, "},\n{\"seq\":null,\"id\":\"b\"");
	expect_text(&b->body, "},\n{\"seq\":\"7-");
	expect_text(&b->body, "\"last_seq\":\"7-");
	expect_text(&b->body, "\"pending\":1}");
}

static void test_a_long_poll_is_woken(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[] = {row_of(6, "x", 1)};
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?feed=longpoll&heartbeat=1000");
	page(b, 0, NULL, 0, 5, 0);
	assert_int_equal(b->status, 200); /* its headers, and that a list begins */
	struct bench_sent open = *sent_of(b, MSG_feed_open);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	gateway_bench_clear(b);
	feed_tells(b, &open, 5, 5);
	/* what came before the feed was open may have been missed */
	assert_int_equal(sent_of(b, MSG_shard_changes)->member, BENCH_NODE);
	page(b, (uint32_t)(sent_of(b, MSG_shard_changes) - b->sent), NULL, 0, 5, 0);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 1000);
	expect_text(&b->trace, "<< 1: \n");
	stream_event(b, EVENT_STREAM_TAKEN, id);
	gateway_bench_clear(b);
	feed_tells(b, &open, 5, 6);
	expect_text(&b->trace, "after=5");
	page(b, (uint32_t)(sent_of(b, MSG_shard_changes) - b->sent), rows, 1, 6, 0);
	expect_text(&b->trace, "\"id\":\"x\"");
	expect_text(&b->trace, "\"last_seq\":\"6-");
	assert_null(strstr(buf_cstr(&b->trace), "|| "));
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "|| 1 ");
	stream_event(b, EVENT_STREAM_GONE, id);
}

static void test_a_hidden_collection_wakes_who_waits_and_nobody_else(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[] = {row_of(6, "org.couchdb.user:x", 1)};
	b->dialect = DIALECT_NATIVE;
	gateway_bench_http(b, "GET /_/notify?path=.*");
	gateway_bench_http(b, "GET /_/notify?path=PUT:/system.users/x");
	assert_int_equal(b->status, 200);
	assert_int_equal(b->sent_count, 0);
	b->dialect = DIALECT_COUCH;
	uint64_t id = gateway_bench_http(b, "GET /_users/_changes?feed=longpoll");
	page(b, 0, NULL, 0, 5, 0);
	struct bench_sent open = *sent_of(b, MSG_feed_open);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	feed_tells(b, &open, 5, 5);
	page(b, (uint32_t)(sent_of(b, MSG_shard_changes) - b->sent), NULL, 0, 5, 0);
	gateway_bench_clear(b);
	feed_tells(b, &open, 5, 6);
	page(b, (uint32_t)(sent_of(b, MSG_shard_changes) - b->sent), rows, 1, 6, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "\"id\":\"org.couchdb.user:x\"");
	expect_text(&b->trace, "feed_close"); /* who listens to all does not listen to this */
	assert_null(strstr(buf_cstr(&b->trace), "data: "));
}

static void test_a_long_poll_ends_in_time_or_with_its_client(void **state)
{
	struct gateway_bench *b = *state;
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?feed=longpoll&timeout=500");
	page(b, 0, NULL, 0, 5, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 600);
	expect_text(&b->trace, "\"last_seq\":\"5-");
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "|| 1 ");
	id = gateway_bench_http(b, "GET /c/_changes?feed=longpoll&timeout=500");
	page(b, b->sent_count - 1, NULL, 0, 5, 0);
	gateway_bench_clear(b);
	stream_event(b, EVENT_STREAM_GONE, id);
	expect_text(&b->trace, "-> 11@1 "); /* nobody needs its feed */
	gateway_bench_advance(b, 1000);
	assert_null(strstr(buf_cstr(&b->trace), "<< "));
}

/* Among very many changes that its filter leaves out, a page every two seconds. */
static void test_a_long_poll_that_finds_nothing_says_how_far_it_looked(void **state)
{
	enum { STEP_MS = 2000, STEPS = CHANGES_LOOK_MS / STEP_MS };
	struct gateway_bench *b = *state;
	char last[40];
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?feed=longpoll&filter=_design");
	for (uint64_t i = 1; i <= STEPS; i++) {
		struct change_row row = row_of(i, "x", i);
		assert_null(strstr(buf_cstr(&b->trace), "last_seq"));
		page(b, b->sent_count - 1, &row, 1, i, 100);
		gateway_bench_advance(b, STEP_MS);
		stream_event(b, EVENT_STREAM_TAKEN, id);
	}
	snprintf(last, sizeof last, "\"last_seq\":\"%d-", STEPS);
	expect_text(&b->trace, last);
	expect_text(&b->trace, "|| 1 ");
}

static void test_nothing_is_sent_that_is_not_taken(void **state)
{
	static char text[200000];
	struct gateway_bench *b = *state;
	struct change_row rows[8];
	struct buf body = {0};
	memset(text, 'x', sizeof text - 1);
	buf_printf(&body, "{\"t\":\"%s\"}", text);
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?feed=continuous&include_docs=true");
	for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
		rows[i] = row_of(i + 1, "a", i);
		rows[i].body = gateway_bench_document(b, buf_cstr(&body));
	}
	page(b, 0, rows, ARRAY_LEN(rows), 9, 0);
	assert_int_equal(b->status, 200);
	size_t begun = b->trace.len;
	assert_true(begun < 7 * sizeof text);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	assert_true(b->trace.len > begun);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "{\"seq\":\"8-");
	buf_close(&body);
}

/* Rows with documents of 200,000 bytes, which last until the next event. */
static void fill_rows(struct gateway_bench *b, struct change_row *rows, uint32_t count,
		      uint64_t first)
{
	struct buf body = {0};
	buf_append_text(&body, "{\"t\":\"");
	while (body.len < 200000)
		buf_append_byte(&body, 'x');
	buf_append_text(&body, "\"}");
	for (uint32_t i = 0; i < count; i++) {
		rows[i] = row_of(first + i, "a", i);
		rows[i].body = gateway_bench_document(b, buf_cstr(&body));
	}
	buf_close(&body);
}

static uint32_t asked(const struct gateway_bench *b)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < b->sent_count; i++)
		count += b->sent[i].envelope.type == MSG_shard_changes;
	return count;
}

/* The last row of a page is also the last that fits until the client has taken what was sent. */
static void test_a_page_that_fills_an_answer_is_not_its_end(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[8];
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?include_docs=true");
	fill_rows(b, rows, ARRAY_LEN(rows), 1);
	page(b, 0, rows, ARRAY_LEN(rows), 9, 1);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	assert_int_equal(asked(b), 2);
	fill_rows(b, rows, 1, 10);
	page(b, 1, rows, 1, 10, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "{\"seq\":\"10-");
	expect_text(&b->trace, "\"pending\":0}");
	expect_text(&b->trace, "|| 1 1001 end");
}

static uint32_t last_asked(const struct gateway_bench *b)
{
	return (uint32_t)(sent_of(b, MSG_shard_changes) - b->sent);
}

/* A feed would wait then for what it never asks for. */
static void test_a_page_that_fills_a_feed_is_not_its_end(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[2];
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?feed=continuous&include_docs=true");
	page(b, 0, NULL, 0, 0, 0);
	struct bench_sent open = *sent_of(b, MSG_feed_open);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	feed_tells(b, &open, 0, 0);
	page(b, last_asked(b), NULL, 0, 0, 0);
	feed_tells(b, &open, 0, 1);
	fill_rows(b, rows, 1, 1);
	page(b, last_asked(b), rows, 1, 1, 0);
	feed_tells(b, &open, 1, 2);
	assert_int_equal(asked(b), 4);
	fill_rows(b, rows, 2, 2);
	page(b, last_asked(b), rows, 2, 3, 1);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	feed_tells(b, &open, 2, 4);
	assert_int_equal(asked(b), 5);
	stream_event(b, EVENT_STREAM_GONE, id);
}

/* It takes its client longer to read a page than a shard may take to give the next one. */
static void test_who_reads_slowly_gets_the_next_page(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[8];
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?include_docs=true");
	fill_rows(b, rows, ARRAY_LEN(rows), 1);
	page(b, 0, rows, ARRAY_LEN(rows), 9, 1);
	gateway_bench_advance(b, CHANGES_GIVE_UP_MS);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	assert_int_equal(asked(b), 2);
	gateway_bench_advance(b, 1);
	assert_null(strstr(buf_cstr(&b->trace), "|| 1 "));
	page(b, 1, NULL, 0, 9, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "|| 1 1001 end");
}

static void turn_round(struct change_row *rows, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		rows[i].number = count - i;
		rows[i].stamp = count - i;
	}
}

/* Past the bound a client that does not take what it is sent has no pages held for it: what it was
 * not told is asked for again, and told once. */
static void test_pages_are_not_held_for_all(void **state)
{
	static const char *const paths[] = {"GET /c/_changes?include_docs=true",
					    "GET /c/_changes?include_docs=true&descending=true"};
	static const char *const rests[] = {"after=2", "until=4"};
	struct gateway_bench *b = *state;
	struct msg_shard_query_ack count = {.status = STATUS_OK, .applied = 6};
	b->gw->feeds_bytes = CHANGES_HELD_BYTES;
	for (uint32_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct change_row rows[6];
		gateway_bench_clear(b);
		uint64_t id = gateway_bench_http(b, paths[i]);
		if (i > 0)
			gateway_bench_answer(b, 0, MSG_shard_query_ack, &count);
		fill_rows(b, rows, ARRAY_LEN(rows), 1);
		if (i > 0)
			turn_round(rows, ARRAY_LEN(rows));
		page(b, last_asked(b), rows, ARRAY_LEN(rows), i > 0 ? 0 : 6, 0);
		assert_int_equal(b->gw->feeds_bytes, CHANGES_HELD_BYTES);
		stream_event(b, EVENT_STREAM_TAKEN, id);
		assert_int_equal(asked(b), 2);
		expect_text(&b->trace, rests[i]);
		fill_rows(b, rows, 2, 5);
		if (i > 0)
			turn_round(rows, 2);
		page(b, last_asked(b), rows, 2, i > 0 ? 0 : 6, 0);
		for (int k = 0; k < 3; k++)
			stream_event(b, EVENT_STREAM_TAKEN, id);
		expect_text(&b->trace, i > 0 ? "{\"seq\":\"1-" : "{\"seq\":\"6-");
		expect_text(&b->trace, "|| ");
		assert_int_equal(b->gw->feeds_bytes, CHANGES_HELD_BYTES);
	}
	b->gw->feeds_bytes = 0;
}

/* Not even of those that are told, nor is anything kept behind what flies. */
static void test_nothing_is_held_behind_what_flies(void **state)
{
	struct gateway_bench *b = *state;
	struct change_row rows[4];
	uint64_t id = gateway_bench_http(b, "GET /c/_changes?include_docs=true");
	const struct request *r = map_get_u64(&b->gw->requests, id);
	const struct changes *op = r->op;
	b->gw->feeds_bytes = CHANGES_HELD_BYTES;
	fill_rows(b, rows, ARRAY_LEN(rows), 1);
	page(b, 0, rows, ARRAY_LEN(rows), 5, 1);
	assert_int_equal(b->gw->feeds_bytes, CHANGES_HELD_BYTES);
	assert_int_equal(op->out.len, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "after=2");
	fill_rows(b, rows, 2, 3);
	page(b, last_asked(b), rows, 2, 5, 1);
	assert_int_equal(b->gw->feeds_bytes, CHANGES_HELD_BYTES);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "after=5");
	page(b, last_asked(b), rows, 0, 6, 0);
	stream_event(b, EVENT_STREAM_TAKEN, id);
	expect_text(&b->trace, "\"last_seq\":\"6-");
	expect_text(&b->trace, "|| 1 1001 end");
	assert_int_equal(b->gw->feeds_bytes, CHANGES_HELD_BYTES);
	b->gw->feeds_bytes = 0;
}

static void test_sequences(void **state)
{
	(void)state;
	struct position_of list[] = {{7, 3}, {8, UINT64_MAX}};
	struct buf text = {0};
	struct buf parsed = {0};
	sequence_print(list, 2, &text);
	assert_true(sequence_parse(buf_slice(&text), &parsed));
	assert_int_equal(position_count(&parsed), 2);
	assert_int_equal(position_at(&parsed, 1).number, UINT64_MAX);
	buf_clear(&parsed);
	struct slice place = buf_slice(&text);
	while (place.data[0] != '-')
		place = slice_of(place.data + 1, place.len - 1);
	assert_true(sequence_parse(slice_of(place.data + 1, place.len - 1), &parsed));
	static const char *const bad[] = {"5", "5-", "-", "\"\"", "[]", "5-AAAA", "1-MQA", "now"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		assert_false(sequence_parse(slice_text(bad[i]), &parsed));
	buf_close(&text);
	buf_close(&parsed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)

/* A gateway that is about to stop tells the whole answer of what was still being looked for. */
static void test_a_look_ends_with_its_gateway(void **state)
{
	static const char *const paths[] = {"GET /c/_changes?feed=longpoll",
					    "GET /_db_updates?feed=longpoll&since=now"};
	struct gateway_bench *b = *state;
	struct event drain = {.kind = EVENT_DRAIN};
	struct msg_map_push same = {.map_version = 1};
	struct msg_shard_query_ack count = {.status = STATUS_OK, .changed = 7};
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		b->gw->draining = false;
		gateway_bench_clear(b);
		gateway_bench_http(b, paths[i]);
		if (i == 1)
			gateway_bench_answer(b, 0, MSG_map_push, &same);
		gateway_bench_event(b, &drain);
		assert_int_equal(b->status, 0);
		if (i == 0)
			page(b, 0, NULL, 0, 7, 0);
		else
			gateway_bench_answer(b, b->sent_count - 1, MSG_shard_query_ack, &count);
		assert_int_equal(b->status, 200);
		expect_text(&b->body, "\"last_seq\":");
		b->status = 0;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_pages_follow_until_there_is_nothing_more),
	    cmocka_unit_test_setup_teardown(test_rows_of_shards_come_by_time, setup_two,
					    gateway_bench_teardown),
	    TEST(test_a_long_poll_is_woken),
	    cmocka_unit_test_setup_teardown(
		test_a_hidden_collection_wakes_who_waits_and_nobody_else, setup_hidden,
		gateway_bench_teardown),
	    TEST(test_a_long_poll_ends_in_time_or_with_its_client),
	    TEST(test_a_long_poll_that_finds_nothing_says_how_far_it_looked),
	    TEST(test_nothing_is_sent_that_is_not_taken),
	    TEST(test_a_page_that_fills_an_answer_is_not_its_end),
	    TEST(test_a_page_that_fills_a_feed_is_not_its_end),
	    TEST(test_who_reads_slowly_gets_the_next_page),
	    TEST(test_pages_are_not_held_for_all),
	    TEST(test_nothing_is_held_behind_what_flies),
	    TEST(test_a_look_ends_with_its_gateway),
	    TEST(test_sequences),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
