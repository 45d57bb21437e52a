/* From a filter to the tree of conditions that is matched. */
#include "common/doc/mango.h"

#include <inttypes.h>
#include <stdio.h>

#include "proto/enums.h"

bool compiler_fail(struct compiler *c, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(c->error->text, sizeof c->error->text, format, args);
	va_end(args);
	snprintf(c->error->place, sizeof c->error->place, "%s", c->place);
	return false;
}

/* Copies whole characters of the name only, so that the place stays valid UTF-8; '~' and '/' are
 * escaped as in a JSON pointer. */
size_t compiler_enter(struct compiler *c, struct slice name)
{
	size_t before = c->place_len;
	size_t at = before;
	size_t whole = before; /* up to here characters are complete */
	if (at + 1 < sizeof c->place)
		c->place[at++] = '/';
	for (size_t i = 0; i < name.len && at + 2 < sizeof c->place; i++) {
		uint8_t byte = name.data[i];
		if ((byte & 0xc0) != 0x80)
			whole = at;
		bool escaped = byte == '~' || byte == '/';
		c->place[at++] = escaped ? '~' : (char)byte;
		if (escaped)
			c->place[at++] = byte == '~' ? '0' : '1';
		if (i + 1 == name.len)
			whole = at;
	}
	c->place_len = name.len > 0 ? whole : at;
	c->place[c->place_len] = 0;
	return before;
}

size_t compiler_enter_index(struct compiler *c, uint32_t index)
{
	char digits[16];
	int len = snprintf(digits, sizeof digits, "%" PRIu32, index);
	return compiler_enter(c, slice_of(digits, (size_t)len));
}

void compiler_leave(struct compiler *c, size_t before)
{
	c->place_len = before;
	c->place[before] = 0;
}

struct query_node *compiler_node(struct compiler *c, enum query_op op,
				 const struct query_path *path)
{
	if (++c->nodes > QUERY_NODES_MAX) {
		compiler_fail(c, "a filter has at most %d conditions", QUERY_NODES_MAX);
		return NULL;
	}
	struct query_node *node = arena_alloc(c->arena, sizeof *node);
	node->op = op;
	node->path = path;
	node->costs = c->costs;
	return node;
}

void compiler_operand(struct query_node *node, struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	node->operand = value;
	node->token = mp_read(&r);
	node->rank = value_rank(value);
}

/* A filter may have more than a thousand, and each could take milliseconds on a value, and
 * megabytes: they share both. */
struct query_regex *compiler_regex(struct compiler *c, struct slice pattern, struct slice options,
				   char *text, size_t text_bytes)
{
	struct query_regex *regex =
	    query_regex_compile(pattern, options, c->arena, text, text_bytes);
	if (regex && c->regex)
		query_regex_join(regex, c->regex);
	else if (regex)
		c->regex = regex;
	return regex;
}

void compiler_append(struct query_node ***tail, struct query_node *child)
{
	**tail = child;
	*tail = &child->next;
}

bool is_operators(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	if (mp_peek(&r) != MP_MAP || mp_read(&r).count == 0)
		return false;
	struct slice key = mp_read(&r).bytes;
	return key.len > 0 && key.data[0] == '$';
}

static const struct query_path *compile_path(struct compiler *c, struct slice text)
{
	struct query_path *path = arena_alloc(c->arena, sizeof *path);
	uint32_t count = path_names(text);
	if (text.len > LIMIT_PATH_BYTES || count > QUERY_SEGMENTS_MAX) {
		compiler_fail(c, "a path has at most %d names and %d bytes", QUERY_SEGMENTS_MAX,
			      LIMIT_PATH_BYTES);
		return NULL;
	}
	*path = (struct query_path){path_split(text, c->arena), count,
				    !c->in_element && slice_is(text, "id")};
	c->uses_id |= path->is_id;
	return path;
}

static struct query_node *compile_equal(struct compiler *c, const struct query_path *path,
					struct slice value)
{
	struct query_node *node = compiler_node(c, QUERY_EQ, path);
	if (node)
		compiler_operand(node, value);
	return node;
}

/* $and, $or, $nor: a list of filters. */
static struct query_node *compile_logical(struct compiler *c, enum query_op op, bool negated,
					  struct slice operand)
{
	struct mp_reader r = mp_reader_of(operand);
	uint32_t count = mp_peek(&r) == MP_ARRAY ? mp_read(&r).count : 0;
	if (count == 0) {
		compiler_fail(c, "takes an array of at least one filter");
		return NULL;
	}
	struct query_node *node = compiler_node(c, op, NULL);
	if (!node)
		return NULL;
	node->negated = negated;
	struct query_node **tail = &node->children;
	for (uint32_t i = 0; i < count; i++) {
		size_t before = compiler_enter_index(c, i);
		struct query_node *child = compile_filter(c, mp_value(&r));
		compiler_leave(c, before);
		if (!child)
			return NULL;
		compiler_append(&tail, child);
	}
	return node;
}

static struct query_node *compile_mango(struct compiler *c, struct slice selector)
{
	struct query_node *node = compiler_node(c, QUERY_MANGO, NULL);
	if (node)
		node->mango = mango_compile(c, selector);
	return node && node->mango ? node : NULL;
}

static struct query_node *compile_member(struct compiler *c, struct slice name, struct slice value)
{
	if (name.len == 0 || name.data[0] != '$') {
		const struct query_path *path = compile_path(c, name);
		if (!path)
			return NULL;
		return is_operators(value) ? compile_operators(c, path, value)
					   : compile_equal(c, path, value);
	}
	if (slice_is(name, "$and"))
		return compile_logical(c, QUERY_AND, false, value);
	if (slice_is(name, "$or"))
		return compile_logical(c, QUERY_OR, false, value);
	if (slice_is(name, "$nor"))
		return compile_logical(c, QUERY_OR, true, value);
	if (slice_is(name, "$mango"))
		return compile_mango(c, value);
	compiler_fail(c, "is no operator here; allowed: $and, $or, $nor, and names of fields");
	return NULL;
}

struct query_node *compile_filter(struct compiler *c, struct slice filter)
{
	struct mp_reader r = mp_reader_of(filter);
	if (mp_peek(&r) != MP_MAP) {
		compiler_fail(c, "a filter is a JSON object");
		return NULL;
	}
	if (c->levels == QUERY_LEVELS_MAX) {
		compiler_fail(c, "conditions nest at most %d levels deep", QUERY_LEVELS_MAX);
		return NULL;
	}
	c->levels++;
	uint32_t count = mp_read(&r).count;
	struct query_node *node = compiler_node(c, QUERY_AND, NULL);
	struct query_node **tail = node ? &node->children : NULL;
	for (uint32_t i = 0; node && i < count; i++) {
		struct slice name = mp_read(&r).bytes;
		size_t before = compiler_enter(c, name);
		struct query_node *child = compile_member(c, name, mp_value(&r));
		compiler_leave(c, before);
		if (!child)
			return NULL;
		compiler_append(&tail, child);
	}
	c->levels--;
	return node;
}

struct query *query_compile(struct slice filter, struct arena *arena, struct query_error *error)
{
	return query_compile_beside(filter, NULL, arena, error);
}

struct query *query_compile_beside(struct slice filter, const struct query *other,
				   struct arena *arena, struct query_error *error)
{
	struct compiler c = {.arena = arena, .error = error, .regex = other ? other->regex : NULL};
	c.costs = arena_alloc(arena, sizeof *c.costs);
	*c.costs = (struct query_costs){0};
	static const uint8_t empty_map = 0x80;
	*error = (struct query_error){0};
	if (filter.len == 0)
		filter = slice_of(&empty_map, 1);
	if (filter.len > LIMIT_QUERY_BYTES || !value_is_document(filter)) {
		compiler_fail(&c, "a filter is a JSON object of at most %d bytes",
			      LIMIT_QUERY_BYTES);
		return NULL;
	}
	struct query_node *root = compile_filter(&c, filter);
	if (!root)
		return NULL;
	struct query *q = arena_alloc(arena, sizeof *q);
	*q = (struct query){.root = root,
			    .costs = c.costs,
			    .regex = c.regex,
			    .uses_id = c.uses_id,
			    .uses_version = c.uses_version};
	return q;
}
