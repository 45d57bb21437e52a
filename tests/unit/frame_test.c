#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proto/msgpack.h"
#include "proto/schema.h"

enum { CLUSTER = 0x1122 };

static void write_frame(struct buf *frame)
{
	struct msg_doc_read read = {.shard = 7, .id = slice_text("a")};
	struct msg_doc_read_ack ack = {.status = STATUS_NOT_FOUND};
	struct envelope first = {
	    .type = MSG_doc_read, .request_id = 9, .epoch = 3, .trace_id = {1}};
	struct envelope second = {.type = MSG_doc_read_ack, .request_id = UINT64_MAX};
	frame_begin(frame, CLUSTER);
	frame_append(frame, &first, &read);
	frame_append(frame, &second, &ack);
}

static void test_the_bytes_of_a_frame(void **state)
{
	(void)state;
	static const uint8_t expected[] = {
	    'P',  'Y',  1, 0, 0,    0,    0, 0, 0, 0,    0x11, 0x22, /* header */
	    0x95, 0x22, 9, 3, 0xc4, 0, /* doc_read, request 9, epoch 3 */
	    0xc6, 0,    0, 0, 7,    0x82, 1, 7, 2, 0xc4, 1,    'a'};
	struct msg_doc_read read = {.shard = 7, .id = slice_text("a")};
	struct envelope envelope = {.type = MSG_doc_read, .request_id = 9, .epoch = 3};
	struct buf frame = {0};
	frame_begin(&frame, CLUSTER);
	frame_append(&frame, &envelope, &read);
	assert_int_equal(frame.len, sizeof expected);
	assert_memory_equal(frame.data, expected, sizeof expected);
	buf_close(&frame);
}

static void test_messages_come_out_as_they_went_in(void **state)
{
	(void)state;
	struct buf frame = {0};
	struct arena arena = {0};
	struct frame_reader r;
	struct envelope envelope;
	struct slice body;
	write_frame(&frame);
	assert_int_equal(frame_open(&r, buf_slice(&frame), CLUSTER), FRAME_OK);
	assert_int_equal(r.cluster, CLUSTER);

	assert_int_equal(frame_next(&r, &envelope, &body), FRAME_OK);
	assert_int_equal(envelope.type, MSG_doc_read);
	assert_int_equal(envelope.request_id, 9);
	assert_int_equal(envelope.epoch, 3);
	assert_int_equal(envelope.trace_id[0], 1);
	struct msg_doc_read read;
	assert_true(schema_decode(&schema_msg_doc_read, body, &arena, &read));
	assert_true(slice_is(read.id, "a"));

	assert_int_equal(frame_next(&r, &envelope, &body), FRAME_OK);
	assert_int_equal(envelope.type, MSG_doc_read_ack);
	assert_true(envelope.request_id == UINT64_MAX);
	assert_int_equal(envelope.trace_id[0], 0);
	struct msg_doc_read_ack ack;
	assert_true(schema_decode(&schema_msg_doc_read_ack, body, &arena, &ack));
	assert_int_equal(ack.status, STATUS_NOT_FOUND);

	assert_int_equal(frame_next(&r, &envelope, &body), FRAME_END);
	assert_int_equal(frame_next(&r, &envelope, &body), FRAME_END);
	arena_close(&arena);
	buf_close(&frame);
}

static void test_headers_are_checked(void **state)
{
	(void)state;
	struct buf frame = {0};
	struct frame_reader r;
	write_frame(&frame);
	assert_int_equal(frame_open(&r, buf_slice(&frame), 0), FRAME_OK);
	assert_int_equal(frame_open(&r, buf_slice(&frame), CLUSTER + 1), FRAME_OTHER_CLUSTER);
	assert_int_equal(r.cluster, CLUSTER);
	for (size_t len = 0; len < FRAME_HEADER_BYTES; len++)
		assert_int_equal(frame_open(&r, slice_of(frame.data, len), 0), FRAME_MALFORMED);
	assert_int_equal(frame_open(&r, (struct slice){0}, 0), FRAME_MALFORMED);
	frame.data[3] = 77;
	assert_int_equal(frame_open(&r, buf_slice(&frame), CLUSTER), FRAME_OK);
	assert_int_equal(r.minor, 77);
	frame.data[1] = 'X';
	assert_int_equal(frame_open(&r, buf_slice(&frame), CLUSTER), FRAME_MALFORMED);
	buf_close(&frame);
}

/* Whatever follows the four bytes may look quite different in another major version. */
static void test_another_major_version_is_told_from_four_bytes(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {'P', 'Y', PROTOCOL_MAJOR + 1, 4};
	struct frame_reader r;
	assert_int_equal(frame_open(&r, slice_of(bytes, sizeof bytes), CLUSTER), FRAME_OTHER_MAJOR);
	assert_int_equal(r.major, PROTOCOL_MAJOR + 1);
	assert_int_equal(r.minor, 4);
}

/* Messages until the end or a problem. */
static enum frame_problem read_all(struct slice bytes, int *messages)
{
	struct frame_reader r;
	struct envelope envelope;
	struct slice body;
	enum frame_problem problem = frame_open(&r, bytes, CLUSTER);
	for (*messages = 0; problem == FRAME_OK; *messages += problem == FRAME_OK)
		problem = frame_next(&r, &envelope, &body);
	return problem;
}

static void test_truncated_frames_are_malformed(void **state)
{
	(void)state;
	struct buf frame = {0};
	int ends = 0;
	write_frame(&frame);
	for (size_t len = FRAME_HEADER_BYTES; len <= frame.len; len++) {
		int messages;
		enum frame_problem problem = read_all(slice_of(frame.data, len), &messages);
		assert_true(problem == FRAME_END || problem == FRAME_MALFORMED);
		ends += problem == FRAME_END;
	}
	/* After the header, after the first message, after the second. */
	assert_int_equal(ends, 3);
	buf_close(&frame);
}

/* One message whose envelope the caller shapes; false if the reader refuses it. */
static bool accepts(uint32_t members, uint64_t type, size_t trace_bytes, bool body)
{
	static const uint8_t zeros[32];
	struct buf frame = {0};
	int messages;
	frame_begin(&frame, CLUSTER);
	mp_write_array(&frame, members);
	mp_write_u64(&frame, type);
	mp_write_u64(&frame, 1);
	mp_write_u64(&frame, 1);
	mp_write_bin(&frame, slice_of(zeros, trace_bytes));
	if (body)
		mp_write_bin(&frame, slice_text("x"));
	else
		mp_write_nil(&frame);
	for (uint32_t i = 5; i < members; i++)
		mp_write_text(&frame, "later");
	enum frame_problem problem = read_all(buf_slice(&frame), &messages);
	buf_close(&frame);
	return problem == FRAME_END && messages == 1;
}

static void test_envelopes_are_checked(void **state)
{
	(void)state;
	assert_true(accepts(5, MSG_doc_read, 16, true));
	assert_true(accepts(5, MSG_doc_read, 0, true));
	assert_true(accepts(5, UINT16_MAX, 0, true));
	assert_false(accepts(5, UINT16_MAX + 1, 0, true));
	assert_false(accepts(5, MSG_doc_read, 15, true));
	assert_false(accepts(5, MSG_doc_read, 17, true));
	assert_false(accepts(5, MSG_doc_read, 16, false));
	assert_false(accepts(4, MSG_doc_read, 16, true));
	assert_true(accepts(7, MSG_doc_read, 16, true));
}

static void test_roles_decide_who_may_send_what(void **state)
{
	(void)state;
	assert_true(message_allowed(MSG_doc_write, ROLE_GATEWAY, ROLE_STORAGE));
	/* the parts of a split */
	assert_true(message_allowed(MSG_doc_write, ROLE_ARBITER, ROLE_STORAGE));
	assert_false(message_allowed(MSG_shard_edit, ROLE_ARBITER, ROLE_STORAGE));
	assert_false(message_allowed(MSG_doc_write, ROLE_GATEWAY, ROLE_COORDINATOR));
	assert_true(message_allowed(MSG_map_push, ROLE_COORDINATOR, ROLE_ARBITER));
	assert_false(message_allowed(MSG_map_push, ROLE_GATEWAY, ROLE_ARBITER));
	assert_false(message_allowed(MSG_doc_write, ROLE_NONE, ROLE_STORAGE));
	assert_false(message_allowed(MSG_doc_write, (enum role)(ROLE_MAX + 1), ROLE_STORAGE));
	assert_false(message_allowed(MSG_doc_write, (enum role)64, ROLE_STORAGE));
	assert_false(message_allowed(MSG_NONE, ROLE_GATEWAY, ROLE_STORAGE));
	assert_false(message_allowed(MSG_NUMBER_MAX, ROLE_GATEWAY, ROLE_STORAGE));
	assert_false(message_allowed(UINT16_MAX, ROLE_GATEWAY, ROLE_STORAGE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_bytes_of_a_frame),
	    cmocka_unit_test(test_messages_come_out_as_they_went_in),
	    cmocka_unit_test(test_headers_are_checked),
	    cmocka_unit_test(test_another_major_version_is_told_from_four_bytes),
	    cmocka_unit_test(test_truncated_frames_are_malformed),
	    cmocka_unit_test(test_envelopes_are_checked),
	    cmocka_unit_test(test_roles_decide_who_may_send_what),
	};
	return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
