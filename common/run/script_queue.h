/* Runs that wait for a script worker, in turns of the groups that asked for them: whoever has had
 * the least of the workers' time comes first, within a group who came first. So a group whose
 * scripts never end costs another one run of theirs, however many of them wait.
 *
 * Time counts among those that are there together: who comes anew, or again, has at most a second
 * to come before all others, and when nobody is there all is forgotten. */
#ifndef PARLEY_RUN_SCRIPT_QUEUE_H
#define PARLEY_RUN_SCRIPT_QUEUE_H

#include "common/base/buf.h"
#include "common/base/check.h"

enum {
	SCRIPT_QUEUE_MAX = 512,
	SCRIPT_QUEUE_BYTES_MAX = 64 * 1024 * 1024,
	SCRIPT_GROUPS_MAX = 64, /* at once; more share with others */
	/* A group whose runs take longer leaves one worker, if there are several, to the others. */
	SCRIPT_SLOW_US = 100000,
	SCRIPT_CREDIT_US = 1000000
};

/* A run that was asked for. */
struct script_job {
	uint64_t id;
	uint64_t group;
	uint64_t time_ms;
	uint64_t counted_us; /* taken: what its group was charged for it so far */
	struct buf frame;
};

struct script_share {
	uint64_t group;
	bool known;
	uint32_t waiting;
	uint32_t running;
	uint64_t used_us; /* runs that are under way with as much as the last one took */
	uint64_t last_us;
};

struct script_queue {
	struct script_job jobs[SCRIPT_QUEUE_MAX]; /* in order of coming */
	uint32_t count;
	size_t bytes;
	struct script_share shares[SCRIPT_GROUPS_MAX];
};

/* Takes the frame over. False: there is no room. */
bool script_queue_put(struct script_queue *q, struct script_job *job) MUST_CHECK;
/* The next one for one of so many workers; its frame is the caller's. False: there is none, or it
 * has to wait until a run has ended. */
bool script_queue_take(struct script_queue *q, uint32_t workers, struct script_job *out) MUST_CHECK;
bool script_queue_ready(struct script_queue *q, uint32_t workers);
/* A job that was taken has ended after so long. */
void script_queue_ended(struct script_queue *q, const struct script_job *job, uint64_t took_us);
/* It is not to run any more; nothing happens if it does not wait. */
void script_queue_drop(struct script_queue *q, uint64_t id);
/* Drops all that wait. */
void script_queue_clear(struct script_queue *q);

#endif
