/* Keys of secondary indexes: values as bytes that sort as value_compare sorts the values.
 *
 * A value is a byte for its type, then what tells values of that type apart:
 *   1  no value: an array stands on the path, and nothing in it is at the path's end
 *   2  nil, also: absent
 *   3  number: 1 negative, 2 zero, 3 positive; then the exponent and the decimal digits, so that
 *      integers, doubles and numbers of any length mix; of negative ones all inverted
 *   4  string: its bytes, 0 as 0 255, ended by 0 1
 *   5  map: for each member the type of its value, its name and its value; ended by 0
 *   6  array: its elements; ended by 0
 *   7  anything else; not in documents
 *   8  false or true
 * No value's bytes begin with all those of another one. Past INDEX_VALUE_BYTES they are cut: values
 * that differ only behind that share a key. So a key may stand for more documents than those that
 * have the value, and whoever looks one up holds the documents against the filter.
 *
 * An index has for each document one key for each combination of the values that a filter sees at
 * its paths: those of query_matches, so of an array its elements and the array itself. */
#ifndef PARLEY_DOC_INDEX_KEY_H
#define PARLEY_DOC_INDEX_KEY_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/slice.h"
#include "common/doc/value.h"

enum {
	INDEX_VALUE_BYTES = 256,
	INDEX_KEYS_MAX = 1024, /* of one document; with more it has only INDEX_ALWAYS */
	INDEX_NAMES_MAX = 20   /* of one path */
};

/* Begins the key of a document with too many: whatever is asked for, it is a candidate. */
enum { INDEX_ALWAYS = 0 };

/* What an index holds beyond one whole value of each document. */
enum {
	INDEX_HAS_ARRAYS = 1 << 0, /* a document may have several keys, and stand where none of
				      its values would */
	INDEX_HAS_CUT = 1 << 1,    /* keys do not tell all values apart, or query_order_value
				      tells less than they do */
	INDEX_HAS_ALWAYS = 1 << 2
};

struct index_path;

/* The paths of an index, taken apart. */
struct index_fields {
	const struct index_path *paths;
	uint32_t count;
};

/* False if a path is empty, too long, or has too many names. Copies into the arena. */
bool index_fields_compile(const struct slice *paths, uint32_t count, struct arena *arena,
			  struct index_fields *out) MUST_CHECK;

struct index_keys {
	struct slice *keys; /* ascending, each once; at least one */
	uint32_t count;
	uint32_t has; /* INDEX_HAS_* */
};

/* The keys of a document, in the arena. */
void index_keys_of(const struct index_fields *fields, struct slice id, struct slice body,
		   struct arena *arena, struct index_keys *out);

/* Appends the bytes of a value; an empty one is absent. False if they were cut. */
bool index_value_append(struct slice value, struct buf *out);
/* The first byte of all values of this rank. */
uint8_t index_rank_byte(enum value_rank rank);

#endif
