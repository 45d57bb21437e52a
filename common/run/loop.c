#include "common/run/loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/run/clock.h"

enum { LOOP_WAIT_MAX_MS = 1000 };

static void on_signal(void *context)
{
	struct loop *l = context;
	struct signalfd_siginfo info;
	while (read(l->signals, &info, sizeof info) == sizeof info) {
		l->term = l->term || info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
		l->hangup = l->hangup || info.ssi_signo == SIGHUP;
	}
}

static void on_timer(void *context)
{
	struct loop *l = context;
	uint64_t times;
	ssize_t got = read(l->timer, &times, sizeof times);
	(void)got; /* the deadline itself is compared by the caller */
	l->armed_ms = 0;
}

void loop_open(struct loop *l)
{
	sigset_t set;
	*l = (struct loop){.epoll = epoll_create1(EPOLL_CLOEXEC)};
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
	/* one that who started it had ignored, as nohup does, would not be told */
	signal(SIGTERM, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	l->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	/* CLOCK_BOOTTIME goes on while the machine sleeps: leases end then too */
	l->timer = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	CHECK(l->epoll >= 0 && l->signals >= 0 && l->timer >= 0);
	loop_add(l, l->signals, on_signal, l);
	loop_add(l, l->timer, on_timer, l);
}

void loop_close(struct loop *l)
{
	close(l->timer);
	close(l->signals);
	close(l->epoll);
}

void loop_add(struct loop *l, int fd, loop_callback *ready, void *context)
{
	CHECK(l->count < LOOP_SOURCES_MAX);
	l->sources[l->count++] = (struct loop_source){fd, ready, context};
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	CHECK(epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

void loop_want_write(struct loop *l, int fd, bool wanted)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
	if (wanted)
		event.events |= EPOLLOUT;
	CHECK(epoll_ctl(l->epoll, EPOLL_CTL_MOD, fd, &event) == 0);
}

void loop_set(struct loop *l, int fd, loop_callback *ready, void *context)
{
	loop_remove(l, fd);
	loop_add(l, fd, ready, context);
}

void loop_remove(struct loop *l, int fd)
{
	for (int i = 0; i < l->count; i++) {
		if (l->sources[i].fd != fd)
			continue;
		epoll_ctl(l->epoll, EPOLL_CTL_DEL, fd, NULL);
		l->sources[i] = l->sources[--l->count];
		return;
	}
}

/* Most turns wait for the same deadline as the one before. */
static void arm(struct loop *l, int64_t deadline_ms)
{
	if (deadline_ms == l->armed_ms)
		return;
	l->armed_ms = deadline_ms;
	struct itimerspec when = {
	    .it_value = {.tv_sec = deadline_ms / 1000, .tv_nsec = deadline_ms % 1000 * 1000000}};
	CHECK(timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

static void dispatch(struct loop *l, int fd)
{
	for (int i = 0; i < l->count; i++) {
		if (l->sources[i].fd == fd) {
			l->sources[i].ready(l->sources[i].context);
			return;
		}
	}
}

void loop_wait(struct loop *l, int64_t deadline_ms)
{
	struct epoll_event events[LOOP_SOURCES_MAX];
	int64_t now = clock_boot_ms();
	int timeout = 0;
	if (deadline_ms > now) {
		timeout = deadline_ms - now < LOOP_WAIT_MAX_MS ? -1 : LOOP_WAIT_MAX_MS;
		if (timeout < 0)
			arm(l, deadline_ms);
	}
	int count = epoll_wait(l->epoll, events, LOOP_SOURCES_MAX, timeout);
	CHECK(count >= 0 || errno == EINTR);
	for (int i = 0; i < count; i++)
		dispatch(l, events[i].data.fd);
}
