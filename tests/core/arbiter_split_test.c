/* One arbiter and an id that two documents share: what it writes before the old id becomes a stub,
 * and what it does when that is refused, or the documents change meanwhile. */
#include "tests/core/arbiter_case.h"

static void note_message(struct world *w, uint16_t type, const void *message)
{
	const struct msg_doc_write *write = message;
	const struct msg_derived_check *check = message;
	const struct msg_conflict_note *note = message;
	const struct msg_attachment_read *read = message;
	const struct msg_attachment_chunk *chunk = message;
	if (type == MSG_derived_check)
		buf_printf(&w->trace, " %.*s", (int)check->id.len, (const char *)check->id.data);
	if (type == MSG_doc_write)
		buf_printf(&w->trace, " %.*s%s", (int)write->id.len, (const char *)write->id.data,
			   memmem(write->body.data, write->body.len, "upload", 6) ? " upload" : "");
	if (type == MSG_conflict_note) {
		buf_append_byte(&w->trace, ' ');
		assert_true(json_from_msgpack(note->detail, &w->trace));
	}
	if (type == MSG_attachment_read)
		buf_printf(&w->trace, " %d", (int)read->number);
	if (type == MSG_attachment_chunk)
		buf_printf(&w->trace, " %d%s of %d", (int)chunk->chunk.number,
			   chunk->chunk.last ? " last" : "", (int)chunk->body.len);
}

/* What it asks of the lead, by name, with the document's id. */
static void note(struct world *w, const struct effect *effect)
{
	if (effect->kind != EFFECT_SEND || effect->send.member != NODE_A)
		return;
	const struct schema *schema = schema_of_message(effect->send.envelope.type);
	keep_sent(w, effect);
	void *message = arena_alloc(&w->arena, schema->size);
	assert_true(schema_decode(schema, effect->send.body, &w->arena, message));
	buf_append_text(&w->trace, schema->name);
	note_message(w, effect->send.envelope.type, message);
	buf_append_byte(&w->trace, '\n');
}

/* To the nth request of this type. */
static void answer_as(struct world *w, uint16_t type, uint32_t nth, uint16_t with, const void *body)
{
	for (uint32_t i = 0; i < w->sent_count; i++)
		if (w->sent[i].type == type && nth-- == 0) {
			struct envelope envelope = {
			    .type = with, .request_id = w->sent[i].request, .epoch = EPOCH};
			deliver(w, NODE_A, &envelope, body);
			return;
		}
	fail_msg("nothing of type %u was sent", type);
}

static void answer(struct world *w, uint16_t type, uint32_t nth, const void *body)
{
	answer_as(w, type, nth, type + 1, body);
}

#define STUB                                                                                       \
	"{\"content_type\":\"a/b\",\"revpos\":1,\"digest\":\"md5-AAAAAAAAAAAAAAAAAAAAAA==\","      \
	"\"length\":1048579,\"content\":"                                                          \
	"\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}"

/* The graph as the lead tells it for the nth time: a person, who may have been edited, and a
 * record. */
static void lead_tells_of(struct world *w, uint32_t nth, bool edited, const char *person)
{
	static uint64_t root[] = {0};
	struct graph_node nodes[] = {
	    {.revision = {1, slice_text("aaaaaaaaaaaaaaaaaaaa")},
	     .flags = REVISION_HAS_BODY | (edited ? 0 : REVISION_LEAF),
	     .body = body(w, person)},
	    {.revision = {1, slice_text("bbbbbbbbbbbbbbbbbbbb")},
	     .flags = REVISION_HAS_BODY | REVISION_LEAF,
	     .body = body(w, "{\"type\":\"record\"}")},
	    {.revision = {2, slice_text("cccccccccccccccccccc")},
	     .parents = root,
	     .parents_count = 1,
	     .flags = REVISION_HAS_BODY | REVISION_LEAF,
	     .body = body(w, "{\"type\":\"person\",\"n\":1}")},
	};
	struct msg_conflict_read_ack ack = {
	    .status = STATUS_OK,
	    .shard = SHARD,
	    .nodes = nodes,
	    .nodes_count = edited ? 3 : 2,
	    .policy_version = 3,
	    .policy = body(w, "{\"roots\":{\"kind\":[\"type\"]}}"),
	    .conflict = {.state = CONFLICT_OPEN, .number = edited ? 30 : 20}};
	answer(w, MSG_conflict_read, nth, &ack);
}

static void lead_tells(struct world *w, uint32_t nth, bool edited)
{
	lead_tells_of(w, nth, edited, "{\"type\":\"person\"}");
}

/* The person has a picture of two chunks. */
static void lead_shows_picture(struct world *w, uint32_t nth)
{
	lead_tells_of(w, nth, false, "{\"type\":\"person\",\"_attachments\":{\"p\":" STUB "}}");
}

static void checked(struct world *w, uint32_t nth, enum status status)
{
	struct msg_doc_write_ack ack = {.status = status};
	answer_as(w, MSG_derived_check, nth, MSG_doc_write_ack, &ack);
}

static void written(struct world *w, uint32_t nth, enum status status)
{
	struct msg_doc_write_ack ack = {.status = status};
	answer(w, MSG_doc_write, nth, &ack);
}

static void chunk_read(struct world *w, uint32_t nth, enum status status, size_t bytes)
{
	static const uint8_t zeros[1048576];
	struct msg_attachment_read_ack ack = {.status = status, .body = slice_of(zeros, bytes)};
	answer(w, MSG_attachment_read, nth, &ack);
}

static void chunk_sent(struct world *w, uint32_t nth, enum status status)
{
	struct msg_attachment_chunk_ack ack = {.status = status};
	answer(w, MSG_attachment_chunk, nth, &ack);
}

static void time_passes(struct world *w, int64_t ms)
{
	struct event timer = {.kind = EVENT_TIMER};
	w->now_ms += ms;
	step(w, &timer);
}

static int setup(void **state)
{
	struct world *w = world_open(state, 0, note);
	struct shard shard = placement(w, EPOCH, NODE_A, 1);
	struct collection collection = {.id = COLLECTION, .version = 3};
	struct msg_map_push push = {.map_version = 5,
				    .collections = &collection,
				    .collections_count = 1,
				    .shards = &shard,
				    .shards_count = 1};
	coordinator_says(w, MSG_map_push, &push);
	lease(w, true);
	feed(w, EVENT_TIMER);
	struct conflict_row row = {.id = slice_text("x"),
				   .conflict = {.state = CONFLICT_OPEN, .number = 20}};
	struct msg_conflict_list_ack list = {
	    .status = STATUS_OK, .shard = SHARD, .rows = &row, .rows_count = 1};
	answer(w, MSG_conflict_list, 0, &list);
	trace_is(w, "conflict_list\nconflict_read\n");
	return 0;
}

#define CHECKS "derived_check x~aaaaaaaaaaaaaaaa\nderived_check x~bbbbbbbbbbbbbbbb\n"
#define PARTS  "doc_write x~aaaaaaaaaaaaaaaa\ndoc_write x~bbbbbbbbbbbbbbbb\n"

/* Both may be written; the graph is read for the nth time. */
static void both_checked(struct world *w, uint32_t nth)
{
	checked(w, nth, STATUS_CREATED);
	checked(w, nth + 1, STATUS_CREATED);
	trace_is(w, CHECKS "conflict_read\n");
}

static void test_the_stub_comes_last(void **state)
{
	struct world *w = *state;
	lead_tells(w, 0, false);
	both_checked(w, 0);
	lead_tells(w, 1, false);
	trace_is(w, PARTS);
	written(w, 1, STATUS_CREATED);
	written(w, 1, STATUS_CREATED); /* twice */
	trace_is(w, "");
	written(w, 0, STATUS_CREATED);
	trace_is(w, "conflict_read\n");
	lead_tells(w, 2, false);
	trace_is(w, "conflict_resolve\n");
}

static void test_what_changed_meanwhile_is_written_too(void **state)
{
	struct world *w = *state;
	lead_tells(w, 0, false);
	both_checked(w, 0);
	lead_tells(w, 1, false);
	written(w, 0, STATUS_CREATED);
	written(w, 1, STATUS_CREATED);
	trace_is(w, PARTS "conflict_read\n");
	lead_tells(w, 2, true);
	trace_is(w, "derived_check x~bbbbbbbbbbbbbbbb\nderived_check x~aaaaaaaaaaaaaaaa\n");
	checked(w, 0, STATUS_CREATED); /* of the first try */
	checked(w, 2, STATUS_OK);
	trace_is(w, "");
	checked(w, 3, STATUS_OK);
	lead_tells(w, 3, true);
	trace_is(w, "conflict_read\ndoc_write x~bbbbbbbbbbbbbbbb\ndoc_write x~aaaaaaaaaaaaaaaa\n");
	written(w, 0, STATUS_CREATED); /* of the first try */
	written(w, 2, STATUS_OK);
	trace_is(w, "");
	written(w, 3, STATUS_OK);
	lead_tells(w, 4, true);
	trace_is(w, "conflict_read\nconflict_resolve\n");
}

static void test_where_an_id_is_taken_nothing_is_written(void **state)
{
	struct world *w = *state;
	lead_tells(w, 0, false);
	checked(w, 1, STATUS_CREATED);
	checked(w, 0, STATUS_PRECONDITION_FAILED);
	lead_tells(w, 1, false);
	trace_is(w, CHECKS "conflict_read\nconflict_note {\"by\":\"arbiter\",\"reason\":"
			   "\"split_taken\",\"text\":\"x~aaaaaaaaaaaaaaaa\"}\n");
}

static void test_no_answer_is_asked_for_again(void **state)
{
	struct world *w = *state;
	lead_tells(w, 0, false);
	checked(w, 0, STATUS_NO_LEAD);
	trace_is(w, CHECKS);
	time_passes(w, 1000);
	assert_non_null(strstr(buf_cstr(&w->trace), "conflict_read\n"));
	buf_clear(&w->trace);
	lead_tells(w, 1, false);
	trace_is(w, CHECKS);
}

/* Up to where the first chunk is asked for. */
static void begin_to_carry(struct world *w)
{
	lead_shows_picture(w, 0);
	checked(w, 1, STATUS_CREATED);
	checked(w, 0, STATUS_MISSING_ATTACHMENT);
	trace_is(w, CHECKS "conflict_read\n");
	lead_shows_picture(w, 1);
	trace_is(w, "attachment_read 0\n");
}

static void test_attachments_come_before_their_document(void **state)
{
	struct world *w = *state;
	begin_to_carry(w);
	chunk_read(w, 0, STATUS_OK, 1048576);
	trace_is(w, "attachment_chunk 0 of 1048576\n");
	chunk_sent(w, 0, STATUS_OK);
	chunk_sent(w, 0, STATUS_OK); /* twice */
	trace_is(w, "attachment_read 1\n");
	chunk_read(w, 1, STATUS_OK, 3);
	trace_is(w, "attachment_chunk 1 last of 3\n");
	chunk_sent(w, 1, STATUS_CREATED); /* by somebody else */
	trace_is(w, "conflict_read\n");
	lead_shows_picture(w, 2);
	trace_is(w, "doc_write x~aaaaaaaaaaaaaaaa upload\ndoc_write x~bbbbbbbbbbbbbbbb\n");
	written(w, 0, STATUS_CREATED);
	written(w, 1, STATUS_CREATED);
	lead_shows_picture(w, 3);
	trace_is(w, "conflict_read\nconflict_resolve\n");
}

static void test_a_chunk_that_was_lost_is_carried_again(void **state)
{
	struct world *w = *state;
	begin_to_carry(w);
	chunk_read(w, 0, STATUS_OK, 1048576);
	chunk_sent(w, 0, STATUS_OK);
	chunk_read(w, 1, STATUS_OK, 3);
	buf_clear(&w->trace);
	time_passes(w, 2000);
	time_passes(w, 1000);
	assert_non_null(strstr(buf_cstr(&w->trace), "conflict_read\n"));
	buf_clear(&w->trace);
	lead_shows_picture(w, 2);
	trace_is(w, "attachment_read 1\n");
}

static void test_an_upload_that_is_gone_is_begun_anew(void **state)
{
	struct world *w = *state;
	begin_to_carry(w);
	chunk_read(w, 0, STATUS_OK, 1048576);
	chunk_sent(w, 0, STATUS_OK);
	chunk_read(w, 1, STATUS_OK, 3);
	chunk_sent(w, 1, STATUS_NOT_FOUND);
	buf_clear(&w->trace);
	time_passes(w, 1000);
	buf_clear(&w->trace);
	lead_shows_picture(w, 2);
	trace_is(w, CHECKS);
	checked(w, 2, STATUS_OK); /* another arbiter has made it */
	checked(w, 3, STATUS_CREATED);
	lead_shows_picture(w, 3);
	trace_is(w, "conflict_read\n" PARTS);
}

static void test_a_content_that_is_nowhere_leaves_it_open(void **state)
{
	struct world *w = *state;
	begin_to_carry(w);
	chunk_read(w, 0, STATUS_NOT_FOUND, 0);
	lead_shows_picture(w, 2);
	trace_is(w, "conflict_read\nconflict_note {\"by\":\"arbiter\",\"reason\":\"refused\","
		    "\"text\":\"missing_attachment\"}\n");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, world_close)
	const struct CMUnitTest tests[] = {
	    T(test_the_stub_comes_last),
	    T(test_what_changed_meanwhile_is_written_too),
	    T(test_where_an_id_is_taken_nothing_is_written),
	    T(test_no_answer_is_asked_for_again),
	    T(test_attachments_come_before_their_document),
	    T(test_a_chunk_that_was_lost_is_carried_again),
	    T(test_an_upload_that_is_gone_is_begun_anew),
	    T(test_a_content_that_is_nowhere_leaves_it_open),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
