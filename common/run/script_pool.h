/* Processes that run scripts for a daemon: a few workers (parley-script-worker), a bounded queue in
 * which groups take turns, and a watch over both time and memory. A worker that exceeds either is
 * killed and replaced; what a script can do is to fail.
 *
 * Descriptors are watched by the daemon's loop; nothing blocks. Workers are started when they are
 * first needed. */
#ifndef PARLEY_RUN_SCRIPT_POOL_H
#define PARLEY_RUN_SCRIPT_POOL_H

#include "common/core.h"
#include "common/run/config.h"
#include "common/run/logger.h"
#include "common/run/loop.h"

enum { SCRIPT_WORKERS_MAX = 4 };

/* Rows for the option tables of daemons whose cores ask for scripts. */
/* clang-format off */
#define SCRIPT_POOL_OPTIONS \
	{"script_worker", CONFIG_TEXT, "", 0, 0, \
	 "program that runs scripts; empty: parley-script-worker beside this program"}, \
	{"script_workers", CONFIG_NUMBER, "1", 1, SCRIPT_WORKERS_MAX, \
	 "processes that run scripts, started when first needed"}
/* clang-format on */

struct script_pool_setup {
	const char *program; /* "": parley-script-worker beside the own program */
	uint32_t workers;    /* 1 to SCRIPT_WORKERS_MAX */
	struct loop *loop;
	struct logger *logger;
};

struct script_pool; /* private */

struct script_pool *script_pool_new(const struct script_pool_setup *setup);
/* Kills the workers; what was asked is not answered any more. */
void script_pool_free(struct script_pool *p);
/* Copies. Refusals are delivered like all else. */
void script_pool_submit(struct script_pool *p, const struct script_request *request);
/* If it still waits it is neither run nor answered. */
void script_pool_drop(struct script_pool *p, uint64_t id);
/* Looks at deadlines, starts what waits, and hands out what has ended. deliver must not call back
 * into the pool. */
void script_pool_turn(struct script_pool *p, void (*deliver)(void *context, struct event *event),
		      void *context);
/* When script_pool_turn wants to be called next (CLOCK_BOOTTIME ms); NO_DEADLINE: never. */
int64_t script_pool_deadline(struct script_pool *p);
/* Nothing runs, waits or is to be delivered. */
bool script_pool_idle(const struct script_pool *p);
/* Appends Prometheus text. */
void script_pool_metrics(const struct script_pool *p, struct buf *out);

#endif
