/* What the files of the bus share. */
#ifndef PARLEY_RUN_BUS_PRIVATE_H
#define PARLEY_RUN_BUS_PRIVATE_H

#include <zmq.h>

#include "common/base/map.h"
#include "common/run/bus_zmq.h"
#include "common/run/zap.h"

enum { BUS_ENDPOINT_BYTES = 2 * MEMBER_ADDRESS_BYTES + 16 };

/* One that has come: what of it a turn has no time for is left for the next one. */
struct bus_frame {
	bool open;
	zmq_msg_t bytes;
	struct peer from;
	struct frame_reader reader;
};

/* ZMQ_FD tells of commands, not of messages, and sending eats such tellings: a socket is `hot`, to
 * be asked, from either until a read finds nothing. */
struct bus_socket {
	void *zmq; /* NULL: none */
	int fd;
	bool hot;
	struct bus_frame frame;
};

/* A frame for a peer that is down. */
struct bus_waiting {
	struct buf frame;
	int64_t since_ms;
};

struct bus_lookup; /* bus_names.c */

/* A peer that this member connects to. */
struct bus_peer {
	uint64_t member; /* 0: a free place */
	struct bus_socket socket;
	struct bus_socket monitor; /* tells when the connection comes and goes */
	bool up;
	int64_t down_since_ms;
	int64_t ended_ms; /* when a connection ended; 0: ZeroMQ is at the next one */
	char address[MEMBER_ADDRESS_BYTES];
	char endpoint[BUS_ENDPOINT_BYTES]; /* where it connects; empty: nowhere yet */
	bool named;                        /* the address has a name, not a number */
	struct bus_lookup *lookup;         /* of the name, under way */
	uint32_t lookups;                  /* that found something */
	int64_t lookup_ms;                 /* when it may be looked up again */
	char key[MEMBER_KEY_CHARS + 1];
	struct buf out;
	struct bus_waiting *waiting; /* for a peer that is down, oldest first */
	uint32_t waiting_count;
	size_t waiting_bytes;
};

/* What ZeroMQ was given for a member and has not sent yet, of long frames: its thread counts down.
 */
struct bus_queued {
	_Atomic size_t bytes;
};

/* A connection that came in: its answers go back over it. */
struct bus_route {
	uint32_t route;
	uint64_t member;
	struct buf out;
};

struct bus {
	struct bus_options options;
	char secret[MEMBER_KEY_CHARS + 1];
	char public[MEMBER_KEY_CHARS + 1];
	char endpoint[BUS_ENDPOINT_BYTES];
	enum role role;
	void *context;
	struct bus_socket router;
	struct bus_socket authenticator; /* the socket of zap */
	struct zap zap;
	int epoll;
	uint64_t monitors; /* opened so far: names the next */
	struct bus_peer peers[LIMIT_MEMBERS];
	uint32_t peers_count;    /* places in use or free again */
	struct map routes;       /* route -> struct bus_route* */
	struct map member_route; /* member -> its newest route, as a pointer-sized number */
	struct map queued;       /* member -> struct bus_queued*; kept while ZeroMQ may count */
	struct map told;         /* what has been logged once */
	struct bus_lookup *left; /* lookups that nobody waits for any more */
	struct arena arena;
	struct bus_counters counters;
	uint32_t next_socket; /* whose turn it is to be read first */
};

/* bus_sockets.c */
bool bus_open_router(struct bus *b, const struct member_row *self, struct buf *problem);
struct bus_peer *bus_connect(struct bus *b, const struct member_row *to);
void bus_disconnect(struct bus *b, struct bus_peer *peer, int linger_ms);
void bus_watch(struct bus *b, struct bus_socket *socket);
void bus_close_socket(struct bus *b, struct bus_socket *socket, int linger_ms);
void bus_close_frame(struct bus_frame *frame);
/* Marks as hot what has been told of since the last call. */
void bus_look(struct bus *b);
/* Reads what the peer's monitor has to tell, and connects anew where ZeroMQ does not. */
void bus_peer_look(struct bus *b, struct bus_peer *peer);

/* bus_names.c */
/* In the member list. */
const char *bus_peer_name(const struct bus *b, const struct bus_peer *peer);
/* At once, or when the peer's name has been looked up. */
void bus_name_connect(struct bus *b, struct bus_peer *peer);
void bus_name_leave(struct bus *b, struct bus_peer *peer);
/* Where it connected last. */
void bus_connect_again(struct bus *b, struct bus_peer *peer);
/* Takes what lookups have found, and begins those that are due. */
void bus_names_look(struct bus *b);

/* bus_send.c */
void bus_send_frame(struct bus *b, struct bus_peer *peer, uint32_t route, struct buf *frame);
/* The peer has come, or is not waited for any longer: what waits is sent if it is not too old. */
void bus_end_waiting(struct bus *b, struct bus_peer *peer);
void bus_forget_routes(struct bus *b);

/* Logs once for each key, until there are too many keys to remember; true if it did. */
bool bus_tell_once(struct bus *b, const char *key, const char *line);

#endif
