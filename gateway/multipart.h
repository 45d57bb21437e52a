/* A reader of multipart bodies (RFC 2046) that come in any pieces: it holds nothing but the headers
 * of one part, and what may be the beginning of a delimiter. */
#ifndef PARLEY_GATEWAY_MULTIPART_H
#define PARLEY_GATEWAY_MULTIPART_H

#include "common/base/buf.h"

enum {
	MULTIPART_BOUNDARY_MAX = 200,
	MULTIPART_HEADERS_MAX = 8192 /* bytes, of one part */
};

enum multipart_event {
	MULTIPART_MORE, /* it needs more bytes */
	MULTIPART_PART, /* a part begins: its headers */
	MULTIPART_DATA, /* bytes of it */
	MULTIPART_LAST, /* that was all of it */
	MULTIPART_END,  /* there are no more parts; what follows is passed over */
	MULTIPART_BAD   /* it is no multipart body, or a part's headers are too long; for ever */
};

struct multipart {
	char delimiter[MULTIPART_BOUNDARY_MAX + 4]; /* CR LF -- boundary */
	size_t delimiter_len;
	size_t matched;    /* bytes of it that have come */
	size_t line_break; /* so many of these were no bytes of a part */
	int state;
	bool gave_back; /* DATA: these bytes are of earlier pieces. Others may be given again. */
	struct buf headers;
};

/* Zero-initialised before; the boundary is copied. False: it can't be one. */
bool multipart_begin(struct multipart *m, struct slice boundary) MUST_CHECK;
void multipart_close(struct multipart *m);
/* Takes from the front of *in. *out: headers or data; valid until the next call, or as long as
 * *in is. */
enum multipart_event multipart_next(struct multipart *m, struct slice *in, struct slice *out);

/* The value of a part's header, by its name in lower case; empty: there is none. */
struct slice multipart_header(struct slice headers, const char *name);
/* multipart/related; boundary="x" -> x, by its name in lower case. Appends to *out, without quotes
 * and escapes. False: there is none. */
bool header_parameter(struct slice value, const char *name, struct buf *out) MUST_CHECK;
/* The type before the parameters: is it that? In whatever case. */
bool header_type_is(struct slice value, const char *type);

#endif
