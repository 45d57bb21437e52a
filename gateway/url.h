/* Addresses taken apart: percent-encoding, path segments, query strings; and the checks of names
 * and ids. */
#ifndef PARLEY_GATEWAY_URL_H
#define PARLEY_GATEWAY_URL_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/core.h"

enum { URL_SEGMENTS_MAX = 7 };

/* Decodes %XX, and '+' as a space if asked to (query strings). The result lives in the arena, or is
 * the text itself if there was nothing to decode. False: a '%' without two hexadecimal digits
 * behind it. */
bool url_decode(struct slice text, bool plus_is_space, struct arena *arena,
		struct slice *out) MUST_CHECK;
/* Appends the text as one path segment. */
void url_encode(struct slice text, struct buf *out);

/* Segments between slashes, still encoded; one slash at the end is ignored. Returns their count, or
 * -1 if there are more than URL_SEGMENTS_MAX or the path does not begin with a slash. */
int url_segments(struct slice path, struct slice out[URL_SEGMENTS_MAX]);

/* The next name=value of a query string, still encoded; false at the end. */
bool url_parameter_next(struct slice *rest, struct http_field *out);

/* 1 to LIMIT_NAME_BYTES of a-z A-Z 0-9 dot dash. */
bool collection_name_valid(struct slice name);
/* And none of the cluster's own (system.): clients may make a collection of this name. */
bool collection_name_makeable(struct slice name);
/* 1 to LIMIT_ID_BYTES of UTF-8 without control characters. */
bool document_id_valid(struct slice id);

/* base64url without padding. */
void base64url_encode(struct slice bytes, struct buf *out);
bool base64url_decode(struct slice text, struct buf *out) MUST_CHECK;

#endif
