/* What is to be replicated, and with whose rights: a request for it taken apart. */
#ifndef PARLEY_GATEWAY_REPLICATE_SPEC_H
#define PARLEY_GATEWAY_REPLICATE_SPEC_H

#include "gateway/couch/auth.h"

enum { REPLICATE_HEADERS = 8, REPLICATE_PARAMETERS = 32 /* of a filter function */ };

enum side { SIDE_SOURCE, SIDE_TARGET, SIDES };

struct endpoint {
	struct slice shown;  /* without credentials */
	struct slice base;   /* "/name", or "https://host/name" */
	struct slice server; /* "https://host" */
	bool remote;
	struct http_field headers[REPLICATE_HEADERS];
	uint32_t headers_count;
	bool here;          /* its address is this cluster's */
	struct slice login; /* {"name":"...","password":"..."}; empty: none of these is known */
};

struct replication {
	struct endpoint sides[SIDES];
	bool continuous;
	bool create_target;
	bool winners;              /* no losers of conflicts */
	bool no_logs;              /* no checkpoints: neither looked for nor kept */
	bool single;               /* the source is not asked for many documents at once */
	struct slice make;         /* parameters of the target's making, "?q=2"; or empty */
	struct slice since;        /* a sequence, MessagePack: begins there; or empty */
	struct slice filter;       /* body of a filtered _changes, JSON; empty: none */
	struct slice filter_query; /* its parameters, "&filter=..."; empty: all documents */
	struct slice function;     /* the filter's, "design/name"; empty: it is none */
	/* in whose name databases of this cluster are asked; NULL: the cluster's own */
	const struct couch_user *user;
	char id[2 * 16 + 1]; /* the same for the same sides, filter and user, whoever asks */
};

/* Who asks for it at this moment. */
struct asker {
	const struct couch_user *user; /* NULL: may do everything */
	struct slice host;             /* how he names this cluster: "host:port" */
	struct slice authorization;    /* as he shows it; or empty */
	bool noted;                    /* or what a document has noted of that counts */
};

/* In a document: which sides were addresses of this cluster for who wrote it. */
#define REPLICATION_HERE "here"

/* The member that names it. */
const char *replication_side(enum side side);
/* value: MessagePack. Everything lives in the arena. */
bool replication_parse(const struct gateway *gw, struct slice value, struct arena *arena,
		       struct replication *out, struct problem *p) MUST_CHECK;
/* The same, with the rights of who asks; where he names this cluster by its address, it is the
 * database here. */
bool replication_parse_for(const struct gateway *gw, struct slice value, const struct asker *asker,
			   struct arena *arena, struct replication *out,
			   struct problem *p) MUST_CHECK;

#endif
