/* The state of one compilation, shared by query_compile.c and query_operators.c. */
#ifndef PARLEY_DOC_QUERY_COMPILER_H
#define PARLEY_DOC_QUERY_COMPILER_H

#include "common/doc/query_plan.h"

/* Bounds of one filter; a path's names are less than PATH_WALK_NAMES. */
enum { QUERY_LEVELS_MAX = 32, QUERY_NODES_MAX = 4096, QUERY_SEGMENTS_MAX = 20 };

struct compiler {
	struct arena *arena;
	struct query_error *error;
	struct query_costs *costs; /* of the query to be */
	char place[128];           /* JSON pointer into the filter, cut if long */
	size_t place_len;
	uint32_t nodes;
	uint32_t levels;
	bool uses_id;
	bool uses_version;         /* what struct query_version tells */
	bool in_element;           /* "id" is a member there */
	struct query_regex *regex; /* the first of its patterns; NULL: none yet */
};

/* Always false. */
bool compiler_fail(struct compiler *c, const char *format, ...) PRINTF_LIKE(2, 3);
/* Enters a member of the filter; returns what compiler_leave needs. */
size_t compiler_enter(struct compiler *c, struct slice name);
/* The same of an element of an array. */
size_t compiler_enter_index(struct compiler *c, uint32_t index);
void compiler_leave(struct compiler *c, size_t before);
/* NULL, with the error set, when the filter has too many. */
struct query_node *compiler_node(struct compiler *c, enum query_op op,
				 const struct query_path *path);
/* What a comparison compares with. */
void compiler_operand(struct query_node *node, struct slice value);
/* NULL and a text on a pattern that is none. */
struct query_regex *compiler_regex(struct compiler *c, struct slice pattern, struct slice options,
				   char *text, size_t text_bytes);
/* Adds a child at the end of the list that *tail points to. */
void compiler_append(struct query_node ***tail, struct query_node *child);

/* The node of a filter: all its members hold. NULL on error. */
struct query_node *compile_filter(struct compiler *c, struct slice filter);
/* The node of {"$op": operand, ...} on a path (NULL: on the value itself). NULL on error. */
struct query_node *compile_operators(struct compiler *c, const struct query_path *path,
				     struct slice operators);
/* True of a map whose first member's name begins with '$'. */
bool is_operators(struct slice value);

#endif
