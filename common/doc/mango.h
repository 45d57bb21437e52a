/* Mango: CouchDB's selectors. In a filter of ours one stands as {"$mango": selector}, so that it
 * goes wherever filters go. What differs from our own conditions: a condition on a path holds for
 * no document without a value there ({"$exists": false} apart); an array is a value like any other,
 * not its elements; values of all types compare with each other (collation.h). Private to the query
 * files. */
#ifndef PARLEY_DOC_MANGO_H
#define PARLEY_DOC_MANGO_H

#include "common/doc/query_compiler.h"
#include "common/doc/query_conditions.h"

enum mango_op {
	MANGO_AND,
	MANGO_OR,
	/* of the value at the path */
	MANGO_EQ,
	MANGO_LT,
	MANGO_LTE,
	MANGO_GT,
	MANGO_GTE,
	MANGO_IN,
	MANGO_EXISTS,
	MANGO_TYPE,
	MANGO_SIZE,
	MANGO_MOD,
	MANGO_REGEX,
	MANGO_BEGINS,
	MANGO_ALL,
	MANGO_ELEMENT, /* some element; ALL_ELEMENTS: there are some, and all; KEY: some name */
	MANGO_ALL_ELEMENTS,
	MANGO_KEY
};

/* In place of a name that no stored member has. */
#define MANGO_NOBODYS "\xff"

/* What a document shows beside its stored members. */
enum mango_own { MANGO_STORED, MANGO_ID, MANGO_REV, MANGO_DELETED, MANGO_CONFLICTS, MANGO_OWN };

struct mango_path {
	struct slice *names; /* as they are stored */
	uint32_t count;
	enum mango_own own; /* what the first of them is */
};

struct mango_node {
	enum mango_op op;
	bool negated;
	const struct mango_path *path; /* NULL: the value at hand */
	struct mango_node *children;
	struct mango_node *next;
	struct slice operand;
	struct slice *list; /* IN, ALL: as value_compare sorts; of ALL each once */
	uint32_t list_count;
	bool *seen; /* ALL: scratch of a match, for each of the list */
	enum mango_type {
		MANGO_NULL,
		MANGO_BOOLEAN,
		MANGO_NUMBER,
		MANGO_STRING,
		MANGO_ARRAY,
		MANGO_OBJECT,
		MANGO_NO_TYPE /* of no value */
	} type;
	uint64_t size;
	uint64_t divisor; /* its magnitude */
	int64_t remainder;
	struct query_regex *regex;
	struct query_costs *costs;
};

/* Of a document; false: it has too many names, or is too long. */
bool mango_path_parse(struct arena *arena, struct slice text, struct mango_path *out) MUST_CHECK;
/* Where the path of stored members leads to; empty if nowhere. */
struct slice mango_path_value(const struct mango_path *path, struct slice value);

/* NULL on error. */
struct mango_node *mango_compile(struct compiler *c, struct slice selector);
/* own: by enum mango_own, the values that there are. NULL: not a document, but an element of one.
 */
bool mango_holds(const struct mango_node *node, struct slice body, const struct slice *own);
/* Appends what the selector demands of all its documents; at most max. Returns the count. */
uint32_t mango_conditions(const struct mango_node *node, struct arena *arena,
			  struct query_condition *out, uint32_t max);

#endif
