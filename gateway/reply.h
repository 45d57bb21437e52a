/* An answer as operations make it. */
#ifndef PARLEY_GATEWAY_REPLY_H
#define PARLEY_GATEWAY_REPLY_H

#include "common/core.h"

enum { REPLY_HEADERS_MAX = 20 };

struct reply {
	int status;
	struct http_field headers[REPLY_HEADERS_MAX];
	uint32_t headers_count;
	struct buf body;
	struct slice content_type; /* of the body; empty: JSON */
	uint64_t length;           /* as in http_response */
	bool tell_if_lost;         /* as in http_response */
	bool cut; /* a list of which more was asked for: only X-Parley-Cursor tells */
};

#endif
