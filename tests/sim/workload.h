/* Workloads: who uses the simulated cluster, and what must hold of what they saw. Each is an entry
 * of the table in workload.c and keeps its state to itself. It draws from a slice of the seed of
 * its own (w->rng, from the seed and its name), its way to the gateways included, so a seed in
 * which a workload takes no part runs as if there were no such workload.
 *
 * A workload has actors, numbered from 0: clients that act one thing at a time. They ask gateways
 * over HTTP as the shell would hand it to them, and get what a client would see: answers, parts of
 * streams, their ends. A gateway that is down, or stands still, answers nothing: so who asks says
 * for how long it waits. */
#ifndef PARLEY_SIM_WORKLOAD_H
#define PARLEY_SIM_WORKLOAD_H

#include "tests/sim/sim.h"

enum { WORKLOADS_MAX = 32 };

/* Only name, actors, state_bytes, step, on_answer, and start or start_ms must be there. */
struct workload_ops {
	const char *name;
	int actors;
	size_t state_bytes; /* of w->state, which is there, zeroed, from the start to the end */
	/* It takes part in one seed of so many, those that draw this number below it. 0: in all. */
	int one_in;
	int drawn;
	/* Does it make sense with what else the seed has drawn? NULL: always. */
	bool (*fits)(const struct sim_settings *settings);
	/* At the beginning of the run: fills the state; workload_sleep for each actor that does
	 * something, unless all begin at start_ms. */
	void (*start)(struct workload *w);
	int start_ms;
	/* An actor that is not done has slept, or waited for an answer, as long as it wanted. */
	void (*step)(struct workload *w, int actor);
	/* Begins with workload_awaits or workload_answered: others are late. Borrowed for the call.
	 */
	void (*on_answer)(struct workload *w, int actor, const struct sim_answer *answer);
	/* Any node sends a message; effect->send.body is encoded. For checks of single messages. */
	void (*on_send)(struct workload *w, int from, const struct effect *effect);
	/* Faults are over, and nothing new is to be begun: what is under way should end. */
	void (*on_heal)(struct workload *w);
	/* After healing: has everything ended? Else says in one sentence what has not. NULL:
	 * workload_actors_done says it. */
	bool (*done)(struct workload *w, struct buf *why);
	/* At the end, if all is quiet: sim_violation for each promise broken. */
	void (*check)(struct workload *w);
	/* What w->state owns. */
	void (*free)(struct workload *w);
};

struct workload_actor {
	uint64_t request; /* under way; 0: none */
	int64_t deadline_us;
	bool done;
};

struct workload {
	const struct workload_ops *ops;
	struct sim *sim;
	int index;
	struct rng rng;
	uint32_t requests; /* made so far */
	struct workload_actor *actors;
	void *state;
};

/* 0 .. bound - 1 */
int workload_below(struct workload *w, int bound);

/* A request to be filled and then posted; connection 0 becomes one of its own. */
struct sim_http *workload_request(struct workload *w, int actor, enum http_method method,
				  const char *path);
/* The name is a literal in lower case; copies the value. At most SIM_HEADERS_MAX. */
void workload_header(struct sim_http *r, const char *name, const char *value);
/* The same in CouchDB's dialect. */
struct sim_http *workload_couch_request(struct workload *w, int actor, enum http_method method,
					const char *path);
/* Brings a document `dN` as a replicator does. Its revisions are one line: number R is called R-rR.
 * The rest is what follows `_revisions`, with its comma. */
void workload_fill_push(struct sim_http *r, int document, int revision, const char *rest);
/* One more message on a WebSocket. */
void workload_stream_send(struct workload *w, uint64_t id, struct slice text);
/* The client goes away: its request is abandoned, its stream and its connection end. Nothing more
 * is heard of this id. */
void workload_hang_up(struct workload *w, uint64_t id);

/* step(actor) in so much time, and not before. */
void workload_sleep(struct workload *w, int actor, int64_t in_us);
/* The same, in a time that is drawn: 1 ms to so many. */
void workload_rest(struct workload *w, int actor, int64_t most_ms);
/* Before all else: until it is ready, the first actor asks for what all of them need, and the
 * others wait, for as long as there are faults. Returns whether the actor may go on. */
bool workload_is_opened(struct workload *w, int actor, bool ready, void (*ask)(struct workload *w),
			int64_t retry_us);
/* Asks for a document to be made, unless it is there. */
void workload_ask_document(struct workload *w, int actor, const char *path, const char *body,
			   int64_t timeout_us);
/* It is there: if not by this request, by an earlier one whose answer was lost. */
bool workload_is_made(const struct sim_answer *answer);
/* Posts to any gateway, JSON unless its header says something else, and sleeps until an answer has
 * come or the time is over. The request's id names it in answers and in the calls above. */
uint64_t workload_ask(struct workload *w, int actor, struct sim_http *r, int64_t timeout_us);
/* To this one (0 .. settings.gateways - 1). */
uint64_t workload_ask_at(struct workload *w, int actor, int gateway, struct sim_http *r,
			 int64_t timeout_us);
/* Is it about the request under way? */
bool workload_awaits(const struct workload *w, int actor, const struct sim_answer *answer);
/* Likewise; and nothing is under way any more, unless it begins or goes on with a stream. */
bool workload_answered(struct workload *w, int actor, const struct sim_answer *answer);
/* Nothing is under way any more; the gateway may do it yet. */
void workload_forget(struct workload *w, int actor);
/* Hangs up what is under way: nobody knows what became of it. Returns whether anything was. */
bool workload_give_up(struct workload *w, int actor);
/* Those from first to last are done; else it says who is not, if why is given. */
bool workload_are_done(const struct workload *w, int first, int last, struct buf *why);
bool workload_actors_done(struct workload *w, struct buf *why);
/* All has healed, those from first to last are done, and the cluster is quiet: whoever looks now
 * sees what stays. */
bool workload_is_over(const struct workload *w, int first, int last);
/* All but the first actor, who reads each document once all of them up to `last` are over: returns
 * the next that was not checked; -1: there is none to be read now. */
int workload_last_look(struct workload *w, int actor, int last, const bool *checked, int documents);
/* The id of a Server-Sent Event, if it has one; it must fit. */
bool workload_event_id(const char *event, char *id, size_t size);

/* Of a collection, from what the gateway says of it; 0: it says none. */
uint64_t workload_collection_id(struct slice body);

/* Of this collection, 0: of all, on all disks: contents are counted as bodies name them, and are
 * there (attachment_workload.c). */
void attachments_check_disks(struct workload *w, uint64_t collection);

/* The index in sim->nodes of a gateway. */
int workload_gateway_node(const struct sim *sim, int gateway);

/* NULL: there is none of this number. */
const char *workload_name(int index);
/* In this run; known once all have started. */
bool workload_takes_part(const struct sim *sim, const char *name);

/* For sim.c and http.c. */
void workload_start_all(struct sim *sim);
void workload_step(struct sim *sim, int index, int actor);
void workload_answer(struct sim *sim, struct sim_answer *answer); /* frees it */
void workload_on_send(struct sim *sim, int from, const struct effect *effect);
void workload_heal(struct sim *sim);
bool workload_all_done(struct sim *sim, struct buf *why);
void workload_check_all(struct sim *sim);
void workload_free_all(struct sim *sim);
/* Of the workload that made this request. */
struct workload *workload_of(struct sim *sim, uint64_t request);

extern const struct workload_ops client_workload; /* client.c */
extern const struct workload_ops lock_workload;
extern const struct workload_ops notify_workload;
extern const struct workload_ops index_workload;
extern const struct workload_ops edit_workload;       /* edit_workload.c */
extern const struct workload_ops late_workload;       /* late_workload.c */
extern const struct workload_ops set_workload;        /* set_workload.c */
extern const struct workload_ops moves_workload;      /* moves_workload.c */
extern const struct workload_ops policy_workload;     /* policy_workload.c */
extern const struct workload_ops fresh_workload;      /* fresh_workload.c */
extern const struct workload_ops collision_workload;  /* collision_workload.c */
extern const struct workload_ops external_workload;   /* external_workload.c */
extern const struct workload_ops purge_workload;      /* purge_workload.c */
extern const struct workload_ops replicator_workload; /* replicator_workload.c */
extern const struct workload_ops changes_workload;    /* changes_workload.c */
extern const struct workload_ops attachment_workload; /* attachment_workload.c */
extern const struct workload_ops drop_workload;       /* drop_workload.c */
extern const struct workload_ops view_workload;       /* view_workload.c */
extern const struct workload_ops dispute_workload;    /* dispute_workload.c */
extern const struct workload_ops job_workload;        /* job_workload.c */
extern const struct workload_ops schedule_workload;   /* schedule_workload.c */
extern const struct workload_ops erase_workload;      /* erase_workload.c */
extern const struct workload_ops storm_workload;      /* storm_workload.c */
extern const struct workload_ops alone_workload;      /* alone_workload.c */
extern const struct workload_ops parts_workload;      /* parts_workload.c */
extern const struct workload_ops tuned_workload;      /* tuned_workload.c */
extern const struct workload_ops album_workload;      /* album_workload.c */

#endif
