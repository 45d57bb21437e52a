/* Asking other servers: whatever happens to the question, the loop goes on. */
#include "gateway/http/fetch.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/run/clock.h"

enum { LOOKUP_MS = 1500, TIMEOUT_MS = 300, BLOCKED_MS_MAX = 700 };
enum { SILENCE_MS = 2000, MANY = 100, DEADLINE_MS = 10000 };

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
	nlink_t threads; /* before it */
};

static void on_fetched(void *context, const struct http_fetched *fetched)
{
	struct bench *b = context;
	b->answers++;
	b->status = fetched->status;
}

/* Of this process, and some more. */
static nlink_t threads(void)
{
	struct stat tasks = {0};
	assert_int_equal(stat("/proc/self/task", &tasks), 0);
	return tasks.st_nlink;
}

static int setup(void **state)
{
	static struct bench bench;
	struct buf problem = {0};
	bench = (struct bench){.threads = threads()};
	const struct fetch_options options = {.ca = "",
					      .cert = "",
					      .key = "",
					      .connections_max = MANY + 1,
					      .context = &bench,
					      .fetched = on_fetched};
	bench.fetcher = fetcher_new(&options, &problem);
	assert_non_null(bench.fetcher);
	*state = &bench;
	return 0;
}

static int close_bench(void **state)
{
	fetcher_free(((struct bench *)*state)->fetcher);
	return 0;
}

static int teardown(void **state)
{
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	(void)close_bench(state);
	/* lookups that nobody waits for end by themselves */
	while (threads() > ((struct bench *)*state)->threads && clock_boot_ms() < end_ms)
		usleep(1000);
	return threads() > ((struct bench *)*state)->threads;
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

/* ---- servers that take their time ---- */

struct server {
	int listens;
	char url[40];
};

static struct server server_open(void)
{
	struct server s = {.listens = socket(AF_INET, SOCK_STREAM, 0)};
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	assert_int_equal(bind(s.listens, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(s.listens, 2 * MANY), 0);
	assert_int_equal(getsockname(s.listens, (struct sockaddr *)&at, &len), 0);
	snprintf(s.url, sizeof s.url, "http://127.0.0.1:%u/", ntohs(at.sin_port));
	return s;
}

static void ask_server(struct bench *b, const struct server *s, uint64_t id, int64_t silence_ms)
{
	const struct http_fetch question = {.id = id,
					    .method = HTTP_GET,
					    .url = slice_text(s->url),
					    .silence_ms = silence_ms,
					    .answer_bytes_max = 1 << 20};
	fetcher_start(b->fetcher, &question);
}

static void await(struct bench *b, int fd)
{
	struct pollfd look = {.fd = fd, .events = POLLIN};
	while (poll(&look, 1, 0) == 0)
		(void)run(b, 20);
}

/* The server's side of the next question, which has been read. */
static int taken(struct bench *b, const struct server *s)
{
	char text[1024];
	await(b, s->listens);
	int fd = accept(s->listens, NULL, NULL);
	await(b, fd);
	assert_true(read(fd, text, sizeof text) > 0);
	return fd;
}

static void answer(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* However long it takes; who says nothing at all is not waited for. */
static void what_keeps_coming_is_waited_for(void **state)
{
	struct bench *b = *state;
	struct server s = server_open();
	ask_server(b, &s, 1, SILENCE_MS);
	int fd = taken(b, &s);
	answer(fd, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n");
	int64_t end_ms = clock_boot_ms() + 2 * (int64_t)SILENCE_MS;
	while (clock_boot_ms() < end_ms) {
		answer(fd, "\n"); /* it is there when the fetcher looks, however late that is */
		usleep(20000);
		fetcher_run(b->fetcher);
		assert_int_equal(b->answers, 0);
	}
	close(fd);
	while (b->answers == 0)
		(void)run(b, 20);
	assert_int_equal(b->status, 200);
	b->answers = 0;
	ask_server(b, &s, 2, SILENCE_MS);
	fd = taken(b, &s);
	while (b->answers == 0)
		(void)run(b, 20);
	assert_int_equal(b->status, 0);
	close(fd);
	close(s.listens);
}

/* Jobs that wait for changes hold a connection each. */
static void many_that_wait_leave_room_for_one_more(void **state)
{
	struct bench *b = *state;
	struct server s = server_open();
	int fds[MANY];
	for (int i = 0; i < MANY; i++) {
		ask_server(b, &s, (uint64_t)i + 1, 0);
		fds[i] = taken(b, &s);
	}
	ask_server(b, &s, MANY + 1, 0);
	int fd = taken(b, &s);
	answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	while (b->answers == 0)
		(void)run(b, 20);
	assert_int_equal(b->status, 200);
	close(fd);
	for (int i = 0; i < MANY; i++)
		close(fds[i]);
	close(s.listens);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_name_that_is_not_found_in_time_stops_nobody),
	    TEST(who_ends_a_question_does_not_wait_for_its_name),
	    cmocka_unit_test_setup_teardown(what_keeps_coming_is_waited_for, setup, close_bench),
	    cmocka_unit_test_setup_teardown(many_that_wait_leave_room_for_one_more, setup,
					    close_bench),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
