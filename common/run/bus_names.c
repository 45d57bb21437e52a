/* Where a peer is. ZeroMQ would look its name up each time that it connects, in the thread that
 * carries all that the bus sends and receives: with one peer down and a name server that does not
 * answer, nothing would get through to the others. So names are looked up beside, and ZeroMQ is
 * given addresses only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "common/base/memory.h"
#include "common/run/bus_private.h"
#include "common/run/clock.h"

enum { LOOKUP_MS = 2000 /* a peer that is down is looked up so often: it may have moved */ };

struct bus_lookup {
	struct gaicb ask;
	struct addrinfo hints;
	char host[MEMBER_ADDRESS_BYTES];
	const char *port;        /* in host */
	struct bus_lookup *next; /* of those that nobody waits for */
};

const char *bus_peer_name(const struct bus *b, const struct bus_peer *peer)
{
	const struct member_row *row = members_by_id(b->options.members, peer->member);
	return row ? row->name : "unknown";
}

static void connect_endpoint(struct bus *b, struct bus_peer *peer)
{
	peer->ended_ms = 0;
	if (zmq_connect(peer->socket.zmq, peer->endpoint) != 0)
		logger_printf(b->options.logger, LOG_LEVEL_ERROR,
			      "connect_failed peer=%s endpoint=\"%s\" error=\"%s\"",
			      bus_peer_name(b, peer), peer->endpoint, zmq_strerror(errno));
	peer->socket.hot = true; /* both calls eat tellings */
}

/* host: as ZeroMQ wants it, with its port. Nothing is done if that is where it connects already. */
static void connect_to(struct bus *b, struct bus_peer *peer, const char *host)
{
	const struct member_row *self = members_by_id(b->options.members, b->options.self);
	char endpoint[BUS_ENDPOINT_BYTES];
	if (self && self->source[0])
		snprintf(endpoint, sizeof endpoint, "tcp://%s:0;%s", self->source, host);
	else
		snprintf(endpoint, sizeof endpoint, "tcp://%s", host);
	if (strcmp(endpoint, peer->endpoint) == 0)
		return;
	if (peer->endpoint[0])
		zmq_disconnect(peer->socket.zmq, peer->endpoint);
	snprintf(peer->endpoint, sizeof peer->endpoint, "%s", endpoint);
	connect_endpoint(b, peer);
}

void bus_connect_again(struct bus *b, struct bus_peer *peer)
{
	zmq_disconnect(peer->socket.zmq, peer->endpoint);
	connect_endpoint(b, peer);
}

/* ---- lookups ---- */

static void lookup_free(struct bus_lookup *l)
{
	if (l->ask.ar_result)
		freeaddrinfo(l->ask.ar_result);
	free(l);
}

static void lookup_begin(struct bus_peer *peer)
{
	struct bus_lookup *l = mem_alloc_zero(sizeof *l);
	struct gaicb *asked[] = {&l->ask};
	snprintf(l->host, sizeof l->host, "%s", peer->address + strlen("tcp://"));
	char *colon = strrchr(l->host, ':');
	*colon = '\0';
	l->port = colon + 1;
	l->hints = (struct addrinfo){.ai_family = AF_UNSPEC,
				     .ai_socktype = SOCK_STREAM,
				     .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
	l->ask = (struct gaicb){.ar_name = l->host, .ar_service = l->port, .ar_request = &l->hints};
	peer->lookup_ms = clock_boot_ms() + LOOKUP_MS;
	if (getaddrinfo_a(GAI_NOWAIT, asked, 1, NULL) == 0)
		peer->lookup = l;
	else
		lookup_free(l); /* no memory, no thread: next time */
}

static void lookup_failed(struct bus *b, const struct bus_peer *peer, int error)
{
	char key[MEMBER_ADDRESS_BYTES + 32];
	char line[512];
	snprintf(key, sizeof key, "lookup %s", peer->address);
	snprintf(line, sizeof line, "lookup_failed peer=%s address=%s error=\"%s\"",
		 bus_peer_name(b, peer), peer->address, gai_strerror(error));
	bus_tell_once(b, key, line);
}

/* Each lookup tries the next: a name may have an address where nobody listens. */
static const struct addrinfo *take_turn(struct bus_peer *peer, const struct addrinfo *all)
{
	const struct addrinfo *at = all;
	for (uint32_t i = 0; i < peer->lookups; i++)
		at = at->ai_next ? at->ai_next : all;
	peer->lookups++;
	return at;
}

static void lookup_ended(struct bus *b, struct bus_peer *peer, int error)
{
	struct bus_lookup *l = peer->lookup;
	const struct addrinfo *found = error == 0 ? take_turn(peer, l->ask.ar_result) : NULL;
	char number[NI_MAXHOST];
	char host[MEMBER_ADDRESS_BYTES];
	peer->lookup = NULL;
	if (found)
		error = getnameinfo(found->ai_addr, found->ai_addrlen, number, sizeof number, NULL,
				    0, NI_NUMERICHOST);
	if (found && error == 0) {
		bool brackets = found->ai_family == AF_INET6;
		snprintf(host, sizeof host, "%s%.64s%s:%.5s", brackets ? "[" : "", number,
			 brackets ? "]" : "", l->port);
		connect_to(b, peer, host);
	} else {
		lookup_failed(b, peer, error);
	}
	lookup_free(l);
}

/* ---- for the bus ---- */

static bool is_number(const char *host)
{
	char text[MEMBER_ADDRESS_BYTES];
	uint8_t bytes[sizeof(struct in6_addr)];
	snprintf(text, sizeof text, "%s", host);
	*strrchr(text, ':') = '\0'; /* its port */
	return text[0] == '[' || inet_pton(AF_INET, text, bytes) == 1 ||
	       inet_pton(AF_INET6, text, bytes) == 1;
}

void bus_name_connect(struct bus *b, struct bus_peer *peer)
{
	const char *host = peer->address + strlen("tcp://");
	peer->named = !is_number(host);
	if (peer->named)
		lookup_begin(peer);
	else
		connect_to(b, peer, host);
}

/* What is being looked up can't be taken back: it is kept until that has ended. */
void bus_name_leave(struct bus *b, struct bus_peer *peer)
{
	struct bus_lookup *l = peer->lookup;
	peer->lookup = NULL;
	if (!l)
		return;
	if (gai_cancel(&l->ask) != EAI_NOTCANCELED) {
		lookup_free(l);
		return;
	}
	l->next = b->left;
	b->left = l;
}

void bus_names_look(struct bus *b)
{
	for (struct bus_lookup **at = &b->left; *at;) {
		struct bus_lookup *l = *at;
		if (gai_error(&l->ask) == EAI_INPROGRESS) {
			at = &l->next;
			continue;
		}
		*at = l->next;
		lookup_free(l);
	}
	for (uint32_t i = 0; i < b->peers_count; i++) {
		struct bus_peer *peer = &b->peers[i];
		if (!peer->member || !peer->named)
			continue;
		int error = peer->lookup ? gai_error(&peer->lookup->ask) : EAI_INPROGRESS;
		if (error != EAI_INPROGRESS)
			lookup_ended(b, peer, error);
		else if (!peer->lookup && !peer->up && clock_boot_ms() >= peer->lookup_ms)
			lookup_begin(peer);
	}
}
