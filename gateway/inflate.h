/* Bytes coded with gzip, as they come in. */
#ifndef PARLEY_GATEWAY_INFLATE_H
#define PARLEY_GATEWAY_INFLATE_H

#include "common/base/check.h"
#include "common/base/slice.h"

enum { INFLATE_BYTES = 65536 };

struct inflater {
	void *stream;
	uint8_t plain[INFLATE_BYTES]; /* what came of it: from `at` to `len` */
	size_t at;
	size_t len;
	bool more;  /* there may be more without another byte */
	bool ended; /* the end of the code has come */
};

struct inflater *inflater_new(void);
void inflater_free(struct inflater *z);
/* Takes from the front of *in; when all of `plain` was used. False: it is not gzip, or there is
 * something behind its end. */
bool inflater_step(struct inflater *z, struct slice *in) MUST_CHECK;

#endif
