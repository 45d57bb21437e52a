/* Configuration: layers, bounds, and saying what is wrong and where. */
#include "common/run/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/memory.h"

enum { ARGUMENTS_MAX = 24 };

static const struct config_option own[] = {
    {"data_dir", CONFIG_TEXT, NULL, 0, 0, "where the data lies"},
    {"queue_bytes", CONFIG_NUMBER, "1000", 10, 5000, "bytes of the queue"},
    {"any_number", CONFIG_NUMBER, "0", 0, UINT64_MAX, "whatever"},
    {"recover_now", CONFIG_BOOL, "false", 0, 0, "a switch"},
};

struct bench {
	struct config config;
	struct buf text;
	char file[2][64];
	char *argv[ARGUMENTS_MAX];
	int argc;
};

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
	assert_int_equal(fclose(f), 0);
}

static int open_bench(void **state)
{
	struct bench *b = mem_alloc_zero(sizeof *b);
	for (int i = 0; i < 2; i++) {
		snprintf(b->file[i], sizeof b->file[i], "/tmp/parley-config-%d-XXXXXX", i);
		int fd = mkstemp(b->file[i]);
		assert_true(fd >= 0);
		close(fd);
	}
	b->argv[b->argc++] = mem_strdup("parley-test");
	*state = b;
	return 0;
}

static void forget(struct bench *b)
{
	config_close(&b->config);
	buf_clear(&b->text);
	while (b->argc > 1)
		free(b->argv[--b->argc]);
}

static int close_bench(void **state)
{
	struct bench *b = *state;
	forget(b);
	free(b->argv[0]);
	unlink(b->file[0]);
	unlink(b->file[1]);
	unsetenv("PARLEY_QUEUE_BYTES");
	buf_close(&b->text);
	free(b);
	return 0;
}

static void add(struct bench *b, const char *argument)
{
	assert_true(b->argc < ARGUMENTS_MAX);
	b->argv[b->argc++] = mem_strdup(argument);
}

static void add_file(struct bench *b, int i, const char *text)
{
	write_file(b->file[i], text);
	add(b, "--config");
	add(b, b->file[i]);
}

/* The options without which no daemon starts. */
static void add_needed(struct bench *b)
{
	add(b, "--name=n1");
	add(b, "--key_file=/k");
	add(b, "--tls_cert=/c");
	add(b, "--tls_key=/t");
	add(b, "--data_dir=/d");
}

static enum config_outcome read_config(struct bench *b)
{
	return config_read(&b->config, own, ARRAY_LEN(own), b->argc, b->argv, &b->text);
}

static void expect_text(struct bench *b, const char *part)
{
	if (!strstr(buf_cstr(&b->text), part))
		fail_msg("\"%s\" is not in: %s", part, buf_cstr(&b->text));
}

static void expect_wrong(struct bench *b, const char *part)
{
	assert_int_equal(read_config(b), CONFIG_WRONG);
	expect_text(b, part);
	forget(b);
}

static void later_layers_win(void **state)
{
	struct bench *b = *state;
	add_needed(b);
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 1000);
	assert_string_equal(config_text(&b->config, "members_file"), "/etc/parley/members.yaml");
	forget(b);

	add_needed(b);
	add_file(b, 0, "# shared\nqueue_bytes: 20\nrecover_now: true\n");
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 20);
	assert_true(config_bool(&b->config, "recover_now"));
	forget(b);

	add_needed(b);
	add_file(b, 0, "queue_bytes: 20\nlog_level: debug\n");
	add_file(b, 1, "queue_bytes: \"30\"\n");
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 30);
	assert_string_equal(config_text(&b->config, "log_level"), "debug");

	setenv("PARLEY_QUEUE_BYTES", "40", 1);
	config_close(&b->config);
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 40);

	config_close(&b->config);
	add(b, "--queue-bytes"); /* dashes will do */
	add(b, "50");
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 50);
}

static void a_switch_needs_no_value(void **state)
{
	struct bench *b = *state;
	add(b, "--recover-now");
	add_needed(b);
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_true(config_bool(&b->config, "recover_now"));
	forget(b);
	add(b, "--recover_now");
	add(b, "false");
	add_needed(b);
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_false(config_bool(&b->config, "recover_now"));
}

static void an_unknown_key_is_named_with_its_line(void **state)
{
	struct bench *b = *state;
	char place[128];
	add_needed(b);
	add_file(b, 0, "# one\nqueue_bytes: 20\n\nqueue_byte: 30\n");
	snprintf(place, sizeof place, "%s:4:1: unknown key 'queue_byte'", b->file[0]);
	expect_wrong(b, place);
	add_file(b, 0, "no_such: 1\n");
	snprintf(place, sizeof place, "%s:1:1: unknown key 'no_such'", b->file[0]);
	expect_wrong(b, place);
}

static void a_broken_file_is_named_with_its_line(void **state)
{
	struct bench *b = *state;
	char place[128];
	add_file(b, 0, "name: a\nqueue_bytes: [1, 2]\n");
	snprintf(place, sizeof place, "%s:2:", b->file[0]);
	expect_wrong(b, place);
	add_file(b, 0, "name: a\nname: b\n");
	expect_wrong(b, b->file[0]);
	add_file(b, 0, "name: \"a\n");
	expect_wrong(b, b->file[0]);
	add_file(b, 0, "just text\n");
	expect_wrong(b, b->file[0]);
	add(b, "--config=/no/such/file");
	expect_wrong(b, "/no/such/file: No such file or directory");
}

static void bounds_hold_in_every_layer(void **state)
{
	struct bench *b = *state;
	char place[128];
	add_file(b, 0, "name: a\nqueue_bytes: 5001\n");
	snprintf(place, sizeof place, "%s:2:1: queue_bytes must be a number from 10 to 5000",
		 b->file[0]);
	expect_wrong(b, place);
	const char *bad[] = {"9", "", "x", "-20", "+20", " 20", "20 ", "1e3", "0x20"};
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char flag[64];
		snprintf(flag, sizeof flag, "--queue_bytes=%s", bad[i]);
		add(b, flag);
		expect_wrong(b, "--queue_bytes: queue_bytes must be");
	}
	add(b, "--any_number=18446744073709551616");
	expect_wrong(b, "any_number must be");
	add(b, "--recover_now=yes");
	expect_wrong(b, "true or false");
	setenv("PARLEY_QUEUE_BYTES", "1", 1);
	add_needed(b);
	expect_wrong(b, "PARLEY_QUEUE_BYTES: queue_bytes");
	unsetenv("PARLEY_QUEUE_BYTES");
	add_needed(b);
	add(b, "--queue_bytes=5000");
	add(b, "--any_number=18446744073709551615");
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_int_equal(config_number(&b->config, "queue_bytes"), 5000);
	assert_true(config_number(&b->config, "any_number") == UINT64_MAX);
}

static void unknown_arguments_are_refused(void **state)
{
	struct bench *b = *state;
	add(b, "--no-such=1");
	expect_wrong(b, "--no-such");
	add(b, "stray");
	expect_wrong(b, "stray");
	add(b, "-n");
	expect_wrong(b, "-n");
	add(b, "--name");
	expect_wrong(b, "needs a value");
	for (int i = 0; i < 9; i++)
		add(b, "--config=/dev/null");
	expect_wrong(b, "--config");
}

static void what_must_be_given_is_named(void **state)
{
	struct bench *b = *state;
	add(b, "--name=n1");
	add(b, "--key_file=/k");
	add(b, "--tls_cert=/c");
	add(b, "--tls_key=/t");
	expect_wrong(b, "data_dir must be given: where the data lies");
}

static void print_config_shows_origins_and_loads_again(void **state)
{
	struct bench *b = *state;
	char line[160];
	add_needed(b);
	add_file(b, 0, "queue_bytes: 20\n");
	add(b, "--members_file=/a \"b\\c \u00e6\xc2\x85\u2028\ufffe");
	add(b, "--print-config");
	assert_int_equal(read_config(b), CONFIG_DONE);
	snprintf(line, sizeof line, "queue_bytes: \"20\" # %s:1:1\n", b->file[0]);
	expect_text(b, line);
	expect_text(b, "name: \"n1\" # --name\n");
	expect_text(b, "log_level: \"info\" # built-in\n");
	char *printed = mem_strdup(buf_cstr(&b->text));
	forget(b);
	add_file(b, 1, printed);
	free(printed);
	assert_int_equal(read_config(b), CONFIG_RUN);
	assert_string_equal(config_text(&b->config, "members_file"),
			    "/a \"b\\c \u00e6\xc2\x85\u2028\ufffe");
	assert_int_equal(config_number(&b->config, "queue_bytes"), 20);
}

static void help_names_every_option(void **state)
{
	struct bench *b = *state;
	add(b, "--help");
	assert_int_equal(read_config(b), CONFIG_DONE);
	for (size_t i = 0; i < ARRAY_LEN(own); i++) {
		expect_text(b, own[i].name);
		expect_text(b, own[i].meaning);
	}
	expect_text(b, "health_port");
	forget(b);
	add(b, "--version");
	assert_int_equal(read_config(b), CONFIG_DONE);
	assert_true(b->text.len > 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_bench, close_bench)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(later_layers_win),
	    TEST(a_switch_needs_no_value),
	    TEST(an_unknown_key_is_named_with_its_line),
	    TEST(a_broken_file_is_named_with_its_line),
	    TEST(bounds_hold_in_every_layer),
	    TEST(unknown_arguments_are_refused),
	    TEST(what_must_be_given_is_named),
	    TEST(print_config_shows_origins_and_loads_again),
	    TEST(help_names_every_option),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
