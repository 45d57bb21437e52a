/* What the listener's files share: mhd.c (life, loop, answers, streams), mhd_client.c
 * (connections), mhd_exchange.c (requests), mhd_wait.c (those that wait). */
#ifndef PARLEY_GATEWAY_HTTP_MHD_PRIVATE_H
#define PARLEY_GATEWAY_HTTP_MHD_PRIVATE_H

#include <microhttpd.h>

#include "gateway/http/head.h"
#include "gateway/http/mhd.h"
#include "gateway/http/tls.h"
#include "gateway/http/ws.h"

/* How long a request waits before it is suspended, and how often it is looked who has left. */
enum { HTTP_LOOK_MS = 500 };
/* A body that is refused before its end is read on so far, so that its client gets to hear why. */
enum { HTTP_PASSED_MAX = 64 << 20 };
/* What a request must bring of its body, in bytes a second; see client_owes. */
enum { HTTP_RATE_MIN = 1024 };
/* An answer that costs less than its connection. */
enum { HTTP_ANSWER_SMALL = 64 * 1024 };

/* One connection. */
struct client {
	struct http_server *server;
	uint64_t id;
	struct client *previous;
	struct client *next;
	struct exchange *exchange; /* its request; NULL: the first line has not come */
	int64_t due_ms;            /* what it owes must have come */
	struct tls_credentials *credentials;
	struct tls_transport transport;
	bool told; /* a request of it */
	bool checked;
	bool verified;
	char principal[TLS_PRINCIPAL_BYTES];
	uint32_t roles; /* HTTP_ROLE_* */
	uint8_t address[8];
	size_t address_bytes;
};

/* One request on it, from its first line to the end of its answer. */
struct exchange {
	struct http_server *server;
	struct MHD_Connection *connection;
	uint32_t slot;
	uint32_t generation;
	struct exchange *next_free;
	bool used;
	bool begun;   /* the head is complete */
	bool told;    /* waits for the answer */
	bool left;    /* its client went before it: to be told at the end of the turn */
	bool watched; /* whether its answer is taken is to be told */
	bool parked;  /* suspended */
	bool too_large;
	bool http_1_1;
	bool pieces;         /* its body comes in pieces */
	bool wanted;         /* the body has been asked for */
	bool whole;          /* its end was told */
	int64_t credit;      /* so much of it may be told */
	uint64_t passed;     /* so much came that nobody wants */
	bool ended;          /* the connection shall be closed */
	bool unclear;        /* where it ends */
	enum status refused; /* OK: not */
	int refused_status;  /* other than the table's */
	enum http_method method;
	struct buf uri;      /* path?query as sent */
	const char *uri_end; /* where it ended, in libmicrohttpd's memory */
	struct buf body;
	struct MHD_Response *response;
	int status;
	size_t answer_bytes;
	char accept[WS_ACCEPT_BYTES]; /* of a WebSocket's handshake */
	struct http_stream *stream;   /* it has the connection */
};

struct http_server {
	struct http_options options;
	struct MHD_Daemon *daemon;
	struct tls_credentials *credentials;
	bool asks_client;
	int listen_fd;
	int epoll_fd;
	uint16_t port;
	struct exchange **slots;
	uint32_t slots_count;
	uint32_t slots_cap;
	struct exchange *free;
	uint64_t bodies_bytes;
	uint64_t answers_bytes; /* not taken whole yet */
	uint32_t inflight;
	uint32_t connections;
	uint64_t connection_ids;
	struct client *clients;
	int64_t clients_looked_ms;
	struct http_streams *streams;
	struct tls_traffic traffic;
	bool answered;     /* libmicrohttpd has answers to fetch */
	bool left;         /* some exchange's client has */
	bool busy;         /* it has not come to the end of its work */
	bool moved;        /* something, when it ran last */
	int64_t looked_ms; /* when it was looked who is gone */
	struct header_list headers;
	struct buf scratch;
};
/* ---- mhd_client.c ---- */

struct client *client_of(struct MHD_Connection *connection);
/* False: a certificate was needed, and there is none that is good. */
bool client_allowed(struct http_server *s, struct MHD_Connection *connection);
/* It has been heard: another request, or more of one, is due only later. */
void client_wait(struct client *client);
/* So much of a body has come. */
void client_paid(struct client *client, size_t bytes);
/* Ends the connections of those that are overdue. */
void clients_look(struct http_server *s);
/* MHD_OPTION_NOTIFY_CONNECTION */
void client_changed(void *context, struct MHD_Connection *connection, void **at,
		    enum MHD_ConnectionNotificationCode code);

/* ---- mhd_exchange.c ---- */

uint64_t exchange_id(const struct exchange *x);
/* NULL: it has ended. */
struct exchange *exchange_at(const struct http_server *s, uint64_t id);
/* What libmicrohttpd calls for a request: with its address, as its parts come, at its end. */
void *exchange_begins(void *context, const char *uri, struct MHD_Connection *connection);
size_t exchange_keep_escaped(void *context, struct MHD_Connection *connection, char *text);
enum MHD_Result exchange_handle(void *context, struct MHD_Connection *connection, const char *url,
				const char *method, const char *version, const char *upload,
				size_t *upload_len, void **at);
void exchange_completed(void *context, struct MHD_Connection *connection, void **at,
			enum MHD_RequestTerminationCode why);

/* ---- mhd_wait.c ---- */

/* Does it wait for its client to go on? */
bool exchange_reads(const struct exchange *x);
void exchange_park(struct exchange *x);
void exchange_unpark(struct exchange *x);
/* It waits no longer: libmicrohttpd shall fetch what was decided. */
void exchange_answered(struct exchange *x);
bool exchange_has_left(const struct exchange *x);
/* Parks those that wait for longer than a moment, and gives up those whose clients have left. */
void exchanges_look(struct http_server *s);
/* Nobody will answer any more. */
void exchanges_refuse(struct http_server *s);

#endif
