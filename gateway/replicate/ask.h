/* Questions of a job to either of its sides, which are alike to it. */
#ifndef PARLEY_GATEWAY_REPLICATE_ASK_H
#define PARLEY_GATEWAY_REPLICATE_ASK_H

#include "gateway/internal.h"
#include "gateway/replicate/spec.h"
#include "proto/msgpack.h"

enum { REPLICATE_REASON_BYTES = 256 };

struct job;

struct answer {
	enum side side;
	int status;
	bool too_large;
	struct slice text;
	struct slice value; /* MessagePack; empty if it is no JSON. Until the next answer */
};
/* Of what it holds: a text, empty if it is none; members of an array, 0 if it is none. */
struct slice answer_text(struct slice value);
uint32_t answer_array(struct slice value, struct mp_reader *reader);
/* A 500 of what will never be taken, in the words of PouchDB Server. */
bool answer_is_verdict(const struct answer *a);
typedef void job_step(struct turn *t, struct job *job, const struct answer *a);
/* Asks for less, in its place. False: there is no less. */
typedef bool job_less(struct turn *t, struct job *job);
/* While nothing was given of it (again), the body begins. */
typedef void job_room(struct turn *t, struct job *job);
/* The next one comes after ask_more. */
typedef void job_piece(struct turn *t, struct job *job, struct slice bytes);

struct question {
	enum side side;
	enum http_method method;
	const char *path;   /* below the database: "/_changes"; "" is itself */
	struct slice query; /* encoded */
	struct slice body;
	int64_t pause_ms;   /* before it is asked */
	struct slice range; /* header Range: the answer is bytes, and no JSON. Empty: all of it */
	uint64_t answer_bytes_max; /* 0: the usual */
	job_piece *piece;          /* of another server: a 200 is bytes, and comes so; or NULL */
	/* not 0: the body has so many bytes of this type, and comes by ask_give as there is room */
	uint64_t length;
	struct slice type;
	job_room *room;
	job_less *less; /* instead of asking the same again; or NULL */
	job_step *done;
};

struct ask {
	struct job *job;
	uint64_t id; /* 0: nothing is asked */
	enum side side;
	enum http_method method;
	struct buf path, query, body, range, type;
	uint64_t answer_bytes_max;
	uint64_t length; /* of a body in pieces */
	uint64_t given;
	uint64_t space; /* for more of it, now */
	bool has_room;  /* which `room` was not told yet */
	struct ask *room_next;
	job_room *room;
	job_piece *piece;
	bool begun; /* one has come: what breaks off now is an answer of status 0 */
	bool held;  /* and the next one is not asked for */
	job_less *less;
	job_step *done;
	uint32_t tries;
	int64_t due_ms; /* when it is given up, or asked again */
	bool flying;
	bool answered;
	int status;
	bool too_large;
	bool nobody;      /* no answer came, and none will */
	bool logs_in;     /* what flies is not the question yet */
	bool renewed;     /* its session was refused once */
	int64_t since_ms; /* that it has failed; before a side's first answer: asked */
	struct buf text;
	char error[REPLICATE_REASON_BYTES];
	struct ask *ready_next;
};

/* With a server that gave a cookie for the credentials. */
struct session {
	bool tried;
	struct buf cookie; /* empty: credentials go with each question */
};

/* Copies. One at a time for each ask. What may be better later is asked again by itself. */
void ask_send(struct turn *t, struct ask *ask, const struct question *q);
/* More of the body, as much as ask->space at most. */
void ask_give(struct turn *t, struct ask *ask, struct slice bytes);
/* The next piece of its answer, if it waits for that. */
void ask_more(struct turn *t, struct ask *ask);
/* What is under way breaks off, as if nobody had answered. */
void ask_break(struct turn *t, struct ask *ask, const char *error);
void ask_tick(struct turn *t, struct ask *ask);
/* Hands the answer to its `done`. */
void ask_settle(struct turn *t, struct ask *ask);
/* Forgets it; for fx only a turn with effects. */
void ask_end(struct turn *t, struct ask *ask);
void ask_close(struct ask *ask);

#endif
