#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

#define BYTES(...) slice_of((const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static struct mp_token read_only(struct slice bytes)
{
	struct mp_reader r = mp_reader_of(bytes);
	struct mp_token t = mp_read(&r);
	assert_true(mp_at_end(&r));
	return t;
}

static void test_unsigned_numbers_take_the_shortest_form(void **state)
{
	(void)state;
	static const struct {
		uint64_t v;
		size_t len;
	} cases[] = {{0, 1},         {127, 1},        {128, 2},
		     {255, 2},       {256, 3},        {65535, 3},
		     {65536, 5},     {UINT32_MAX, 5}, {UINT64_C(1) << 32, 9},
		     {UINT64_MAX, 9}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = {0};
		mp_write_u64(&out, cases[i].v);
		assert_int_equal(out.len, cases[i].len);
		struct mp_token t = read_only(buf_slice(&out));
		assert_int_equal(t.type, MP_UINT);
		assert_true(t.u64 == cases[i].v);
		buf_close(&out);
	}
}

static void test_signed_numbers(void **state)
{
	(void)state;
	static const struct {
		int64_t v;
		size_t len;
	} cases[] = {{-1, 1},        {-32, 1},    {-33, 2},       {-128, 2},        {-129, 3},
		     {INT16_MIN, 3}, {-32769, 5}, {INT32_MIN, 5}, {-2147483649, 9}, {INT64_MIN, 9}};
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct buf out = {0};
		mp_write_i64(&out, cases[i].v);
		assert_int_equal(out.len, cases[i].len);
		struct mp_token t = read_only(buf_slice(&out));
		assert_int_equal(t.type, MP_INT);
		assert_true(t.i64 == cases[i].v);
		buf_close(&out);
	}
}

static void test_positive_i64_is_written_as_u64(void **state)
{
	(void)state;
	const int64_t values[] = {0, 1, 127, 128, 65536, INT64_MAX};
	for (size_t i = 0; i < ARRAY_LEN(values); i++) {
		struct buf a = {0};
		struct buf b = {0};
		mp_write_i64(&a, values[i]);
		mp_write_u64(&b, (uint64_t)values[i]);
		assert_true(slice_equal(buf_slice(&a), buf_slice(&b)));
		buf_close(&a);
		buf_close(&b);
	}
}

static void test_a_positive_number_in_a_signed_form_reads_as_unsigned(void **state)
{
	(void)state;
	struct mp_token t = read_only(BYTES(0xd1, 0x01, 0x00));
	assert_int_equal(t.type, MP_UINT);
	assert_true(t.u64 == 256);
	t = read_only(BYTES(0xd0, 0xfe));
	assert_int_equal(t.type, MP_INT);
	assert_true(t.i64 == -2);
}

static void test_floats(void **state)
{
	(void)state;
	struct buf out = {0};
	mp_write_double(&out, -0.1);
	struct mp_token t = read_only(buf_slice(&out));
	assert_int_equal(t.type, MP_DOUBLE);
	assert_true(t.number == -0.1);
	buf_close(&out);
	t = read_only(BYTES(0xca, 0x3f, 0xc0, 0, 0));
	assert_int_equal(t.type, MP_DOUBLE);
	assert_true(t.number == 1.5);
}

static void test_nil_and_booleans(void **state)
{
	(void)state;
	struct buf out = {0};
	mp_write_nil(&out);
	mp_write_bool(&out, true);
	mp_write_bool(&out, false);
	assert_true(slice_equal(buf_slice(&out), BYTES(0xc0, 0xc3, 0xc2)));
	struct mp_reader r = mp_reader_of(buf_slice(&out));
	assert_int_equal(mp_read(&r).type, MP_NIL);
	assert_true(mp_read(&r).flag);
	assert_false(mp_read(&r).flag);
	assert_true(mp_at_end(&r));
	buf_close(&out);
}

static void write_bytes(struct buf *out, enum mp_type type, struct slice bytes)
{
	if (type == MP_STR)
		mp_write_str(out, bytes);
	else if (type == MP_BIN)
		mp_write_bin(out, bytes);
	else
		mp_write_ext(out, -7, bytes);
}

static void test_bytes_of_every_length_form(void **state)
{
	(void)state;
	static const size_t lens[] = {0,  1,  2,  3,   4,   5,   8,     9,     15,   16,
				      17, 31, 32, 255, 256, 257, 65535, 65536, 70000};
	static const enum mp_type types[] = {MP_STR, MP_BIN, MP_EXT};
	static uint8_t content[70000];
	for (size_t i = 0; i < sizeof content; i++)
		content[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < ARRAY_LEN(lens) * ARRAY_LEN(types); i++) {
		struct slice bytes = slice_of(content, lens[i / ARRAY_LEN(types)]);
		enum mp_type type = types[i % ARRAY_LEN(types)];
		struct buf out = {0};
		write_bytes(&out, type, bytes);
		struct mp_token t = read_only(buf_slice(&out));
		assert_int_equal(t.type, type);
		assert_true(slice_equal(t.bytes, bytes));
		assert_int_equal(t.ext_type, type == MP_EXT ? -7 : 0);
		buf_close(&out);
	}
}

static void test_containers_of_every_count_form(void **state)
{
	(void)state;
	static const uint32_t counts[] = {0, 1, 15, 16, 65535, 65536};
	for (size_t i = 0; i < ARRAY_LEN(counts) * 2; i++) {
		bool map = i % 2;
		struct buf out = {0};
		if (map)
			mp_write_map(&out, counts[i / 2]);
		else
			mp_write_array(&out, counts[i / 2]);
		for (uint32_t k = 0; k < counts[i / 2] * (map ? 2u : 1u); k++)
			mp_write_nil(&out);
		struct mp_reader r = mp_reader_of(buf_slice(&out));
		struct mp_token t = mp_read(&r);
		assert_int_equal(t.type, map ? MP_MAP : MP_ARRAY);
		assert_int_equal(t.count, counts[i / 2]);
		assert_true(mp_valid(buf_slice(&out)));
		/* One member fewer: the count can't be true. */
		if (counts[i / 2] > 0)
			assert_false(mp_valid(slice_of(out.data, out.len - 1)));
		buf_close(&out);
	}
}

static void refuse(struct slice bytes)
{
	struct mp_reader r = mp_reader_of(bytes);
	assert_int_equal(mp_peek(&r), MP_INVALID);
	assert_int_equal(mp_read(&r).type, MP_INVALID);
	assert_ptr_equal(r.at, bytes.data);
	assert_false(mp_skip(&r));
	assert_ptr_equal(r.at, bytes.data);
	assert_int_equal(mp_value(&r).len, 0);
	assert_false(mp_valid(bytes));
}

static void test_bad_bytes_are_refused_and_move_nothing(void **state)
{
	(void)state;
	refuse((struct slice){0});
	refuse(BYTES(0xc1));
	refuse(BYTES(0xcc));
	refuse(BYTES(0xcd, 1));
	refuse(BYTES(0xcb, 1, 2, 3, 4, 5, 6, 7));
	refuse(BYTES(0xa2, 'x'));
	refuse(BYTES(0xd9, 2, 'x'));
	refuse(BYTES(0xc6, 0xff, 0xff, 0xff, 0xff, 0));
	refuse(BYTES(0xdb, 0xff, 0xff, 0xff, 0xff, 0));
	refuse(BYTES(0xc7, 1));
	refuse(BYTES(0xd4));
	refuse(BYTES(0xd4, 1));
	refuse(BYTES(0xd8, 1, 0, 0, 0));
	refuse(BYTES(0x92, 0));
	refuse(BYTES(0x81, 0));
	refuse(BYTES(0xdd, 0xff, 0xff, 0xff, 0xff, 0));
	refuse(BYTES(0xdf, 0xff, 0xff, 0xff, 0xff, 0, 0));
	refuse(BYTES(0xdf, 0x80, 0, 0, 0, 0, 0));
}

static void test_every_truncation_of_a_value_is_invalid(void **state)
{
	(void)state;
	struct buf out = {0};
	mp_write_map(&out, 3);
	mp_write_text(&out, "list");
	mp_write_array(&out, 2);
	mp_write_double(&out, 2.5);
	mp_write_ext(&out, MP_EXT_NUMBER, slice_text("1e400"));
	mp_write_text(&out, "bytes");
	mp_write_bin(&out, slice_text("0123456789"));
	mp_write_text(&out, "number");
	mp_write_i64(&out, INT64_MIN);
	assert_true(mp_valid(buf_slice(&out)));
	for (size_t len = 0; len < out.len; len++)
		assert_false(mp_valid(slice_of(out.data, len)));
	mp_write_nil(&out);
	assert_false(mp_valid(buf_slice(&out)));
	buf_close(&out);
}

static void test_value_gives_the_bytes_of_one_value(void **state)
{
	(void)state;
	struct slice bytes = BYTES(0x92, 1, 0x81, 0xa1, 'k', 0xc0, 7);
	struct mp_reader r = mp_reader_of(bytes);
	struct slice first = mp_value(&r);
	assert_true(slice_equal(first, slice_of(bytes.data, 6)));
	assert_int_equal(mp_peek(&r), MP_UINT);
	assert_int_equal(mp_value(&r).len, 1);
	assert_true(mp_at_end(&r));
}

static void nest(struct buf *out, uint32_t levels, bool maps)
{
	for (uint32_t i = 0; i < levels; i++) {
		if (maps) {
			mp_write_map(out, 1);
			mp_write_nil(out);
		} else {
			mp_write_array(out, 1);
		}
	}
	mp_write_nil(out);
}

static void test_depth_is_bounded(void **state)
{
	(void)state;
	for (int maps = 0; maps < 2; maps++) {
		struct buf out = {0};
		nest(&out, LIMIT_JSON_DEPTH + 28, maps);
		assert_true(mp_valid(buf_slice(&out)));
		buf_clear(&out);
		nest(&out, LIMIT_JSON_DEPTH + 29, maps);
		assert_false(mp_valid(buf_slice(&out)));
		buf_clear(&out);
		nest(&out, 1000000, maps);
		assert_false(mp_valid(buf_slice(&out)));
		buf_close(&out);
	}
}

/* Whatever the bytes: a token lies within them, and reading goes forward or stays. */
static void test_random_bytes_stay_in_bounds(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 20);
	for (int round = 0; round < 200000; round++) {
		uint8_t bytes[24];
		size_t len = (size_t)rng_below(&rng, sizeof bytes + 1);
		rng_fill(&rng, bytes, len);
		struct mp_reader r = mp_reader_of(slice_of(bytes, len));
		while (!mp_at_end(&r)) {
			const uint8_t *before = r.at;
			struct mp_token t = mp_read(&r);
			if (t.type == MP_INVALID) {
				assert_ptr_equal(r.at, before);
				break;
			}
			assert_true(r.at > before && r.at <= r.end);
			if (t.type == MP_STR || t.type == MP_BIN || t.type == MP_EXT)
				assert_ptr_equal(t.bytes.data + t.bytes.len, r.at);
			if (t.type == MP_ARRAY || t.type == MP_MAP)
				assert_true(t.count <= (size_t)(r.end - r.at));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_unsigned_numbers_take_the_shortest_form),
	    cmocka_unit_test(test_signed_numbers),
	    cmocka_unit_test(test_positive_i64_is_written_as_u64),
	    cmocka_unit_test(test_a_positive_number_in_a_signed_form_reads_as_unsigned),
	    cmocka_unit_test(test_floats),
	    cmocka_unit_test(test_nil_and_booleans),
	    cmocka_unit_test(test_bytes_of_every_length_form),
	    cmocka_unit_test(test_containers_of_every_count_form),
	    cmocka_unit_test(test_bad_bytes_are_refused_and_move_nothing),
	    cmocka_unit_test(test_every_truncation_of_a_value_is_invalid),
	    cmocka_unit_test(test_value_gives_the_bytes_of_one_value),
	    cmocka_unit_test(test_depth_is_bounded),
	    cmocka_unit_test(test_random_bytes_stay_in_bounds),
	};
	return cmocka_run_group_tests_name("msgpack", tests, NULL, NULL);
}
