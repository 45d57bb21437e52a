#include "common/doc/mango.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/doc/couch_name.h"
#include "common/doc/json.h"
#include "proto/enums.h"

enum { SHOWN_BYTES = 64 };

/* What is known of one condition while it is compiled. */
struct place {
	const struct mango_path *path; /* NULL: the value at hand */
	bool negated;
};

static struct mango_node *compile_value(struct compiler *c, const struct place *at,
					struct slice value);

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

/* ---- errors ---- */

/* Whole characters of it. */
static int shown(struct slice name)
{
	size_t len = name.len < SHOWN_BYTES ? name.len : SHOWN_BYTES;
	while (len > 0 && len < name.len && (name.data[len] & 0xc0) == 0x80)
		len--;
	return (int)len;
}

static struct mango_node *fail_operator(struct compiler *c, struct slice name)
{
	static const char *const unsupported[] = {"$where", "$geoWithin", "$geoIntersects", "$near",
						  "$nearSphere"};
	for (size_t i = 0; i < ARRAY_LEN(unsupported); i++) {
		if (!slice_is(name, unsupported[i]))
			continue;
		compiler_fail(c, "Unsupported operator: %s", unsupported[i]);
		c->error->kind = QUERY_ERROR_UNSUPPORTED;
		return NULL;
	}
	compiler_fail(c, "Invalid operator: %.*s", shown(name), (const char *)name.data);
	c->error->kind = QUERY_ERROR_OPERATOR;
	return NULL;
}

/* A value as CouchDB's errors show it: as a term of Erlang's. */
static void append_term(struct mp_reader *r, struct buf *out)
{
	const uint8_t *from = r->at;
	struct mp_token t = mp_read(r);
	bool map = t.type == MP_MAP;
	uint32_t count = t.type == MP_STR ? (uint32_t)t.bytes.len : t.count;
	if (t.type != MP_STR && t.type != MP_ARRAY && !map) {
		if (!json_from_msgpack(slice_of(from, (size_t)(r->at - from)), out))
			buf_append_byte(out, '?');
		return;
	}
	buf_append_text(out, map ? "{[" : t.type == MP_STR ? "<<" : "[");
	for (uint32_t i = 0; i < count && out->len < sizeof(struct query_error); i++) {
		buf_append_text(out, i > 0 ? "," : "");
		if (t.type == MP_STR) {
			buf_printf(out, "%u", (unsigned)t.bytes.data[i]);
			continue;
		}
		buf_append_text(out, map ? "{" : "");
		if (map) {
			append_term(r, out);
			buf_append_byte(out, ',');
		}
		append_term(r, out);
		buf_append_text(out, map ? "}" : "");
	}
	buf_append_text(out, map ? "]}" : t.type == MP_STR ? ">>" : "]");
}

static bool fail_argument(struct compiler *c, struct slice name, struct slice value)
{
	struct buf term = {0};
	struct mp_reader r = mp_reader_of(value);
	append_term(&r, &term);
	compiler_fail(c, "Bad argument for operator %.*s: %s", shown(name), (const char *)name.data,
		      buf_cstr(&term));
	buf_close(&term);
	c->error->kind = QUERY_ERROR_ARGUMENT;
	return false;
}

static struct mango_node *node_of(struct compiler *c, enum mango_op op, const struct place *at)
{
	if (++c->nodes > QUERY_NODES_MAX) {
		compiler_fail(c, "a selector has at most %d conditions", QUERY_NODES_MAX);
		return NULL;
	}
	struct mango_node *node = arena_alloc(c->arena, sizeof *node);
	*node = (struct mango_node){.op = op, .costs = c->costs};
	if (at) {
		node->path = at->path;
		node->negated = at->negated;
	}
	return node;
}

/* ---- paths ---- */

/* A dot parts names, unless a backslash stands before it. */
static struct slice next_name(struct arena *arena, struct slice text, size_t *from)
{
	uint8_t *name = arena_alloc(arena, text.len + 1);
	size_t len = 0;
	size_t i = *from;
	for (; i < text.len && text.data[i] != '.'; i++) {
		if (text.data[i] == '\\' && i + 1 < text.len)
			i++;
		name[len++] = text.data[i];
	}
	*from = i + 1;
	return slice_of(name, len);
}

/* Appends the names; false: there are too many. */
static bool append_names(struct arena *arena, struct slice text, struct mango_path *path)
{
	for (size_t from = 0; from <= text.len;) {
		if (path->count == QUERY_SEGMENTS_MAX || text.len > LIMIT_PATH_BYTES)
			return false;
		path->names[path->count++] = next_name(arena, text, &from);
	}
	return true;
}

static enum mango_own own_of(struct slice name)
{
	static const char *const names[] = {[MANGO_ID] = "_id",
					    [MANGO_REV] = "_rev",
					    [MANGO_DELETED] = "_deleted",
					    [MANGO_CONFLICTS] = "_conflicts"};
	for (int i = MANGO_ID; i < MANGO_OWN; i++)
		if (slice_is(name, names[i]))
			return (enum mango_own)i;
	return MANGO_STORED;
}

/* The name that the member is stored under; where there is none, one that no text is. */
static void name_of_document(struct mango_path *path)
{
	struct slice name = path->names[0];
	path->own = own_of(name);
	path->names[0] =
	    couch_name_is_nobodys(name) ? slice_text(MANGO_NOBODYS) : couch_name_stored(name);
}

bool mango_path_parse(struct arena *arena, struct slice text, struct mango_path *out)
{
	*out = (struct mango_path){0};
	out->names = arena_alloc(arena, QUERY_SEGMENTS_MAX * sizeof *out->names);
	if (!append_names(arena, text, out))
		return false;
	name_of_document(out);
	return true;
}

static const struct mango_path *path_below(struct compiler *c, const struct mango_path *above,
					   struct slice text)
{
	struct mango_path *path = arena_alloc(c->arena, sizeof *path);
	uint32_t before = above ? above->count : 0;
	path->names = arena_alloc(c->arena, QUERY_SEGMENTS_MAX * sizeof *path->names);
	for (; path->count < before; path->count++)
		path->names[path->count] = above->names[path->count];
	if (!append_names(c->arena, text, path)) {
		compiler_fail(c, "a path has at most %d names and %d bytes", QUERY_SEGMENTS_MAX,
			      LIMIT_PATH_BYTES);
		return NULL;
	}
	if (!c->in_element && before == 0)
		name_of_document(path);
	c->uses_id |= path->own == MANGO_ID;
	c->uses_version |= path->own > MANGO_ID;
	return path;
}

/* ---- operands ---- */

static bool take_flag(struct compiler *c, struct mango_node *node)
{
	struct mp_token t = token_of(node->operand);
	(void)c;
	if (t.type == MP_BOOL && !t.flag)
		node->negated = !node->negated;
	return t.type == MP_BOOL;
}

static bool take_list(struct compiler *c, struct mango_node *node)
{
	struct mp_reader r = mp_reader_of(node->operand);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY)
		return false;
	struct slice *list = arena_alloc(c->arena, (head.count + 1) * sizeof *list);
	for (uint32_t i = 0; i < head.count; i++)
		list[i] = mp_value(&r);
	node->list = list;
	node->list_count = head.count;
	return true;
}

static int compare_values(const void *a, const void *b)
{
	return value_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static bool take_set(struct compiler *c, struct mango_node *node)
{
	if (!take_list(c, node))
		return false;
	if (node->list_count > 1)
		qsort(node->list, node->list_count, sizeof *node->list, compare_values);
	return true;
}

static bool take_all(struct compiler *c, struct mango_node *node)
{
	uint32_t unique = 0;
	if (!take_set(c, node))
		return false;
	for (uint32_t i = 0; i < node->list_count; i++)
		if (i == 0 || !value_equal(node->list[i], node->list[unique - 1]))
			node->list[unique++] = node->list[i];
	node->list_count = unique;
	node->seen = arena_alloc(c->arena, (unique + 1) * sizeof *node->seen);
	return true;
}

static bool take_type(struct compiler *c, struct mango_node *node)
{
	static const char *const names[] = {"null",   "boolean", "number",
					    "string", "array",   "object"};
	struct mp_token t = token_of(node->operand);
	(void)c;
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		node->type = (enum mango_type)i;
		if (t.type == MP_STR && slice_is(t.bytes, names[i]))
			return true;
	}
	node->type = MANGO_NO_TYPE;
	return t.type == MP_STR;
}

static bool take_size(struct compiler *c, struct mango_node *node)
{
	struct mp_token t = token_of(node->operand);
	(void)c;
	node->size = t.u64;
	return t.type == MP_UINT;
}

static bool whole_number(const struct mp_token *t, int64_t *out)
{
	*out = t->type == MP_INT ? t->i64 : (int64_t)t->u64;
	return t->type == MP_INT || (t->type == MP_UINT && t->u64 <= INT64_MAX);
}

static bool take_mod(struct compiler *c, struct mango_node *node)
{
	struct mp_reader r = mp_reader_of(node->operand);
	struct mp_token head = mp_read(&r);
	int64_t by;
	(void)c;
	if (head.type != MP_ARRAY || head.count != 2)
		return false;
	struct mp_token divisor = mp_read(&r), remainder = mp_read(&r);
	if (!whole_number(&divisor, &by) || by == 0 || !whole_number(&remainder, &node->remainder))
		return false;
	node->divisor = by < 0 ? 0 - (uint64_t)by : (uint64_t)by;
	return true;
}

static bool take_regex(struct compiler *c, struct mango_node *node)
{
	struct mp_token t = token_of(node->operand);
	char text[sizeof c->error->text];
	if (t.type != MP_STR)
		return false;
	node->regex = compiler_regex(c, t.bytes, (struct slice){0}, text, sizeof text);
	return node->regex != NULL;
}

static bool take_text(struct compiler *c, struct mango_node *node)
{
	struct mp_token t = token_of(node->operand);
	(void)c;
	node->operand = t.bytes;
	return t.type == MP_STR;
}

/* Of one element, or one name. */
static bool take_element(struct compiler *c, struct mango_node *node)
{
	struct place inside = {0};
	bool before = c->in_element;
	if (token_of(node->operand).type != MP_MAP)
		return false;
	c->in_element = true;
	node->children = compile_value(c, &inside, node->operand);
	c->in_element = before;
	return node->children != NULL;
}

static bool take_any(struct compiler *c, struct mango_node *node)
{
	(void)c;
	(void)node;
	return true;
}

/* ---- conditions ---- */

static const struct operator_row {
	const char *name;
	enum mango_op op;
	enum mango_op opposite; /* the same: turned round by `negated` */
	bool negated;
	bool (*take)(struct compiler *c, struct mango_node *node);
} rows[] = {
    {"$eq", MANGO_EQ, MANGO_EQ, false, take_any},
    {"$ne", MANGO_EQ, MANGO_EQ, true, take_any},
    {"$lt", MANGO_LT, MANGO_GTE, false, take_any},
    {"$lte", MANGO_LTE, MANGO_GT, false, take_any},
    {"$gt", MANGO_GT, MANGO_LTE, false, take_any},
    {"$gte", MANGO_GTE, MANGO_LT, false, take_any},
    {"$in", MANGO_IN, MANGO_IN, false, take_set},
    {"$nin", MANGO_IN, MANGO_IN, true, take_set},
    {"$exists", MANGO_EXISTS, MANGO_EXISTS, false, take_flag},
    {"$type", MANGO_TYPE, MANGO_TYPE, false, take_type},
    {"$size", MANGO_SIZE, MANGO_SIZE, false, take_size},
    {"$mod", MANGO_MOD, MANGO_MOD, false, take_mod},
    {"$regex", MANGO_REGEX, MANGO_REGEX, false, take_regex},
    {"$beginsWith", MANGO_BEGINS, MANGO_BEGINS, false, take_text},
    {"$all", MANGO_ALL, MANGO_ALL, false, take_all},
    {"$elemMatch", MANGO_ELEMENT, MANGO_ELEMENT, false, take_element},
    {"$allMatch", MANGO_ALL_ELEMENTS, MANGO_ALL_ELEMENTS, false, take_element},
    {"$keyMapMatch", MANGO_KEY, MANGO_KEY, false, take_element},
};

static struct mango_node *compile_operator(struct compiler *c, const struct place *at,
					   struct slice name, struct slice value)
{
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		const struct operator_row *row = &rows[i];
		if (!slice_is(name, row->name))
			continue;
		struct mango_node *node = node_of(c, at->negated ? row->opposite : row->op, at);
		if (!node)
			return NULL;
		node->negated = row->op == row->opposite && at->negated != row->negated;
		node->operand = value;
		if (row->take(c, node))
			return node;
		if (c->error->text[0] == 0)
			fail_argument(c, name, value);
		return NULL;
	}
	return fail_operator(c, name);
}

/* $and, $or, $nor; turned round where they stand in a $not. */
static struct mango_node *compile_list(struct compiler *c, const struct place *at, bool any,
				       struct slice name, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY) {
		fail_argument(c, name, value);
		return NULL;
	}
	bool is_or = any != at->negated && head.count != 1;
	struct mango_node *node = node_of(c, is_or ? MANGO_OR : MANGO_AND, NULL);
	struct mango_node **tail = node ? &node->children : NULL;
	for (uint32_t i = 0; node && i < head.count; i++) {
		size_t before = compiler_enter_index(c, i);
		*tail = compile_value(c, at, mp_value(&r));
		compiler_leave(c, before);
		if (!*tail)
			return NULL;
		tail = &(*tail)->next;
	}
	return node;
}

/* Each of them holds for all documents, as CouchDB has it. */
static bool is_empty_list(struct slice name, struct slice value)
{
	struct mp_token head = token_of(value);
	return head.type == MP_ARRAY && head.count == 0 &&
	       (slice_is(name, "$and") || slice_is(name, "$or") || slice_is(name, "$nor"));
}

static struct mango_node *compile_member(struct compiler *c, const struct place *at,
					 struct slice name, struct slice value)
{
	struct place turned = {at->path, !at->negated};
	if (name.len == 0 || name.data[0] != '$') {
		struct place below = {path_below(c, at->path, name), at->negated};
		return below.path ? compile_value(c, &below, value) : NULL;
	}
	if (is_empty_list(name, value))
		return node_of(c, at->negated ? MANGO_OR : MANGO_AND, NULL);
	if (slice_is(name, "$and"))
		return compile_list(c, at, false, name, value);
	if (slice_is(name, "$or"))
		return compile_list(c, at, true, name, value);
	if (slice_is(name, "$nor"))
		return compile_list(c, &turned, true, name, value);
	if (slice_is(name, "$not") && token_of(value).type != MP_MAP) {
		fail_argument(c, name, value);
		return NULL;
	}
	if (slice_is(name, "$not"))
		return compile_value(c, &turned, value);
	return compile_operator(c, at, name, value);
}

/* All members hold; turned round: one of them does not. */
static struct mango_node *compile_members(struct compiler *c, const struct place *at,
					  struct slice map)
{
	struct mp_reader r = mp_reader_of(map);
	uint32_t count = mp_read(&r).count;
	bool is_or = at->negated && count != 1;
	struct mango_node *node = node_of(c, is_or ? MANGO_OR : MANGO_AND, NULL);
	struct mango_node **tail = node ? &node->children : NULL;
	for (uint32_t i = 0; node && i < count; i++) {
		struct slice name = mp_read(&r).bytes;
		size_t before = compiler_enter(c, name);
		*tail = compile_member(c, at, name, mp_value(&r));
		compiler_leave(c, before);
		if (!*tail)
			return NULL;
		tail = &(*tail)->next;
	}
	return node;
}

/* What is no object of conditions is a value to be equal to; so is {} on a path. */
static struct mango_node *compile_value(struct compiler *c, const struct place *at,
					struct slice value)
{
	struct mp_token head = token_of(value);
	if (c->levels == QUERY_LEVELS_MAX) {
		compiler_fail(c, "conditions nest at most %d levels deep", QUERY_LEVELS_MAX);
		return NULL;
	}
	if (head.type != MP_MAP || (head.count == 0 && at->path)) {
		struct mango_node *node = node_of(c, MANGO_EQ, at);
		if (node)
			node->operand = value;
		return node;
	}
	c->levels++;
	struct mango_node *node = compile_members(c, at, value);
	c->levels--;
	return node;
}

struct mango_node *mango_compile(struct compiler *c, struct slice selector)
{
	struct place top = {0};
	if (token_of(selector).type == MP_MAP)
		return compile_value(c, &top, selector);
	compiler_fail(c, "a selector is a JSON object");
	return NULL;
}

/* ---- what an index can look up ---- */

/* The path as our own filters write it; empty: they can't. */
static struct slice path_text(const struct mango_path *path, struct arena *arena)
{
	size_t len = path->count - 1;
	if (path->own == MANGO_ID && path->count == 1)
		return slice_text("id");
	if (slice_is(path->names[0], MANGO_NOBODYS))
		return slice_of(NULL, 0);
	for (uint32_t i = 0; i < path->count; i++) {
		struct slice name = path->names[i];
		if (name.len == 0 || memchr(name.data, '.', name.len))
			return slice_of(NULL, 0);
		len += name.len;
	}
	uint8_t *text = arena_alloc(arena, len + 1);
	size_t at = 0;
	for (uint32_t i = 0; i < path->count; i++) {
		if (i > 0)
			text[at++] = '.';
		memcpy(text + at, path->names[i].data, path->names[i].len);
		at += path->names[i].len;
	}
	return slice_of(text, len);
}

struct demands {
	const struct mango_node *nodes[QUERY_CONDITIONS_MAX];
	struct slice paths[QUERY_CONDITIONS_MAX];
	uint32_t count;
};

/* All children of a conjunction hold; of anything else nothing is known for sure. */
static void visit(struct demands *d, const struct mango_node *node, struct arena *arena)
{
	if (node->op == MANGO_AND)
		for (const struct mango_node *child = node->children; child; child = child->next)
			visit(d, child, arena);
	bool looked_up = node->op >= MANGO_EQ && node->op <= MANGO_IN && !node->negated;
	if (!looked_up || !node->path || d->count == QUERY_CONDITIONS_MAX)
		return;
	struct slice path = path_text(node->path, arena);
	if (path.len == 0)
		return;
	d->paths[d->count] = path;
	d->nodes[d->count++] = node;
}

static bool is_lower(const struct mango_node *node)
{
	return node->op == MANGO_GT || node->op == MANGO_GTE;
}

/* A bound on the other side, of the same type. */
static bool has_mate(const struct demands *d, uint32_t at)
{
	const struct mango_node *node = d->nodes[at];
	enum value_rank rank = value_rank(node->operand);
	if (rank != RANK_NUMBER && rank != RANK_STRING)
		return false;
	for (uint32_t i = 0; i < d->count; i++) {
		const struct mango_node *other = d->nodes[i];
		if (other->op >= MANGO_LT && other->op <= MANGO_GTE &&
		    is_lower(other) != is_lower(node) && value_rank(other->operand) == rank &&
		    slice_equal(d->paths[i], d->paths[at]))
			return true;
	}
	return false;
}

/* Bounds of ours are those of one type. With a lower one only the value may be of any type behind
 * it; with an upper one only, nothing is known that is one range of an index. */
static bool condition_of(const struct demands *d, uint32_t at, struct query_condition *out)
{
	static const enum query_comparison comparisons[] = {
	    [MANGO_EQ] = COMPARE_IN,   [MANGO_IN] = COMPARE_IN, [MANGO_GT] = COMPARE_GT,
	    [MANGO_GTE] = COMPARE_GTE, [MANGO_LT] = COMPARE_LT, [MANGO_LTE] = COMPARE_LTE,
	};
	const struct mango_node *node = d->nodes[at];
	enum value_rank rank = value_rank(node->operand);
	*out = (struct query_condition){d->paths[at], comparisons[node->op], &node->operand, 1};
	if (node->op == MANGO_IN) {
		out->values = node->list;
		out->values_count = node->list_count;
	}
	if (out->comparison == COMPARE_IN || has_mate(d, at))
		return true;
	out->comparison = COMPARE_FROM;
	/* an index has nil and absence under one key: that would be all of it */
	if (node->op == MANGO_GTE && rank == RANK_NIL)
		return false;
	return is_lower(node) && rank != RANK_MAP && rank != RANK_ARRAY;
}

uint32_t mango_conditions(const struct mango_node *node, struct arena *arena,
			  struct query_condition *out, uint32_t max)
{
	struct demands *d = arena_alloc(arena, sizeof *d);
	uint32_t count = 0;
	visit(d, node, arena);
	for (uint32_t i = 0; i < d->count && count < max; i++)
		if (condition_of(d, i, &out[count]))
			count++;
	return count;
}
