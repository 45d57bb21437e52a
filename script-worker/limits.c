#include "script-worker/limits.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "proto/script_frame.h"

enum {
	STACK_BYTES = 16 * 1024,
	/* Of the largest result: its string in the engine's form and in ours, and the buffer, which
	 * doubles. */
	RESULT_BYTES = 12 * LIMIT_BODY_BYTES,
	OWN_BYTES_MAX = RESULT_BYTES + 16 * LIMIT_MESSAGE_BYTES
};

struct sizes {
	uint64_t address_bytes;
	uint64_t resident_bytes;
};

/* A signal handler has nothing but globals. */
static int sizes_fd = -1;
static struct sizes base;
static uint64_t limit_bytes; /* the script's */
static uint64_t own_bytes;
static uint8_t handler_stack[STACK_BYTES];

/* Digits from *at, which moves behind them and one character more; safe in a signal handler. */
static uint64_t read_number(const char **at)
{
	uint64_t number = 0;
	for (; **at >= '0' && **at <= '9'; (*at)++)
		number = number * 10 + (uint64_t)(**at - '0');
	*at += **at != '\0';
	return number;
}

/* "size resident ...", in pages. */
static struct sizes read_sizes(void)
{
	char line[256] = "";
	const char *at = line;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct sizes sizes;
	if (pread(sizes_fd, line, sizeof line - 1, 0) < 0)
		line[0] = '\0';
	sizes.address_bytes = read_number(&at) * page;
	sizes.resident_bytes = read_number(&at) * page;
	return sizes;
}

/* The engine gives up by crashing when it gets no memory; the last request may have been large. */
static void on_crash(int number)
{
	(void)number;
	bool memory = limit_bytes > 0 &&
		      read_sizes().address_bytes > base.address_bytes + own_bytes + limit_bytes / 2;
	_exit(memory ? SCRIPT_EXIT_MEMORY : SCRIPT_EXIT_CRASHED);
}

bool limits_open(struct buf *problem)
{
	static const int deadly[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP, SIGABRT, SIGFPE};
	stack_t stack = {.ss_sp = handler_stack, .ss_size = sizeof handler_stack};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};
	bool ok = sigaltstack(&stack, NULL) == 0;
	for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
		ok = ok && sigaction(deadly[i], &action, NULL) == 0;
	/* last words may go to a file, which may not grow; they must not decide how it ends */
	ok = ok && signal(SIGXFSZ, SIG_IGN) != SIG_ERR;
	sizes_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	base = read_sizes();
	ok = ok && base.address_bytes > 0;
	if (!ok)
		buf_append_text(problem, "can't watch the own memory");
	return ok;
}

static void set_timer(uint64_t ms)
{
	struct itimerval timer = {.it_value = {.tv_sec = (time_t)(ms / 1000),
					       .tv_usec = (suseconds_t)(ms % 1000 * 1000)}};
	CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
}

static void set_address_limit(rlim_t bytes)
{
	struct rlimit limit = {bytes, base.address_bytes + SCRIPT_MEMORY_BYTES_MAX + OWN_BYTES_MAX};
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
}

static uint64_t at_most(uint64_t bytes, uint64_t most)
{
	return bytes < most ? bytes : most;
}

void limits_set(uint64_t time_ms, uint64_t memory_bytes, uint64_t own)
{
	limit_bytes = at_most(memory_bytes, SCRIPT_MEMORY_BYTES_MAX);
	own_bytes = at_most(own, OWN_BYTES_MAX - RESULT_BYTES);
	set_address_limit(base.address_bytes + own_bytes + limit_bytes);
	set_timer(time_ms > 0 ? time_ms : 1);
}

void limits_for_result(void)
{
	if (limit_bytes == 0)
		return; /* nothing is counted yet */
	own_bytes += RESULT_BYTES;
	set_address_limit(base.address_bytes + own_bytes + limit_bytes);
}

void limits_lift(void)
{
	set_timer(0);
	set_address_limit(base.address_bytes + SCRIPT_MEMORY_BYTES_MAX + OWN_BYTES_MAX);
	limit_bytes = own_bytes = 0;
}

uint64_t limits_taken_bytes(void)
{
	uint64_t now = read_sizes().resident_bytes;
	return now > base.resident_bytes ? now - base.resident_bytes : 0;
}
