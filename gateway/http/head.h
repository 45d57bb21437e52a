/* Heads: what libmicrohttpd has read of a request's, gathered, and those of streams, written. */
#ifndef PARLEY_GATEWAY_HTTP_HEAD_H
#define PARLEY_GATEWAY_HTTP_HEAD_H

#include <microhttpd.h>

#include "common/core.h"

enum { HTTP_HEADERS_MAX = 64 };

struct header_list {
	struct http_field fields[HTTP_HEADERS_MAX];
	uint32_t count;
	struct buf text; /* what the fields point into; reserved before, never moved */
	bool overflow;   /* some are missing */
};

enum http_method http_method_of(const char *name);
/* Names in lower case; one that comes more than once is one list (RFC 9110, 5.3). bytes_max: of all
 * together. */
void header_list_read(struct header_list *list, struct MHD_Connection *connection,
		      size_t bytes_max);

/* Of a request: libmicrohttpd 0.9 leaves its head where it came, and ends its words in place. */
struct head_place {
	const char *method;
	const char *version;
	size_t bytes_max;
};

/* Is it beyond doubt where the request ends? Who doubts it, as a proxy in front may, takes a part
 * of it for the next one (RFC 9112, 6.3 and 11.2). Nor does it hold what libmicrohttpd does not
 * tell: of a value what stands behind a NUL, or in a line more, which becomes a part of the name.
 * Where a library keeps its words elsewhere, only that is not seen. */
bool head_is_clear(struct MHD_Connection *connection, const struct head_place *at, bool http_1_1);

/* Status line and headers of a stream. accept: of a WebSocket's handshake. */
void stream_head_print(const struct http_response *response, const char *accept, bool chunked,
		       struct buf *out);

#endif
