/* The contract of core and shell.
 *
 * A core is state and a step function: an event in, a list of effects out. It does no I/O, reads no
 * clock, draws no randomness but from its own seeded generator, and keeps no globals. The shell
 * (common/run, in tests the simulator) owns sockets, timers, the store and the loop.
 *
 * A turn. The shell collects what is queued and feeds it: any number of MESSAGE, TIMER ... events,
 * then one TURN event, with which the core finishes what it batches. Then, in order, the shell
 *   1. sends the effects marked WHEN_NOW;
 *   2. if the core put anything into the store, commits it (synced if fx_sync was called);
 *   3. sends the effects marked WHEN_DURABLE - never if the commit failed;
 *   4. feeds STORED (or STORE_FAILED), whose effects are handled like those of a turn.
 * So an effect marked WHEN_DURABLE leaves only when all that was put up to the end of its turn is
 * durable. Reads inside a step see its own puts (store_get) or the last commit (iterators). */
#ifndef PARLEY_CORE_H
#define PARLEY_CORE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/log.h"
#include "common/base/slice.h"
#include "common/http_types.h"
#include "common/password.h"
#include "proto/schema.h"
#include "proto/script_frame.h"

enum event_kind {
	EVENT_START,        /* first event of a life */
	EVENT_MESSAGE,      /* a decoded, role-checked message */
	EVENT_UNSENT,       /* a message was not sent at all: its receiver is not there */
	EVENT_HTTP_REQUEST, /* gateway: a whole request has arrived, or the head of one in pieces */
	EVENT_HTTP_BODY,    /* gateway: more of the body of one in pieces */
	EVENT_HTTP_GONE,    /* gateway: its client went away, or did not take an answer that asks */
	EVENT_HTTP_CLOSED,  /* gateway: a connection has ended, whatever was asked over it */
	EVENT_STREAM_MESSAGE, /* gateway: a message of a WebSocket */
	EVENT_STREAM_TAKEN,   /* gateway: all that a paced stream was sent has left */
	EVENT_STREAM_GONE,    /* gateway: a stream has ended, by whomever */
	EVENT_TIMER,          /* the deadline that the core asked for has come */
	EVENT_TURN,           /* end of a turn: finish batches */
	EVENT_STORED,     /* what was put before is durable (committed, if no sync was asked for) */
	EVENT_DISK,       /* free space fell below or rose above the reserve, or a quarter of it */
	EVENT_PASSWORD,   /* a password's hash is there */
	EVENT_SCRIPT,     /* a script has ended, or can't be run */
	EVENT_FETCH_ROOM, /* gateway: so much of a question's body that comes in pieces has left */
	EVENT_FETCH_PIECE, /* gateway: more of an answer that comes in pieces */
	EVENT_FETCHED,     /* gateway: another server has answered, or can't be asked */
	EVENT_DRAIN        /* SIGTERM: finish what is under way, take nothing new */
};

/* Where a message came from. The key it was signed with says who; never the message itself. */
struct peer {
	uint64_t member; /* id in the member list */
	enum role role;
	uint32_t route; /* connection it came over, to answer on: one of several; 0: any */
};

struct event {
	enum event_kind kind;
	int64_t now_ms;  /* CLOCK_BOOTTIME: only differences count */
	int64_t wall_ms; /* since 1970: informs, never decides safety */
	union {
		struct {
			struct peer from;
			struct envelope envelope;
			const void *body; /* struct msg_* of envelope.type, borrowed for the step */
		} message;
		struct {
			uint64_t member;
			struct envelope envelope;
		} unsent;
		const struct http_request *http;
		struct http_body http_body; /* of FETCH_PIECE, too: request is the question's id */
		uint64_t http_gone;         /* request id */
		uint64_t http_closed;       /* connection id */
		struct {
			uint64_t stream;
			struct slice bytes; /* whole message, borrowed for the step */
			bool text;          /* else binary */
		} stream;                   /* MESSAGE; of TAKEN and GONE only the id */
		struct {
			bool full;
			bool exhausted; /* less than a quarter of the reserve is left */
		} disk;
		struct {
			uint64_t id; /* the effect's */
			enum script_status status;
			struct slice output; /* OK: MessagePack; else a text; borrowed */
		} script;
		struct http_credit fetch_room; /* request: the question's id */
		struct http_fetched fetched;
		const struct password_reply *password;
	};
};

enum effect_when { WHEN_NOW, WHEN_DURABLE };
enum effect_kind {
	EFFECT_SEND,         /* one message to one peer */
	EFFECT_RESPOND,      /* answer of an HTTP request */
	EFFECT_BODY_CREDIT,  /* so much more of a body that comes in pieces is wanted */
	EFFECT_STREAM_SEND,  /* more of a stream's answer, or a message of a WebSocket */
	EFFECT_STREAM_CLOSE, /* no more; EVENT_STREAM_GONE follows */
	EFFECT_SCRIPT,       /* run a function; EVENT_SCRIPT follows, or the process ends */
	EFFECT_SCRIPT_DROP,  /* nobody waits for it any more: not to be run, if it has not begun */
	EFFECT_FETCH,        /* ask another server; EVENT_FETCHED follows, unless it is ended */
	EFFECT_FETCH_BODY,   /* more of a question's body that comes in pieces */
	EFFECT_FETCH_MORE,   /* the next piece of its answer */
	EFFECT_FETCH_END,    /* nobody waits for its answer any more */
	EFFECT_PASSWORD,     /* hash a password, beside the loop; EVENT_PASSWORD follows, too */
	EFFECT_LOG,          /* a line for the log and the trace */
	EFFECT_RESET, /* this data directory can't be vouched for: set it aside, start anew */
	EFFECT_EXIT   /* this process can't go on; the text says why */
};

struct effect {
	enum effect_kind kind;
	enum effect_when when;
	union {
		struct {
			uint64_t member;
			uint32_t route;
			struct envelope envelope;
			struct slice body; /* encoded, in the list's buffer arena */
		} send;
		struct {
			uint64_t request;
			struct http_response response; /* copied into the arena */
		} respond;
		struct http_credit body_credit;
		struct http_sending stream_send;
		struct http_closing stream_close;
		struct script_request script; /* of SCRIPT_DROP only the id */
		struct http_fetch fetch; /* of FETCH_BODY id and body, of MORE and END the id */
		struct password_request password;
		struct {
			enum log_level level;
			struct slice text;
		} log;
		struct slice reason; /* RESET, EXIT */
	};
};

/* The effects of one turn, in order. Owned by the shell; cleared after each turn. */
struct effects {
	struct effect *items;
	uint32_t count;
	uint32_t cap;
	bool sync; /* the commit of this turn must be synced */
	struct arena arena;
	struct buf scratch;
};

void effects_clear(struct effects *fx);
void effects_close(struct effects *fx);

/* Encodes *message (struct msg_* of type) now; the caller keeps nothing alive. */
void fx_send(struct effects *fx, enum effect_when when, uint64_t member, uint32_t route,
	     const struct envelope *envelope, const void *message);
/* The answer to a message: same route, request id, epoch and trace id. */
void fx_reply(struct effects *fx, enum effect_when when, const struct event *to, uint16_t type,
	      const void *message);
/* Copies the response. */
void fx_respond(struct effects *fx, uint64_t request, const struct http_response *response);
/* Of a request in pieces: HTTP_BODY events bring so many bytes more, or a few more than that. */
void fx_body_credit(struct effects *fx, uint64_t request, uint32_t bytes);
/* Copies. The same bytes to many streams; those that are gone are skipped. */
void fx_stream_send(struct effects *fx, const uint64_t *streams, uint32_t count, struct slice body);
void fx_stream_close(struct effects *fx, uint64_t stream, uint16_t code, const char *reason);
/* Copies. Scripts run beside the loop, in no order; one that is dropped may end all the same. */
void fx_script(struct effects *fx, const struct script_request *request);
void fx_script_drop(struct effects *fx, uint64_t id);
void fx_fetch(struct effects *fx, const struct http_fetch *fetch);
void fx_fetch_body(struct effects *fx, uint64_t id, struct slice bytes);
void fx_fetch_more(struct effects *fx, uint64_t id);
void fx_fetch_end(struct effects *fx, uint64_t id);
/* logfmt: the text is `event key=value ...`, the same in every run of the same seed. */
void fx_log(struct effects *fx, enum log_level level, const char *format, ...) PRINTF_LIKE(3, 4);
/* Has effect only if something is put in this turn: a commit without content is not made. */
void fx_sync(struct effects *fx);
void fx_reset(struct effects *fx, const char *reason);
void fx_exit(struct effects *fx, const char *reason);

/* What a shell knows of a core. */
struct core_ops {
	const char *name;
	enum role role;
	void (*step)(void *core, const struct event *event, struct effects *fx);
	/* When the core wants a TIMER event next (now_ms scale); INT64_MAX: never. */
	int64_t (*deadline)(const void *core);
	/* Appends Prometheus text; may be NULL. */
	void (*metrics)(const void *core, struct buf *out);
	/* Appends a line per check, "name ok" or "name failed: why"; true if all hold. */
	bool (*ready)(const void *core, int64_t now_ms, struct buf *out);
};

#define NO_DEADLINE INT64_MAX

#endif
