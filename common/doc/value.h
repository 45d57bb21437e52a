/* Documents' bodies as they are stored: navigation, comparison, patching. No parse: everything
 * walks the bytes. */
#ifndef PARLEY_DOC_VALUE_H
#define PARLEY_DOC_VALUE_H

#include "common/base/arena.h"
#include "proto/msgpack.h"
#include "proto/status.h"

/* Bytes of the member's value in a map, empty if absent or not a map. */
struct slice value_member(struct slice map, struct slice name);
/* Dotted path ("a.b.0.c"): object members and array indexes. Empty if absent. */
struct slice value_at(struct slice value, struct slice dotted_path);
/* True if the bytes are a valid document body: a map, every key a str, only the types of
 * proto/msgpack.h. */
bool value_is_document(struct slice value);

/* Total order across types as MongoDB sorts: nil < numbers < strings < maps < arrays < booleans;
 * numbers by value across integer, double and MP_EXT_NUMBER (exactly). */
int value_compare(struct slice a, struct slice b);
/* Equal in value (1 == 1.0; members of maps in any order? no: order counts in comparison, not in
 * merges). */
bool value_equal(struct slice a, struct slice b);
/* Appends the value in canonical form: map members sorted by key bytes at all levels. */
void value_canonical(struct slice value, struct buf *out);

/* RFC 7396: appends target patched by patch (both maps). */
void value_merge_patch(struct slice target, struct slice patch, struct buf *out);
/* Appends the map without the member. */
void value_without_member(struct slice map, struct slice name, struct buf *out);
/* Appends the map with only these members (dotted paths: the nested structure is kept). */
void value_project(struct slice map, const struct slice *paths, uint32_t count, struct buf *out);

#endif
