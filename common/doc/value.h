/* Documents' bodies as they are stored: navigation, comparison, patching. No parse: everything
 * walks the bytes. */
#ifndef PARLEY_DOC_VALUE_H
#define PARLEY_DOC_VALUE_H

#include "common/base/arena.h"
#include "proto/msgpack.h"
#include "proto/status.h"

/* Bytes of the member's value in a map, empty if absent or not a map. */
struct slice value_member(struct slice map, struct slice name);
/* The member's text, borrowed, and its number: empty and 0 where it is none. */
struct slice value_text_member(struct slice map, const char *name);
uint64_t value_number_member(struct slice map, const char *name);
/* Bytes of the element of an array, empty if there is none. */
struct slice value_element(struct slice array, uint32_t index);
/* True if the name may stand for an element: decimal digits, at most nine, no leading zero. */
bool value_is_index(struct slice name, uint32_t *index);
/* Dotted path ("a.b.0.c"): object members and array indexes. Empty if absent. */
struct slice value_at(struct slice value, struct slice dotted_path);
/* True if the bytes are a valid document body: a map, every key a str, only the types of
 * proto/msgpack.h. */
bool value_is_document(struct slice value);

/* Types that compare by value with each other, in order. */
enum value_rank {
	RANK_NIL, /* also: absent, bytes that are no value */
	RANK_NUMBER,
	RANK_STRING,
	RANK_MAP,
	RANK_ARRAY,
	RANK_OTHER,
	RANK_BOOL
};
enum value_rank value_rank(struct slice value);

/* Total order across types as MongoDB sorts: nil < numbers < strings < maps < arrays < booleans;
 * numbers by the value of their shortest decimal form, across integer, double and MP_EXT_NUMBER;
 * maps and arrays member by member, in the order they stand in. */
int value_compare(struct slice a, struct slice b);
/* Is it among these, which are in that order? */
bool value_among(struct slice value, const struct slice *list, uint32_t count);
/* Equal in that order: 1 and 1.0 are, maps with members in another order are not. */
bool value_equal(struct slice a, struct slice b);
/* Appends the value in canonical form: map members sorted by key bytes at all levels. */
void value_canonical(struct slice value, struct buf *out);

/* RFC 7396: appends target patched by patch (both maps; a target that is none counts as empty, a
 * patch that is none changes nothing). */
void value_merge_patch(struct slice target, struct slice patch, struct buf *out);
/* Appends the map without the member. */
void value_without_member(struct slice map, struct slice name, struct buf *out);
/* Appends the map with only these members, at most LIMIT_FIELDS dotted paths: the nested structure
 * is kept; of arrays on the way every map is projected and other elements are left out. */
void value_project(struct slice map, const struct slice *paths, uint32_t count, struct buf *out);

#endif
