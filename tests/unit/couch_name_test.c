/* Names of members in CouchDB's dialect: there and back, and none twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/doc/couch_name.h"

static const struct row {
	const char *stored;
	const char *shown;
} rows[] = {
    {"", ""},
    {"a", "a"},
    {"ids", "ids"},
    {"a_b", "a_b"},
    {"~", "~"},
    {"~a", "~a"},
    {"~a_", "~a_"},
    {"~~", "~~"},
    {"_id", "id"},
    {"~_id", "~_id"},
    {"~~_id", "~~_id"},
    {"_attachments", "_attachments"},
    {"~_attachments", "~_attachments"},
    {"_replication_id", "_replication_id"},
    {"~_replication_id", "~_replication_id"},
    {"_", "~_"},
    {"_foo", "~_foo"},
    {"~_foo", "~~_foo"},
    {"~~_foo", "~~~_foo"},
    {"__foo", "~__foo"},
    {"_~foo", "~_~foo"},
    {"_split", "~_split"},
    {"_rev", "~_rev"},
    {"_deleted", "~_deleted"},
    {"_ids", "~_ids"},
    {"_replication_other", "~_replication_other"},
};

static void expect_text(struct slice got, const char *wanted, const char *of)
{
	if (!slice_is(got, wanted))
		fail_msg("%s gives %.*s, not %s", of, (int)got.len, (const char *)got.data, wanted);
}

static void test_there_and_back(void **state)
{
	struct buf scratch = {0};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct row *row = &rows[i];
		struct slice shown = couch_name_shown(slice_text(row->stored), &scratch);
		expect_text(shown, row->shown, row->stored);
		expect_text(couch_name_stored(shown), row->stored, row->shown);
		assert_false(couch_name_is_nobodys(shown));
	}
	buf_close(&scratch);
}

static void test_what_nothing_is_shown_as(void **state)
{
	static const char *const names[] = {"_", "_id", "_foo", "_rev", "_split", "__"};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		assert_true(couch_name_is_nobodys(slice_text(names[i])));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_there_and_back),
	    cmocka_unit_test(test_what_nothing_is_shown_as),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
