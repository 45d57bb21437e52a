/* Revision names. `struct revision` (proto) holds the generation and the hash as the text after the
 * dash. */
#ifndef PARLEY_DOC_REVISION_H
#define PARLEY_DOC_REVISION_H

#include <stdbool.h>

#include "proto/schema.h"

enum { REVISION_HASH_CHARS = 32, REVISION_TEXT_BYTES = 10 + 1 + LIMIT_REV_HASH_BYTES };

/* "12-abc": a decimal number >= 1 without leading zeros, a dash, 1 to LIMIT_REV_HASH_BYTES
 * printable ASCII characters without quote or comma. The hash borrows from text. False: not a
 * revision. */
bool revision_parse(struct slice text, struct revision *out) MUST_CHECK;
/* Could the text stand after the dash? */
bool revision_hash_ok(struct slice text);
void revision_print(const struct revision *r, struct buf *out);
bool revision_equal(const struct revision *a, const struct revision *b);
/* By generation, then by bytes of the hash: <0, 0, >0. */
int revision_compare(const struct revision *a, const struct revision *b);
/* qsort comparator for arrays of struct revision. */
int revision_compare_qsort(const void *a, const void *b);
/* Sorts, so that sets have one form. */
void revision_sort(struct revision *revisions, uint32_t count);

/* What a revision's name covers, and nothing else. */
struct revision_content {
	const struct revision *parents; /* any order; sorted here */
	uint32_t parents_count;
	bool deleted;
	struct slice body; /* MessagePack map; empty counts as an empty map */
	uint64_t policy;   /* resolutions: policy version, else 0 */
	struct slice
	    operation_id; /* only for operations that are not idempotent by content; else empty */
};

/* Generation 1 + greatest parent's, hash = first 16 bytes of SHA-256 over a canonical encoding
 * (MessagePack array [sorted parent texts, deleted, body as bin, policy, operation id]) as 32 hex
 * characters. The hash is written to text (at least REVISION_HASH_CHARS bytes) and borrowed by
 * *out. */
void revision_name(const struct revision_content *content, char text[REVISION_HASH_CHARS],
		   struct revision *out);

/* First 16 bytes of SHA-256. */
void digest16(struct slice bytes, uint8_t out[16]);

#endif
