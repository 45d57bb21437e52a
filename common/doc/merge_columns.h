/* The members of several containers, side by side. Only the files of the merge include it. */
#ifndef PARLEY_DOC_MERGE_COLUMNS_H
#define PARLEY_DOC_MERGE_COLUMNS_H

#include "common/doc/merge_internal.h"

enum { MERGE_BASE_RANK = UINT32_MAX };

struct merge_entry {
	struct slice key;
	uint32_t rank; /* MERGE_BASE_RANK: of the base */
	uint32_t pos;  /* in its container */
	struct slice value;
};

/* Entries of one key: those of the leaves by rank, then the base's. */
struct merge_column {
	struct merge_entry *entries;
	uint32_t count;
	const struct merge_entry *base; /* NULL: absent there */
};

struct merge_columns {
	struct merge_entry *entries;
	uint32_t entries_count;
	uint32_t entries_cap;
	struct merge_column *columns;
	uint32_t columns_count;
	bool twice; /* a container has the same key twice (the first counts) */
};

void merge_columns_add(struct merge *m, struct merge_columns *c, const struct merge_entry *entry);
/* Keys are bytes; columns in the order of the first leaf that has them, base-only ones last. */
void merge_columns_by_leaf(struct merge *m, struct merge_columns *c);
/* Keys are values; columns in the order of the base, then the others sorted by key. */
void merge_columns_by_base(struct merge *m, struct merge_columns *c);
/* Of an object; what follows a member that is none is left out. */
void merge_columns_add_members(struct merge *m, struct merge_columns *c, uint32_t rank,
			       struct slice map);
/* Of the elements of arrays: base and sides, in columns by base. rule: whose fields are their key;
 * NULL: each is its own. False: not arrays, too long, or an element without the key. */
bool merge_columns_of_elements(struct merge *m, const struct merge_place *place,
			       const struct policy_path *rule, struct merge_columns *c);
/* The column's values without the base's. Returns the count. */
uint32_t merge_column_sides(struct merge *m, const struct merge_column *column,
			    struct merge_side **out);

#endif
