/* References to other documents, found at their paths and turned. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/doc/reference.h"
#include "proto/enums.h"

struct fixture {
	struct json_parser *parser;
	struct buf body, out, json;
};

static int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.parser = json_parser_new()};
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	buf_close(&f->body);
	buf_close(&f->out);
	buf_close(&f->json);
	return 0;
}

static struct slice from_json(struct fixture *f, const char *json)
{
	struct json_error error;
	buf_clear(&f->body);
	assert_true(json_to_msgpack(f->parser, slice_text(json), &f->body, &error));
	return buf_slice(&f->body);
}

static void turns(struct fixture *f, const char *path, const char *json, uint32_t count,
		  const char *expected)
{
	struct slice body = from_json(f, json);
	buf_clear(&f->out);
	buf_clear(&f->json);
	assert_int_equal(
	    reference_replace(body, slice_text(path), slice_text("x"), slice_text("x~1"), &f->out),
	    count);
	assert_true(json_from_msgpack(buf_slice(&f->out), &f->json));
	assert_string_equal(buf_cstr(&f->json), expected);
}

static void test_turned(void **state)
{
	struct fixture *f = *state;
	turns(f, "a", "{\"a\":\"x\",\"b\":\"x\"}", 1, "{\"a\":\"x~1\",\"b\":\"x\"}");
	turns(f, "a.b", "{\"a\":{\"b\":\"x\",\"c\":\"x\"}}", 1,
	      "{\"a\":{\"b\":\"x~1\",\"c\":\"x\"}}");
	turns(f, "a", "{\"a\":[\"x\",\"y\",\"x\",{\"b\":\"x\"}]}", 2,
	      "{\"a\":[\"x~1\",\"y\",\"x~1\",{\"b\":\"x\"}]}");
	turns(f, "a.b", "{\"a\":[{\"b\":\"x\"},{\"b\":[\"x\"]},\"x\"]}", 2,
	      "{\"a\":[{\"b\":\"x~1\"},{\"b\":[\"x~1\"]},\"x\"]}");
	turns(f, "a.1", "{\"a\":[\"x\",\"x\"]}", 1, "{\"a\":[\"x\",\"x~1\"]}");
}

static void test_left_alone(void **state)
{
	struct fixture *f = *state;
	turns(f, "a", "{\"a\":\"xx\"}", 0, "{\"a\":\"xx\"}");
	turns(f, "a", "{\"a\":{\"x\":\"x\"}}", 0, "{\"a\":{\"x\":\"x\"}}");
	turns(f, "a.b", "{\"a\":\"x\"}", 0, "{\"a\":\"x\"}");
	turns(f, "a", "{\"a\":[[\"x\"],null,1]}", 0, "{\"a\":[[\"x\"],null,1]}");
}

/* References may be short, and what they are turned to long. */
static void test_what_grows_too_large_is_not_written(void **state)
{
	enum { MANY = 3 * 1024 * 1024 };
	static char to[LIMIT_ID_BYTES];
	struct fixture *f = *state;
	memset(to, 'y', sizeof to);
	buf_clear(&f->body);
	buf_clear(&f->out);
	mp_write_map(&f->body, 1);
	mp_write_text(&f->body, "a");
	mp_write_array(&f->body, MANY);
	for (uint32_t i = 0; i < MANY; i++)
		mp_write_text(&f->body, "x");
	(void)reference_replace(buf_slice(&f->body), slice_text("a"), slice_text("x"),
				slice_of(to, sizeof to), &f->out);
	assert_true(f->out.len > LIMIT_BODY_BYTES);
	assert_true(f->out.len < LIMIT_BODY_BYTES + 2 * LIMIT_ID_BYTES);
}

static void test_kinds(void **state)
{
	struct fixture *f = *state;
	struct slice paths[] = {slice_text("type"), slice_text("meta.form")};
	struct policy_roots roots = {.kind = paths, .kind_count = 2};
	struct slice body = from_json(f, "{\"type\":\"contact\",\"meta\":{\"form\":\"person\"}}");
	assert_true(reference_kind_is(&roots, body, slice_text("contact")));
	assert_true(reference_kind_is(&roots, body, slice_text("person")));
	assert_false(reference_kind_is(&roots, body, slice_text("form")));
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {T(test_turned), T(test_left_alone),
					   T(test_what_grows_too_large_is_not_written),
					   T(test_kinds)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
