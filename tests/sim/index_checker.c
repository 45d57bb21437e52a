#include "tests/sim/index_checker.h"

#include "common/base/map.h"
#include "common/doc/graph.h"
#include "common/doc/index_key.h"
#include "storage-node/keys.h"

struct check {
	const struct disk *disk;
	uint64_t shard;
	struct arena arena;
	struct collection settings;
	bool has_settings;
	const struct index_definition *definition; /* under check */
	struct index_fields fields;
	struct index_state state;
	struct map expected; /* key -> anything */
	uint64_t found;
	uint32_t states;
	struct buf *why;
	bool ok;
};

static void take_settings(void *context, struct slice key, struct slice value)
{
	struct check *c = context;
	(void)key;
	c->has_settings = schema_decode(&schema_collection, arena_copy(&c->arena, value), &c->arena,
					&c->settings);
}

static void take_state(void *context, struct slice key, struct slice value)
{
	struct check *c = context;
	(void)key;
	c->states++;
	CHECK(
	    schema_decode(&schema_index_state, arena_copy(&c->arena, value), &c->arena, &c->state));
}

static bool is_passed(const struct check *c, struct slice id)
{
	return c->state.ready || (c->state.after.len > 0 && slice_compare(id, c->state.after) <= 0);
}

static void expect_keys(void *context, struct slice key, struct slice value)
{
	struct check *c = context;
	struct slice id, rest;
	struct document doc;
	struct index_keys keys;
	struct buf whole = {0};
	if (!key_split(key, &id, &rest) || rest.len > 0 || !is_passed(c, id))
		return;
	CHECK(schema_decode(&schema_document, value, &c->arena, &doc));
	int winner = graph_winner(&doc);
	if (winner == GRAPH_NONE || !graph_is_live(&doc, (uint32_t)winner))
		return;
	index_keys_of(&c->fields, id, doc.body, &c->arena, &keys);
	for (uint32_t i = 0; i < keys.count; i++) {
		key_index(&whole, c->shard, c->definition->id);
		buf_append_slice(&whole, keys.keys[i]);
		buf_append_byte(&whole, 0);
		buf_append_slice(&whole, id);
		map_put(&c->expected, buf_slice(&whole), c);
	}
	if ((keys.has & ~c->state.has) != 0) {
		buf_printf(c->why, "index %.*s does not say what document %.*s has",
			   (int)c->definition->name.len, (const char *)c->definition->name.data,
			   (int)id.len, (const char *)id.data);
		c->ok = false;
	}
	buf_close(&whole);
}

static void compare_key(void *context, struct slice key, struct slice value)
{
	struct check *c = context;
	struct slice id = key_index_document(key);
	(void)value;
	c->found++;
	if (map_get(&c->expected, key) || !c->ok)
		return;
	buf_printf(c->why, "index %.*s has a key of document %.*s that it does not give",
		   (int)c->definition->name.len, (const char *)c->definition->name.data,
		   (int)id.len, (const char *)id.data);
	c->ok = false;
}

static void check_index(struct check *c, struct index_counts *counts)
{
	struct buf key = {0};
	c->state = (struct index_state){0};
	c->found = 0;
	map_clear(&c->expected);
	CHECK(index_fields_compile(c->definition->fields, c->definition->fields_count, &c->arena,
				   &c->fields));
	disk_walk(c->disk, STORE_META, key_index_state(&key, c->shard, c->definition->id),
		  take_state, c);
	disk_walk(c->disk, STORE_DOCUMENTS, key_shard(&key, 'd', c->shard), expect_keys, c);
	disk_walk(c->disk, STORE_INDEXES, key_index(&key, c->shard, c->definition->id), compare_key,
		  c);
	buf_close(&key);
	counts->ready += c->state.ready;
	counts->keys += c->found;
	if (!c->ok || c->found == c->expected.count)
		return;
	buf_printf(c->why, "index %.*s has %llu keys, its documents give %llu",
		   (int)c->definition->name.len, (const char *)c->definition->name.data,
		   (unsigned long long)c->found, (unsigned long long)c->expected.count);
	c->ok = false;
}

/* Of dropped indexes nothing is left. */
static void check_rest(struct check *c, const struct index_counts *counts)
{
	struct buf key = {0};
	uint64_t keys = disk_count(c->disk, STORE_INDEXES, key_shard(&key, 'i', c->shard));
	uint64_t states = disk_count(c->disk, STORE_META, key_shard(&key, 'n', c->shard));
	buf_close(&key);
	if (!c->ok || (keys == counts->keys && states == c->states))
		return;
	buf_printf(c->why, "%llu keys and %llu states of indexes that there are not",
		   (unsigned long long)(keys - counts->keys),
		   (unsigned long long)(states - c->states));
	c->ok = false;
}

uint64_t index_checker_digest(const struct disk *disk, uint64_t shard)
{
	static const struct {
		enum store_family family;
		char letter;
	} places[] = {
	    {STORE_META, 'g'}, {STORE_META, 'n'}, {STORE_DOCUMENTS, 'd'}, {STORE_INDEXES, 'i'}};
	struct buf key = {0};
	uint64_t digest = 0;
	for (size_t i = 0; i < ARRAY_LEN(places); i++)
		digest = digest * 31 + disk_digest(disk, places[i].family,
						   key_shard(&key, places[i].letter, shard));
	buf_close(&key);
	return digest;
}

bool index_checker_run(const struct disk *disk, uint64_t shard, struct index_counts *counts,
		       struct buf *why)
{
	struct check c = {.disk = disk, .shard = shard, .why = why, .ok = true};
	struct index_counts counted = {0};
	struct buf key = {0};
	disk_walk(disk, STORE_META, key_shard(&key, 'g', shard), take_settings, &c);
	buf_close(&key);
	counted.indexes = c.settings.indexes_count;
	for (uint32_t i = 0; i < c.settings.indexes_count && c.ok; i++) {
		c.definition = &c.settings.indexes[i];
		check_index(&c, &counted);
	}
	check_rest(&c, &counted);
	if (counts)
		*counts = counted;
	map_close(&c.expected);
	arena_close(&c.arena);
	return c.ok;
}
