/* Frames between a daemon and its script worker. */
#include "proto/script_frame.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "proto/msgpack.h"

static struct buf frame;

static const uint8_t empty_array[] = {0x90};
static const uint8_t nil[] = {0xc0};

static struct script_request some_request(void)
{
	return (struct script_request){.id = 7,
				       .time_ms = 100,
				       .memory_bytes = 1 << 20,
				       .source = slice_text("() => 1"),
				       .arguments = slice_of(empty_array, 1)};
}

static struct slice body_of(const struct buf *whole)
{
	struct slice body;
	assert_int_equal(script_frame_next(buf_slice(whole), &body), SCRIPT_FRAME_WHOLE);
	assert_int_equal(body.len + SCRIPT_FRAME_HEAD, whole->len);
	return body;
}

static void test_request(void **state)
{
	(void)state;
	struct script_request sent = some_request(), got;
	buf_clear(&frame);
	assert_true(script_request_write(&sent, &frame));
	assert_true(script_request_read(body_of(&frame), &got));
	assert_int_equal(got.id, 7);
	assert_int_equal(got.time_ms, 100);
	assert_int_equal(got.memory_bytes, 1 << 20);
	assert_true(slice_equal(got.source, sent.source));
	assert_true(slice_equal(got.arguments, sent.arguments));
}

static void test_a_source_to_be_compiled(void **state)
{
	(void)state;
	struct script_request sent = some_request(), got;
	sent.arguments = slice_of(NULL, 0);
	buf_clear(&frame);
	assert_true(script_request_write(&sent, &frame));
	assert_true(script_request_read(body_of(&frame), &got));
	assert_true(slice_equal(got.source, sent.source));
	assert_int_equal(got.arguments.len, 0);
}

static void test_replies(void **state)
{
	(void)state;
	struct script_reply got;
	for (int i = 0; i <= SCRIPT_STATUS_MAX; i++) {
		struct script_reply sent = {.id = 9,
					    .status = (enum script_status)i,
					    .value = slice_of(nil, 1),
					    .text = slice_text("why"),
					    .last = i % 2};
		buf_clear(&frame);
		assert_true(script_reply_write(&sent, &frame));
		assert_true(script_reply_read(body_of(&frame), &got));
		assert_int_equal(got.id, 9);
		assert_int_equal(got.status, i);
		assert_int_equal(got.last, i % 2);
		assert_true(slice_equal(i == SCRIPT_OK ? got.value : got.text,
					i == SCRIPT_OK ? sent.value : sent.text));
		assert_string_not_equal(script_status_name(sent.status), "unknown");
	}
}

static void test_parts_of_a_frame(void **state)
{
	(void)state;
	struct slice body;
	struct script_request sent = some_request(), got;
	buf_clear(&frame);
	assert_true(script_request_write(&sent, &frame));
	for (size_t len = 0; len < frame.len; len++)
		assert_int_equal(script_frame_next(slice_of(frame.data, len), &body),
				 SCRIPT_FRAME_MORE);
	struct slice whole = body_of(&frame);
	for (size_t len = 0; len < whole.len; len++)
		assert_false(script_request_read(slice_of(whole.data, len), &got));
}

static void test_lies(void **state)
{
	(void)state;
	struct slice body;
	struct script_reply reply;
	struct script_request request = some_request(), got;
	static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff};
	static const uint8_t map[] = {0x80};
	assert_int_equal(script_frame_next(slice_of(huge, 4), &body), SCRIPT_FRAME_BAD);
	/* id 0 is the worker's own */
	request.id = 0;
	buf_clear(&frame);
	assert_true(script_request_write(&request, &frame));
	assert_false(script_request_read(body_of(&frame), &got));
	/* arguments that are no array */
	request = some_request();
	request.arguments = slice_of(map, 1);
	buf_clear(&frame);
	assert_true(script_request_write(&request, &frame));
	assert_false(script_request_read(body_of(&frame), &got));
	/* a status that there is not, and bytes behind */
	buf_clear(&frame);
	mp_write_array(&frame, 4);
	mp_write_u64(&frame, 1);
	mp_write_u64(&frame, SCRIPT_STATUS_MAX + 1);
	mp_write_text(&frame, "why");
	mp_write_bool(&frame, false);
	assert_false(script_reply_read(buf_slice(&frame), &reply));
	frame.data[2] = SCRIPT_THREW;
	assert_true(script_reply_read(buf_slice(&frame), &reply));
	mp_write_nil(&frame);
	assert_false(script_reply_read(buf_slice(&frame), &reply));
}

static void test_too_large(void **state)
{
	(void)state;
	struct script_request request = some_request();
	buf_clear(&frame);
	buf_append_text(&frame, "before");
	request.source.len = SCRIPT_FRAME_BYTES_MAX + 1;
	assert_false(script_request_write(&request, &frame));
	assert_int_equal(frame.len, strlen("before"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_request),          cmocka_unit_test(test_replies),
	    cmocka_unit_test(test_parts_of_a_frame), cmocka_unit_test(test_lies),
	    cmocka_unit_test(test_too_large),        cmocka_unit_test(test_a_source_to_be_compiled),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	buf_close(&frame);
	return failed;
}
