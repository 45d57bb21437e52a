/* Asking other servers: whatever happens to the question, the loop goes on. */
#include "gateway/http/fetch.h"

#include <netdb.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/run/clock.h"

enum { LOOKUP_MS = 1500, TIMEOUT_MS = 300, BLOCKED_MS_MAX = 700 };

/* libcurl's: a resolver that nobody answers. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **out)
{
	(void)node;
	(void)service;
	(void)hints;
	*out = NULL;
	usleep(LOOKUP_MS * 1000);
	return EAI_AGAIN;
}

struct bench {
	struct fetcher *fetcher;
	int answers;
	int status;
};

static void on_fetched(void *context, const struct http_fetched *fetched)
{
	struct bench *b = context;
	b->answers++;
	b->status = fetched->status;
}

static int setup(void **state)
{
	static struct bench bench;
	struct buf problem = {0};
	bench = (struct bench){0};
	const struct fetch_options options = {
	    .ca = "", .cert = "", .key = "", .context = &bench, .fetched = on_fetched};
	bench.fetcher = fetcher_new(&options, &problem);
	assert_non_null(bench.fetcher);
	*state = &bench;
	return 0;
}

static int teardown(void **state)
{
	fetcher_free(((struct bench *)*state)->fetcher);
	usleep((LOOKUP_MS + 200) * 1000); /* lookups that nobody waits for end by themselves */
	return 0;
}

static void ask(struct bench *b)
{
	const struct http_fetch question = {.id = 7,
					    .method = HTTP_GET,
					    .url = slice_text("http://slow.test/"),
					    .timeout_ms = TIMEOUT_MS,
					    .answer_bytes_max = 1000};
	fetcher_start(b->fetcher, &question);
}

/* Runs for so long, or until an answer is there; gives the longest time that the loop stood still.
 */
static int64_t run(struct bench *b, int64_t ms)
{
	int64_t longest_ms = 0;
	int64_t end_ms = clock_boot_ms() + ms;
	while (clock_boot_ms() < end_ms && b->answers == 0) {
		struct pollfd look = {.fd = fetcher_fd(b->fetcher), .events = POLLIN};
		(void)poll(&look, 1, 20);
		int64_t start_ms = clock_boot_ms();
		fetcher_run(b->fetcher);
		int64_t took_ms = clock_boot_ms() - start_ms;
		longest_ms = took_ms > longest_ms ? took_ms : longest_ms;
	}
	return longest_ms;
}

static void a_name_that_is_not_found_in_time_stops_nobody(void **state)
{
	struct bench *b = *state;
	ask(b);
	assert_in_range(run(b, LOOKUP_MS), 0, BLOCKED_MS_MAX);
	assert_int_equal(b->answers, 1);
	assert_int_equal(b->status, 0);
}

static void who_ends_a_question_does_not_wait_for_its_name(void **state)
{
	struct bench *b = *state;
	ask(b);
	assert_in_range(run(b, 100), 0, BLOCKED_MS_MAX);
	int64_t start_ms = clock_boot_ms();
	fetcher_end(b->fetcher, 7);
	assert_in_range(clock_boot_ms() - start_ms, 0, BLOCKED_MS_MAX);
	(void)run(b, 100);
	assert_int_equal(b->answers, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_name_that_is_not_found_in_time_stops_nobody),
	    TEST(who_ends_a_question_does_not_wait_for_its_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
