/* One walk over the document writes the new one beside it. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/container.h"
#include "common/doc/update_plan.h"
#include "common/doc/value.h"
#include "proto/enums.h"

enum outcome { VALUE_FAILED, VALUE_NONE, VALUE_WRITTEN };

/* With so few candidates each is compared with every element, else all are sorted. */
enum { FEW_CANDIDATES = 16 };

struct applying {
	struct buf *out;
	struct buf scratch;
	struct update_error *error;
	uint64_t steps; /* of its conditions, on all elements */
};

static enum outcome fail(struct applying *a, const struct update_action *action, const char *text)
{
	update_fail(a->error, STATUS_UPDATE_FAILED, action, text);
	return VALUE_FAILED;
}

static enum mp_type type_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r);
}

static enum outcome put(struct applying *a, struct slice value)
{
	buf_append_slice(a->out, value);
	return VALUE_WRITTEN;
}

/* ---- what stands at the end of a path ---- */

static enum outcome apply_inc(struct applying *a, const struct update_action *action,
			      struct slice old)
{
	if (old.len == 0)
		return put(a, action->operand);
	const char *why = update_add(old, action->operand, a->out);
	return why ? fail(a, action, why) : VALUE_WRITTEN;
}

/* The array that is there, and its elements; NULL if there is none. */
struct elements {
	struct slice *list;
	uint32_t count;
};

static void elements_open(struct elements *e, struct slice array, uint32_t more)
{
	struct mp_reader r = mp_reader_of(array);
	e->count = array.len ? mp_read(&r).count : 0;
	e->list = mem_alloc(((size_t)e->count + more + 1) * sizeof *e->list);
	for (uint32_t i = 0; i < e->count; i++)
		e->list[i] = mp_value(&r);
}

static enum outcome put_elements(struct applying *a, struct elements *e)
{
	mp_write_array(a->out, e->count);
	for (uint32_t i = 0; i < e->count; i++)
		buf_append_slice(a->out, e->list[i]);
	free(e->list);
	return VALUE_WRITTEN;
}

static enum outcome apply_push(struct applying *a, const struct update_action *action,
			       struct slice old)
{
	struct elements e;
	elements_open(&e, old, action->list_count);
	for (uint32_t i = 0; i < action->list_count; i++)
		e.list[e.count++] = action->list[i];
	return put_elements(a, &e);
}

static bool among(const struct slice *list, uint32_t count, struct slice value)
{
	for (uint32_t i = 0; i < count; i++)
		if (value_equal(list[i], value))
			return true;
	return false;
}

struct ranked {
	struct slice value;
	uint32_t place;
};

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a;
	const struct ranked *y = b;
	int order = value_compare(x->value, y->value);
	return order != 0 ? order : x->place < y->place ? -1 : 1;
}

/* Drops candidates (those from `first` on) that are equal to something before them. */
static void drop_equal(struct elements *e, uint32_t first)
{
	struct ranked *all = mem_alloc((e->count + 1) * sizeof *all);
	uint8_t *drop = mem_alloc_zero(e->count + 1);
	for (uint32_t i = 0; i < e->count; i++)
		all[i] = (struct ranked){e->list[i], i};
	qsort(all, e->count, sizeof *all, compare_ranked);
	for (uint32_t i = 1; i < e->count; i++)
		if (value_equal(all[i - 1].value, all[i].value))
			drop[all[i].place] = 1;
	uint32_t kept = first;
	for (uint32_t i = first; i < e->count; i++)
		if (!drop[i])
			e->list[kept++] = e->list[i];
	e->count = kept;
	free(drop);
	free(all);
}

static enum outcome apply_add_to_set(struct applying *a, const struct update_action *action,
				     struct slice old)
{
	struct elements e;
	elements_open(&e, old, action->list_count);
	uint32_t first = e.count;
	bool few = action->list_count <= FEW_CANDIDATES;
	for (uint32_t i = 0; i < action->list_count; i++)
		if (!few || !among(e.list, e.count, action->list[i]))
			e.list[e.count++] = action->list[i];
	if (!few)
		drop_equal(&e, first);
	return put_elements(a, &e);
}

static bool pulled(struct applying *a, const struct update_action *action, struct slice element)
{
	if (!action->condition)
		return value_equal(element, action->operand);
	buf_clear(&a->scratch);
	mp_write_map(&a->scratch, 1);
	mp_write_text(&a->scratch, "e");
	mp_write_array(&a->scratch, 1);
	buf_append_slice(&a->scratch, element);
	bool matches = query_matches(action->condition, slice_of(NULL, 0), buf_slice(&a->scratch));
	a->steps += query_steps(action->condition);
	return matches;
}

static bool too_costly(const struct applying *a, const struct update_action *action)
{
	return action->condition &&
	       (a->steps > QUERY_STEPS_MAX || query_too_costly(action->condition));
}

static enum outcome apply_pull(struct applying *a, const struct update_action *action,
			       struct slice old)
{
	struct elements e;
	uint32_t kept = 0;
	elements_open(&e, old, 0);
	for (uint32_t i = 0; i < e.count && !too_costly(a, action); i++)
		if (!pulled(a, action, e.list[i]))
			e.list[kept++] = e.list[i];
	e.count = kept;
	if (too_costly(a, action)) {
		free(e.list);
		return fail(a, action, "The condition takes too many steps on the elements here.");
	}
	return put_elements(a, &e);
}

static enum outcome apply_action(struct applying *a, const struct update_action *action,
				 struct slice old)
{
	if (action->op == UPDATE_SET)
		return put(a, action->operand);
	if (action->op == UPDATE_UNSET)
		return VALUE_NONE;
	if (action->op == UPDATE_INC)
		return apply_inc(a, action, old);
	if (old.len == 0 && action->op == UPDATE_PULL)
		return VALUE_NONE;
	if (old.len > 0 && type_of(old) != MP_ARRAY)
		return fail(a, action, "The value here is no array.");
	if (action->op == UPDATE_PUSH)
		return apply_push(a, action, old);
	return action->op == UPDATE_PULL ? apply_pull(a, action, old)
					 : apply_add_to_set(a, action, old);
}

/* ---- what stands on the way ---- */

static enum outcome apply_node(struct applying *a, const struct update_node *node,
			       struct slice old);

/* Writes a member; its key goes again if there is no value. */
static enum outcome put_member(struct applying *a, const struct update_node *child,
			       struct slice raw_key, struct slice old)
{
	size_t before = a->out->len;
	if (raw_key.len)
		buf_append_slice(a->out, raw_key);
	else
		mp_write_str(a->out, child->name);
	enum outcome outcome = apply_node(a, child, old);
	if (outcome != VALUE_WRITTEN)
		a->out->len = before;
	return outcome;
}

static int find_child(const struct update_node *node, struct slice name)
{
	struct update_node wanted = {.name = name};
	wanted.is_index = value_is_index(name, &wanted.index);
	uint32_t low = 0, high = node->count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = update_order(node->list[middle], &wanted);
		if (order == 0)
			return (int)middle;
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -1;
}

/* The members that are there, in their order; marks what was met. */
static bool apply_members(struct applying *a, const struct update_node *node, struct slice old,
			  uint8_t *met, uint32_t *count)
{
	struct mp_reader r = mp_reader_of(old);
	uint32_t total = old.len ? mp_read(&r).count : 0;
	for (uint32_t i = 0; i < total; i++) {
		const uint8_t *from = r.at;
		struct slice name = mp_read(&r).bytes;
		struct slice raw_key = slice_of(from, (size_t)(r.at - from));
		struct slice value = mp_value(&r);
		int child = find_child(node, name);
		if (child < 0) {
			buf_append(a->out, from, raw_key.len + value.len);
			++*count;
			continue;
		}
		met[child] = 1;
		enum outcome outcome = put_member(a, node->list[child], raw_key, value);
		if (outcome == VALUE_FAILED)
			return false;
		*count += outcome == VALUE_WRITTEN;
	}
	return true;
}

static enum outcome apply_map(struct applying *a, const struct update_node *node, struct slice old)
{
	uint8_t *met = mem_alloc_zero(node->count + 1);
	size_t start = container_begin(a->out);
	uint32_t count = 0;
	bool fine = apply_members(a, node, old, met, &count);
	for (uint32_t i = 0; fine && i < node->count; i++) {
		if (met[i])
			continue;
		enum outcome outcome =
		    put_member(a, node->list[i], (struct slice){0}, (struct slice){0});
		fine = outcome != VALUE_FAILED;
		count += outcome == VALUE_WRITTEN;
	}
	container_end_map(a->out, start, count);
	free(met);
	return fine ? VALUE_WRITTEN : VALUE_FAILED;
}

/* An element that goes leaves null: the others keep their places. */
static bool put_element(struct applying *a, const struct update_node *child, struct slice old)
{
	enum outcome outcome = apply_node(a, child, old);
	if (outcome == VALUE_NONE)
		mp_write_nil(a->out);
	return outcome != VALUE_FAILED;
}

/* Indexes past the end, from list[at] on. */
static bool append_elements(struct applying *a, const struct update_node *node, uint32_t at,
			    uint32_t *count)
{
	uint32_t end = *count;
	for (; at < node->count; at++) {
		const struct update_node *child = node->list[at];
		if (!child->maker)
			continue;
		if (!child->is_index)
			return fail(a, child->maker, "An array has no members with names.") !=
			       VALUE_FAILED;
		if (child->index - end > UPDATE_PADDING_MAX)
			return fail(a, child->maker,
				    "The index is too far past the array's end.") != VALUE_FAILED;
		for (; *count < child->index; ++*count)
			mp_write_nil(a->out);
		if (!put_element(a, child, (struct slice){0}))
			return false;
		++*count;
	}
	return true;
}

static enum outcome apply_array(struct applying *a, const struct update_node *node,
				struct slice old)
{
	struct mp_reader r = mp_reader_of(old);
	uint32_t count = mp_read(&r).count;
	uint32_t at = 0;
	size_t start = container_begin(a->out);
	for (uint32_t i = 0; i < count; i++) {
		const struct update_node *child = at < node->count ? node->list[at] : NULL;
		struct slice value = mp_value(&r);
		if (!child || !child->is_index || child->index != i) {
			buf_append_slice(a->out, value);
			continue;
		}
		at++;
		if (!put_element(a, child, value))
			return VALUE_FAILED;
	}
	if (!append_elements(a, node, at, &count))
		return VALUE_FAILED;
	container_end_array(a->out, start, count);
	return VALUE_WRITTEN;
}

static enum outcome apply_node(struct applying *a, const struct update_node *node, struct slice old)
{
	if (node->action)
		return apply_action(a, node->action, old);
	if (old.len == 0)
		return node->maker ? apply_map(a, node, old) : VALUE_NONE;
	enum mp_type type = type_of(old);
	if (type == MP_MAP)
		return apply_map(a, node, old);
	if (type == MP_ARRAY)
		return apply_array(a, node, old);
	return node->maker ? fail(a, node->maker, "On the way stands a value without members.")
			   : put(a, old);
}

static void fail_whole(struct update_error *error, enum status status)
{
	*error = (struct update_error){.status = status};
}

bool update_apply(const struct update *u, struct slice body, struct buf *out,
		  struct update_error *error)
{
	struct applying a = {.out = out, .error = error};
	size_t before = out->len;
	CHECK(type_of(body) == MP_MAP);
	bool fine = apply_map(&a, &u->root, body) == VALUE_WRITTEN;
	buf_close(&a.scratch);
	if (fine && out->len - before > LIMIT_BODY_BYTES) {
		fail_whole(error, STATUS_BODY_TOO_LARGE);
		fine = false;
	} else if (fine && !value_is_document(slice_of(out->data + before, out->len - before))) {
		fail_whole(error, STATUS_JSON_TOO_DEEP);
		fine = false;
	}
	if (!fine)
		out->len = before;
	return fine;
}
