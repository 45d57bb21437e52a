/* One thread's event loop: epoll over descriptors with callbacks, one deadline, and signals. */
#ifndef PARLEY_RUN_LOOP_H
#define PARLEY_RUN_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"

enum { LOOP_SOURCES_MAX = 16 };

typedef void loop_callback(void *context);

struct loop_source {
	int fd;
	loop_callback *ready;
	void *context;
};

struct loop {
	int epoll;
	int timer;
	int signals;
	struct loop_source sources[LOOP_SOURCES_MAX];
	int count;
	int64_t armed_ms; /* what the timer is set to; 0: nothing */
	bool term;        /* SIGTERM or SIGINT came */
	bool hangup;      /* SIGHUP came */
};

/* Blocks the signals it reads. */
void loop_open(struct loop *l);
void loop_close(struct loop *l);
/* Level-triggered; ready is called in the loop's thread. */
void loop_add(struct loop *l, int fd, loop_callback *ready, void *context);
/* The same for one that may be there already. */
void loop_set(struct loop *l, int fd, loop_callback *ready, void *context);
/* Whether ready is called also when the descriptor can be written to. */
void loop_want_write(struct loop *l, int fd, bool wanted);
void loop_remove(struct loop *l, int fd);
/* Waits until something is ready or the deadline (CLOCK_BOOTTIME ms) has come, then calls what is
 * ready once. */
void loop_wait(struct loop *l, int64_t deadline_ms);

#endif
