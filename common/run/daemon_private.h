/* What daemon.c and daemon_setup.c share. */
#ifndef PARLEY_RUN_DAEMON_PRIVATE_H
#define PARLEY_RUN_DAEMON_PRIVATE_H

#include "common/run/bus_zmq.h"
#include "common/run/daemon.h"
#include "common/run/health.h"
#include "common/run/identity.h"
#include "common/run/script_pool.h"

struct daemon {
	const struct daemon_spec *spec;
	struct config config;
	int argc;
	char **argv;
	struct logger logger;
	struct members members;
	uint64_t self;
	struct loop loop;
	struct bus *bus;
	struct health_listener *health;
	struct store *store;
	struct script_pool *scripts;
	struct node_identity identity;
	void *core;
	void *user;
	struct effects fx;
	bool again;           /* come round without waiting */
	struct event *unsent; /* of the last turn, for the next */
	uint32_t unsent_count;
	bool stopping; /* leave the loop with exit_code */
	int exit_code;
	bool draining;
	int64_t drain_until_ms;
	bool ready_told;
	int64_t starting_tell_ms; /* when systemd is told next that it is not ready yet */
	char status[200];         /* as systemd was told last */
	bool disk_full;
	bool disk_exhausted;
	int64_t housekeeping_ms;
	uint64_t turns, commits, syncs;
	uint64_t commit_us;
};

/* Reads the configuration and opens everything. False: d->exit_code says how to end. */
bool daemon_setup(struct daemon *d, int argc, char **argv);
void daemon_teardown(struct daemon *d);
/* SIGHUP. */
void daemon_reload(struct daemon *d);
/* Moves the data directory's store aside, so that the next start begins with an empty one. */
bool daemon_set_aside(struct daemon *d, const char *reason);
/* daemon_report.c: what health and metrics show, and systemd is told. */
bool daemon_open_health(struct daemon *d, struct buf *problem) MUST_CHECK;
void daemon_housekeeping(struct daemon *d);

#endif
