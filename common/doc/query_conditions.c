#include "common/doc/query_conditions.h"

#include "common/doc/mango.h"

struct list {
	struct arena *arena;
	struct query_condition *conditions;
	uint32_t count;
};

static struct slice path_text(const struct query_path *path, struct arena *arena)
{
	size_t len = path->count - 1;
	for (uint32_t i = 0; i < path->count; i++)
		len += path->segments[i].name.len;
	uint8_t *text = arena_alloc(arena, len + 1);
	size_t at = 0;
	for (uint32_t i = 0; i < path->count; i++) {
		struct slice name = path->segments[i].name;
		if (i > 0)
			text[at++] = '.';
		if (name.len > 0)
			memcpy(text + at, name.data, name.len);
		at += name.len;
	}
	return slice_of(text, len);
}

static void add(struct list *list, const struct query_node *node)
{
	static const enum query_comparison comparisons[] = {
	    [QUERY_EQ] = COMPARE_IN,   [QUERY_IN] = COMPARE_IN, [QUERY_GT] = COMPARE_GT,
	    [QUERY_GTE] = COMPARE_GTE, [QUERY_LT] = COMPARE_LT, [QUERY_LTE] = COMPARE_LTE,
	};
	if (list->count == QUERY_CONDITIONS_MAX || !node->path)
		return;
	struct query_condition *condition = &list->conditions[list->count++];
	condition->path = path_text(node->path, list->arena);
	condition->comparison = comparisons[node->op];
	condition->values = node->op == QUERY_IN ? node->list : &node->operand;
	condition->values_count = node->op == QUERY_IN ? node->list_count : 1;
}

/* All children of a conjunction hold; of anything else nothing is known for sure. */
static void visit(struct list *list, const struct query_node *node)
{
	if (node->negated)
		return;
	if (node->op == QUERY_AND)
		for (const struct query_node *child = node->children; child; child = child->next)
			visit(list, child);
	else if (node->op == QUERY_MANGO)
		list->count +=
		    mango_conditions(node->mango, list->arena, list->conditions + list->count,
				     QUERY_CONDITIONS_MAX - list->count);
	else if ((node->op >= QUERY_EQ && node->op <= QUERY_LTE) || node->op == QUERY_IN)
		add(list, node);
}

uint32_t query_conditions(const struct query *q, struct arena *arena, struct query_condition **out)
{
	struct list list = {.arena = arena};
	list.conditions = arena_alloc(arena, QUERY_CONDITIONS_MAX * sizeof *list.conditions);
	visit(&list, q->root);
	*out = list.conditions;
	return list.count;
}
