/* The skeleton of every daemon: configuration, log, members, bus, store, health listener, signals,
 * systemd, and the loop that feeds a core its turns (common/core.h). main.c is an option table, a
 * few hooks and a call. */
#ifndef PARLEY_RUN_DAEMON_H
#define PARLEY_RUN_DAEMON_H

#include "common/core.h"
#include "common/run/config.h"
#include "common/run/logger.h"
#include "common/run/loop.h"
#include "common/run/members.h"
#include "common/store/store.h"

struct daemon;

enum {
	DAEMON_EXIT_OK = 0,
	DAEMON_EXIT_FAILED = 1,
	DAEMON_EXIT_USAGE = 2,
	DAEMON_EXIT_RESET = 75 /* the data directory was set aside: start again */
};

struct daemon_spec {
	const struct core_ops *ops;
	const struct config_option *options; /* beside the common ones */
	uint32_t options_count;
	bool stores;   /* has a data_dir (options data_dir, disk_reserve_bytes, accept_torn_log) */
	bool identity; /* the directory has an incarnation; a corrupt one is set aside */
	bool scripts;  /* the core asks for scripts (options of common/run/script_pool.h) */
	/* Makes the core. NULL: *problem says why not. */
	void *(*create)(struct daemon *d, uint64_t seed, struct buf *problem);
	void (*destroy)(void *core);
	/* All may be NULL: */
	/* The option `verify`: reads the store, appends what is to be printed, says whether all is
	 * well; the daemon ends with that. */
	bool (*verify)(struct daemon *d, struct buf *report);
	bool (*setup)(struct daemon *d,
		      struct buf *problem); /* after START: listeners of its own */
	void (*teardown)(struct daemon *d);
	/* EFFECT_RESPOND, EFFECT_STREAM_SEND, EFFECT_STREAM_CLOSE; must not inject events. */
	void (*respond)(struct daemon *d, const struct effect *effect);
	void (*metrics)(struct daemon *d, struct buf *out); /* the listeners' own */
	void (*turn_end)(struct daemon *d);                 /* effects are out; may inject events */
	void (*reload)(struct daemon *d);                   /* SIGHUP: members are read already */
	bool (*drained)(struct daemon *d);                  /* nothing under way any more */
};

int daemon_run(int argc, char **argv, const struct daemon_spec *spec);

/* For hooks. */
const struct config *daemon_config(const struct daemon *d);
const struct members *daemon_members(const struct daemon *d);
const struct member_row *daemon_self(const struct daemon *d);
/* The only coordinator of the list; 0: none. */
uint64_t daemon_coordinator(const struct daemon *d);
struct logger *daemon_logger(struct daemon *d);
struct loop *daemon_loop(struct daemon *d);
struct store *daemon_store(struct daemon *d);
const struct node_identity *daemon_identity(const struct daemon *d);
void *daemon_core(struct daemon *d);
/* A pointer of the daemon's own, for its hooks. */
void daemon_set_user(struct daemon *d, void *user);
void *daemon_user(struct daemon *d);
/* Feeds the core at once, stamped with the time; its effects are carried out at the end of the
 * turn. */
void daemon_inject(struct daemon *d, struct event *event);
/* The loop shall come round again without waiting. */
void daemon_again(struct daemon *d);

#endif
