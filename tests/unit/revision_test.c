/* Revision names: parsing, order, and what a hash covers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/buf.h"
#include "common/doc/revision.h"
#include "common/doc/shard_hash.h"

static void check_parsed(const char *text, uint64_t generation, const char *hash)
{
	struct revision r;
	struct buf printed = {0};
	assert_true(revision_parse(slice_text(text), &r));
	assert_int_equal(r.generation, generation);
	assert_true(slice_is(r.hash, hash));
	revision_print(&r, &printed);
	assert_string_equal(buf_cstr(&printed), text);
	buf_close(&printed);
}

static void test_parse(void **state)
{
	(void)state;
	check_parsed("1-x", 1, "x");
	check_parsed("12-0123456789abcdef0123456789abcdef", 12, "0123456789abcdef0123456789abcdef");
	check_parsed("4294967295-a-b", 4294967295, "a-b");
	check_parsed("1-'!~", 1, "'!~");
	static const char *const bad[] = {
	    "",      "-",       "1",          "1-",           "-x",
	    "0-x",   "01-x",    "+1-x",       "1 -x",         " 1-x",
	    "1-x y", "1-x,2-y", "1-\"x\"",    "1-\x7f",       "1-\n",
	    "1x-y",  "x-1",     "1-\xc3\xa6", "4294967296-x", "99999999999999999999999-x",
	};
	struct revision r;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (revision_parse(slice_text(bad[i]), &r))
			fail_msg("'%s' was taken", bad[i]);
	struct buf text = {0};
	buf_append_text(&text, "7-");
	for (int i = 0; i < LIMIT_REV_HASH_BYTES; i++)
		buf_append_byte(&text, 'h');
	assert_true(revision_parse(buf_slice(&text), &r));
	assert_true(text.len <= REVISION_TEXT_BYTES);
	buf_append_byte(&text, 'h');
	assert_false(revision_parse(buf_slice(&text), &r));
	buf_close(&text);
}

static struct revision parsed(const char *text)
{
	struct revision r;
	assert_true(revision_parse(slice_text(text), &r));
	return r;
}

static void test_order(void **state)
{
	(void)state;
	struct revision list[] = {parsed("10-a"), parsed("2-b"), parsed("2-a"), parsed("2-ab"),
				  parsed("1-z")};
	static const char *const sorted[] = {"1-z", "2-a", "2-ab", "2-b", "10-a"};
	revision_sort(list, 5);
	for (size_t i = 0; i < 5; i++) {
		struct revision expected = parsed(sorted[i]);
		assert_true(revision_equal(&list[i], &expected));
	}
	assert_true(revision_compare(&list[0], &list[1]) < 0);
	assert_int_equal(revision_compare(&list[3], &list[3]), 0);
	assert_false(revision_equal(&list[1], &list[2]));
}

struct name {
	char text[REVISION_HASH_CHARS];
	struct revision revision;
};

static struct name named(const struct revision_content *content)
{
	struct name n;
	revision_name(content, n.text, &n.revision);
	assert_int_equal(n.revision.hash.len, REVISION_HASH_CHARS);
	n.revision.hash.data = NULL; /* it pointed into this frame */
	return n;
}

static bool same(const struct name *a, const struct name *b)
{
	return memcmp(a->text, b->text, sizeof a->text) == 0;
}

static void test_name_covers_content(void **state)
{
	(void)state;
	struct revision parents[] = {parsed("1-x"), parsed("3-y")};
	struct revision swapped[] = {parsed("3-y"), parsed("1-x")};
	const struct revision_content base = {.parents = parents,
					      .parents_count = 2,
					      .body = slice_text("\x81\xa1k\x01"),
					      .policy = 0};
	struct name first = named(&base);
	assert_int_equal(first.revision.generation, 4);
	struct revision_content other = base;
	other.parents = swapped;
	struct name n = named(&other);
	assert_true(same(&first, &n));
	other = base, other.deleted = true;
	n = named(&other);
	assert_false(same(&first, &n));
	other = base, other.body = slice_text("\x81\xa1k\x02");
	n = named(&other);
	assert_false(same(&first, &n));
	other = base, other.policy = 1;
	n = named(&other);
	assert_false(same(&first, &n));
	other = base, other.operation_id = slice_text("0123456789abcdef");
	n = named(&other);
	assert_false(same(&first, &n));
	other = base, other.parents_count = 1;
	n = named(&other);
	assert_false(same(&first, &n));
	assert_int_equal(n.revision.generation, 2);
}

static void test_name_of_root(void **state)
{
	(void)state;
	const struct revision_content none = {0};
	const struct revision_content empty = {.body = slice_text("\x80")};
	struct name a = named(&none), b = named(&empty);
	assert_true(same(&a, &b));
	assert_int_equal(a.revision.generation, 1);
	/* Pinned: names are the same for ever, on every version. */
	assert_memory_equal(a.text, "40030123c026a832593e5223f6b2f629", REVISION_HASH_CHARS);
}

static void test_name_of_many_parents(void **state)
{
	(void)state;
	enum { COUNT = 300 };
	static char hashes[COUNT][4];
	static struct revision forth[COUNT], back[COUNT];
	for (size_t i = 0; i < COUNT; i++) {
		hashes[i][0] = (char)('a' + i % 26);
		hashes[i][1] = (char)('a' + i / 26);
		forth[i] =
		    (struct revision){.generation = 1 + i % 7, .hash = slice_of(hashes[i], 2)};
		back[COUNT - 1 - i] = forth[i];
	}
	const struct revision_content x = {.parents = forth, .parents_count = COUNT};
	const struct revision_content y = {.parents = back, .parents_count = COUNT};
	struct name a = named(&x), b = named(&y);
	assert_true(same(&a, &b));
	assert_int_equal(a.revision.generation, 8);
}

static void test_generation_stays_in_range(void **state)
{
	(void)state;
	struct revision parent = parsed("4294967295-x");
	const struct revision_content content = {.parents = &parent, .parents_count = 1};
	assert_int_equal(named(&content).revision.generation, 4294967295);
}

static void test_digest(void **state)
{
	(void)state;
	/* SHA-256 of "abc", FIPS 180-2. */
	static const uint8_t expected[16] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
					     0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23};
	uint8_t digest[16];
	digest16(slice_text("abc"), digest);
	assert_memory_equal(digest, expected, sizeof digest);
	digest16((struct slice){0}, digest);
	assert_int_equal(digest[0], 0xe3);
}

/* The store format depends on these. */
static void test_shard_hash_is_pinned(void **state)
{
	(void)state;
	assert_true(shard_hash(slice_text("")) == UINT64_C(0x2d06800538d394c2));
	assert_true(shard_hash(slice_text("a")) == UINT64_C(0xe6c632b61e964e1f));
	assert_true(shard_hash(slice_text("abc")) == UINT64_C(0x78af5f94892f3950));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_parse),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_name_covers_content),
	    cmocka_unit_test(test_name_of_root),
	    cmocka_unit_test(test_name_of_many_parents),
	    cmocka_unit_test(test_generation_stays_in_range),
	    cmocka_unit_test(test_digest),
	    cmocka_unit_test(test_shard_hash_is_pinned),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
