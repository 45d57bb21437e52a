/* A document whose attachments are too much for a body: they are asked for in ranges, and sent on
 * as parts of a body that goes as they come. A chunk or two are held, however large they are. */
#ifndef PARLEY_GATEWAY_REPLICATE_PARCEL_H
#define PARLEY_GATEWAY_REPLICATE_PARCEL_H

#include "gateway/replicate/ask.h"

struct parcel_piece;

/* Zero-initialised. */
struct parcel {
	struct arena arena;
	struct ask read; /* what is asked of the source, while the job's `ask` sends */
	struct parcel_piece *pieces;
	uint32_t count;
	uint32_t at;       /* the piece that is next */
	uint64_t piece_at; /* so much of it was read */
	struct buf ready;  /* what was read */
	size_t ready_at;   /* and was sent of it */
};

void parcel_close(struct parcel *parcel);

#endif
