/* Values made of others: in canonical form, patched, projected. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/container.h"
#include "common/doc/value.h"
#include "proto/enums.h"

enum { FEW_MEMBERS = 16 };

/* One member of a map, as it stands. */
struct member {
	struct slice raw_key; /* encoded */
	struct slice key;
	struct slice value;
	bool used;
};

/* All members of a map; large ones in memory of their own. */
struct members {
	struct member few[FEW_MEMBERS];
	struct member *list;
	uint32_t count;
};

/* The map is valid; anything else has no members. */
static void members_open(struct members *m, struct slice map)
{
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	m->count = head.type == MP_MAP ? head.count : 0;
	m->list = m->few;
	if (m->count > FEW_MEMBERS)
		m->list = mem_alloc(m->count * sizeof *m->list);
	for (uint32_t i = 0; i < m->count; i++) {
		const uint8_t *from = r.at;
		struct mp_token key = mp_read(&r);
		struct slice raw_key = slice_of(from, (size_t)(r.at - from));
		struct slice name = key.type == MP_STR ? key.bytes : raw_key;
		m->list[i] = (struct member){raw_key, name, mp_value(&r), false};
	}
}

static void members_close(struct members *m)
{
	if (m->list != m->few)
		free(m->list);
}

static int compare_keys(const void *a, const void *b)
{
	return slice_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static enum mp_type type_of(struct slice value)
{
	struct mp_reader r = mp_reader_of(value);
	return mp_peek(&r);
}

static bool is_map(struct slice value)
{
	return type_of(value) == MP_MAP && mp_valid(value);
}

/* ---- canonical form ---- */

/* A member in what was written. */
struct written {
	struct slice key; /* in what is read */
	size_t at;
	size_t len;
};

static int compare_written(const void *a, const void *b)
{
	return slice_compare(((const struct written *)a)->key, ((const struct written *)b)->key);
}

static void sort_written(struct written *list, uint32_t count, size_t start, struct buf *out)
{
	struct buf sorted = {0};
	qsort(list, count, sizeof *list, compare_written);
	for (uint32_t i = 0; i < count; i++)
		buf_append(&sorted, out->data + list[i].at, list[i].len);
	memcpy(out->data + start, sorted.data, sorted.len);
	buf_close(&sorted);
}

static void canonical(struct mp_reader *r, struct buf *out);

static void canonical_map(struct mp_reader *r, uint32_t count, struct buf *out)
{
	struct written few[FEW_MEMBERS];
	struct written *list = count > FEW_MEMBERS ? mem_alloc(count * sizeof *list) : few;
	bool sorted = true;
	mp_write_map(out, count);
	size_t start = out->len;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *from = r->at;
		struct mp_token key = mp_read(r);
		struct slice raw_key = slice_of(from, (size_t)(r->at - from));
		list[i].key = key.type == MP_STR ? key.bytes : raw_key;
		list[i].at = out->len;
		buf_append_slice(out, raw_key);
		canonical(r, out);
		list[i].len = out->len - list[i].at;
		sorted &= i == 0 || compare_written(&list[i - 1], &list[i]) <= 0;
	}
	if (!sorted)
		sort_written(list, count, start, out);
	if (list != few)
		free(list);
}

/* All bytes are read once, however deep they stand. */
static void canonical(struct mp_reader *r, struct buf *out)
{
	const uint8_t *from = r->at;
	struct mp_token t = mp_read(r);
	if (t.type == MP_MAP) {
		canonical_map(r, t.count, out);
	} else if (t.type == MP_ARRAY) {
		mp_write_array(out, t.count);
		for (uint32_t i = 0; i < t.count; i++)
			canonical(r, out);
	} else {
		buf_append(out, from, (size_t)(r->at - from));
	}
}

void value_canonical(struct slice value, struct buf *out)
{
	struct mp_reader r = mp_reader_of(value);
	if (mp_valid(value))
		canonical(&r, out);
	else
		mp_write_nil(out);
}

/* ---- merge patch ---- */

/* Sorted, so that a large patch of a large document does not compare every key with every other. */
struct patch {
	struct members members; /* in the order of the patch */
	struct member **sorted;
	struct member *few[FEW_MEMBERS];
};

static int compare_pointers(const void *a, const void *b)
{
	return compare_keys(*(struct member *const *)a, *(struct member *const *)b);
}

static void patch_open(struct patch *p, struct slice map)
{
	members_open(&p->members, map);
	p->sorted = p->few;
	if (p->members.count > FEW_MEMBERS)
		p->sorted = mem_alloc(p->members.count * sizeof *p->sorted);
	for (uint32_t i = 0; i < p->members.count; i++)
		p->sorted[i] = &p->members.list[i];
	if (p->members.count > 1)
		qsort(p->sorted, p->members.count, sizeof *p->sorted, compare_pointers);
}

static void patch_close(struct patch *p)
{
	if (p->sorted != p->few)
		free(p->sorted);
	members_close(&p->members);
}

static struct member *patch_find(const struct patch *p, struct slice key)
{
	const struct member wanted = {.key = key};
	const struct member *pointer = &wanted;
	struct member **found = NULL;
	if (p->members.count > 0)
		found = bsearch(&pointer, p->sorted, p->members.count, sizeof *p->sorted,
				compare_pointers);
	return found ? *found : NULL;
}

static void merge_patch(struct slice target, struct slice patch, struct buf *out);

/* Writes what the patch makes of a member; returns 1, or 0 if it goes. */
static uint32_t put_patched(const struct member *change, struct slice old, struct buf *out)
{
	enum mp_type type = type_of(change->value);
	if (type == MP_NIL)
		return 0;
	buf_append_slice(out, change->raw_key);
	if (type == MP_MAP)
		merge_patch(old, change->value, out);
	else
		buf_append_slice(out, change->value);
	return 1;
}

static void merge_patch(struct slice target, struct slice patch, struct buf *out)
{
	struct patch p;
	struct members old;
	patch_open(&p, patch);
	members_open(&old, target);
	size_t start = container_begin(out);
	uint32_t count = 0;
	for (uint32_t i = 0; i < old.count; i++) {
		struct member *change = patch_find(&p, old.list[i].key);
		if (change) {
			change->used = true;
			count += put_patched(change, old.list[i].value, out);
			continue;
		}
		buf_append_slice(out, old.list[i].raw_key);
		buf_append_slice(out, old.list[i].value);
		count++;
	}
	for (uint32_t i = 0; i < p.members.count; i++)
		if (!p.members.list[i].used)
			count += put_patched(&p.members.list[i], (struct slice){0}, out);
	container_end_map(out, start, count);
	members_close(&old);
	patch_close(&p);
}

void value_merge_patch(struct slice target, struct slice patch, struct buf *out)
{
	if (!is_map(target))
		target = (struct slice){0};
	if (!is_map(patch))
		patch = (struct slice){0};
	merge_patch(target, patch, out);
}

/* ---- leaving out ---- */

void value_without_member(struct slice map, struct slice name, struct buf *out)
{
	struct mp_reader r = mp_reader_of(map);
	uint32_t total = is_map(map) ? mp_read(&r).count : 0;
	size_t start = container_begin(out);
	uint32_t count = 0;
	for (uint32_t i = 0; i < total; i++) {
		const uint8_t *from = r.at;
		struct mp_token key = mp_read(&r);
		struct slice value = mp_value(&r);
		if (key.type == MP_STR && slice_equal(key.bytes, name))
			continue;
		buf_append(out, from, (size_t)(value.data + value.len - from));
		count++;
	}
	container_end_map(out, start, count);
}

/* Paths that are still to be followed below some member. */
struct paths {
	struct slice rest[LIMIT_FIELDS];
	uint32_t count;
	bool whole; /* one of them ends here */
};

static void paths_below(const struct paths *all, struct slice name, struct paths *below)
{
	below->count = 0;
	below->whole = false;
	for (uint32_t i = 0; i < all->count; i++) {
		struct slice path = all->rest[i];
		if (path.len < name.len || !slice_equal(slice_of(path.data, name.len), name))
			continue;
		if (path.len == name.len)
			below->whole = true;
		else if (path.data[name.len] == '.')
			below->rest[below->count++] =
			    slice_of(path.data + name.len + 1, path.len - name.len - 1);
	}
}

static void project_map(struct slice map, const struct paths *paths, struct buf *out);

static bool is_container(struct slice value)
{
	enum mp_type type = type_of(value);
	return type == MP_MAP || type == MP_ARRAY;
}

static void project(struct slice value, const struct paths *paths, struct buf *out)
{
	if (type_of(value) == MP_MAP) {
		project_map(value, paths, out);
		return;
	}
	struct mp_reader r = mp_reader_of(value);
	uint32_t total = mp_read(&r).count;
	size_t start = container_begin(out);
	uint32_t count = 0;
	for (uint32_t i = 0; i < total; i++) {
		struct slice element = mp_value(&r);
		if (!is_container(element))
			continue;
		project(element, paths, out);
		count++;
	}
	container_end_array(out, start, count);
}

static void project_map(struct slice map, const struct paths *paths, struct buf *out)
{
	struct mp_reader r = mp_reader_of(map);
	uint32_t total = mp_read(&r).count;
	size_t start = container_begin(out);
	uint32_t count = 0;
	for (uint32_t i = 0; i < total; i++) {
		struct paths below;
		const uint8_t *from = r.at;
		struct mp_token key = mp_read(&r);
		size_t key_len = (size_t)(r.at - from);
		struct slice value = mp_value(&r);
		paths_below(paths, key.type == MP_STR ? key.bytes : (struct slice){0}, &below);
		if (!below.whole && (below.count == 0 || !is_container(value)))
			continue;
		buf_append(out, from, key_len);
		if (below.whole)
			buf_append_slice(out, value);
		else
			project(value, &below, out);
		count++;
	}
	container_end_map(out, start, count);
}

void value_project(struct slice map, const struct slice *paths, uint32_t count, struct buf *out)
{
	CHECK(count <= LIMIT_FIELDS);
	struct paths all = {.count = count};
	if (count)
		memcpy(all.rest, paths, count * sizeof *paths);
	if (!is_map(map)) {
		mp_write_map(out, 0);
		return;
	}
	project_map(map, &all, out);
}
