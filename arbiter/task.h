/* One document at work: read, decided, its resolution ordered. Nothing here is remembered beyond
 * the task; whatever goes wrong, the conflict is still in its shard's queue. */
#ifndef PARLEY_ARBITER_TASK_H
#define PARLEY_ARBITER_TASK_H

#include "arbiter/script.h"
#include "arbiter/split.h"
#include "common/core.h"
#include "common/doc/decide.h"

struct arbiter;
struct shard_row;

enum task_state {
	TASK_FREE = 0,
	TASK_WAITING,
	TASK_READING,
	TASK_SCRIPTING,
	TASK_SPLITTING,
	TASK_RESOLVING
};

/* A resolution that the lead will never take. */
struct refusal {
	uint64_t status; /* 0: none */
	uint8_t resolution[16];
	uint32_t hows; /* that it was decided by: bits by enum decision_how */
};

/* One document at work. */
struct task {
	enum task_state state;
	uint64_t shard;
	struct buf id;
	uint64_t request;
	uint64_t from;  /* READING: the node with whose body to begin */
	int64_t due_ms; /* WAITING: start; else: no answer came */
	uint32_t attempts;
	enum decision_how how;  /* RESOLVING */
	uint8_t resolution[16]; /* RESOLVING */
	bool scripted;          /* its policy is a script, or its shard's was lately */
	struct refusal refusal;
	struct script_run script;
	struct split_run split;
};

bool arbiter_task_exists(const struct arbiter *a, uint64_t shard, struct slice id);
/* False: no room. */
bool arbiter_task_start(struct arbiter *a, struct shard_row *row, struct slice id,
			struct effects *fx);
/* When what is asked for now is asked for again. */
int64_t arbiter_task_answer_due_ms(const struct arbiter *a, const struct task *t);
void arbiter_task_read(struct arbiter *a, struct task *t, struct effects *fx);
/* Later, or not at all if it has been tried too often. */
void arbiter_task_wait(struct arbiter *a, struct task *t, struct effects *fx);
void arbiter_task_timer(struct arbiter *a, struct effects *fx);
int64_t arbiter_task_deadline(const struct arbiter *a);
/* The lead is another now: what it was asked is asked again. */
void arbiter_task_lead_moved(struct arbiter *a, const struct shard_row *row);
/* The shard is gone. */
void arbiter_task_drop(struct arbiter *a, uint64_t shard, struct effects *fx);
void arbiter_task_on_graph(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_task_on_resolved(struct arbiter *a, const struct event *e, struct effects *fx);
void arbiter_task_close(struct arbiter *a);

#endif
