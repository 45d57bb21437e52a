/* Does a filter hold for a document? */
#include <math.h>

#include "common/doc/mango.h"
#include "common/doc/revision.h"
#include "proto/enums.h"

/* What a node is held against: a document, or an element of an array in one. */
struct subject {
	struct slice value;
	struct slice
	    id; /* the document's id as a value; empty inside elements: there "id" is a member */
	const struct slice *own; /* what selectors of CouchDB's see beside it */
};

/* Broken bytes end a walk: nothing that comes after them can be found. */

static bool node_holds(const struct query_node *node, const struct subject *subject);

static enum mp_type type_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r);
}

/* ---- what it costs ---- */

/* Skipped bytes cost least, those of an array on the way most. */
enum {
	QUERY_SKIPPED_BYTES = 8, /* for a step */
	QUERY_COMPARED_BYTES = 8,
	QUERY_LIST_STEPS = 3,  /* for each value that is looked up in a list */
	QUERY_WALKED_STEPS = 2 /* for each byte */
};

bool query_take_steps(struct query_costs *costs, uint64_t steps)
{
	costs->steps += steps;
	if (costs->steps > QUERY_STEPS_MAX)
		costs->too_costly = true;
	return !costs->too_costly;
}

static uint64_t bytes_up_to(struct slice in, struct slice found)
{
	return found.len > 0 ? (uint64_t)(found.data - in.data) + found.len : in.len;
}

bool query_take_search(struct query_costs *costs, struct slice in, struct slice found)
{
	return query_take_steps(costs, 1 + bytes_up_to(in, found) / QUERY_SKIPPED_BYTES);
}

bool query_take_value(struct query_costs *costs, struct slice value, bool listed)
{
	uint64_t steps = 1 + value.len / QUERY_COMPARED_BYTES;
	return query_take_steps(costs, listed ? steps * QUERY_LIST_STEPS : steps);
}

/* ---- one value ---- */

/* <0, 0, >0. The types that most values have are compared without reading the operand again. */
static int order_to_operand(const struct query_node *node, const struct mp_token *t,
			    struct slice value)
{
	const struct mp_token *operand = &node->token;
	if (t->type == MP_UINT && operand->type == MP_UINT)
		return t->u64 < operand->u64 ? -1 : t->u64 > operand->u64;
	if (t->type == MP_STR)
		return slice_compare(t->bytes, operand->bytes);
	return value_compare(value, node->operand);
}

static bool has_order(enum query_op op, int order)
{
	switch (op) {
	case QUERY_EQ:
		return order == 0;
	case QUERY_GT:
		return order > 0;
	case QUERY_GTE:
		return order >= 0;
	case QUERY_LT:
		return order < 0;
	default:
		return order <= 0;
	}
}

/* As in MongoDB an absent value equals null, and values of other types neither precede nor follow.
 */
static bool compares(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	bool same_type = t.type == node->token.type;
	if (!same_type && value_rank(value) != node->rank)
		return false;
	/* Strings that are equal are of one length: most are told apart without a look. */
	if (same_type && t.type == MP_STR && node->op == QUERY_EQ)
		return slice_equal(t.bytes, node->token.bytes);
	return has_order(node->op, order_to_operand(node, &t, value));
}

static bool is_listed(const struct query_node *node, struct slice value)
{
	if (value.len == 0)
		return node->list_has_nil;
	return value_among(value, node->list, node->list_count);
}

static uint32_t integer_type(const struct mp_token *t)
{
	if (t->type == MP_UINT)
		return t->u64 <= INT32_MAX   ? QUERY_TYPE_INT
		       : t->u64 <= INT64_MAX ? QUERY_TYPE_LONG
					     : QUERY_TYPE_DECIMAL;
	return t->i64 >= INT32_MIN ? QUERY_TYPE_INT : QUERY_TYPE_LONG;
}

static bool has_type(const struct query_node *node, struct slice value)
{
	static const uint32_t bits[] = {
	    [MP_NIL] = QUERY_TYPE_NULL,      [MP_BOOL] = QUERY_TYPE_BOOL,
	    [MP_DOUBLE] = QUERY_TYPE_DOUBLE, [MP_STR] = QUERY_TYPE_STRING,
	    [MP_ARRAY] = QUERY_TYPE_ARRAY,   [MP_MAP] = QUERY_TYPE_OBJECT,
	    [MP_EXT] = QUERY_TYPE_DECIMAL,
	};
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	if (t.type == MP_UINT || t.type == MP_INT)
		return node->types & integer_type(&t);
	return node->types & bits[t.type];
}

static bool has_remainder(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	bool negative = t.type == MP_INT;
	uint64_t magnitude;
	if (t.type == MP_UINT) {
		magnitude = t.u64;
	} else if (t.type == MP_INT) {
		magnitude = 0 - (uint64_t)t.i64;
	} else if (t.type == MP_DOUBLE && fabs(t.number) < 0x1p63) {
		negative = t.number < 0;
		magnitude = (uint64_t)fabs(t.number);
	} else {
		return false;
	}
	uint64_t left = magnitude % node->divisor;
	uint64_t wanted = (uint64_t)node->remainder;
	return (negative ? 0 - left : left) == wanted;
}

static bool has_match(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token t = mp_read(&r);
	return t.type == MP_STR &&
	       query_regex_matches(node->regex, t.bytes, &node->costs->too_costly);
}

static bool children_hold(const struct query_node *node, const struct subject *subject)
{
	for (const struct query_node *child = node->children; child; child = child->next)
		if (!node_holds(child, subject))
			return false;
	return true;
}

static bool has_element(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY)
		return false;
	for (uint32_t i = 0; i < head.count; i++) {
		struct subject element = {.value = mp_value(&r)};
		if (element.value.len == 0)
			return false;
		if (node->op == QUERY_ELEMENT && type_of(element.value) != MP_MAP)
			continue;
		if (children_hold(node, &element))
			return true;
	}
	return false;
}

static bool has_size(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	return head.type == MP_ARRAY && head.count == node->size;
}

/* An empty value stands for one that is absent. */
static bool value_passes(const struct query_node *node, struct slice value)
{
	if (!query_take_value(node->costs, value, node->op == QUERY_IN))
		return false;
	switch (node->op) {
	case QUERY_IN:
		return is_listed(node, value);
	case QUERY_TYPE:
		return value.len > 0 && has_type(node, value);
	case QUERY_REGEX:
		return has_match(node, value);
	case QUERY_MOD:
		return has_remainder(node, value);
	case QUERY_EXISTS:
		return value.len > 0;
	case QUERY_NULL:
		return value_rank(value) == RANK_NIL;
	case QUERY_SIZE:
		return has_size(node, value);
	case QUERY_ELEMENT:
	case QUERY_ELEMENT_VALUE:
		return has_element(node, value);
	default:
		return compares(node, value);
	}
}

/* ---- the values at a path ---- */

/* At the path's end an array passes through one of its elements, or itself. */
static bool end_passes(const struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	if (node->op < QUERY_EXISTS && mp_peek(&r) == MP_ARRAY) {
		uint32_t count = mp_read(&r).count;
		for (uint32_t i = 0; i < count; i++) {
			struct slice element = mp_value(&r);
			if (element.len == 0)
				return false;
			if (value_passes(node, element))
				return true;
		}
	}
	return value_passes(node, value);
}

/* A walk through an array, and how far it had to go. */
struct walking {
	const struct query_node *node;
	struct slice last; /* that was found */
};

/* An index at the path's end names the element itself: as in MongoDB, if that is an array, it is
 * not looked into. */
static bool found_passes(void *context, struct slice value, bool element)
{
	struct walking *walking = context;
	walking->last = value;
	return element ? value_passes(walking->node, value) : end_passes(walking->node, value);
}

/* Where an array on the way has neither a map nor the element that the next name may stand for,
 * there is no value, not even an absent one. */
static bool any_in_array(const struct query_node *node, struct slice array, uint32_t at)
{
	struct walking walking = {.node = node};
	const struct path_walk walk = {.segments = node->path->segments,
				       .count = node->path->count,
				       .found = found_passes,
				       .context = &walking};
	bool passes = path_walk_array(&walk, array, at);
	uint64_t bytes = passes ? bytes_up_to(array, walking.last) : array.len;
	return query_take_steps(node->costs, bytes * QUERY_WALKED_STEPS) && passes;
}

static bool any_at(const struct query_node *node, struct slice value)
{
	for (uint32_t at = 0; at < node->path->count; at++) {
		if (type_of(value) == MP_ARRAY)
			return any_in_array(node, value, at);
		struct slice member = value_member(value, node->path->segments[at].name);
		if (!query_take_search(node->costs, value, member))
			return false;
		value = member;
		if (value.len == 0)
			return value_passes(node, value);
	}
	return end_passes(node, value);
}

static bool predicate_holds(const struct query_node *node, const struct subject *subject)
{
	if (!node->path)
		return value_passes(node, subject->value);
	if (node->path->is_id && subject->id.len > 0)
		return value_passes(node, subject->id);
	return any_at(node, subject->value);
}

static bool any_child_holds(const struct query_node *node, const struct subject *subject)
{
	for (const struct query_node *child = node->children; child; child = child->next)
		if (node_holds(child, subject))
			return true;
	return false;
}

static bool node_holds(const struct query_node *node, const struct subject *subject)
{
	if (node->costs->too_costly)
		return false;
	bool holds = node->op == QUERY_AND  ? children_hold(node, subject)
		     : node->op == QUERY_OR ? any_child_holds(node, subject)
		     : node->op == QUERY_MANGO
			 ? mango_holds(node->mango, subject->value, subject->own)
			 : predicate_holds(node, subject);
	return holds != node->negated;
}

enum { DIGITS = 20 }; /* of the greatest number */

/* In memory that is never too small, so that the buffer never grows. */
static struct slice value_of_text(struct slice text, struct buf *memory)
{
	size_t at = memory->len;
	mp_write_str(memory, text);
	return slice_of(memory->data + at, memory->len - at);
}

static struct slice value_of_revision(const struct revision *revision, struct buf *memory)
{
	uint8_t bytes[REVISION_TEXT_BYTES + DIGITS];
	struct buf text = {.data = bytes, .cap = sizeof bytes};
	revision_print(revision, &text);
	return value_of_text(buf_slice(&text), memory);
}

bool query_matches_version(const struct query *q, struct slice id, struct slice body,
			   const struct query_version *version)
{
	static const uint8_t yes = 0xc3;
	uint8_t bytes[LIMIT_ID_BYTES + REVISION_TEXT_BYTES + DIGITS + 16];
	struct buf memory = {.data = bytes, .cap = sizeof bytes};
	struct slice own[MANGO_OWN] = {{0}};
	struct subject subject = {.value = body, .own = own};
	if (q->uses_id && id.len <= LIMIT_ID_BYTES)
		own[MANGO_ID] = subject.id = value_of_text(id, &memory);
	if (q->uses_version && version->revision &&
	    version->revision->hash.len <= LIMIT_REV_HASH_BYTES)
		own[MANGO_REV] = value_of_revision(version->revision, &memory);
	if (version->deleted)
		own[MANGO_DELETED] = slice_of(&yes, 1);
	own[MANGO_CONFLICTS] = version->conflicts;
	q->costs->steps = 0;
	return node_holds(q->root, &subject);
}

bool query_matches(const struct query *q, struct slice id, struct slice body)
{
	static const struct query_version unknown = {0};
	return query_matches_version(q, id, body, &unknown);
}

bool query_looks_at_version(const struct query *q)
{
	return q->uses_version;
}

uint64_t query_steps(const struct query *q)
{
	return q->costs->steps;
}

bool query_too_costly(const struct query *q)
{
	return q->costs->too_costly;
}
