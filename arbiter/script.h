/* Conflicts whose policy is a function: it is run beside the loop, and the answer is applied to the
 * graph as it is then. */
#ifndef PARLEY_ARBITER_SCRIPT_H
#define PARLEY_ARBITER_SCRIPT_H

#include "common/core.h"
#include "common/doc/decide.h"

struct arbiter;
struct shard_row;
struct task;

/* Documents at work whose policy is a script: in all, of one collection, and of one whose scripts
 * have run out of time. Scripts that are slow, or never end, keep nobody else waiting. */
enum { SCRIPT_TASKS_MAX = 48, SCRIPT_TASKS_OF_ONE = 16, SCRIPT_TASKS_OF_SLOW = 2 };

/* What the last run of a task's script came to. Kept while the task is, as the graph is read again
 * before it is used: the answer to these very arguments stays right. */
struct script_run {
	bool done;
	uint64_t policy_version; /* of the graph that it was asked about */
	uint8_t digest[32];      /* of source and arguments */
	enum script_status status;
	struct buf output; /* as in EVENT_SCRIPT */
};

/* *d is a DECISION_SCRIPT. True: it has become another one. False: the script was started, and the
 * task waits for it, or for the lead to know the policy that is in force. */
bool arbiter_script_decide(struct arbiter *a, struct task *t, const struct msg_conflict_read_ack *m,
			   struct decision *d, struct effects *fx);
void arbiter_script_on_end(struct arbiter *a, const struct event *e, struct effects *fx);
/* The collection has another policy now: runs under older ones are dropped, and their graphs read
 * again. */
void arbiter_script_policy_moved(struct arbiter *a, uint64_t collection, struct effects *fx);
/* It has taken all that it may, for nothing: not to be tried again soon. */
bool arbiter_script_was_costly(const struct script_run *run);
/* Whether a document of this shard may be taken on. */
bool arbiter_script_has_room(struct arbiter *a, const struct shard_row *row);

#endif
