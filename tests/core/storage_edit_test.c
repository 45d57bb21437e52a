/* Writes by query and updates at the storage node: exact counts, nothing twice, nothing late. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/timing.h"
#include "storage-node/shard_edit.h"
#include "tests/sim/storage_peers.h"

/* A job has done all that it may do at once after STEPS_MS. */
enum { NO_ANSWER = 999, FIRST_NUMBER = 3, STEPS_MS = 1000 };

static struct slice packed(struct storage_bench *b, const char *json)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf out = {0};
	if (*json && !json_to_msgpack(parser, slice_text(json), &out, &error))
		fail_msg("%s: byte %zu", json, error.offset);
	json_parser_free(parser);
	struct slice kept = arena_copy(&b->arena, buf_slice(&out));
	buf_close(&out);
	return kept;
}

static struct msg_shard_edit edit_of(struct storage_bench *b, uint64_t n, uint64_t op,
				     const char *filter, const char *body)
{
	return (struct msg_shard_edit){.shard = SHARD,
				       .op = op,
				       .filter = packed(b, filter),
				       .body = packed(b, body),
				       .operation_id = peers_operation(b, 1000000 + n),
				       .operation_digest = peers_operation(b, n)};
}

static void send_edit(struct storage_bench *b, uint64_t epoch, const struct msg_shard_edit *m)
{
	b->edited = (struct msg_shard_edit_ack){.status = NO_ANSWER};
	storage_bench_deliver(b, GATEWAY, MSG_shard_edit, epoch, m);
	storage_bench_advance(b, 1);
}

static void expect_edited(struct storage_bench *b, enum status status, uint64_t changes, bool done)
{
	assert_int_equal(b->edited.status, status);
	assert_int_equal(b->edited.changes, changes);
	assert_int_equal(b->edited.done, done);
}

static void put(struct storage_bench *b, const char *id, const char *json)
{
	static uint64_t operations;
	struct msg_doc_write m = peers_put(b, id, ++operations);
	m.body = packed(b, json);
	peers_write(b, 1, &m);
}

static void expect_document(struct storage_bench *b, uint64_t epoch, const char *id,
			    const char *json)
{
	struct buf text = {0};
	assert_int_equal(peers_read(b, epoch, id, false), STATUS_OK);
	assert_true(json_from_msgpack(b->was_read.body, &text));
	assert_string_equal(buf_cstr(&text), json);
	buf_close(&text);
}

/* SELF leads, and three documents are settled: entries 3 to 5. */
static void three(struct storage_bench *b)
{
	peers_lead(b, MODE_CONSISTENT);
	put(b, "a", "{\"v\":1}");
	put(b, "b", "{\"v\":2}");
	put(b, "c", "{\"v\":3}");
	peers_ack(b, PEER_B, 1, 5);
	storage_bench_clear(b);
}

/* ---- what is changed ---- */

static void test_all(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_PUT, "", "{\"w\":1}");
	send_edit(b, 1, &m);
	assert_string_equal(
	    buf_cstr(&b->trace),
	    "-> 12 e1 append after=1.5 settled=5 acked=5 write:a:2 write:b:2 write:c:2 edit\n");
	peers_ack(b, PEER_B, 1, 8);
	storage_bench_advance(b, 50);
	assert_int_equal(b->edited.status, NO_ANSWER); /* the end of it is not settled */
	peers_ack(b, PEER_B, 1, 9);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 3, true);
	expect_document(b, 1, "b", "{\"w\":1}");
}

static void test_filter(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m =
	    edit_of(b, 1, WRITE_PATCH, "{\"v\":{\"$gte\":2},\"id\":{\"$ne\":\"c\"}}", "{\"w\":1}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 7);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 1, true);
	expect_document(b, 1, "a", "{\"v\":1}");
	expect_document(b, 1, "b", "{\"v\":2,\"w\":1}");
	struct msg_shard_edit none = edit_of(b, 2, WRITE_DELETE, "{\"v\":9}", "");
	send_edit(b, 1, &none);
	peers_ack(b, PEER_B, 1, 8);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 0, true);
	struct msg_shard_edit gone = edit_of(b, 3, WRITE_DELETE, "{\"w\":1}", "");
	send_edit(b, 1, &gone);
	peers_ack(b, PEER_B, 1, 10);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 1, true);
	assert_int_equal(peers_read(b, 1, "b", false), STATUS_NOT_FOUND);
}

/* The filter holds for what is applied, but not for what an entry under way makes of it. */
static void test_entries_under_way_decide(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	put(b, "a", "{\"v\":7}");
	struct msg_shard_edit m =
	    edit_of(b, 1, WRITE_UPDATE, "{\"v\":{\"$lt\":3}}", "{\"$inc\":{\"v\":10}}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 8);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 1, true);
	expect_document(b, 1, "a", "{\"v\":7}");
	expect_document(b, 1, "b", "{\"v\":12}");
}

static void test_stops_at_a_document(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	put(b, "b", "{\"v\":\"x\"}");
	peers_ack(b, PEER_B, 1, 6);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":10}}");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, NO_ANSWER);
	peers_ack(b, PEER_B, 1, 7);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_UPDATE_FAILED, 1, false);
	assert_true(slice_is(b->edited.id, "b"));
	assert_true(slice_is(b->edited.place, "/$inc/v"));
	expect_document(b, 1, "a", "{\"v\":11}");
	expect_document(b, 1, "c", "{\"v\":3}");
	/* once the document is mended, the same operation goes on there */
	put(b, "b", "{\"v\":2}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 11);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 3, true);
	expect_document(b, 1, "a", "{\"v\":11}");
	expect_document(b, 1, "b", "{\"v\":12}");
	expect_document(b, 1, "c", "{\"v\":13}");
}

static void test_malformed(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_DELETE, "{\"v\":{\"$foo\":1}}", "");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, STATUS_BAD_QUERY);
	assert_true(slice_is(b->edited.place, "/v/$foo"));
	m = edit_of(b, 2, WRITE_UPDATE, "", "{\"$foo\":{}}");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, STATUS_BAD_UPDATE);
	m = edit_of(b, 3, WRITE_POST, "", "{}");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, STATUS_BAD_MESSAGE);
	m = edit_of(b, 4, WRITE_PUT, "", "[]");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, STATUS_BAD_MESSAGE);
	assert_string_equal(buf_cstr(&b->trace), "");
}

/* ---- again ---- */

static void test_again(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":10}}");
	send_edit(b, 1, &m);
	send_edit(b, 1, &m); /* while it is under way */
	peers_ack(b, PEER_B, 1, 9);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 3, true);
	storage_bench_clear(b);
	send_edit(b, 1, &m);
	expect_edited(b, STATUS_OK, 3, true);
	struct msg_shard_edit other = edit_of(b, 2, WRITE_UPDATE, "", "{\"$inc\":{\"v\":20}}");
	other.operation_id = m.operation_id;
	send_edit(b, 1, &other);
	assert_int_equal(b->edited.status, STATUS_OPERATION_ID_REUSED);
	assert_null(strstr(buf_cstr(&b->trace), "write"));
	expect_document(b, 1, "a", "{\"v\":11}");
}

static void lead_again(struct storage_bench *b, uint64_t epoch, uint64_t last)
{
	peers_place(b, epoch, SELF, MODE_CONSISTENT);
	peers_promise(b, PEER_B, epoch, STATUS_OK);
	storage_bench_advance(b, 50);
	peers_ack(b, PEER_B, epoch, last);
	peers_ack(b, PEER_B, epoch, last + 1);
	peers_ack(b, PEER_B, epoch, last + 2); /* settings, if they were asked for anew */
	peers_grant(b, PEER_B, epoch, false);
}

static void test_again_after_restart(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":10}}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 9);
	storage_bench_stop(b, true);
	storage_bench_start(b);
	storage_bench_advance(b, LEASE_HELD_MS); /* the life before may have granted one */
	lead_again(b, 2, 9);
	send_edit(b, 2, &m);
	expect_edited(b, STATUS_OK, 3, true);
	expect_document(b, 2, "c", "{\"v\":13}");
}

static const char *document_name(int i)
{
	static char name[16];
	snprintf(name, sizeof name, "d%04d", i);
	return name;
}

/* More documents than may be under way at once; returns the number of the last entry. */
static uint64_t many(struct storage_bench *b, int count)
{
	peers_lead(b, MODE_CONSISTENT);
	for (int i = 0; i < count; i++)
		put(b, document_name(i), "{\"v\":0}");
	uint64_t last = FIRST_NUMBER - 1 + (uint64_t)count;
	peers_ack(b, PEER_B, 1, last);
	storage_bench_clear(b);
	return last;
}

/* Each document has been counted up once. */
static void expect_each_once(struct storage_bench *b, uint64_t epoch, int count)
{
	for (int i = 0; i < count; i++)
		expect_document(b, epoch, document_name(i), "{\"v\":1}");
}

static void test_goes_on_in_another_epoch(void **state)
{
	enum { COUNT = EDIT_FLIGHT_ENTRIES + 500 };
	struct storage_bench *b = *state;
	uint64_t last = many(b, COUNT);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":1}}");
	send_edit(b, 1, &m);
	storage_bench_advance(b, STEPS_MS);
	expect_edited(b, STATUS_OK, 0, false); /* a sign of life says what is settled */
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, last + 10);
	storage_bench_advance(b, STEPS_MS);
	expect_edited(b, STATUS_OK, 10, false);
	/* what is in the stream is kept: another epoch settles it */
	uint64_t held = last + 10 + EDIT_FLIGHT_ENTRIES;
	lead_again(b, 2, held);
	send_edit(b, 2, &m);
	storage_bench_advance(b, STEPS_MS);
	send_edit(b, 2, &m);
	for (uint64_t n = held; n < last + COUNT + 5; n++)
		peers_ack(b, PEER_B, 2, n);
	storage_bench_advance(b, 50);
	peers_grant(b, PEER_B, 2, false);
	expect_edited(b, STATUS_OK, COUNT, true);
	expect_each_once(b, 2, COUNT);
}

/* Another lead never saw the end of it: what is cut is done again, and only that. */
static void test_goes_on_after_a_cut(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":10}}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 7);
	expect_document(b, 1, "b", "{\"v\":12}");
	peers_place(b, 2, PEER_B, MODE_CONSISTENT);
	struct change epoch = {.kind = CHANGE_EPOCH};
	peers_append(b, 2, 1, 7, 8, &epoch);
	lead_again(b, 3, 8);
	expect_document(b, 3, "c", "{\"v\":3}");
	storage_bench_clear(b);
	send_edit(b, 3, &m);
	peers_ack(b, PEER_B, 3, 11);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 3, true);
	expect_document(b, 3, "a", "{\"v\":11}");
	expect_document(b, 3, "b", "{\"v\":12}");
	expect_document(b, 3, "c", "{\"v\":13}");
}

/* Nobody asks any more: it stops, and what was ordered settles. */
static void test_stops_when_nobody_asks(void **state)
{
	enum { COUNT = EDIT_FLIGHT_ENTRIES + 500 };
	struct storage_bench *b = *state;
	uint64_t last = many(b, COUNT);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_UPDATE, "", "{\"$inc\":{\"v\":1}}");
	send_edit(b, 1, &m);
	storage_bench_advance(b, EDIT_IDLE_MS);
	peers_ack(b, PEER_B, 1, last + EDIT_FLIGHT_ENTRIES);
	storage_bench_clear(b);
	storage_bench_advance(b, 500);
	assert_null(strstr(buf_cstr(&b->trace), "write"));
	send_edit(b, 1, &m);
	storage_bench_advance(b, STEPS_MS);
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, last + COUNT + 1);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, COUNT, true);
	peers_grant(b, PEER_B, 1, false);
	expect_each_once(b, 1, COUNT);
}

/* ---- records ---- */

static uint64_t edit_nothing(struct storage_bench *b, uint64_t n, uint64_t last)
{
	struct msg_shard_edit m = edit_of(b, n, WRITE_DELETE, "{\"v\":9}", "");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, last + 1);
	storage_bench_advance(b, 1);
	expect_edited(b, STATUS_OK, 0, true);
	return last + 1;
}

static void test_records_are_bounded(void **state)
{
	struct storage_bench *b = *state;
	uint64_t last = 5;
	three(b);
	for (uint64_t n = 1; n <= EDITS_KEPT; n++)
		last = edit_nothing(b, n, last);
	assert_int_equal(peers_pairs(b, STORE_META, 't'), EDITS_KEPT);
	last = edit_nothing(b, EDITS_KEPT + 1, last);
	assert_int_equal(peers_pairs(b, STORE_META, 't'), EDITS_KEPT);
	b->now_ms += OPERATION_KEEP_MS + 60000;
	edit_nothing(b, EDITS_KEPT + 2, last);
	assert_int_equal(peers_pairs(b, STORE_META, 't'), 1);
}

static void test_jobs_are_bounded(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	for (uint64_t n = 1; n <= EDIT_JOBS_MAX; n++) {
		struct msg_shard_edit m = edit_of(b, n, WRITE_DELETE, "{\"v\":9}", "");
		send_edit(b, 1, &m);
		assert_int_equal(b->edited.status, NO_ANSWER);
	}
	struct msg_shard_edit m = edit_of(b, EDIT_JOBS_MAX + 1, WRITE_DELETE, "", "");
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, STATUS_OVERLOADED);
}

/* A replica that is copied to knows what was done: it may be the next lead. */
static void test_records_travel_in_snapshots(void **state)
{
	struct storage_bench *b = *state;
	struct buf bytes = {0};
	peers_follow(b, MODE_CONSISTENT);
	struct edit_record record = {
	    .id = peers_operation(b, 1), .digest = peers_operation(b, 2), .count = 5, .done = true};
	schema_encode(&schema_edit_record, &record, &bytes);
	struct buf key = {0};
	buf_append_byte(&key, 't');
	buf_append_slice(&key, record.id);
	struct key_value pair = {
	    .family = STORE_META, .key = buf_slice(&key), .value = buf_slice(&bytes)};
	struct msg_snapshot_chunk m = {
	    .shard = SHARD,
	    .snapshot = 1,
	    .pairs = &pair,
	    .pairs_count = 1,
	    .last = true,
	    .position = {
		.last = 4, .last_epoch = 1, .applied = 4, .trimmed = 4, .trimmed_epoch = 1}};
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
	assert_int_equal(peers_pairs(b, STORE_META, 't'), 1);
	/* and is the only one once another copy has come */
	m.snapshot = 2;
	m.pairs_count = 0;
	storage_bench_deliver(b, PEER_B, MSG_snapshot_chunk, 1, &m);
	assert_int_equal(peers_pairs(b, STORE_META, 't'), 0);
	buf_close(&bytes);
	buf_close(&key);
}

static void test_snapshots_begin_with_records(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_DELETE, "{\"v\":9}", "");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 6);
	storage_bench_clear(b);
	struct msg_stream_append_ack lost = {
	    .shard = SHARD, .status = STATUS_NOT_VOUCHING, .incarnation = INCARNATION + PEER_C};
	storage_bench_deliver(b, PEER_C, MSG_stream_append_ack, 1, &lost);
	storage_bench_advance(b, 100);
	struct buf key = {0};
	buf_append_text(&key, "0x74"); /* 't' and the id */
	buf_append_hex(&key, m.operation_id.data, m.operation_id.len);
	if (!strstr(buf_cstr(&b->trace), buf_cstr(&key)))
		fail_msg("no %s in %s", buf_cstr(&key), buf_cstr(&b->trace));
	buf_close(&key);
}

/* ---- updates by id ---- */

static struct msg_doc_write increment(struct storage_bench *b, uint64_t operation)
{
	struct msg_doc_write m = peers_put(b, "a", operation);
	m.op = WRITE_UPDATE;
	m.body = packed(b, "{\"$inc\":{\"v\":1}}");
	return m;
}

static void test_update(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	struct msg_doc_write m = increment(b, 2001);
	peers_write(b, 1, &m);
	m = increment(b, 2002); /* on what is under way */
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 7);
	assert_int_equal(b->written.status, STATUS_OK);
	expect_document(b, 1, "a", "{\"v\":3}");
	m = increment(b, 2003);
	m.body = packed(b, "{\"$push\":{\"v\":1}}");
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_UPDATE_FAILED);
	assert_true(slice_is(b->written.place, "/$push/v"));
	assert_true(b->written.detail.len > 0);
	m = increment(b, 2004);
	m.id = slice_text("nobody");
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_NOT_FOUND);
}

/* A refusal that rests on an entry under way waits for it, and tells the place then too. */
static void test_refusal_waits(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	put(b, "a", "{\"v\":null}");
	struct msg_doc_write m = increment(b, 2001);
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, NO_ANSWER);
	peers_ack(b, PEER_B, 1, 6);
	assert_int_equal(b->written.status, STATUS_UPDATE_FAILED);
	assert_true(slice_is(b->written.place, "/$inc/v"));
}

/* As branches on the same parent: two increments are two revisions, one done twice is one. */
static void test_increments_on_branches(void **state)
{
	struct storage_bench *b;
	struct revision names[3];
	static const uint64_t operations[] = {2001, 2002, 2001};
	for (int i = 0; i < 3; i++) {
		storage_bench_teardown(state);
		storage_bench_setup(state);
		b = *state;
		peers_lead(b, MODE_AVAILABLE);
		put(b, "a", "{\"v\":1}");
		peers_ack(b, PEER_B, 1, 3);
		peers_place(b, 2, PEER_B, MODE_AVAILABLE);
		struct msg_doc_write m = increment(b, operations[i]);
		m.branch = true;
		peers_write(b, 2, &m);
		assert_int_equal(b->written.status, STATUS_ACCEPTED);
		names[i] = b->written.revision;
		static uint8_t hashes[3][LIMIT_REV_HASH_BYTES];
		memcpy(hashes[i], names[i].hash.data, names[i].hash.len);
		names[i].hash.data = hashes[i];
	}
	assert_true(slice_equal(names[0].hash, names[2].hash));
	assert_false(slice_equal(names[0].hash, names[1].hash));
}

/* Neither what is under way nor what is done is refused since the disk filled up. */
static void test_full_disk_takes_nothing_back(void **state)
{
	struct storage_bench *b = *state;
	struct event full = {.kind = EVENT_DISK, .disk.full = true};
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_PUT, "", "{\"w\":1}");
	send_edit(b, 1, &m);
	full.now_ms = b->now_ms;
	storage_bench_step(b, &full);
	storage_bench_turn(b);
	send_edit(b, 1, &m);
	assert_int_equal(b->edited.status, NO_ANSWER);
	peers_ack(b, PEER_B, 1, 9);
	storage_bench_advance(b, 50);
	expect_edited(b, STATUS_OK, 3, true);
	send_edit(b, 1, &m);
	expect_edited(b, STATUS_OK, 3, true);
	struct msg_shard_edit other = edit_of(b, 2, WRITE_PUT, "", "{\"w\":2}");
	send_edit(b, 1, &other);
	expect_edited(b, STATUS_DISK_FULL, 0, false);
}

/* While nobody asked, the disk filled up and the job stopped: who asks on hears how far it had
 * come, and not that nothing was changed beyond what he was told. */
static void test_full_disk_tells_what_was_done(void **state)
{
	struct storage_bench *b = *state;
	struct event full = {.kind = EVENT_DISK, .disk.full = true};
	storage_bench_stop(b, false);
	b->options.edit_flight_entries = 1;
	storage_bench_start(b);
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_PUT, "", "{\"w\":1}");
	send_edit(b, 1, &m);
	peers_ack(b, PEER_B, 1, 6);
	storage_bench_advance(b, EDIT_ANSWER_MS);
	expect_edited(b, STATUS_OK, 1, false);
	full.now_ms = b->now_ms;
	storage_bench_step(b, &full);
	storage_bench_turn(b);
	peers_ack(b, PEER_B, 1, 7);
	storage_bench_advance(b, 50);
	expect_document(b, 1, "b", "{\"w\":1}");
	send_edit(b, 1, &m);
	expect_edited(b, STATUS_DISK_FULL, 2, false);
}

/* ---- too late ---- */

static void test_late_writes_are_refused(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.life = 77;
	storage_bench_start(b);
	peers_lead(b, MODE_AVAILABLE);
	struct msg_doc_write m = peers_put(b, "a", 2001);
	m.until_ms = (uint64_t)b->now_ms;
	m.life = 77;
	b->now_ms++;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_STALE);
	assert_int_equal(b->written.clock_ms, b->now_ms);
	assert_int_equal(b->written.life, 77);
	m.branch = true;
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_STALE);
	m.branch = false;
	m.until_ms = (uint64_t)b->now_ms + 1000;
	m.life = 76; /* by the clock of a process that is gone */
	peers_write(b, 1, &m);
	assert_int_equal(b->written.status, STATUS_STALE);
	assert_string_equal(buf_cstr(&b->trace), "");
	m.life = 77;
	m.until_ms = (uint64_t)b->now_ms;
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, 3);
	assert_int_equal(b->written.status, STATUS_CREATED);
	struct msg_shard_edit edit = edit_of(b, 1, WRITE_DELETE, "", "");
	edit.life = 77;
	edit.until_ms = (uint64_t)b->now_ms - 1;
	send_edit(b, 1, &edit);
	assert_int_equal(b->edited.status, STATUS_STALE);
}

/* The request says until when it may be taken. What is written after that, when its client has been
 * answered, is not changed by it. */
static void test_nothing_after_its_time(void **state)
{
	struct storage_bench *b = *state;
	storage_bench_stop(b, false);
	b->options.edit_flight_entries = 1;
	storage_bench_start(b);
	three(b);
	struct msg_shard_edit m = edit_of(b, 1, WRITE_PUT, "", "{\"w\":1}");
	m.until_ms = (uint64_t)b->now_ms + 500;
	m.life = b->options.life;
	send_edit(b, 1, &m);
	storage_bench_advance(b, 6000); /* past every deadline of the request */
	put(b, "c", "{\"v\":30}");
	peers_ack(b, PEER_B, 1, 7);
	assert_int_equal(b->written.status, STATUS_OK);
	for (uint64_t n = 8; n < 12; n++) {
		storage_bench_advance(b, 50);
		peers_ack(b, PEER_B, 1, n);
	}
	peers_grant(b, PEER_B, 1, false);
	expect_document(b, 1, "c", "{\"v\":30}");
}

int main(void)
{
#define ON_BENCH(test)                                                                             \
	cmocka_unit_test_setup_teardown(test, storage_bench_setup, storage_bench_teardown)
	const struct CMUnitTest tests[] = {
	    ON_BENCH(test_all),
	    ON_BENCH(test_filter),
	    ON_BENCH(test_entries_under_way_decide),
	    ON_BENCH(test_stops_at_a_document),
	    ON_BENCH(test_malformed),
	    ON_BENCH(test_again),
	    ON_BENCH(test_again_after_restart),
	    ON_BENCH(test_goes_on_in_another_epoch),
	    ON_BENCH(test_goes_on_after_a_cut),
	    ON_BENCH(test_stops_when_nobody_asks),
	    ON_BENCH(test_records_are_bounded),
	    ON_BENCH(test_jobs_are_bounded),
	    ON_BENCH(test_records_travel_in_snapshots),
	    ON_BENCH(test_snapshots_begin_with_records),
	    ON_BENCH(test_full_disk_takes_nothing_back),
	    ON_BENCH(test_full_disk_tells_what_was_done),
	    ON_BENCH(test_update),
	    ON_BENCH(test_refusal_waits),
	    ON_BENCH(test_increments_on_branches),
	    ON_BENCH(test_late_writes_are_refused),
	    ON_BENCH(test_nothing_after_its_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
