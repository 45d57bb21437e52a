/* What script_pool.c and script_process.c share. */
#ifndef PARLEY_RUN_SCRIPT_POOL_PRIVATE_H
#define PARLEY_RUN_SCRIPT_POOL_PRIVATE_H

#include <sys/types.h>

#include "common/run/script_pool.h"
#include "common/run/script_queue.h"

enum process_state {
	PROCESS_DOWN = 0, /* none; may be started from retry_ms on */
	PROCESS_STARTING, /* its first words are due */
	PROCESS_IDLE,
	PROCESS_RUNNING,
	PROCESS_ENDING /* killed, or it ended: to be waited for */
};

struct script_result {
	uint64_t id;
	enum script_status status;
	struct buf output;
};

struct script_process {
	struct script_pool *pool;
	enum process_state state;
	pid_t pid;
	int fd;
	struct buf in;
	struct script_job job; /* id 0 if there is none; STARTING: to be run again */
	size_t sent;
	int64_t due_ms; /* STARTING, RUNNING: killed then; ENDING: looked at again; DOWN: retry */
	bool overdue;   /* killed because it was */
	bool ready;     /* has said its first words */
	bool retired;   /* is to be replaced, through no fault of its own */
	bool again;     /* its run is to be made again by its successor */
	uint64_t runs;  /* since it was started */
	bool wants_write;
	uint64_t started_us;
};

struct script_pool {
	struct script_pool_setup setup;
	char *program;
	struct script_process workers[SCRIPT_WORKERS_MAX];
	struct script_queue queue;
	struct script_result *results;
	uint32_t results_count, results_cap;
	uint32_t failures; /* deaths in a row that no script can be blamed for */
	uint64_t ended[SCRIPT_STATUS_MAX + 1];
	uint64_t run_us;
	uint64_t starts;
};

/* ---- script_pool.c ---- */

/* Copies the output. */
void script_pool_result(struct script_pool *p, uint64_t id, enum script_status status,
			struct slice output);
/* A worker could not be started: nobody is to wait for it. */
void script_pool_refuse_all(struct script_pool *p);

/* ---- script_process.c ---- */

void script_process_start(struct script_process *w);
/* Takes the job over. */
void script_process_run(struct script_process *w, struct script_job *job);
/* Kills it when it is overdue, waits for it when it has ended. */
void script_process_look(struct script_process *w);
void script_process_stop(struct script_process *w);

#endif
