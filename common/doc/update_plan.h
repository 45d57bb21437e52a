/* A compiled update, as update_compile.c leaves it for update_apply.c. Private to the update files.
 */
#ifndef PARLEY_DOC_UPDATE_PLAN_H
#define PARLEY_DOC_UPDATE_PLAN_H

#include "common/doc/query.h"
#include "common/doc/update.h"
#include "proto/msgpack.h"

enum update_op {
	UPDATE_SET,
	UPDATE_UNSET,
	UPDATE_INC,
	UPDATE_PUSH,
	UPDATE_ADD_TO_SET,
	UPDATE_PULL
};

/* What happens at the end of one path. */
struct update_action {
	enum update_op op;
	const char *name; /* "$set" */
	struct slice path;
	struct slice operand; /* SET, INC; PULL: the value, if there is no condition */
	struct slice *list;   /* PUSH, ADD_TO_SET */
	uint32_t list_count;
	const struct query *condition; /* PULL: on {"e": [element]} */
};

/* One name on the way. */
struct update_node {
	struct slice name;
	uint32_t index; /* if the name may stand for an element */
	bool is_index;
	const struct update_action *action; /* at a path's end; then there are no children */
	const struct update_action *maker;  /* one here or below that makes what is absent, or NULL
					     */
	struct update_node *children;       /* in order of update_order */
	struct update_node *next;
	struct update_node **list; /* the same */
	uint32_t count;
};

struct update {
	struct update_node root;
	bool accumulates;
};

/* Indexes by number, before all other names. */
int update_order(const struct update_node *a, const struct update_node *b);
/* Always false. place: operator and path of the action, cut at whole characters. */
bool update_fail(struct update_error *error, enum status status, const struct update_action *action,
		 const char *text);

/* update_number.c: appends the sum; NULL, or why there is none. */
const char *update_add(struct slice a, struct slice b, struct buf *out);

#endif
