/* JSON numbers as text: the grammar, and comparison by exact decimal value, however long they are.
 */
#ifndef PARLEY_DOC_NUMBER_H
#define PARLEY_DOC_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/check.h"
#include "common/base/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A number taken apart: +-0.d1d2d3... * 10^magnitude with d1 and the last digit not zero. */
struct number_text {
	bool negative;
	bool integer;         /* written without fraction and exponent */
	uint64_t digits;      /* how many count; 0: the value is zero */
	int64_t magnitude;    /* exponents past +-10^15 read as that */
	const uint8_t *first; /* d1; a point may stand between this and the last digit */
};

/* False if the text is not, entirely, a JSON number. Borrows from text. */
bool number_scan(struct slice text, struct number_text *out) MUST_CHECK;
/* By value; -0 equals 0. <0, 0, >0. */
int number_compare(const struct number_text *a, const struct number_text *b);

#ifdef __cplusplus
}
#endif

#endif
