/* What the couch listener is told of passwords and cross-origin requests: options, the file of
 * secrets, and the threads that hash. */
#ifndef PARLEY_GATEWAY_HTTP_ACCESS_H
#define PARLEY_GATEWAY_HTTP_ACCESS_H

#include "common/run/daemon.h"
#include "gateway/gateway.h"

/* Options, for main.c's table. */
#define HTTP_ACCESS_OPTIONS                                                                        \
	{"couch_passwords",                                                                        \
	 CONFIG_BOOL,                                                                              \
	 "false",                                                                                  \
	 0,                                                                                        \
	 0,                                                                                        \
	 "take passwords and cookies on the couch listener, too"},                                 \
	    {"couch_secret",                                                                       \
	     CONFIG_TEXT,                                                                          \
	     "",                                                                                   \
	     0,                                                                                    \
	     0,                                                                                    \
	     "file that session cookies are signed with, the same everywhere"},                    \
	    {"couch_cors_origins",                                                                 \
	     CONFIG_TEXT,                                                                          \
	     "",                                                                                   \
	     0,                                                                                    \
	     0,                                                                                    \
	     "sites whose pages may use the couch listener, or *"},                                \
	    {"couch_cors_credentials", CONFIG_BOOL, "false", 0, 0, "with cookies"},                \
	    {"couch_cors_methods",       CONFIG_TEXT, "GET, HEAD, POST, PUT, DELETE, COPY", 0, 0,  \
	     "methods that they may use"},                                                         \
	{                                                                                          \
		"couch_cors_headers", CONFIG_TEXT,                                                 \
		    "accept, authorization, content-type, destination, if-match, if-none-match, "  \
		    "origin, range, referer",                                                      \
		    0, 0, "headers that they may send"                                             \
	}

/* False: *problem says what contradicts itself. */
bool http_access_options(const struct config *c, struct couch_options *out,
			 struct buf *problem) MUST_CHECK;
/* Reads the secrets, if they are needed. */
bool http_access_secrets(struct daemon *d, struct gateway *gw, struct buf *problem) MUST_CHECK;

struct http_access;
struct http_access *http_access_open(struct daemon *d);
void http_access_close(struct http_access *a);
/* EFFECT_PASSWORD; EVENT_PASSWORD follows. */
void http_access_hash(struct http_access *a, const struct password_request *request);

#endif
