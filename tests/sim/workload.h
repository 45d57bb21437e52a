/* Workloads: who uses the simulated cluster, and what must hold of what they saw. Each is an entry
 * of the table in workload.c and keeps its state to itself. It draws from a slice of the seed of
 * its own (w->rng, from the seed and its name), its way to the gateways included, so a seed in
 * which a workload takes no part runs as if there were no such workload.
 *
 * A workload has actors, numbered from 0: clients that act one thing at a time. It asks gateways
 * over HTTP as the shell would hand it to them, and gets what a client would see: answers, parts of
 * streams, their ends. A gateway that is down, or stands still, answers nothing: actors have
 * timeouts of their own. */
#ifndef PARLEY_SIM_WORKLOAD_H
#define PARLEY_SIM_WORKLOAD_H

#include "tests/sim/sim.h"

enum { WORKLOADS_MAX = 24 };

/* Only name, start, step, on_answer, done and free must be there. */
struct workload_ops {
	const char *name;
	/* Does it take part in this seed's run? NULL: always. */
	bool (*wanted)(struct workload *w);
	/* At the beginning of the run: makes w->state and wakes the actors. */
	void (*start)(struct workload *w);
	/* The time that workload_wake asked for has come. */
	void (*step)(struct workload *w, int actor);
	/* Borrowed for the call. */
	void (*on_answer)(struct workload *w, int actor, const struct sim_answer *answer);
	/* Any node sends a message; effect->send.body is encoded. For checks of single messages. */
	void (*on_send)(struct workload *w, int from, const struct effect *effect);
	/* Faults are over, and nothing new is to be begun: what is under way should end. */
	void (*on_heal)(struct workload *w);
	/* After healing: has everything ended? Else says in one sentence what has not. */
	bool (*done)(struct workload *w, struct buf *why);
	/* At the end, if all is quiet: sim_violation for each promise broken. */
	void (*check)(struct workload *w);
	void (*free)(struct workload *w);
};

struct workload {
	const struct workload_ops *ops;
	struct sim *sim;
	int index;
	struct rng rng;
	uint32_t requests; /* made so far */
	void *state;
};

/* step(actor) at this time; may be asked for more than once. */
void workload_wake(struct workload *w, int actor, int64_t at_us);

/* A request to be filled and then posted; connection 0 becomes one of its own. */
struct sim_http *workload_request(struct workload *w, int actor, enum http_method method,
				  const char *path);
/* The name is a literal in lower case; copies the value. At most SIM_HEADERS_MAX. */
void workload_header(struct sim_http *r, const char *name, const char *value);
/* Gives it to the gateway (0 .. settings.gateways-1) and returns its id, which names it in answers
 * and in the calls below. */
uint64_t workload_post(struct workload *w, int gateway, struct sim_http *r);
/* One more message on a WebSocket. */
void workload_stream_send(struct workload *w, uint64_t id, struct slice text);
/* The client goes away: its request is abandoned, its stream and its connection end. Nothing more
 * is heard of this id. */
void workload_hang_up(struct workload *w, uint64_t id);

/* What every actor that asks one thing at a time needs. */
struct workload_actor {
	uint64_t request; /* under way; 0: none */
	int64_t deadline_us;
};
/* step(actor) in so much time, and not before. */
void workload_sleep(struct workload *w, int actor, struct workload_actor *a, int64_t in_us);
/* Posts to any gateway, and sleeps until an answer has come or the time is over. */
void workload_ask(struct workload *w, int actor, struct workload_actor *a, struct sim_http *r,
		  int64_t timeout_us);
/* Hangs up what is under way: nobody knows what became of it. */
void workload_give_up(struct workload *w, struct workload_actor *a);
/* The id of a Server-Sent Event, if it has one; it must fit. */
void workload_event_id(const char *event, char *id, size_t size);

/* The index in sim->nodes of a gateway. */
int workload_gateway_node(const struct sim *sim, int gateway);

/* NULL: there is none of this number. */
const char *workload_name(int index);

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

#endif
