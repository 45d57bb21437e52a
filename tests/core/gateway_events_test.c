/* The gateway's core: Server-Sent Events of changes and of conflicts, and going on behind one. `<<
 * streams: text` is sent to streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/core/notify_steps.h"

static int setup(void **state)
{
	bench_map(bench_open(state, NULL), 2, MODE_CONSISTENT);
	return 0;
}

/* ---- changes ---- */

static void test_events(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent open[2];
	uint64_t id = gateway_bench_http(b, "GET /_/notify?path=c/a&path=POST\n");
	assert_int_equal(id, 1);
	assert_int_equal(b->sent_count, 2);
	for (int i = 0; i < 2; i++)
		open[i] = b->sent[i];
	for (uint64_t i = 0; i < 2; i++) {
		assert_int_equal(b->status, 0);
		feed_says(b, &open[i], i + 1, 5, 5, NULL);
	}
	assert_int_equal(b->status, 200);
	assert_non_null(strstr(buf_cstr(&b->headers), "Cache-Control: no-store"));
	gateway_bench_clear(b);
	/* both patterns match: one event */
	struct feed_event events[] = {event_of(6, WRITE_POST, "a")};
	feed_says(b, &open[0], 1, 5, 7, events);
	const char *first = strstr(buf_cstr(&b->trace), "<< 1: id: ");
	assert_non_null(first);
	assert_null(strstr(first + 1, "<< "));
	assert_non_null(strstr(first,
			       "data: {\"path\":\"POST:/c/a\",\"collection\":\"c\",\"id\":\"a\","
			       "\"revision\":\"1-r\",\"pattern\":\""));
	gateway_bench_clear(b);
	gateway_bench_advance(b, NOTIFY_KEEP_ALIVE_MS);
	assert_non_null(strstr(buf_cstr(&b->trace), "<< 1: : still here\n"));
}

static void resume_request(struct gateway_bench *b, const struct position_of *at, uint32_t count)
{
	struct buf text = {0};
	buf_append_text(&text, "GET /_/notify?path=c\nlast-event-id: ");
	position_print(at, count, &text);
	buf_append_text(&text, "\n");
	gateway_bench_http(b, buf_cstr(&text));
	buf_close(&text);
}

/* Behind these positions; the two live feeds, which are opened for that, begin at 5. */
static void resume_two(struct gateway_bench *b, const struct position_of at[2],
		       struct bench_sent live[2])
{
	resume_request(b, at, 2);
	assert_int_equal(b->sent_count, 2);
	for (uint64_t i = 0; i < 2; i++)
		live[i] = b->sent[i];
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &live[i], i + 1, 5, 5, NULL);
}

static void test_events_resume(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent live[2];
	struct position_of at[] = {{1, 3}, {2, 4}};
	resume_two(b, at, live);
	struct bench_sent replay[2];
	uint32_t replays = 0;
	for (uint32_t i = 2; i < b->sent_count; i++)
		if (b->sent[i].envelope.type == MSG_feed_open)
			replay[replays++ % 2] = b->sent[i];
	assert_int_equal(replays, 2);
	assert_int_equal(b->status, 0);
	assert_non_null(strstr(buf_cstr(&b->trace), "after=3"));
	gateway_bench_clear(b);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &replay[i], i + 1, at[i].number, 5, NULL);
	assert_int_equal(b->status, 200);
	for (uint32_t i = 0, k = 0; i < b->sent_count; i++)
		if (b->sent[i].envelope.type == MSG_feed_open)
			replay[k++] = b->sent[i];
	gateway_bench_clear(b);
	struct feed_event missed[] = {event_of(4, WRITE_PUT, "a"), event_of(6, WRITE_PUT, "b")};
	/* the replay runs past the live feed, which then says nothing new */
	feed_says_two(b, &replay[0], 3, 6, missed);
	assert_non_null(strstr(buf_cstr(&b->trace), "PUT:/c/a"));
	assert_non_null(strstr(buf_cstr(&b->trace), "PUT:/c/b"));
	gateway_bench_clear(b);
	struct feed_event again[] = {event_of(6, WRITE_PUT, "b"), event_of(7, WRITE_PUT, "e")};
	feed_says_two(b, &live[0], 5, 7, again);
	assert_null(strstr(buf_cstr(&b->trace), "PUT:/c/b"));
	assert_non_null(strstr(buf_cstr(&b->trace), "PUT:/c/e"));
	gateway_bench_clear(b);
	/* of the other shard, the replay still runs: live changes wait for it */
	struct feed_event later[] = {event_of(6, WRITE_PUT, "f")};
	feed_says(b, &live[1], 2, 5, 6, later);
	assert_null(strstr(buf_cstr(&b->trace), "<<"));
	feed_says(b, &replay[1], 2, 4, 6, later);
	assert_non_null(strstr(buf_cstr(&b->trace), "PUT:/c/f"));
}

/* ---- conflicts ---- */

static void test_conflicts_as_events(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b,
			   "GET /_/conflicts?collection=c&kind=edits\naccept: text/event-stream");
	struct bench_sent live[2] = {b->sent[0], b->sent[1]};
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &live[i], i + 1, 5, 5, NULL);
	assert_int_equal(b->status, 200);
	gateway_bench_clear(b);
	struct feed_event opened = event_of(6, WRITE_PUT, "a");
	opened.conflict = CONFLICT_OPENED;
	feed_says(b, &live[0], 1, 5, 6, &opened);
	assert_non_null(
	    strstr(buf_cstr(&b->trace),
		   "data: {\"event\":\"opened\",\"kind\":\"edits\",\"collection\":\"c\","
		   "\"id\":\"a\",\"revision\":\"1-r\"}"));
	assert_null(strstr(buf_cstr(&b->trace), "PUT:/c/a"));
	gateway_bench_clear(b);
	struct feed_event others[] = {event_of(7, WRITE_PUT, "b"), event_of(8, 0, "a")};
	others[1].conflict = CONFLICT_CLEANED;
	others[1].kind = CONFLICT_DELETE; /* not asked for */
	feed_says_two(b, &live[0], 6, 8, others);
	assert_null(strstr(buf_cstr(&b->trace), "data:"));
	gateway_bench_clear(b);
	gateway_bench_http(b, "GET /_/conflicts?kind=none\naccept: text/event-stream");
	assert_int_equal(b->status, 400);
}

/* Who listens to changes hears nothing of conflicts. */
static void test_changes_are_no_conflicts(void **state)
{
	struct gateway_bench *b = *state;
	gateway_bench_http(b, "GET /_/notify?path=.*");
	struct bench_sent live[2] = {b->sent[0], b->sent[1]};
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &live[i], i + 1, 5, 5, NULL);
	gateway_bench_clear(b);
	struct feed_event events[] = {event_of(6, 0, "a"), event_of(7, WRITE_PUT, "a")};
	events[0].conflict = CONFLICT_CLEANED;
	events[1].conflict = CONFLICT_OPENED;
	feed_says_two(b, &live[0], 5, 7, events);
	const char *first = strstr(buf_cstr(&b->trace), "data:");
	assert_non_null(first);
	assert_non_null(strstr(first, "PUT:/c/a"));
	assert_null(strstr(first + 1, "data:"));
}

/* A refusal may tell where a shard is before the map tells of its collection. */
static void test_events_resume_ahead_of_the_map(void **state)
{
	struct gateway_bench *b = *state;
	struct position_of at[] = {{1, 3}, {77, 4}};
	struct msg_shard_newer newer = {
	    .shard = {.id = 77, .collection = 99, .epoch = 1, .lead = BENCH_NODE}};
	struct peer from = {BENCH_NODE, ROLE_STORAGE, 1};
	struct envelope envelope = {.type = MSG_shard_newer};
	gateway_bench_message(b, &from, &envelope, &newer);
	resume_request(b, at, 2);
	struct bench_sent live[2] = {b->sent[0], b->sent[1]};
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &live[i], i + 1, 5, 5, NULL);
	assert_null(strstr(buf_cstr(&b->trace), "after=3"));
	assert_int_equal(b->status, 0);
}

/* The coordinator's map of "c" and, while it is there, of a collection "d" with shard 3. */
static struct msg_map_push map_with(bool d, struct arena *arena)
{
	struct collection *list = arena_alloc(arena, 2 * sizeof *list);
	struct shard *shard = arena_alloc(arena, sizeof *shard);
	uint64_t *dropped = arena_alloc(arena, sizeof *dropped);
	list[0] = (struct collection){.id = 7, .name = slice_text("c"), .version = 1};
	list[1] = (struct collection){.id = 8, .name = slice_text("d"), .version = 1};
	*shard = (struct shard){
	    .id = 3, .collection = 8, .epoch = 1, .lead = BENCH_NODE, .hash_last = UINT64_MAX};
	*dropped = 8;
	return (struct msg_map_push){.map_version = d ? 6 : 7,
				     .collections = list,
				     .collections_count = d ? 2 : 1,
				     .shards = shard,
				     .shards_count = d,
				     .dropped = dropped,
				     .dropped_count = !d};
}

static void coordinator_tells(struct gateway_bench *b, bool d)
{
	struct arena arena = {0};
	struct msg_map_push push = map_with(d, &arena);
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope envelope = {.type = MSG_map_push};
	gateway_bench_message(b, &from, &envelope, &push);
	arena_close(&arena);
}

/* The feeds opened since the last clearing, of which there are so many. */
static void opened(struct gateway_bench *b, struct bench_sent *out, uint32_t count)
{
	uint32_t found = 0;
	for (uint32_t i = 0; i < b->sent_count; i++) {
		if (b->sent[i].envelope.type != MSG_feed_open)
			continue;
		assert_true(found < count);
		out[found++] = b->sent[i];
	}
	assert_int_equal(found, count);
}

/* It does not know what is to be gone on with, and asks the coordinator, which has dropped "d". */
static void newest_map(struct gateway_bench *b)
{
	struct arena arena = {0};
	struct msg_map_push push = map_with(false, &arena);
	uint32_t ask = b->sent_count - 1;
	assert_int_equal(b->sent[ask].envelope.type, MSG_map_request);
	gateway_bench_answer(b, ask, MSG_map_push, &push);
	arena_close(&arena);
}

/* Of a collection that is made now nothing is left out, although somebody else begins to look at
 * it, and that only for what comes next. */
static void test_a_new_collection_for_two(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent feeds[2];
	struct msg_map_push same = {.map_version = 5};
	gateway_bench_http(b, "GET /_/notify?path=POST\n");
	opened(b, feeds, 2);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &feeds[i], i + 1, 5, 5, NULL);
	assert_int_equal(b->status, 200);
	gateway_bench_clear(b);
	b->dialect = DIALECT_COUCH;
	gateway_bench_http(b, "GET /_db_updates?feed=continuous\n");
	gateway_bench_answer(b, 0, MSG_map_push, &same);
	gateway_bench_clear(b);
	coordinator_tells(b, true);
	opened(b, feeds, 1);
	assert_null(strstr(buf_cstr(&b->trace), " tail=true"));
}

static void node_tells(struct gateway_bench *b, uint64_t version)
{
	struct msg_map_push part = {.map_version = version};
	struct peer node = {BENCH_NODE, ROLE_STORAGE, 2};
	struct envelope envelope = {.type = MSG_map_push};
	gateway_bench_message(b, &node, &envelope, &part);
}

static void coordinator_beats(struct gateway_bench *b, uint64_t version)
{
	struct msg_heartbeat_ack ack = {.status = STATUS_OK, .map_version = version};
	struct peer from = {BENCH_COORDINATOR, ROLE_COORDINATOR, 1};
	struct envelope envelope = {.type = MSG_heartbeat_ack};
	gateway_bench_message(b, &from, &envelope, &ack);
}

/* What a storage node keeps of the newest map is not all of it, as who leads shards of others. */
static void test_part_of_a_map_is_not_all(void **state)
{
	struct gateway_bench *b = *state;
	coordinator_beats(b, 5);
	assert_int_equal(b->maps_asked, 0);
	node_tells(b, 7);
	coordinator_beats(b, 7);
	assert_int_equal(b->maps_asked, 1);
	coordinator_tells(b, true); /* late, and older */
	coordinator_beats(b, 7);
	assert_int_equal(b->maps_asked, 2);
	coordinator_tells(b, false);
	coordinator_beats(b, 7);
	assert_int_equal(b->maps_asked, 2);
}

/* Whoever listens to all goes on although one of the collections was dropped. */
static void test_events_resume_after_a_drop(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent feeds[2];
	struct position_of at[] = {{1, 3}, {2, 4}, {3, 1}};
	coordinator_tells(b, true);
	coordinator_tells(b, false);
	gateway_bench_clear(b);
	resume_request(b, at, 3);
	opened(b, feeds, 2);
	newest_map(b);
	gateway_bench_clear(b);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &feeds[i], i + 1, 5, 5, NULL);
	opened(b, feeds, 2);
	gateway_bench_clear(b);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &feeds[i], i + 1, at[i].number, 5, NULL);
	assert_int_equal(b->status, 200);
	/* of what it knows nothing of it can't say what became */
	gateway_bench_clear(b);
	resume_request(b, at + 2, 1);
	newest_map(b);
	assert_int_equal(b->status, 410);
}

/* Nobody will answer this replay. */
static void test_what_is_replayed_is_dropped(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent feeds[3];
	struct position_of at[] = {{1, 3}, {2, 4}, {3, 1}};
	coordinator_tells(b, true);
	gateway_bench_clear(b);
	resume_request(b, at, 3);
	opened(b, feeds, 3);
	gateway_bench_clear(b);
	for (uint64_t i = 0; i < 3; i++)
		feed_says(b, &feeds[i], i + 1, 5, 5, NULL);
	opened(b, feeds, 3);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &feeds[i], i + 1, at[i].number, 5, NULL);
	assert_int_equal(b->status, 0);
	coordinator_tells(b, false);
	assert_int_equal(b->status, 200);
	assert_int_equal(b->gw->notify->replays, 2);
}

static void test_events_gone(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent live[2];
	struct position_of at[] = {{1, 3}, {2, 4}};
	resume_two(b, at, live);
	struct bench_sent replay = {0};
	for (uint32_t i = 2; i < b->sent_count; i++)
		if (b->sent[i].envelope.type == MSG_feed_open && b->sent[i].member == BENCH_NODE)
			replay = b->sent[i];
	feed_is_trimmed(b, &replay, 1);
	assert_int_equal(b->status, 410);
	assert_non_null(strstr(buf_cstr(&b->body), "events_gone"));
}

/* What a gateway missed it told nobody; who still waits for his answer begins where he asks for. */
static void test_who_waits_misses_nothing(void **state)
{
	struct gateway_bench *b = *state;
	struct bench_sent live[2], feeds[2];
	struct position_of at[] = {{1, 200}, {2, 4}};
	gateway_bench_http(b, "GET /_/notify?path=c\n");
	opened(b, live, 2);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &live[i], i + 1, 5, 5, NULL);
	assert_int_equal(b->status, 200);
	gateway_bench_clear(b);
	resume_request(b, at, 2);
	opened(b, feeds, 2);
	gateway_bench_clear(b);
	feed_is_trimmed(b, &live[0], 1);
	assert_non_null(strstr(buf_cstr(&b->trace), "|| 1 1013 events_gone\n"));
	assert_int_equal(b->status, 0);
	gateway_bench_clear(b);
	gateway_bench_advance(b, NOTIFY_TICK_MS);
	opened(b, live, 1);
	feed_says(b, &live[0], 1, 210, 210, NULL);
	for (uint64_t i = 0; i < 2; i++)
		feed_says(b, &feeds[i], i + 1, at[i].number, 5, NULL);
	assert_int_equal(b->status, 200);
}

static void test_events_refused(void **state)
{
	struct gateway_bench *b = *state;
	static const char *const bad[] = {
	    "GET /_/notify\n", "GET /_/notify?path=\n", "GET /_/notify?path=(\n",
	    "GET /_/notify?path=c&since=x!\n", "GET /_/notify?path=c\nlast-event-id: MQA\n"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		gateway_bench_clear(b);
		gateway_bench_http(b, bad[i]);
		assert_int_equal(b->status, 400);
	}
	gateway_bench_http(b, "HEAD /_/notify?path=c\n");
	assert_int_equal(b->status, 200);
	gateway_bench_clear(b);
	/* no lead answers: after the deadline */
	gateway_bench_http(b, "GET /_/notify?path=c\n");
	gateway_bench_advance(b, 6000);
	assert_int_equal(b->status, 503);
	gateway_bench_clear(b);
	gateway_bench_advance(b, 10000);
	assert_null(strstr(buf_cstr(&b->trace), "feed_open")); /* nobody wants it any more */
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, gateway_bench_teardown)
	const struct CMUnitTest tests[] = {
	    T(test_events),
	    T(test_events_resume),
	    T(test_conflicts_as_events),
	    T(test_changes_are_no_conflicts),
	    T(test_events_resume_ahead_of_the_map),
	    T(test_a_new_collection_for_two),
	    T(test_part_of_a_map_is_not_all),
	    T(test_events_resume_after_a_drop),
	    T(test_what_is_replayed_is_dropped),
	    T(test_events_gone),
	    T(test_who_waits_misses_nothing),
	    T(test_events_refused),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
