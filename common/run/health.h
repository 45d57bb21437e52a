/* The health listener: /livez, /readyz, /readyz?verbose and /metrics over HTTPS, without a client
 * certificate. It shows nothing about documents; /metrics answers only to the loopback range. A
 * connection is closed after one answer, or after five seconds. */
#ifndef PARLEY_RUN_HEALTH_H
#define PARLEY_RUN_HEALTH_H

#include <stdbool.h>

#include "common/base/buf.h"

struct health_listener;

/* The daemon behind it: both append text. */
struct health_source {
	bool (*ready)(void *context, struct buf *out);
	void (*metrics)(void *context, struct buf *out);
	void *context;
};

/* cert and key are PEM texts, copied; port 0: any free one. NULL: *problem says why. */
struct health_listener *health_open(const char *address, unsigned port, const char *cert,
				    const char *key, const struct health_source *source,
				    struct buf *problem);
/* Another certificate, without a moment of not listening; connections end. health_fd is another
 * one afterwards. False: *problem says why, and the old one stays. */
bool health_reload(struct health_listener *h, const char *cert, const char *key,
		   struct buf *problem) MUST_CHECK;
void health_close(struct health_listener *h);
unsigned health_port(const struct health_listener *h);
int health_fd(const struct health_listener *h);
/* When something is ready on the descriptor, and once a second. */
void health_run(struct health_listener *h);

#endif
