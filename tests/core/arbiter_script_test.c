/* One arbiter and a conflict whose policy is a script: what is asked, and what becomes of answers,
 * failures and silence. */
#include <stdio.h>

#include "tests/core/arbiter_case.h"

/* ---- the shell ---- */

static void note_send(struct world *w, const struct effect *effect)
{
	if (effect->send.member != NODE_A)
		return;
	w->last = effect->send.envelope;
	buf_clear(&w->last_body);
	buf_append_slice(&w->last_body, effect->send.body);
	buf_printf(&w->trace, "%s\n", schema_of_message(w->last.type)->name);
}

static void note_script(struct world *w, const struct effect *effect)
{
	const struct script_request *r = &effect->script;
	w->script = r->id;
	buf_printf(&w->trace, "script %.*s %llu ms %llu MiB ", (int)r->source.len,
		   (const char *)r->source.data, (unsigned long long)r->time_ms,
		   (unsigned long long)r->memory_bytes >> 20);
	assert_true(json_from_msgpack(r->arguments, &w->trace));
	buf_append_byte(&w->trace, '\n');
}

static void note(struct world *w, const struct effect *effect)
{
	if (effect->kind == EFFECT_SEND)
		note_send(w, effect);
	if (effect->kind == EFFECT_SCRIPT)
		note_script(w, effect);
	if (effect->kind == EFFECT_SCRIPT_DROP)
		buf_printf(&w->trace, "drop%s\n", effect->script.id == w->script ? "" : " another");
}

/* To the last message that it was sent. */
static void lead_says(struct world *w, uint16_t type, const void *message)
{
	struct envelope envelope = {
	    .type = type, .request_id = w->last.request_id, .epoch = w->last.epoch};
	deliver(w, NODE_A, &envelope, message);
}

static bool metric_is(struct world *w, const char *line)
{
	buf_clear(&w->scratch);
	buf_append_byte(&w->scratch, '\n');
	arbiter_ops.metrics(w->arbiter, &w->scratch);
	return strstr(buf_cstr(&w->scratch), line) != NULL;
}

/* ---- the cluster ---- */

/* versions: of the map and of the collection. */
static void push_map(struct world *w, uint64_t map_version, uint64_t version)
{
	struct shard shard = placement(w, EPOCH, NODE_A, 1);
	struct collection collection = {.id = COLLECTION,
					.name = slice_text("things"),
					.version = version,
					.replicas = 1,
					.write_quorum = 1};
	struct msg_map_push push = {.map_version = map_version,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	coordinator_says(w, MSG_map_push, &push);
}

static int setup(void **state)
{
	struct world *w = world_open(state, 0, note);
	push_map(w, 5, 3);
	lease(w, true);
	run_until(w, 0);
	trace_is(w, "conflict_list\n");
	return 0;
}

/* Conflicts of these documents; MSG_conflict_list must have been the last that was asked. */
static void list_shows(struct world *w, char names[][8], uint32_t count)
{
	struct conflict_row rows[64];
	for (uint32_t i = 0; i < count; i++) {
		rows[i] = (struct conflict_row){.id = slice_text(names[i])};
		rows[i].conflict.state = CONFLICT_OPEN;
	}
	struct msg_conflict_list_ack ack = {
	    .status = STATUS_OK, .shard = SHARD, .rows = rows, .rows_count = count};
	assert_int_equal(w->last.type, MSG_conflict_list);
	lead_says(w, MSG_conflict_list_ack, &ack);
}

static void lead_shows(struct world *w, const struct msg_conflict_read_ack *ack)
{
	assert_int_equal(w->last.type, MSG_conflict_read);
	lead_says(w, MSG_conflict_read_ack, ack);
}

static void lead_resolves(struct world *w)
{
	struct msg_conflict_resolve_ack ack = {.status = STATUS_OK, .shard = SHARD};
	assert_int_equal(w->last.type, MSG_conflict_resolve);
	lead_says(w, MSG_conflict_resolve_ack, &ack);
}

static void script_ends(struct world *w, enum script_status status, const char *output)
{
	struct event event = {.kind = EVENT_SCRIPT};
	event.script.id = w->script;
	event.script.status = status;
	event.script.output = status == SCRIPT_OK ? body(w, output) : slice_text(output);
	step(w, &event);
}

/* ---- tests ---- */

#define SCRIPT    "{\"strategy\":\"script\",\"script\":\"f\"}"
#define OR_NEWEST "{\"strategy\":\"script\",\"script\":\"f\",\"fallback\":\"newest\"}"

/* Reads the graph, and asks the script. */
static void script_is_asked(struct world *w, const char *policy, struct msg_conflict_read_ack *ack)
{
	list_shows(w, (char[][8]){"doc"}, 1);
	*ack = graph(w, "{\"a\":3,\"b\":1}", policy);
	buf_clear(&w->trace);
	lead_shows(w, ack);
	trace_is(w, "script f 500 ms 64 MiB ["
		    "{\"rev\":\"1-o\",\"document\":{\"id\":\"doc\",\"a\":1,\"b\":1}},"
		    "[{\"rev\":\"2-b\",\"document\":{\"id\":\"doc\",\"a\":2,\"b\":1}},"
		    "{\"rev\":\"2-a\",\"document\":{\"id\":\"doc\",\"a\":3,\"b\":1}}]]\n");
}

/* The script ends, the graph is read once more: what is said then, as JSON; empty for a resolution.
 */
static const char *said(struct world *w, struct msg_conflict_read_ack *ack,
			enum script_status status, const char *output)
{
	struct msg_conflict_note note;
	script_ends(w, status, output);
	trace_is(w, "conflict_read\n");
	lead_shows(w, ack);
	buf_clear(&w->scratch);
	if (w->last.type == MSG_conflict_resolve)
		return "";
	assert_int_equal(w->last.type, MSG_conflict_note);
	assert_true(schema_decode(schema_of_message(MSG_conflict_note), buf_slice(&w->last_body),
				  &w->arena, &note));
	assert_true(json_from_msgpack(note.detail, &w->scratch));
	return buf_cstr(&w->scratch);
}

static void test_a_script_resolves(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	struct msg_conflict_resolve resolve;
	script_is_asked(w, SCRIPT, &ack);
	assert_string_equal(said(w, &ack, SCRIPT_OK, "{\"resolve\":{\"id\":\"doc\",\"a\":5}}"), "");
	assert_true(schema_decode(schema_of_message(MSG_conflict_resolve), buf_slice(&w->last_body),
				  &w->arena, &resolve));
	assert_true(json_from_msgpack(resolve.body, &w->scratch));
	assert_string_equal(buf_cstr(&w->scratch), "{\"a\":5}");
	lead_resolves(w);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"script\"} 1\n"));
	assert_true(metric_is(w, "\nparley_arbiter_tasks 0\n"));
}

static void test_a_script_is_asked_again_when_leaves_moved(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack, moved;
	script_is_asked(w, SCRIPT, &ack);
	uint64_t first = w->script;
	script_ends(w, SCRIPT_OK, "{\"pick\":\"2-a\"}");
	moved = graph(w, "{\"a\":4,\"b\":1}", SCRIPT);
	buf_clear(&w->trace);
	lead_shows(w, &moved);
	assert_non_null(strstr(buf_cstr(&w->trace), "script f"));
	assert_true(w->script != first);
	/* what the first one says again counts no more */
	buf_clear(&w->trace);
	uint64_t second = w->script;
	w->script = first;
	script_ends(w, SCRIPT_OK, "{\"delete\":true}");
	trace_is(w, "");
	w->script = second;
	assert_string_equal(said(w, &moved, SCRIPT_OK, "{\"pick\":\"2-b\"}"), "");
}

static void test_a_script_that_fails_leaves_it_open(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, SCRIPT, &ack);
	assert_string_equal(said(w, &ack, SCRIPT_TIME, "ran longer than 500 ms"),
			    "{\"by\":\"arbiter\",\"reason\":\"script_failed\","
			    "\"text\":\"time: ran longer than 500 ms\"}");
	assert_true(metric_is(w, "\nparley_conflicts_scripts_failed_total 1\n"));
	assert_true(metric_is(w, "\nparley_arbiter_tasks 0\n"));
}

static void test_a_script_that_says_rubbish(void **state)
{
	struct world *w;
	static const char *const rubbish[] = {
	    "null", "{\"a\":1}", "{\"resolve\":[]}", "{\"pick\":\"2-z\"}", "{\"delete\":0}",
	};
	for (size_t i = 0; i < ARRAY_LEN(rubbish); i++) {
		struct msg_conflict_read_ack ack;
		world_close(state);
		setup(state);
		w = *state;
		script_is_asked(w, SCRIPT, &ack);
		assert_non_null(strstr(said(w, &ack, SCRIPT_OK, rubbish[i]), "script_failed"));
	}
}

static void test_a_script_wants_a_person(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, OR_NEWEST, &ack);
	assert_string_equal(said(w, &ack, SCRIPT_OK, "{\"open\":\"ask Ann\"}"),
			    "{\"by\":\"arbiter\",\"reason\":\"script_open\",\"text\":\"ask Ann\"}");
}

static void test_a_script_has_a_fallback(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, OR_NEWEST, &ack);
	assert_string_equal(said(w, &ack, SCRIPT_THREW, "Error: no"), "");
	lead_resolves(w);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"newest\"} 1\n"));
}

/* That is not the script's fault: no fallback. */
static void test_no_worker_for_scripts(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, OR_NEWEST, &ack);
	assert_non_null(strstr(said(w, &ack, SCRIPT_UNAVAILABLE, "can't be started"),
			       "\"reason\":\"script_unavailable\""));
}

/* Lets time pass until the graph is read again. */
static void await_read(struct world *w)
{
	w->last.type = 0;
	for (int i = 0; i < 5000 && w->last.type != MSG_conflict_read; i++)
		run_until(w, w->now_ms + 10);
}

static void test_busy_crashed_and_lost_scripts_are_run_again(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, SCRIPT, &ack);
	uint64_t asked = w->script;
	for (int i = 0; i < 3; i++) {
		if (i == 0)
			script_ends(w, SCRIPT_CRASHED, "the worker ended with signal 11");
		if (i == 1)
			script_ends(w, SCRIPT_BUSY, "");
		/* and one answer is lost */
		await_read(w);
		lead_shows(w, &ack);
		assert_true(w->script != asked);
		asked = w->script;
	}
	assert_int_equal(w->now_ms > 30000, true);
	assert_true(metric_is(w, "\nparley_conflicts_noted_total 0\n"));
	/* what crashes again is the script's fault */
	buf_clear(&w->trace);
	assert_non_null(strstr(said(w, &ack, SCRIPT_CRASHED, "signal 11"), "crashed: signal 11"));
}

/* A run that nobody waits for any more is not made, in the place of others; when only the lead is
 * another one it is waited for. */
static void test_runs_given_up_are_dropped(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, SCRIPT, &ack);
	struct msg_shard_newer newer = {.shard = placement(w, EPOCH + 1, NODE_A, 1)};
	struct envelope envelope = {.type = MSG_shard_newer};
	deliver(w, NODE_A, &envelope, &newer);
	run_until(w, 29000);
	assert_null(strstr(buf_cstr(&w->trace), "script"));
	assert_null(strstr(buf_cstr(&w->trace), "drop"));
	run_until(w, 31000);
	assert_non_null(strstr(buf_cstr(&w->trace), "drop\n"));
}

/* Slow scripts leave room for other shards' documents. */
static void test_scripts_in_hand_are_bounded(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":3,\"b\":1}", SCRIPT);
	list_shows(w, (char[][8]){"first"}, 1);
	lead_shows(w, &ack);
	run_until(w, 200);
	char names[40][8];
	for (int i = 0; i < 40; i++)
		snprintf(names[i], sizeof names[i], "d%02d", i);
	list_shows(w, names, 40);
	assert_true(metric_is(w, "\nparley_arbiter_tasks 16\n"));
}

/* The run under way may end; whoever waits for it goes by the new policy at once. */
static void test_a_policy_that_moved_is_not_waited_for(void **state)
{
	struct world *w = *state;
	struct msg_conflict_read_ack ack;
	script_is_asked(w, SCRIPT, &ack);
	push_map(w, 6, 3);
	trace_is(w, "");
	push_map(w, 7, 4);
	trace_is(w, "drop\nconflict_read\n");
	/* the lead has not heard of it */
	lead_shows(w, &ack);
	trace_is(w, "");
	script_ends(w, SCRIPT_OK, "{\"pick\":\"2-a\"}");
	trace_is(w, "");
	await_read(w);
	ack = graph(w, "{\"a\":3,\"b\":1}", "{\"strategy\":\"newest\"}");
	ack.policy_version = 4;
	lead_shows(w, &ack);
	lead_resolves(w);
	assert_true(metric_is(w, "\nparley_conflicts_resolved_total{how=\"newest\"} 1\n"));
}

/* "doc" with so many leaves, at another number each time, as the queue is looked at. */
static void list_shows_many(struct world *w, uint64_t number, uint64_t leaves)
{
	struct conflict_row row = {.id = slice_text("doc")};
	row.conflict =
	    (struct conflict){.state = CONFLICT_OPEN, .number = number, .leaves_all = leaves};
	struct msg_conflict_list_ack ack = {
	    .status = STATUS_OK, .shard = SHARD, .rows = &row, .rows_count = 1};
	assert_int_equal(w->last.type, MSG_conflict_list);
	buf_clear(&w->trace);
	lead_says(w, MSG_conflict_list_ack, &ack);
}

static void stays_open(struct world *w, uint64_t number, uint64_t leaves)
{
	struct msg_conflict_read_ack ack = graph(w, "{\"a\":3,\"b\":1}", "{}");
	ack.conflict =
	    (struct conflict){.state = CONFLICT_OPEN, .number = number, .leaves_all = leaves};
	lead_shows(w, &ack);
	assert_int_equal(w->last.type, MSG_conflict_note);
}

/* What can't be decided is read again after a pause, however many leaves come, or when there are
 * far fewer. */
static void test_thousands_of_leaves_take_a_pause(void **state)
{
	struct world *w = *state;
	list_shows_many(w, 19, 10000);
	stays_open(w, 19, 10000);
	run_until(w, 200);
	list_shows_many(w, 20, 10001);
	trace_is(w, "");
	run_until(w, 9000);
	list_shows_many(w, 21, 10002);
	trace_is(w, "");
	run_until(w, 9900);
	list_shows_many(w, 22, 5000);
	trace_is(w, "conflict_read\n");
	stays_open(w, 22, 5000);
	run_until(w, 14800);
	list_shows_many(w, 23, 5000);
	trace_is(w, "");
	run_until(w, 16000);
	list_shows_many(w, 24, 5001);
	trace_is(w, "conflict_read\n");
	stays_open(w, 24, 5001);
	/* another policy */
	push_map(w, 6, 4);
	run_until(w, 16500);
	list_shows_many(w, 24, 5001);
	trace_is(w, "conflict_read\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, world_close)
	const struct CMUnitTest tests[] = {
	    T(test_a_script_resolves),
	    T(test_a_script_is_asked_again_when_leaves_moved),
	    T(test_a_script_that_fails_leaves_it_open),
	    T(test_a_script_that_says_rubbish),
	    T(test_a_script_wants_a_person),
	    T(test_a_script_has_a_fallback),
	    T(test_no_worker_for_scripts),
	    T(test_busy_crashed_and_lost_scripts_are_run_again),
	    T(test_runs_given_up_are_dropped),
	    T(test_scripts_in_hand_are_bounded),
	    T(test_a_policy_that_moved_is_not_waited_for),
	    T(test_thousands_of_leaves_take_a_pause),
	};
#undef T
	return cmocka_run_group_tests(tests, NULL, NULL);
}
