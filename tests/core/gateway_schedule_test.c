/* _replicator and _scheduler: who may see them, and what is no job. What jobs do across gateways is
 * the simulator's (schedule_workload.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/core/gateway_case.h"

static int setup(void **state)
{
	struct gateway_bench *b = bench_open(state, NULL);
	b->dialect = DIALECT_COUCH;
	b->principal = "ann";
	bench_map(b, 1, MODE_CONSISTENT);
	return 0;
}

struct refusal {
	const char *request;
	int status;
	const char *part; /* of the answer */
};

static void expect_all(struct gateway_bench *b, const struct refusal *table, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		b->status = 0;
		gateway_bench_http(b, table[i].request);
		if (b->status != table[i].status || !strstr(buf_cstr(&b->body), table[i].part))
			print_error("%s: %d %s\n", table[i].request, b->status, buf_cstr(&b->body));
		assert_int_equal(b->status, table[i].status);
		assert_non_null(strstr(buf_cstr(&b->body), table[i].part));
	}
}

#define PUT_JOB "PUT /_replicator/j\n\n"

static void test_what_is_no_job_is_refused(void **state)
{
	static const struct refusal table[] = {
	    {PUT_JOB "{}", 403, "Missing required field: source"},
	    {PUT_JOB "{\"source\":\"c\"}", 403, "Missing required field: target"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":7}", 403, "forbidden"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":\"_replicator\"}", 403, "forbidden"},
	    {PUT_JOB "{\"source\":\"_replications\",\"target\":\"c\"}", 403, "forbidden"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":\"d\",\"continuous\":1}", 403, "continuous"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":\"d\",\"filter\":7}", 403, "filter"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":\"d\",\"filter\":\"a/b\",\"selector\":{}}", 403,
	     "exclude each other"},
	    {PUT_JOB "{\"source\":\"c\",\"target\":\"d\",\"filter\":\"a/b\",\"query_params\":7}",
	     403, "query_params"},
	    {PUT_JOB "{\"source\":\"http://evil/a\",\"target\":\"c\"}", 403, "replicate_hosts"},
	    {"POST /_replicator/_bulk_docs\n\n{\"docs\":[{\"_id\":\"j\",\"source\":\"c\"}]}", 403,
	     "Missing required field: target"},
	    {"POST /_replicate\n\n{\"source\":\"_replicator\",\"target\":\"c\"}", 400,
	     "bad_request"},
	    {PUT_JOB "{\"_replication_other\":1}", 400, "doc_validation"},
	};
	expect_all(*state, table, ARRAY_LEN(table));
}

static void test_what_may_not_be_done_with_it(void **state)
{
	static const struct refusal table[] = {
	    {"DELETE /_replicator\n\n", 403, "forbidden"},
	    {"COPY /_replicator/j\nDestination: k\n\n", 403, "forbidden"},
	    {"PUT /_replicator/j/a\n\nx", 403, "forbidden"},
	    {"GET /_replications\n\n", 404, "Database does not exist."},
	    {"GET /_replications/_all_docs\n\n", 404, "Database does not exist."},
	    {"PUT /_replications/runner-1\n\n{}", 404, "Database does not exist."},
	    {"PUT /_replications\n\n", 404, "Database does not exist."},
	    {"GET /_scheduler/docs/c\n\n", 404, "not_found"},
	    {"GET /_scheduler/docs/_replicator/j\n\n", 404, "not_found"},
	    {"GET /_scheduler/jobs/j\n\n", 404, "not_found"},
	    {"GET /_scheduler/docs?limit=x\n\n", 400, "query_parse_error"},
	};
	expect_all(*state, table, ARRAY_LEN(table));
}

static void test_readers_see_what_runs_and_no_passwords(void **state)
{
	static const struct refusal table[] = {
	    {"GET /_replicator\n\n", 403, "You are not allowed to access this db."},
	    {"GET /_replicator/j\n\n", 403, "You are not allowed to access this db."},
	    {"GET /_replicator/_all_docs\n\n", 403, "You are not allowed to access this db."},
	    {"GET /_replicator/_changes\n\n", 403, "You are not allowed to access this db."},
	    {"POST /_replicator/_find\n\n{}", 403, "You are not allowed to access this db."},
	    {"POST /_replicator/_bulk_get\n\n{}", 403, "You are not allowed to access this db."},
	    {PUT_JOB "{}", 403, "forbidden"},
	    {"GET /_scheduler/docs\n\n", 200, "{\"total_rows\":0,\"offset\":0,\"docs\":[]}"},
	    {"GET /_scheduler/docs/_replicator\n\n", 200, "\"docs\":[]}"},
	    {"GET /_scheduler/jobs?skip=2\n\n", 200, "{\"total_rows\":0,\"offset\":2,\"jobs\":[]}"},
	    {"GET /_active_tasks\n\n", 200, "[]"},
	};
	struct gateway_bench *b = *state;
	b->roles = HTTP_ROLE_READER;
	expect_all(b, table, ARRAY_LEN(table));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_what_is_no_job_is_refused, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_what_may_not_be_done_with_it, setup,
					    gateway_bench_teardown),
	    cmocka_unit_test_setup_teardown(test_readers_see_what_runs_and_no_passwords, setup,
					    gateway_bench_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
