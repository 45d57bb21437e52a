/* Log lines: their form, their levels, and repeats held back. */
#include "common/run/logger.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct bench {
	struct logger logger;
	int pipe[2];
	char text[8192];
};

static int open_bench(void **state)
{
	static struct bench b;
	b = (struct bench){.text = ""};
	logger_open(&b.logger, "storage", "storage-1", LOG_LEVEL_INFO);
	if (pipe2(b.pipe, O_NONBLOCK | O_CLOEXEC) != 0)
		return -1;
	b.logger.fd = b.pipe[1];
	b.logger.journal = false;
	*state = &b;
	return 0;
}

static int close_bench(void **state)
{
	struct bench *b = *state;
	logger_close(&b->logger);
	close(b->pipe[0]);
	close(b->pipe[1]);
	return 0;
}

/* What was written since the last call, and in how many lines. */
static int lines(struct bench *b)
{
	int count = 0;
	ssize_t got = read(b->pipe[0], b->text, sizeof b->text - 1);
	b->text[got > 0 ? got : 0] = '\0';
	for (const char *at = b->text; (at = strchr(at, '\n')); at++)
		count++;
	return count;
}

static void a_line_says_when_who_and_what(void **state)
{
	struct bench *b = *state;
	logger_printf(&b->logger, LOG_LEVEL_WARN, "member_lost member=%d", 7);
	assert_int_equal(lines(b), 1);
	assert_int_equal(strncmp(b->text, "ts=20", 5), 0);
	assert_non_null(strstr(b->text, "Z level=warn role=storage node=storage-1 "
					"event=member_lost member=7\n"));
}

static void less_than_the_level_is_not_written(void **state)
{
	struct bench *b = *state;
	logger_printf(&b->logger, LOG_LEVEL_DEBUG, "detail");
	assert_int_equal(lines(b), 0);
	b->logger.level = LOG_LEVEL_DEBUG;
	logger_printf(&b->logger, LOG_LEVEL_DEBUG, "detail");
	assert_int_equal(lines(b), 1);
	assert_int_equal(b->logger.lines[LOG_LEVEL_DEBUG], 2);
}

static void whatever_the_text_a_line_stays_one(void **state)
{
	struct bench *b = *state;
	logger_printf(&b->logger, LOG_LEVEL_INFO, "odd text=\"a\nb\r\x1b[31m\"");
	assert_int_equal(lines(b), 1);
	assert_null(strchr(b->text, '\x1b'));
	logger_text(&b->logger, LOG_LEVEL_INFO, slice_text(""));
	assert_int_equal(lines(b), 0);
}

static void repeats_are_counted_not_written(void **state)
{
	struct bench *b = *state;
	for (int i = 0; i < 100; i++)
		logger_printf(&b->logger, LOG_LEVEL_INFO, "again and=again");
	logger_printf(&b->logger, LOG_LEVEL_INFO, "another");
	logger_printf(&b->logger, LOG_LEVEL_WARN, "again and=again"); /* another level */
	assert_int_equal(lines(b), 3);
	/* so many other lines that the first is forgotten: its count is written before */
	for (int i = 0; i < LOGGER_REMEMBERED; i++)
		logger_printf(&b->logger, LOG_LEVEL_INFO, "line number=%d", i);
	lines(b);
	assert_non_null(strstr(b->text, "event=again and=again repeated=99\n"));
}

static void levels_have_names(void **state)
{
	(void)state;
	enum log_level level = LOG_LEVEL_FATAL;
	assert_true(logger_level_of("debug", &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_true(logger_level_of("error", &level));
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_false(logger_level_of("fatal", &level)); /* would hide errors */
	assert_false(logger_level_of("", &level));
	assert_int_equal(level, LOG_LEVEL_ERROR);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_line_says_when_who_and_what),
	    TEST(less_than_the_level_is_not_written),
	    TEST(whatever_the_text_a_line_stays_one),
	    TEST(repeats_are_counted_not_written),
	    TEST(levels_have_names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
