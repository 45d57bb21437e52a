#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/detail.h"
#include "common/doc/value.h"

static void test_what_fits_stays_as_it_is(void **state)
{
	static const char small[] = "\x82\xa1"
				    "a\x01\xa1"
				    "b\x02";
	struct buf out = {0};
	(void)state;
	detail_cut(slice_of(small, sizeof small - 1), 64, &out);
	assert_true(slice_equal(buf_slice(&out), slice_of(small, sizeof small - 1)));
	buf_close(&out);
}

static void test_a_text_ends_with_a_whole_character(void **state)
{
	struct buf map = {0}, text = {0}, out = {0};
	(void)state;
	for (int i = 0; i < 100; i++)
		buf_append_text(&text, "\xc3\xa4");
	mp_write_map(&map, 2);
	mp_write_text(&map, "reason");
	mp_write_text(&map, "odd");
	mp_write_text(&map, "text");
	mp_write_str(&map, buf_slice(&text));
	for (size_t room = 64; room < map.len; room++) {
		buf_clear(&out);
		detail_cut(buf_slice(&map), room, &out);
		struct mp_reader r =
		    mp_reader_of(value_member(buf_slice(&out), slice_text("text")));
		assert_true(out.len <= room && out.len + 16 > room);
		assert_int_equal(mp_read(&r).bytes.len % 2, 0);
		assert_true(slice_equal(value_member(buf_slice(&out), slice_text("cut")),
					slice_of("\xc3", 1)));
		assert_true(value_member(buf_slice(&out), slice_text("reason")).len > 0);
	}
	buf_close(&map);
	buf_close(&text);
	buf_close(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_fits_stays_as_it_is),
	    cmocka_unit_test(test_a_text_ends_with_a_whole_character),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
