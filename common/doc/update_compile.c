/* From update operators to the actions that are applied. */
#include <stdio.h>

#include "common/doc/update_plan.h"
#include "common/doc/value.h"
#include "proto/enums.h"

struct compiling {
	struct arena *arena;
	struct update *update;
	struct update_error *error;
	uint32_t paths;
	const struct query *condition; /* the last one; NULL: none yet */
};

/* ---- errors ---- */

static void copy_place(struct update_error *error, const char *head, struct slice path,
		       const char *tail)
{
	size_t room = sizeof error->place - 1;
	size_t at = 0;
	for (; *head && at < room; head++)
		error->place[at++] = *head;
	size_t len = path.len < room - at ? path.len : room - at;
	while (len > 0 && len < path.len && (path.data[len] & 0xc0) == 0x80)
		len--;
	if (len)
		memcpy(error->place + at, path.data, len);
	at += len;
	/* all of it or nothing: the tail may hold characters of several bytes */
	size_t rest = len == path.len ? strlen(tail) : 0;
	if (rest > 0 && rest <= room - at) {
		memcpy(error->place + at, tail, rest);
		at += rest;
	}
	error->place[at] = 0;
}

bool update_fail(struct update_error *error, enum status status, const struct update_action *action,
		 const char *text)
{
	char head[16];
	*error = (struct update_error){.status = status};
	snprintf(head, sizeof head, "/%s/", action->name);
	copy_place(error, head, action->path, "");
	snprintf(error->text, sizeof error->text, "%s", text);
	return false;
}

static bool bad(struct compiling *c, const struct update_action *action, const char *text)
{
	return update_fail(c->error, STATUS_BAD_UPDATE, action, text);
}

/* ---- operands ---- */

static struct mp_token token_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_read(&r);
}

static bool is_modifier(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token head = mp_read(&r);
	for (uint32_t i = 0; head.type == MP_MAP && i < head.count; i++) {
		struct mp_token key = mp_read(&r);
		if (key.type == MP_STR && key.bytes.len > 0 && key.bytes.data[0] == '$')
			return true;
		if (!mp_skip(&r))
			break;
	}
	return false;
}

static bool compile_any(struct compiling *c, struct update_action *action, struct slice operand)
{
	(void)c;
	action->operand = operand;
	return true;
}

static bool compile_inc(struct compiling *c, struct update_action *action, struct slice operand)
{
	struct mp_token t = token_of(operand);
	c->update->accumulates = true;
	action->operand = operand;
	if (t.type == MP_EXT)
		return bad(c, action, "takes a number of at most 64 bits");
	if (t.type != MP_UINT && t.type != MP_INT && t.type != MP_DOUBLE)
		return bad(c, action, "takes a number");
	return true;
}

static bool compile_list(struct compiling *c, struct update_action *action, struct slice operand)
{
	if (!is_modifier(operand)) {
		action->list = arena_alloc(c->arena, sizeof *action->list);
		action->list[action->list_count++] = operand;
		return true;
	}
	struct slice each = value_member(operand, slice_text("$each"));
	if (token_of(operand).count != 1 || each.len == 0)
		return bad(c, action, "takes a value, or an object with the only member $each");
	struct mp_reader r = mp_reader_of(each);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_ARRAY)
		return bad(c, action, "$each takes an array");
	action->list = arena_alloc(c->arena, (head.count + 1) * sizeof *action->list);
	for (uint32_t i = 0; i < head.count; i++)
		action->list[action->list_count++] = mp_value(&r);
	return true;
}

static bool compile_push(struct compiling *c, struct update_action *action, struct slice operand)
{
	c->update->accumulates = true;
	return compile_list(c, action, operand);
}

/* A condition is asked of each element as $elemMatch asks it, where "id" is a member like others.
 */
static bool compile_pull(struct compiling *c, struct update_action *action, struct slice operand)
{
	struct buf filter = {0};
	struct query_error error;
	static const char wrapped[] = "/e/$elemMatch";
	action->operand = operand;
	if (token_of(operand).type != MP_MAP)
		return true;
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "e");
	mp_write_map(&filter, 1);
	mp_write_text(&filter, "$elemMatch");
	buf_append_slice(&filter, operand);
	struct slice kept = arena_copy(c->arena, buf_slice(&filter));
	buf_close(&filter);
	action->condition = query_compile_beside(kept, c->condition, c->arena, &error);
	if (action->condition) {
		c->condition = action->condition;
		return true;
	}
	bad(c, action, error.text);
	bool inside = strncmp(error.place, wrapped, sizeof wrapped - 1) == 0;
	copy_place(c->error, "/$pull/", action->path,
		   inside ? error.place + sizeof wrapped - 1 : "");
	return false;
}

/* ---- the tree of paths ---- */

int update_order(const struct update_node *a, const struct update_node *b)
{
	if (a->is_index != b->is_index)
		return a->is_index ? -1 : 1;
	if (a->is_index)
		return a->index < b->index ? -1 : a->index > b->index;
	return slice_compare(a->name, b->name);
}

static struct update_node *enter(struct compiling *c, struct update_node *parent, struct slice name)
{
	struct update_node wanted = {.name = name};
	wanted.is_index = value_is_index(name, &wanted.index);
	struct update_node **at = &parent->children;
	int order = 1;
	while (*at && (order = update_order(*at, &wanted)) < 0)
		at = &(*at)->next;
	if (*at && order == 0)
		return *at;
	struct update_node *node = arena_alloc(c->arena, sizeof *node);
	*node = wanted;
	node->next = *at;
	*at = node;
	parent->count++;
	return node;
}

static bool overlaps(struct compiling *c, const struct update_action *action,
		     const struct update_node *node)
{
	while (!node->action)
		node = node->children;
	char text[160];
	snprintf(text, sizeof text, "and %s of %.*s overlap: a path may be named once",
		 node->action->name,
		 (int)(node->action->path.len < 60 ? node->action->path.len : 60),
		 (const char *)node->action->path.data);
	return bad(c, action, text);
}

static bool makes(const struct update_action *action)
{
	return action->op != UPDATE_UNSET && action->op != UPDATE_PULL;
}

static bool check_name(struct compiling *c, const struct update_action *action, struct slice name,
		       uint32_t depth)
{
	if (name.len == 0)
		return bad(c, action, "a path has no empty names");
	if (name.data[0] == '$')
		return bad(c, action, "a name in a path does not begin with $");
	if (depth == 0 && slice_is(name, "id"))
		return bad(c, action, "an id can't be changed");
	if (depth >= LIMIT_JSON_DEPTH)
		return bad(c, action, "the path is too deep");
	return true;
}

static bool add_path(struct compiling *c, const struct update_action *action)
{
	struct update_node *node = &c->update->root;
	struct slice path = action->path;
	if (path.len > LIMIT_PATH_BYTES)
		return bad(c, action, "the path is too long");
	size_t from = 0;
	for (uint32_t depth = 0; from <= path.len; depth++) {
		size_t end = from;
		while (end < path.len && path.data[end] != '.')
			end++;
		struct slice name = slice_of(path.data ? path.data + from : NULL, end - from);
		if (!check_name(c, action, name, depth))
			return false;
		if (node->action)
			return overlaps(c, action, node);
		if (makes(action) && !node->maker)
			node->maker = action;
		node = enter(c, node, name);
		from = end + 1;
	}
	if (node->action || node->children)
		return overlaps(c, action, node);
	node->action = action;
	node->maker = makes(action) ? action : NULL;
	return true;
}

static void make_lists(struct compiling *c, struct update_node *node)
{
	uint32_t at = 0;
	node->list = arena_alloc(c->arena, (node->count + 1) * sizeof(struct update_node *));
	for (struct update_node *child = node->children; child; child = child->next) {
		node->list[at++] = child;
		make_lists(c, child);
	}
}

/* ---- operators ---- */

static const struct {
	const char *name;
	enum update_op op;
	bool (*compile)(struct compiling *c, struct update_action *action, struct slice operand);
} rows[] = {
    {"$set", UPDATE_SET, compile_any},
    {"$unset", UPDATE_UNSET, compile_any},
    {"$inc", UPDATE_INC, compile_inc},
    {"$push", UPDATE_PUSH, compile_push},
    {"$addToSet", UPDATE_ADD_TO_SET, compile_list},
    {"$pull", UPDATE_PULL, compile_pull},
};

static bool bad_operator(struct compiling *c, struct slice name, const char *text)
{
	*c->error = (struct update_error){.status = STATUS_BAD_UPDATE};
	copy_place(c->error, "/", name, "");
	snprintf(c->error->text, sizeof c->error->text, "%s", text);
	return false;
}

static bool compile_operator(struct compiling *c, struct slice name, struct slice operands)
{
	size_t row = 0;
	while (row < ARRAY_LEN(rows) && !slice_is(name, rows[row].name))
		row++;
	if (row == ARRAY_LEN(rows))
		return bad_operator(c, name,
				    "is no operator here; allowed: $set, $unset, $inc, "
				    "$push, $addToSet, $pull");
	struct mp_reader r = mp_reader_of(operands);
	struct mp_token head = mp_read(&r);
	if (head.type != MP_MAP)
		return bad_operator(c, name, "takes an object of paths");
	for (uint32_t i = 0; i < head.count; i++) {
		struct update_action *action = arena_alloc(c->arena, sizeof *action);
		*action = (struct update_action){.op = rows[row].op, .name = rows[row].name};
		action->path = mp_read(&r).bytes;
		if (c->paths++ == UPDATE_PATHS_MAX)
			return bad(c, action, "an update has at most 1000 paths");
		if (!rows[row].compile(c, action, mp_value(&r)) || !add_path(c, action))
			return false;
	}
	return true;
}

_Static_assert(UPDATE_PATHS_MAX == 1000, "the sentence above says so");

struct update *update_compile(struct slice spec, struct arena *arena, struct update_error *error)
{
	struct compiling c = {.arena = arena, .error = error};
	struct mp_reader r = mp_reader_of(spec);
	*error = (struct update_error){.status = STATUS_OK};
	if (!value_is_document(spec) || mp_read(&r).count == 0) {
		bad_operator(&c, slice_of(NULL, 0),
			     "an update is an object of operators: $set, "
			     "$unset, $inc, $push, $addToSet, $pull");
		return NULL;
	}
	r = mp_reader_of(spec);
	uint32_t count = mp_read(&r).count;
	c.update = arena_alloc(arena, sizeof *c.update);
	for (uint32_t i = 0; i < count; i++) {
		struct slice name = mp_read(&r).bytes;
		if (!compile_operator(&c, name, mp_value(&r)))
			return NULL;
	}
	make_lists(&c, &c.update->root);
	return c.update;
}

bool update_accumulates(const struct update *u)
{
	return u->accumulates;
}
