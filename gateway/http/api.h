/* The api listener in the daemon's loop: requests become events of the core, its answers go back.
 */
#ifndef PARLEY_GATEWAY_HTTP_API_H
#define PARLEY_GATEWAY_HTTP_API_H

#include "common/run/daemon.h"

/* Options of the listener, for main.c's table. */
#define HTTP_API_OPTIONS                                                                           \
	{"api_address", CONFIG_TEXT, "127.0.0.1", 0, 0, "address of the api listener"},            \
	    {"api_port", CONFIG_NUMBER, "8443", 1, 65535, "port of the api listener"},             \
	    {"couch_address", CONFIG_TEXT, "127.0.0.1", 0, 0, "address of the couch listener"},    \
	    {"couch_port", CONFIG_NUMBER,                                                          \
	     "0",          0,                                                                      \
	     65535,        "port of the couch listener, usually 6984; 0: there is none"},          \
	    {"client_ca", CONFIG_TEXT, NULL, 0, 0, "authority of clients' certificates (PEM)"},    \
	    {"max_connections", CONFIG_NUMBER,                                                     \
	     "16384",           1,                                                                 \
	     1000000,           "connections at once, of each listener"},                          \
	    {"max_streams", CONFIG_NUMBER,                                                         \
	     "12000",       1,                                                                     \
	     1000000,       "of these, WebSockets and event streams; past it 503"},                \
	    {"max_stream_queue_bytes",                                                             \
	     CONFIG_NUMBER,                                                                        \
	     "262144",                                                                             \
	     4096,                                                                                 \
	     1073741824,                                                                           \
	     "held for one stream that does not take them; past it the stream ends"},              \
	    {"max_streams_bytes", CONFIG_NUMBER,                                                   \
	     "134217728",         1048576,                                                         \
	     UINT64_MAX,          "held for all streams; past it those that wait end"},            \
	    {"max_ws_message_bytes",                                                               \
	     CONFIG_NUMBER,                                                                        \
	     "1048576",                                                                            \
	     1024,                                                                                 \
	     67108864,                                                                             \
	     "greatest message of a WebSocket's client"},                                          \
	    {"stream_ping_s",                                                                      \
	     CONFIG_NUMBER,                                                                        \
	     "30",                                                                                 \
	     1,                                                                                    \
	     3600,                                                                                 \
	     "streams are asked for a sign of life; silent for two of these they end"},            \
	    {"idle_timeout_s",                                                                     \
	     CONFIG_NUMBER,                                                                        \
	     "60",                                                                                 \
	     1,                                                                                    \
	     86400,                                                                                \
	     "silent connections are closed, and those whose request takes twice as long (a "      \
	     "body: comes at less than 1 KiB a second)"},                                          \
	{                                                                                          \
		"max_bodies_bytes", CONFIG_NUMBER, "268435456", 1048576, UINT64_MAX,               \
		    "memory for request bodies that are arriving, and as much again for answers "  \
		    "that are not taken yet; past it 503"                                          \
	}

/* Of jobs that ask other servers. */
/* clang-format off */
#define REPLICATE_OPTIONS \
	{"replicate_hosts", CONFIG_TEXT, "", 0, 0, \
	 "servers that replication may ask: host, host:port, *.domain or *, with commas; " \
	 "empty: none"}, \
	{"replicate_ca", CONFIG_TEXT, "", 0, 0, \
	 "authorities of their certificates (PEM); empty: the system's"}, \
	{"replicate_cert", CONFIG_TEXT, "", 0, 0, \
	 "certificate that they are shown (PEM); empty: none"}, \
	{"replicate_key", CONFIG_TEXT, "", 0, 0, "its key (PEM); mode 0600"}
/* clang-format on */

bool http_api_setup(struct daemon *d, struct buf *problem);
void http_api_teardown(struct daemon *d);
void http_api_respond(struct daemon *d, const struct effect *effect);
void http_api_metrics(struct daemon *d, struct buf *out);
void http_api_turn_end(struct daemon *d);
void http_api_reload(struct daemon *d);
bool http_api_drained(struct daemon *d);

#endif
