/* Views of a storage node: brought up to date by who asks, with a worker that the test plays. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/collation_key.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "storage-node/view.h"
#include "tests/sim/storage_peers.h"

enum {
	FIRST = 3, /* number of the first write: EPOCH and SETTINGS come before */
	SOON_MS = 10,
	LEASE_STEP_MS = 500,
	RESTART_MS = 2000 /* the life before may have granted a lease */
};

static struct json_parser *parser;

/* ---- documents, time ---- */

static void put(struct storage_bench *b, uint64_t epoch, const char *id, uint64_t v,
		uint64_t number)
{
	struct msg_doc_write m = peers_put(b, id, v);
	m.operation_id = peers_operation(b, number);
	peers_write(b, epoch, &m);
	peers_ack(b, PEER_B, epoch, number);
	assert_true(status_is_success(b->written.status));
}

static void remove_one(struct storage_bench *b, const char *id, uint64_t number)
{
	struct msg_doc_write m = peers_put(b, id, 0);
	m.operation_id = peers_operation(b, number);
	m.op = WRITE_DELETE;
	m.body = (struct slice){0};
	peers_write(b, 1, &m);
	peers_ack(b, PEER_B, 1, number);
	assert_true(status_is_success(b->written.status));
}

/* a: 1, b: 2, c: 3 */
static void three(struct storage_bench *b)
{
	peers_lead(b, MODE_CONSISTENT);
	put(b, 1, "a", 1, FIRST);
	put(b, 1, "b", 2, FIRST + 1);
	put(b, 1, "c", 3, FIRST + 2);
}

/* Under a lease. */
static void pass(struct storage_bench *b, uint64_t epoch, int64_t ms)
{
	for (; ms > 0; ms -= LEASE_STEP_MS) {
		peers_grant(b, PEER_B, epoch, false);
		storage_bench_advance(b, ms < LEASE_STEP_MS ? ms : LEASE_STEP_MS);
	}
}

/* ---- questions ---- */

static struct msg_view_query query_of(char letter)
{
	static struct view_range all;
	static uint8_t signature[16];
	memset(signature, letter, sizeof signature);
	return (struct msg_view_query){.shard = SHARD,
				       .signature = slice_of(signature, sizeof signature),
				       .map = slice_text("the function"),
				       .form = collation_form(),
				       .ranges = &all,
				       .ranges_count = 1,
				       .limit = 100};
}

static void send_query(struct storage_bench *b, uint64_t epoch, const struct msg_view_query *m)
{
	storage_bench_clear(b);
	b->viewed = (struct msg_view_query_ack){.status = 999};
	storage_bench_deliver(b, GATEWAY, MSG_view_query, epoch, m);
	storage_bench_advance(b, SOON_MS);
}

static void ask(struct storage_bench *b, uint64_t epoch)
{
	struct msg_view_query m = query_of('v');
	send_query(b, epoch, &m);
}

/* "key:id key:id | total" */
static void expect_rows(struct storage_bench *b, const char *wanted)
{
	struct buf text = {0};
	assert_int_equal(b->viewed.status, STATUS_OK);
	for (uint32_t i = 0; i < b->viewed.rows_count; i++) {
		const struct view_row *row = &b->viewed.rows[i];
		assert_true(json_from_msgpack(row->key, &text));
		buf_printf(&text, ":%.*s ", (int)row->id.len, (const char *)row->id.data);
	}
	buf_printf(&text, "| %llu", (unsigned long long)b->viewed.total);
	assert_string_equal(buf_cstr(&text), wanted);
	buf_close(&text);
}

/* ---- the worker ---- */

/* The documents that it was given; returns how many. */
static uint32_t given(struct storage_bench *b, struct buf *documents)
{
	struct mp_reader r = mp_reader_of(value_element(b->script.arguments, 2));
	struct json_error error;
	buf_clear(documents);
	assert_true(json_to_msgpack(parser, mp_read(&r).bytes, documents, &error));
	r = mp_reader_of(buf_slice(documents));
	return mp_read(&r).count;
}

static bool argument_has(struct storage_bench *b, uint32_t index, const char *part)
{
	struct mp_reader r = mp_reader_of(value_element(b->script.arguments, index));
	struct buf text = {0};
	buf_append_slice(&text, mp_read(&r).bytes);
	bool has = strstr(buf_cstr(&text), part) != NULL;
	buf_close(&text);
	return has;
}

static uint32_t given_count(struct storage_bench *b)
{
	struct buf documents = {0};
	uint32_t count = given(b, &documents);
	buf_close(&documents);
	return count;
}

static void say(struct storage_bench *b, enum script_status status, const char *text)
{
	struct buf output = {0};
	struct event e = {.kind = EVENT_SCRIPT};
	mp_write_text(&output, text);
	e.script.id = b->script.id;
	e.script.status = status;
	e.script.output = buf_slice(&output);
	storage_bench_step(b, &e);
	storage_bench_turn(b);
	storage_bench_advance(b, SOON_MS);
	buf_close(&output);
}

/* One row of each: its v. */
static void work(struct storage_bench *b)
{
	struct buf documents = {0};
	struct buf text = {0};
	uint32_t count = given(b, &documents);
	buf_append_byte(&text, '[');
	for (uint32_t i = 0; i < count; i++) {
		struct slice v =
		    value_member(value_element(buf_slice(&documents), i), slice_text("v"));
		buf_append_text(&text, i > 0 ? ",[" : "[");
		assert_true(json_from_msgpack(v, &text));
		buf_append_text(&text, ",null]");
	}
	buf_append_byte(&text, ']');
	say(b, SCRIPT_OK, buf_cstr(&text));
	buf_close(&documents);
	buf_close(&text);
}

/* Works until nothing is asked any more; dies of each batch with a document of this v. */
static void work_but(struct storage_bench *b, uint64_t poison)
{
	for (uint64_t last = 0; b->script.id != last;) {
		struct buf documents = {0};
		bool dies = false;
		uint32_t count = given(b, &documents);
		last = b->script.id;
		for (uint32_t i = 0; i < count; i++) {
			struct slice document = value_element(buf_slice(&documents), i);
			struct mp_reader r = mp_reader_of(value_member(document, slice_text("v")));
			dies |= mp_read(&r).u64 == poison;
		}
		buf_close(&documents);
		if (dies)
			say(b, SCRIPT_CRASHED, "died");
		else
			work(b);
	}
}

/* ---- cases ---- */

static void test_only_what_changed_is_read(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	assert_int_equal(b->scripts, 1);
	assert_int_equal(b->viewed.status, 999);
	assert_int_equal(given_count(b), 3);
	work(b);
	expect_rows(b, "1:a 2:b 3:c | 3");
	ask(b, 1);
	assert_int_equal(b->scripts, 0);
	expect_rows(b, "1:a 2:b 3:c | 3");
	put(b, 1, "b", 9, FIRST + 3);
	ask(b, 1);
	assert_int_equal(given_count(b), 1);
	work(b);
	expect_rows(b, "1:a 3:c 9:b | 3");
	remove_one(b, "a", FIRST + 4);
	ask(b, 1);
	storage_bench_advance(b, SOON_MS); /* its commit */
	assert_int_equal(b->scripts, 0);   /* nothing that it would see */
	expect_rows(b, "3:c 9:b | 2");
}

static void test_as_new_as_was_asked_for(void **state)
{
	struct storage_bench *b = *state;
	struct msg_view_query never = query_of('v'), later = query_of('v');
	never.update = VIEW_UPDATE_NEVER;
	later.update = VIEW_UPDATE_LATER;
	three(b);
	send_query(b, 1, &never);
	assert_int_equal(b->scripts, 0);
	expect_rows(b, "| 0");
	send_query(b, 1, &later);
	expect_rows(b, "| 0");
	assert_int_equal(b->scripts, 1);
	put(b, 1, "d", 4, FIRST + 3);
	work(b);
	send_query(b, 1, &never);
	expect_rows(b, "1:a 2:b 3:c | 3");
	ask(b, 1);
	work(b);
	expect_rows(b, "1:a 2:b 3:c 4:d | 4");
}

static void test_it_goes_on_after_a_restart(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	work(b);
	put(b, 1, "d", 4, FIRST + 3);
	ask(b, 1);
	assert_int_equal(given_count(b), 1);
	storage_bench_stop(b, true); /* while it works */
	storage_bench_start(b);
	storage_bench_advance(b, RESTART_MS);
	peers_place(b, 2, SELF, MODE_CONSISTENT);
	peers_promise(b, PEER_B, 2, STATUS_OK);
	storage_bench_advance(b, SOON_MS);
	for (uint64_t n = FIRST + 3; n < FIRST + 6; n++)
		peers_ack(b, PEER_B, 2, n);
	peers_grant(b, PEER_B, 2, false);
	ask(b, 2);
	assert_int_equal(b->scripts, 1);
	assert_int_equal(given_count(b), 1);
	work(b);
	expect_rows(b, "1:a 2:b 3:c 4:d | 4");
	put(b, 2, "a", 8, FIRST + 5); /* its row from before is found */
	ask(b, 2);
	work(b);
	expect_rows(b, "2:b 3:c 4:d 8:a | 4");
}

static void test_a_lead_that_goes(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	peers_place(b, 2, PEER_B, MODE_CONSISTENT);
	storage_bench_advance(b, SOON_MS);
	assert_int_equal(b->viewed.status, STATUS_NO_LEAD);
	work(b); /* too late, and no harm */
	ask(b, 2);
	assert_int_equal(b->scripts, 0);
	assert_true(b->viewed.status >= STATUS_NOT_LEAD || b->viewed.status == STATUS_NO_LEAD);
}

static void test_one_document_kills_the_worker(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	put(b, 1, "d", 4, FIRST + 3);
	put(b, 1, "e", 5, FIRST + 4);
	ask(b, 1);
	assert_int_equal(given_count(b), 5);
	work_but(b, 3);
	expect_rows(b, "1:a 2:b 4:d 5:e | 4");
	put(b, 1, "c", 6, FIRST + 5); /* it is mended */
	ask(b, 1);
	work_but(b, 3);
	expect_rows(b, "1:a 2:b 4:d 5:e 6:c | 5");
}

static void test_workers_that_are_busy_or_silent(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	say(b, SCRIPT_BUSY, "");
	assert_int_equal(b->scripts, 1);
	pass(b, 1, VIEW_RETRY_MS);
	assert_int_equal(b->scripts, 2);
	assert_int_equal(given_count(b), 3);
	pass(b, 1, VIEW_PATIENCE_MS + LEASE_STEP_MS);
	assert_int_equal(b->scripts, 3);
	work(b);
	expect_rows(b, "1:a 2:b 3:c | 3");
}

static void test_what_is_no_function(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	say(b, SCRIPT_OK, "\"SyntaxError: no\"");
	assert_int_equal(b->viewed.status, STATUS_BAD_FUNCTION);
	assert_true(slice_is(b->viewed.text, "SyntaxError: no"));
	ask(b, 1);
	assert_int_equal(b->viewed.status, STATUS_BAD_FUNCTION);
	assert_int_equal(b->scripts, 0);
}

/* What a worker says that its script has taken over. */
static void test_strange_answers(void **state)
{
	static const char *const strange[] = {
	    "", "[", "[]", "[[1,2],[],[],[]]", "{}", "7", "[[1],[],[]]", "[{},[],[]]", "[[1,2],[],",
	};
	struct storage_bench *b = *state;
	three(b);
	for (size_t i = 0; i < ARRAY_LEN(strange); i++) {
		struct msg_view_query m = query_of((char)('a' + i));
		send_query(b, 1, &m);
		assert_int_equal(given_count(b), 3);
		say(b, SCRIPT_OK, strange[i]);
		assert_int_equal(b->viewed.status, 999);
		assert_int_equal(given_count(b), 1); /* tried with fewer */
		work_but(b, 0);
		expect_rows(b, "1:a 2:b 3:c | 3");
	}
}

/* As metrics tell it: documents, and a thousand for each row. */
static uint64_t left_out(const struct storage_bench *b)
{
	static const char *const names[] = {"parley_view_documents_skipped_total ",
					    "parley_view_rows_left_out_total "};
	struct buf text = {0};
	uint64_t values[2];
	storage_ops.metrics(b->core, &text);
	for (int i = 0; i < 2; i++) {
		const char *at = strstr(buf_cstr(&text), names[i]);
		assert_non_null(at);
		values[i] = strtoull(at + strlen(names[i]), NULL, 10);
	}
	buf_close(&text);
	return values[0] + 1000 * values[1];
}

static void test_bounds_of_rows(void **state)
{
	struct storage_bench *b = *state;
	struct buf text = {0};
	peers_lead(b, MODE_CONSISTENT);
	put(b, 1, "a", 1, FIRST);
	ask(b, 1);
	buf_append_text(&text, "[[\"");
	for (int i = 0; i < COLLATION_KEY_BYTES; i++)
		buf_append_byte(&text, 'x');
	buf_append_text(&text, "\",null");
	for (int i = 0; i < VIEW_ROWS_MAX - 1; i++)
		buf_printf(&text, ",%d,null", i);
	size_t fits = text.len;
	buf_append_text(&text, "]]");
	say(b, SCRIPT_OK, buf_cstr(&text));
	assert_int_equal(b->viewed.status, STATUS_OK);
	assert_int_equal(b->viewed.total, VIEW_ROWS_MAX - 1); /* the first key is too long */
	assert_int_equal(b->viewed.rows_count, 100);
	assert_true(b->viewed.more);
	assert_int_equal(left_out(b), 1000);
	put(b, 1, "a", 2, FIRST + 1);
	ask(b, 1);
	work(b);
	expect_rows(b, "2:a | 1");
	/* one more, and there are none: half a document would be a lie */
	put(b, 1, "a", 3, FIRST + 2);
	ask(b, 1);
	text.len = fits;
	buf_append_text(&text, ",true,null]]");
	say(b, SCRIPT_OK, buf_cstr(&text));
	expect_rows(b, "| 0");
	assert_int_equal(left_out(b), 1001);
	put(b, 1, "a", 4, FIRST + 3);
	ask(b, 1);
	say(b, SCRIPT_OK, "[null]");
	expect_rows(b, "| 0");
	assert_int_equal(left_out(b), 1002);
	buf_close(&text);
}

static void test_rows_of_another_form(void **state)
{
	struct storage_bench *b = *state;
	struct msg_view_query m = query_of('v');
	struct buf key = {0}, value = {0};
	struct view_state old = {.signature = m.signature, .number = FIRST + 2, .rows = 3};
	three(b);
	m.form++;
	send_query(b, 1, &m);
	assert_int_equal(b->viewed.status, STATUS_VIEWS_DIFFER);
	key_shard(&key, 'w', SHARD);
	buf_append_slice(&key, m.signature);
	schema_encode(&schema_view_state, &old, &value);
	store_put(b->store, STORE_META, buf_slice(&key), buf_slice(&value));
	storage_bench_turn(b);
	ask(b, 1);
	assert_int_equal(given_count(b), 3); /* from the beginning */
	work(b);
	expect_rows(b, "1:a 2:b 3:c | 3");
	buf_close(&key);
	buf_close(&value);
}

static void test_the_view_nobody_asks_for_goes(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	for (int i = 0; i <= VIEWS_MAX; i++) {
		struct msg_view_query m = query_of((char)(64 + i));
		pass(b, 1, LEASE_STEP_MS);
		send_query(b, 1, &m);
		work(b);
		expect_rows(b, "1:a 2:b 3:c | 3");
	}
	assert_int_equal(peers_pairs(b, STORE_META, 'w'), VIEWS_MAX);
	assert_int_equal(peers_pairs(b, STORE_INDEXES, 'w'), VIEWS_MAX * 6);
}

static void purge(struct storage_bench *b, const char *id, uint64_t deletion, uint64_t number)
{
	struct cleanup_item item = {.id = slice_text(id), .number = deletion, .purge = true};
	struct cleanup_ack_row acks[] = {{SELF, INCARNATION + SELF, deletion},
					 {PEER_B, INCARNATION + PEER_B, deletion},
					 {PEER_C, INCARNATION + PEER_C, deletion}};
	struct msg_cleanup_commit m = {
	    .shard = SHARD, .items = &item, .items_count = 1, .acks = acks, .acks_count = 3};
	b->cleaned = (struct msg_cleanup_commit_ack){0};
	storage_bench_deliver(b, ARBITER, MSG_cleanup_commit, 1, &m);
	peers_ack(b, PEER_B, 1, number);
	assert_int_equal(b->cleaned.cleaned, 1);
}

/* A replica's view may be as old as its last lead: the deletion can be gone before it is read. */
static void test_nobody_asked_till_the_tombstone_went(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	work(b);
	expect_rows(b, "1:a 2:b 3:c | 3");
	remove_one(b, "b", FIRST + 3);
	purge(b, "b", FIRST + 3, FIRST + 4);
	ask(b, 1);
	storage_bench_advance(b, SOON_MS);
	assert_int_equal(b->scripts, 0);
	expect_rows(b, "1:a 3:c | 2");
}

/* While a worker is at it: what it makes of the others stands. */
static void test_a_tombstone_goes_during_a_build(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	remove_one(b, "b", FIRST + 3);
	ask(b, 1);
	assert_int_equal(given_count(b), 2);
	purge(b, "b", FIRST + 3, FIRST + 4);
	work(b);
	assert_int_equal(b->scripts, 1);
	expect_rows(b, "1:a 3:c | 2");
}

/* While it is among those that a worker makes rows of. */
static void test_it_goes_during_a_build(void **state)
{
	struct storage_bench *b = *state;
	three(b);
	ask(b, 1);
	assert_int_equal(given_count(b), 3);
	remove_one(b, "b", FIRST + 3);
	purge(b, "b", FIRST + 3, FIRST + 4);
	storage_bench_advance(b, SOON_MS);
	assert_int_equal(b->scripts, 2);
	assert_int_equal(given_count(b), 2);
	work(b);
	expect_rows(b, "1:a 3:c | 2");
}

static void test_what_the_function_sees(void **state)
{
	struct storage_bench *b = *state;
	struct msg_view_query m = query_of('v');
	peers_lead(b, MODE_CONSISTENT);
	put(b, 1, "_design/d", 1, FIRST);
	put(b, 1, "a", 2, FIRST + 1);
	send_query(b, 1, &m);
	assert_int_equal(given_count(b), 1);
	m = query_of('w');
	m.options = VIEW_INCLUDE_DESIGN | VIEW_LOCAL_SEQ;
	m.library = slice_text("{}");
	send_query(b, 1, &m);
	assert_true(argument_has(b, 2, "\"_id\":\"_design/d\""));
	assert_true(argument_has(b, 2, "\"_local_seq\":3"));
	assert_true(argument_has(b, 2, "\"_local_seq\":4"));
	assert_true(argument_has(b, 1, "{}"));
}

#define CASE(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, storage_bench_setup, storage_bench_teardown)

int main(void)
{
	static const struct CMUnitTest tests[] = {
	    CASE(test_only_what_changed_is_read),
	    CASE(test_as_new_as_was_asked_for),
	    CASE(test_it_goes_on_after_a_restart),
	    CASE(test_a_lead_that_goes),
	    CASE(test_one_document_kills_the_worker),
	    CASE(test_workers_that_are_busy_or_silent),
	    CASE(test_what_is_no_function),
	    CASE(test_strange_answers),
	    CASE(test_bounds_of_rows),
	    CASE(test_rows_of_another_form),
	    CASE(test_the_view_nobody_asks_for_goes),
	    CASE(test_nobody_asked_till_the_tombstone_went),
	    CASE(test_a_tombstone_goes_during_a_build),
	    CASE(test_it_goes_during_a_build),
	    CASE(test_what_the_function_sees),
	};
	parser = json_parser_new();
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	json_parser_free(parser);
	return failed;
}
