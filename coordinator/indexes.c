#include "coordinator/indexes.h"

#include "common/doc/index_key.h"
#include "coordinator/collections.h"
#include "coordinator/state.h"

/* Ids are never reused: the version that brought the index, and its place among those of that
 * version. */
static uint64_t index_id(uint64_t version, uint32_t place)
{
	return version << 8 | place;
}

static bool same_fields(const struct index_definition *a, const struct index_definition *b)
{
	if (a->fields_count != b->fields_count)
		return false;
	for (uint32_t i = 0; i < a->fields_count; i++)
		if (!slice_equal(a->fields[i], b->fields[i]))
			return false;
	return true;
}

static const struct index_definition *find(const struct collection *settings, struct slice name)
{
	for (uint32_t i = 0; i < settings->indexes_count; i++)
		if (slice_equal(settings->indexes[i].name, name))
			return &settings->indexes[i];
	return NULL;
}

static size_t path_bytes(const struct index_definition *list, uint32_t count)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t k = 0; k < list[i].fields_count; k++)
			bytes += list[i].fields[k].len;
	return bytes;
}

static bool has_room(const struct coordinator *c, const struct index_definition *list,
		     uint32_t count)
{
	size_t bytes = path_bytes(list, count);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->collections, &at));) {
		const struct collection_row *row = e->value;
		bytes += path_bytes(row->collection.indexes, row->collection.indexes_count);
	}
	return bytes <= INDEX_PATHS_BYTES_MAX;
}

static bool is_valid(struct coordinator *c, const struct index_definition *index)
{
	struct index_fields fields;
	if (!collections_name_valid(index->name) ||
	    !index_fields_compile(index->fields, index->fields_count, &c->arena, &fields))
		return false;
	for (uint32_t i = 0; i < index->fields_count; i++)
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(index->fields[i], index->fields[k]))
				return false;
	return true;
}

enum status indexes_make(struct coordinator *c, struct collection *settings)
{
	uint32_t count = settings->indexes_count;
	struct index_definition *list = arena_alloc(&c->arena, (count + 1) * sizeof *list);
	if (!has_room(c, settings->indexes, count))
		return STATUS_LIMIT_REACHED;
	for (uint32_t i = 0; i < count; i++) {
		list[i] = settings->indexes[i];
		list[i].id = index_id(settings->version, i);
		if (!is_valid(c, &list[i]) || find(settings, list[i].name) != &settings->indexes[i])
			return STATUS_BAD_PARAMETER;
	}
	settings->indexes = list;
	return STATUS_OK;
}

bool indexes_agree(const struct collection *asked, const struct collection *has)
{
	if (asked->indexes_count == 0)
		return true;
	if (asked->indexes_count != has->indexes_count)
		return false;
	for (uint32_t i = 0; i < asked->indexes_count; i++) {
		const struct index_definition *found = find(has, asked->indexes[i].name);
		if (!found || !same_fields(found, &asked->indexes[i]))
			return false;
	}
	return true;
}

static void put(struct coordinator *c, struct collection *next, const char *what, struct slice name,
		struct effects *fx)
{
	state_put_collection(c, next, fx);
	fx_log(fx, LOG_LEVEL_INFO, "index_%s collection=%016llx name=%.*s version=%llu", what,
	       (unsigned long long)next->id, (int)name.len, (const char *)name.data,
	       (unsigned long long)next->version);
}

static enum status add(struct coordinator *c, const struct index_definition *asked,
		       const struct collection *has, struct effects *fx)
{
	const struct index_definition *found = find(has, asked->name);
	if (found)
		return same_fields(found, asked) ? STATUS_OK : STATUS_EXISTS;
	if (!is_valid(c, asked))
		return STATUS_BAD_PARAMETER;
	if (has->indexes_count >= LIMIT_INDEXES || !has_room(c, asked, 1))
		return STATUS_LIMIT_REACHED;
	struct collection next = *has;
	next.version = has->version + 1;
	next.indexes = arena_alloc(&c->arena, LIMIT_INDEXES * sizeof *next.indexes);
	if (has->indexes_count > 0)
		memcpy(next.indexes, has->indexes, has->indexes_count * sizeof *next.indexes);
	next.indexes[next.indexes_count] = *asked;
	next.indexes[next.indexes_count++].id = index_id(next.version, 0);
	put(c, &next, "added", asked->name, fx);
	return STATUS_CREATED;
}

static enum status drop(struct coordinator *c, struct slice name, const struct collection *has,
			struct effects *fx)
{
	const struct index_definition *found = find(has, name);
	if (!found)
		return STATUS_NOT_FOUND;
	struct collection next = *has;
	next.version = has->version + 1;
	next.indexes = arena_alloc(&c->arena, LIMIT_INDEXES * sizeof *next.indexes);
	next.indexes_count = 0;
	for (uint32_t i = 0; i < has->indexes_count; i++)
		if (&has->indexes[i] != found)
			next.indexes[next.indexes_count++] = has->indexes[i];
	put(c, &next, "dropped", name, fx);
	return STATUS_OK;
}

enum status indexes_change(struct coordinator *c, const struct msg_collection_create *m,
			   const struct collection *has, struct effects *fx)
{
	if (m->index_add_count > 0)
		return add(c, &m->index_add[0], has, fx);
	return drop(c, m->index_drop, has, fx);
}
