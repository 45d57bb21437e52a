/* The operators of a filter, and what each takes. */
#include <math.h>
#include <stdlib.h>

#include "common/doc/query_compiler.h"

/* What is known of one operator while it is compiled. */
struct operator_call {
	const struct query_path *path;
	struct slice operand;
	struct slice siblings; /* the map that the operator stands in */
};

struct operator_row {
	const char *name;
	enum query_op op;
	bool negated;
	/* Fills the node; false on error. */
	bool (*fill)(struct compiler *c, struct query_node *node, const struct operator_call *call);
};

static const char allowed[] = "is no operator here; allowed: $eq $ne $gt $gte $lt $lte $in $nin "
			      "$exists $null $type $not $regex $options $size $all $elemMatch $mod";

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* Of an element of the operand. */
static bool fail_at(struct compiler *c, uint32_t index, const char *text)
{
	size_t before = compiler_enter_index(c, index);
	compiler_fail(c, "%s", text);
	compiler_leave(c, before);
	return false;
}

/* ---- comparison ---- */

static bool fill_value(struct compiler *c, struct query_node *node,
		       const struct operator_call *call)
{
	(void)c;
	compiler_operand(node, call->operand);
	return true;
}

static int compare_values(const void *a, const void *b)
{
	return value_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static bool fill_list(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	struct mp_reader r = mp_reader_of(call->operand);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY)
		return compiler_fail(c, "takes an array of values");
	struct slice *list = arena_alloc(c->arena, head.count * sizeof *list);
	for (uint32_t i = 0; i < head.count; i++) {
		list[i] = mp_value(&r);
		if (is_operators(list[i]))
			return fail_at(c, i, "is an operator; allowed: values");
		node->list_has_nil |= value_rank(list[i]) == RANK_NIL;
	}
	if (head.count > 1)
		qsort(list, head.count, sizeof *list, compare_values);
	node->list = list;
	node->list_count = head.count;
	return true;
}

/* ---- presence and type ---- */

/* Of $exists and $null: false turns the condition round. */
static bool fill_flag(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	struct mp_token t = token_of(call->operand);
	bool is_bit = t.type == MP_UINT && t.u64 <= 1;
	if (t.type != MP_BOOL && !is_bit)
		return compiler_fail(c, "takes true or false");
	bool wanted = is_bit ? t.u64 == 1 : t.flag;
	node->negated = !wanted;
	return true;
}

static uint32_t type_bits(const struct mp_token *t)
{
	static const struct {
		const char *name;
		uint64_t number; /* as in BSON; 0: none */
		uint32_t bits;
	} rows[] = {
	    {"double", 1, QUERY_TYPE_DOUBLE},
	    {"string", 2, QUERY_TYPE_STRING},
	    {"object", 3, QUERY_TYPE_OBJECT},
	    {"array", 4, QUERY_TYPE_ARRAY},
	    {"bool", 8, QUERY_TYPE_BOOL},
	    {"null", 10, QUERY_TYPE_NULL},
	    {"int", 16, QUERY_TYPE_INT},
	    {"long", 18, QUERY_TYPE_LONG},
	    {"decimal", 19, QUERY_TYPE_DECIMAL},
	    {"number", 0,
	     QUERY_TYPE_DOUBLE | QUERY_TYPE_INT | QUERY_TYPE_LONG | QUERY_TYPE_DECIMAL},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if ((t->type == MP_STR && slice_is(t->bytes, rows[i].name)) ||
		    (t->type == MP_UINT && rows[i].number > 0 && t->u64 == rows[i].number))
			return rows[i].bits;
	return 0;
}

static bool fill_types(struct compiler *c, struct query_node *node,
		       const struct operator_call *call)
{
	struct mp_reader r = mp_reader_of(call->operand);
	bool is_list = mp_peek(&r) == MP_ARRAY;
	uint32_t count = is_list ? mp_read(&r).count : 1;
	static const char text[] =
	    "is no type; allowed: double, string, object, array, bool, null, "
	    "int, long, decimal, number, or a list of them";
	for (uint32_t i = 0; i < count; i++) {
		struct slice name = mp_value(&r);
		struct mp_token t = token_of(name);
		uint32_t bits = type_bits(&t);
		if (bits == 0)
			return is_list ? fail_at(c, i, text) : compiler_fail(c, "%s", text);
		node->types |= bits;
	}
	return count > 0 || compiler_fail(c, "takes at least one type");
}

/* ---- strings and numbers ---- */

static bool fill_regex(struct compiler *c, struct query_node *node,
		       const struct operator_call *call)
{
	struct mp_token pattern = token_of(call->operand);
	struct slice given = value_member(call->siblings, slice_text("$options"));
	struct mp_token options = token_of(given);
	if (pattern.type != MP_STR || (given.len > 0 && options.type != MP_STR))
		return compiler_fail(c, "takes a pattern as a string, and $options likewise");
	char text[sizeof c->error->text];
	node->regex = compiler_regex(
	    c, pattern.bytes, given.len > 0 ? options.bytes : (struct slice){0}, text, sizeof text);
	return node->regex || compiler_fail(c, "%s", text);
}

static bool fill_size(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	struct mp_token t = token_of(call->operand);
	if (t.type != MP_UINT || t.u64 > UINT32_MAX)
		return compiler_fail(c, "takes a whole number, 0 or more");
	node->size = (uint32_t)t.u64;
	return true;
}

/* Cuts fractions off, as MongoDB does. */
static bool whole_number(const struct mp_token *t, int64_t *out)
{
	if (t->type == MP_UINT && t->u64 <= INT64_MAX)
		*out = (int64_t)t->u64;
	else if (t->type == MP_INT)
		*out = t->i64;
	else if (t->type == MP_DOUBLE && fabs(t->number) < 0x1p63)
		*out = (int64_t)t->number;
	else
		return false;
	return true;
}

static bool fill_mod(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	struct mp_reader r = mp_reader_of(call->operand);
	struct mp_token head = mp_read(&r);
	bool is_pair = head.type == MP_ARRAY && head.count == 2;
	struct mp_token divisor = is_pair ? mp_read(&r) : head;
	struct mp_token remainder = is_pair ? mp_read(&r) : head;
	int64_t by = 0;
	if (!is_pair || !whole_number(&divisor, &by) || !whole_number(&remainder, &node->remainder))
		return compiler_fail(c, "takes [divisor, remainder], two whole numbers");
	if (by == 0)
		return compiler_fail(c, "the divisor can't be 0");
	node->divisor = by < 0 ? 0 - (uint64_t)by : (uint64_t)by;
	return true;
}

/* ---- conditions within ---- */

static bool fill_not(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	if (!is_operators(call->operand))
		return compiler_fail(c, "takes an object of operators, such as {\"$gt\": 1}");
	node->children = compile_operators(c, call->path, call->operand);
	return node->children != NULL;
}

/* {"$gt": 1} is about the element's value; {"b": 1} and {"$or": [...]} about its members. */
static bool is_about_value(struct slice operand)
{
	struct mp_reader r = mp_reader_of(operand);
	if (!is_operators(operand))
		return false;
	mp_read(&r);
	struct slice first = mp_read(&r).bytes;
	return !slice_is(first, "$and") && !slice_is(first, "$or") && !slice_is(first, "$nor");
}

static bool fill_element(struct compiler *c, struct query_node *node,
			 const struct operator_call *call)
{
	bool before = c->in_element;
	c->in_element = true;
	if (is_about_value(call->operand)) {
		node->op = QUERY_ELEMENT_VALUE;
		node->children = compile_operators(c, NULL, call->operand);
	} else {
		node->children = compile_filter(c, call->operand);
	}
	c->in_element = before;
	return node->children != NULL;
}

/* One member of $all: a value, or an $elemMatch. */
static struct query_node *compile_wanted(struct compiler *c, const struct operator_call *call,
					 struct slice value)
{
	if (is_operators(value)) {
		if (value_member(value, slice_text("$elemMatch")).len > 0)
			return compile_operators(c, call->path, value);
		compiler_fail(c, "is an operator; allowed: values and $elemMatch");
		return NULL;
	}
	struct query_node *node = compiler_node(c, QUERY_EQ, call->path);
	if (node)
		compiler_operand(node, value);
	return node;
}

static bool fill_all(struct compiler *c, struct query_node *node, const struct operator_call *call)
{
	struct mp_reader r = mp_reader_of(call->operand);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY)
		return compiler_fail(c, "takes an array of values and of $elemMatch objects");
	/* Of no values MongoDB matches nothing. */
	if (head.count == 0)
		node->op = QUERY_OR;
	struct query_node **tail = &node->children;
	for (uint32_t i = 0; i < head.count; i++) {
		size_t before = compiler_enter_index(c, i);
		struct query_node *child = compile_wanted(c, call, mp_value(&r));
		compiler_leave(c, before);
		if (!child)
			return false;
		compiler_append(&tail, child);
	}
	return true;
}

/* $options means something to its $regex only, which reads it. */
static bool fill_options(struct compiler *c, struct query_node *node,
			 const struct operator_call *call)
{
	(void)node;
	if (value_member(call->siblings, slice_text("$regex")).len == 0)
		return compiler_fail(c, "needs a $regex beside it");
	return true;
}

static const struct operator_row rows[] = {
    {"$eq", QUERY_EQ, false, fill_value},        {"$ne", QUERY_EQ, true, fill_value},
    {"$gt", QUERY_GT, false, fill_value},        {"$gte", QUERY_GTE, false, fill_value},
    {"$lt", QUERY_LT, false, fill_value},        {"$lte", QUERY_LTE, false, fill_value},
    {"$in", QUERY_IN, false, fill_list},         {"$nin", QUERY_IN, true, fill_list},
    {"$exists", QUERY_EXISTS, false, fill_flag}, {"$null", QUERY_NULL, false, fill_flag},
    {"$type", QUERY_TYPE, false, fill_types},    {"$not", QUERY_AND, true, fill_not},
    {"$regex", QUERY_REGEX, false, fill_regex},  {"$options", QUERY_AND, false, fill_options},
    {"$size", QUERY_SIZE, false, fill_size},     {"$mod", QUERY_MOD, false, fill_mod},
    {"$all", QUERY_AND, false, fill_all},        {"$elemMatch", QUERY_ELEMENT, false, fill_element},
};

static struct query_node *compile_operator(struct compiler *c, struct slice name,
					   const struct operator_call *call)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (!slice_is(name, rows[i].name))
			continue;
		struct query_node *node = compiler_node(c, rows[i].op, call->path);
		if (!node)
			return NULL;
		node->negated = rows[i].negated;
		return rows[i].fill(c, node, call) ? node : NULL;
	}
	compiler_fail(c, "%s", allowed);
	return NULL;
}

struct query_node *compile_operators(struct compiler *c, const struct query_path *path,
				     struct slice operators)
{
	struct mp_reader r = mp_reader_of(operators);
	uint32_t count = mp_read(&r).count;
	if (c->levels == QUERY_LEVELS_MAX) {
		compiler_fail(c, "conditions nest at most %d levels deep", QUERY_LEVELS_MAX);
		return NULL;
	}
	c->levels++;
	struct query_node *node = compiler_node(c, QUERY_AND, path);
	struct query_node **tail = node ? &node->children : NULL;
	for (uint32_t i = 0; node && i < count; i++) {
		struct slice name = mp_read(&r).bytes;
		struct operator_call call = {path, mp_value(&r), operators};
		size_t before = compiler_enter(c, name);
		struct query_node *child = compile_operator(c, name, &call);
		compiler_leave(c, before);
		if (!child)
			return NULL;
		compiler_append(&tail, child);
	}
	c->levels--;
	return node;
}
