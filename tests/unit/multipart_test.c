/* Multipart bodies: each is read in every split into two pieces, and byte by byte, always alike. */
#include "gateway/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* What came of it: "[headers]data;" for each part, "." at the end, "!" if it is bad. */
static void feed(struct multipart *m, struct slice in, struct buf *out)
{
	struct slice got;
	enum multipart_event event;
	while ((event = multipart_next(m, &in, &got)) != MULTIPART_MORE) {
		if (event == MULTIPART_PART) {
			buf_append_byte(out, '[');
			buf_append_slice(out, got);
			buf_append_byte(out, ']');
		} else if (event == MULTIPART_DATA) {
			assert_true(got.len > 0);
			buf_append_slice(out, got);
		} else {
			buf_append_byte(out, event == MULTIPART_LAST  ? ';'
					     : event == MULTIPART_END ? '.'
								      : '!');
		}
		if (event == MULTIPART_BAD)
			return;
	}
	assert_int_equal(in.len, 0);
}

static void read_split(const char *boundary, struct slice body, size_t at, size_t step,
		       const char *expected)
{
	struct multipart m = {0};
	struct buf out = {0};
	assert_true(multipart_begin(&m, slice_text(boundary)));
	for (size_t from = 0; from < body.len;) {
		size_t end = from == 0 && at > 0 ? at : from + step;
		if (end > body.len)
			end = body.len;
		feed(&m, slice_of(body.data + from, end - from), &out);
		if (out.len > 0 && out.data[out.len - 1] == '!')
			break;
		from = end;
	}
	assert_string_equal(buf_cstr(&out), expected);
	multipart_close(&m);
	buf_close(&out);
}

static void read_all(const char *boundary, const char *text, const char *expected)
{
	struct slice body = slice_text(text);
	read_split(boundary, body, 0, body.len, expected);
	read_split(boundary, body, 0, 1, expected);
	read_split(boundary, body, 0, 3, expected);
	for (size_t at = 1; at < body.len; at++)
		read_split(boundary, body, at, body.len, expected);
}

static void test_parts(void **state)
{
	(void)state;
	read_all("b", "--b\r\n\r\none\r\n--b\r\nA: x\r\n\r\ntwo\r\n--b--",
		 "[\r\n]one;[A: x\r\n\r\n]two;.");
	read_all("b", "preamble\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\n--b\r\n", "[\r\n]one;.");
	read_all("b", "--b \t\r\n\r\none\r\n--b--", "[\r\n]one;.");
	read_all("b", "\r\n--b\r\n\r\none\r\n--b--", "[\r\n]one;.");
	read_all("a--b", "--a--b\r\n\r\nx\r\n--a--b--", "[\r\n]x;.");
	read_all("b", "--b--", ".");
}

static void test_empty_parts(void **state)
{
	(void)state;
	read_all("b", "--b\r\n\r\n\r\n--b\r\nA: x\r\n\r\n\r\n--b--", "[\r\n];[A: x\r\n\r\n];.");
	/* the line break behind the headers is the delimiter's, too */
	read_all("b", "--b\r\nA: x\r\n\r\n--b--", "[A: x\r\n\r\n];.");
}

static void test_bytes_like_a_delimiter(void **state)
{
	(void)state;
	read_all("bb", "--bb\r\n\r\n\r\r\n\r\n-\r\n--\r\n--b\r\r\n--bb--",
		 "[\r\n]\r\r\n\r\n-\r\n--\r\n--b\r;.");
	read_all("bb", "--bb\r\n\r\n--b\r\n--b--\r\n--bb--", "[\r\n]--b\r\n--b--;.");
	read_all("bb", "-\r\n--b\r\n--bb\r\n\r\nx\r\n--bb--", "[\r\n]x;.");
}

static void test_bad(void **state)
{
	(void)state;
	read_all("b", "--bc\r\n\r\none\r\n--b--", "!");
	read_all("b", "--b\r\n\r\none\r\n--b-x", "[\r\n]one;!");
	read_all("b", "--b\rx", "!");
	/* no end, which is for its reader to see */
	read_all("b", "--b\r\n\r\none", "[\r\n]one");
	read_all("b", "one", "");
	struct multipart m = {0};
	struct buf body = {0};
	struct buf out = {0};
	assert_false(multipart_begin(&m, slice_text("")));
	assert_false(multipart_begin(&m, slice_text("a\nb")));
	buf_append_text(&body, "--b\r\n");
	for (int i = 0; i < MULTIPART_HEADERS_MAX; i++)
		buf_append_byte(&body, 'x');
	assert_true(multipart_begin(&m, slice_text("b")));
	feed(&m, buf_slice(&body), &out);
	assert_string_equal(buf_cstr(&out), "");
	feed(&m, slice_text("y"), &out);
	assert_string_equal(buf_cstr(&out), "!");
	feed(&m, slice_text("\r\n\r\n"), &out); /* for ever */
	assert_string_equal(buf_cstr(&out), "!!");
	buf_close(&body);
	buf_close(&out);
	multipart_close(&m);
}

static void test_long_boundary(void **state)
{
	(void)state;
	char boundary[MULTIPART_BOUNDARY_MAX + 2];
	struct multipart m = {0};
	memset(boundary, 'x', sizeof boundary);
	assert_true(multipart_begin(&m, slice_of(boundary, MULTIPART_BOUNDARY_MAX)));
	assert_false(multipart_begin(&m, slice_of(boundary, MULTIPART_BOUNDARY_MAX + 1)));
}

static void check_parameter(const char *value, const char *name, const char *expected)
{
	struct buf out = {0};
	assert_int_equal(header_parameter(slice_text(value), name, &out), expected != NULL);
	assert_string_equal(buf_cstr(&out), expected ? expected : "");
	buf_close(&out);
}

static void test_headers(void **state)
{
	(void)state;
	struct slice headers = slice_text("Content-Type:  a/b \r\nX: y\r\nCONTENT-disposition: "
					  "attachment; filename=\"n\"\r\n\r\n");
	assert_true(slice_is(multipart_header(headers, "content-type"), "a/b"));
	assert_true(slice_is(multipart_header(headers, "content-disposition"),
			     "attachment; filename=\"n\""));
	assert_int_equal(multipart_header(headers, "y").len, 0);
	assert_int_equal(multipart_header(slice_text("\r\n"), "x").len, 0);
	assert_true(header_type_is(slice_text(" Multipart/Related ;a=b"), "multipart/related"));
	assert_false(header_type_is(slice_text("multipart/relatedx"), "multipart/related"));
	assert_false(header_type_is(slice_of(NULL, 0), "multipart/related"));
	check_parameter("m/r; boundary=abc", "boundary", "abc");
	check_parameter("m/r;type=\"a;boundary=x\"; Boundary=\"a b\\\"c\" ; z=1", "boundary",
			"a b\"c");
	check_parameter("m/r; boundary=\"open", "boundary", "open");
	check_parameter("m/r; bound=abc", "boundary", NULL);
	check_parameter("boundary=abc", "boundary", NULL);
	check_parameter("", "boundary", NULL);
	check_parameter("m/r; boundary", "boundary", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parts),
	    cmocka_unit_test(test_empty_parts),
	    cmocka_unit_test(test_bytes_like_a_delimiter),
	    cmocka_unit_test(test_bad),
	    cmocka_unit_test(test_long_boundary),
	    cmocka_unit_test(test_headers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
