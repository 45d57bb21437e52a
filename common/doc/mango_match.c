/* Does a selector hold for a document? */
#include <stdlib.h>

#include "common/doc/collation.h"
#include "common/doc/mango.h"

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* Of an array the element that the name stands for. */
static struct slice walk(const struct mango_path *path, uint32_t from, struct slice value)
{
	for (uint32_t i = from; i < path->count && value.len > 0; i++) {
		uint32_t index;
		if (token_of(value).type != MP_ARRAY)
			value = value_member(value, path->names[i]);
		else if (value_is_index(path->names[i], &index))
			value = value_element(value, index);
		else
			return slice_of(NULL, 0);
	}
	return value;
}

struct slice mango_path_value(const struct mango_path *path, struct slice value)
{
	return walk(path, 0, value);
}

static bool is_equal(struct slice a, struct slice b)
{
	return slice_equal(a, b) || collation_compare(a, b) == 0;
}

static bool compares(const struct mango_node *node, struct slice value)
{
	if (node->op == MANGO_EQ)
		return is_equal(value, node->operand);
	int order = collation_compare(value, node->operand);
	switch (node->op) {
	case MANGO_LT:
		return order < 0;
	case MANGO_LTE:
		return order <= 0;
	case MANGO_GT:
		return order > 0;
	default:
		return order >= 0;
	}
}

/* Of an array it is enough that an element is listed. */
static bool is_in(const struct mango_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	for (uint32_t i = 0; head.type == MP_ARRAY && i < head.count; i++) {
		struct slice element = mp_value(&r);
		if (!query_take_value(node->costs, element, true))
			return false;
		if (value_among(element, node->list, node->list_count))
			return true;
	}
	return value_among(value, node->list, node->list_count);
}

static int compare_values(const void *a, const void *b)
{
	return value_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* {"$all": [[1, 2]]} also means the array [1, 2] itself. */
static bool has_all(const struct mango_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	uint32_t left = node->list_count;
	if (head.type != MP_ARRAY || left == 0)
		return false;
	if (token_of(node->operand).count == 1 && is_equal(value, node->list[0]))
		return true;
	if (head.count < left)
		return false;
	memset(node->seen, 0, node->list_count);
	for (uint32_t i = 0; i < head.count && left > 0; i++) {
		struct slice element = mp_value(&r);
		if (!query_take_value(node->costs, element, true))
			return false;
		const struct slice *found =
		    bsearch(&element, node->list, node->list_count, sizeof element, compare_values);
		if (!found || node->seen[found - node->list])
			continue;
		node->seen[found - node->list] = true;
		left--;
	}
	return left == 0;
}

static bool has_type(const struct mango_node *node, struct slice value)
{
	static const enum value_rank ranks[] = {
	    [MANGO_NULL] = RANK_NIL,      [MANGO_BOOLEAN] = RANK_BOOL, [MANGO_NUMBER] = RANK_NUMBER,
	    [MANGO_STRING] = RANK_STRING, [MANGO_ARRAY] = RANK_ARRAY,  [MANGO_OBJECT] = RANK_MAP,
	};
	return node->type != MANGO_NO_TYPE && value_rank(value) == ranks[node->type];
}

/* Only whole numbers have one; its sign is theirs. */
static bool has_remainder(const struct mango_node *node, struct slice value)
{
	struct mp_token t = token_of(value);
	uint64_t wanted =
	    node->remainder < 0 ? 0 - (uint64_t)node->remainder : (uint64_t)node->remainder;
	if (t.type == MP_UINT)
		return node->remainder >= 0 && t.u64 % node->divisor == wanted;
	return t.type == MP_INT && (node->remainder < 0 || wanted == 0) &&
	       (0 - (uint64_t)t.i64) % node->divisor == wanted;
}

static bool begins(struct slice text, struct slice with)
{
	return text.len >= with.len &&
	       (with.len == 0 || memcmp(text.data, with.data, with.len) == 0);
}

/* The elements of an array, or the names of an object. */
static bool has_inside(const struct mango_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	bool every = node->op == MANGO_ALL_ELEMENTS;
	if (head.type != (node->op == MANGO_KEY ? MP_MAP : MP_ARRAY) || head.count == 0)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		if (mango_holds(node->children, mp_value(&r), NULL) != every)
			return !every;
		if (node->op == MANGO_KEY && !mp_skip(&r))
			return false;
	}
	return every;
}

static bool value_passes(const struct mango_node *node, struct slice value)
{
	struct mp_token t = token_of(value);
	if (!query_take_value(node->costs, value, node->op == MANGO_IN))
		return false;
	switch (node->op) {
	case MANGO_EXISTS:
		return true;
	case MANGO_IN:
		return is_in(node, value);
	case MANGO_TYPE:
		return has_type(node, value);
	case MANGO_SIZE:
		return t.type == MP_ARRAY && t.count == node->size;
	case MANGO_MOD:
		return has_remainder(node, value);
	case MANGO_REGEX:
		return t.type == MP_STR &&
		       query_regex_matches(node->regex, t.bytes, &node->costs->too_costly);
	case MANGO_BEGINS:
		return t.type == MP_STR && begins(t.bytes, node->operand);
	case MANGO_ALL:
		return has_all(node, value);
	case MANGO_ELEMENT:
	case MANGO_ALL_ELEMENTS:
	case MANGO_KEY:
		return has_inside(node, value);
	default:
		return compares(node, value);
	}
}

static bool children_hold(const struct mango_node *node, struct slice body, const struct slice *own)
{
	bool all = node->op == MANGO_AND;
	for (const struct mango_node *child = node->children; child; child = child->next)
		if (mango_holds(child, body, own) != all)
			return !all;
	return all;
}

static struct slice value_of(const struct mango_path *path, struct slice body,
			     const struct slice *own)
{
	if (path->own == MANGO_STORED || !own)
		return mango_path_value(path, body);
	return walk(path, 1, own[path->own]);
}

bool mango_holds(const struct mango_node *node, struct slice body, const struct slice *own)
{
	if (node->costs->too_costly)
		return false;
	if (node->op == MANGO_AND || node->op == MANGO_OR)
		return children_hold(node, body, own);
	struct slice value = node->path ? value_of(node->path, body, own) : body;
	if (node->path && node->path->own == MANGO_STORED)
		query_take_search(node->costs, body, value);
	if (value.len == 0)
		return node->op == MANGO_EXISTS && node->negated;
	return value_passes(node, value) != node->negated;
}
