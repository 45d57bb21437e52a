/* Messages and stored structures drawn from a fuzzer's input: each byte decides something, so what
 * the fuzzer changes in its input changes the value a little, and every value is a valid one. The
 * first bytes of a choice lead to what the core knows (its shards, members, revisions), the rest to
 * anything within the limits. Past the end of the input all bytes are 0. */
#ifndef PARLEY_TESTS_FUZZ_DRAW_H
#define PARLEY_TESTS_FUZZ_DRAW_H

#include "common/base/arena.h"
#include "proto/schema.h"

enum { DRAW_NUMBERS_MAX = 8, DRAW_TEXTS_MAX = 8, DRAW_SEEN_MAX = 16, DRAW_KNOWN_MAX = 24 };

/* What fields of this name often hold. */
struct draw_numbers {
	const char *name;
	uint64_t values[DRAW_NUMBERS_MAX];
	uint32_t count;
};
/* Of a core as it is now. */
struct draw_known {
	struct draw_numbers numbers[DRAW_KNOWN_MAX];
	uint32_t count;
};
/* limit: of fields with this limit only; 0: any. */
struct draw_texts {
	const char *name;
	uint64_t limit;
	struct slice values[DRAW_TEXTS_MAX];
	uint32_t count;
};

struct draw {
	struct slice rest;
	struct arena *arena; /* of what is drawn */
	const struct draw_numbers *numbers;
	uint32_t numbers_count;
	const struct draw_texts *texts;
	uint32_t texts_count;
	/* May give the bytes of a field itself; false: drawn as others. NULL: none. */
	bool (*bin)(struct draw *d, const struct schema_field *field, struct slice *out);
	void *context;                       /* for it */
	struct revision seen[DRAW_SEEN_MAX]; /* the latest */
	uint8_t seen_hash[DRAW_SEEN_MAX][LIMIT_REV_HASH_BYTES];
	uint32_t seen_count;
};

void draw_know(struct draw_known *known, const char *name, const uint64_t *values, uint32_t count);
#define DRAW_KNOW(known, name, ...)                                                                \
	draw_know(known, name, (const uint64_t[]){__VA_ARGS__},                                    \
		  sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

uint8_t draw_byte(struct draw *d);
/* 0 .. n - 1, n > 0 */
uint64_t draw_below(struct draw *d, uint64_t n);
/* A slice of the rest, at most this long. */
struct slice draw_raw(struct draw *d, size_t bytes_max);
/* Fills *value; bytes and lists in the arena or borrowed from the input. */
void draw_struct(struct draw *d, const struct schema *schema, void *value);
void *draw_new(struct draw *d, const struct schema *schema);
/* Its encoding, in the arena. */
struct slice draw_encoded(struct draw *d, const struct schema *schema);
/* Remembers the revisions that a value names: later ones are drawn from them. */
void draw_learn(struct draw *d, const struct schema *schema, const void *value);

/* ---- messages ---- */

/* What a receiver may get: a type, and the role of who sends it. */
struct draw_kind {
	uint16_t type;
	enum role sender;
};
enum { DRAW_KINDS_MAX = 128 };
/* In order of number, then role. */
uint32_t draw_kinds(enum role receiver, struct draw_kind kinds[DRAW_KINDS_MAX]);

/* JSON as MessagePack, in the arena. */
struct slice draw_json(struct arena *arena, const char *text);

#endif
