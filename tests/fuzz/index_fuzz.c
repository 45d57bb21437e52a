/* Any bytes as values and paths of indexes. Input: texts separated by a byte 0: paths separated by
 * ';', then values, JSON or else bytes as they are. Keys sort as the values do, a document has its
 * keys ascending and each once, none holds what a filter for one of its values would not look for;
 * and definitions that clients send are taken within their bounds or refused with a place. */
#include <stdlib.h>

#include "common/doc/index_key.h"
#include "common/doc/json.h"
#include "gateway/index_params.h"
#include "tests/fuzz/texts.h"

enum { VALUES_MAX = 4, PATHS_MAX = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cut keys tell nothing of what stands behind the cut. */
static void compare(struct slice a, struct slice b)
{
	struct buf key_a = {0}, key_b = {0};
	bool whole = index_value_append(a, &key_a);
	whole &= index_value_append(b, &key_b);
	CHECK(key_a.len <= INDEX_VALUE_BYTES && key_b.len <= INDEX_VALUE_BYTES);
	CHECK(key_a.len > 0 && key_a.data[0] == index_rank_byte(value_rank(a)));
	int keys = slice_compare(buf_slice(&key_a), buf_slice(&key_b));
	int values = value_compare(a, b);
	if (whole)
		CHECK((keys < 0) == (values < 0) && (keys > 0) == (values > 0));
	else
		CHECK(keys == 0 || (keys < 0) == (values < 0));
	buf_close(&key_a);
	buf_close(&key_b);
}

/* Could it stand in a document? */
static bool is_value(struct slice value)
{
	struct buf map = {0};
	mp_write_map(&map, 1);
	mp_write_text(&map, "v");
	buf_append_slice(&map, value);
	bool is = value_is_document(buf_slice(&map));
	buf_close(&map);
	return is;
}

static void use_document(const struct index_fields *fields, struct slice body)
{
	struct arena arena = {0};
	struct index_keys keys;
	index_keys_of(fields, slice_text("doc1"), body, &arena, &keys);
	CHECK(keys.count > 0 && keys.count <= INDEX_KEYS_MAX);
	for (uint32_t i = 1; i < keys.count; i++)
		CHECK(slice_compare(keys.keys[i - 1], keys.keys[i]) < 0);
	if (keys.has & INDEX_HAS_ALWAYS)
		CHECK(keys.count == 1 && keys.keys[0].data[0] == INDEX_ALWAYS);
	arena_close(&arena);
}

static void try_definition(struct slice value)
{
	struct request *r = calloc(1, sizeof *r);
	struct problem problem = {0};
	struct collection collection = {0};
	CHECK(r);
	if (index_take_list(r, value, &collection, &problem)) {
		struct buf text = {0};
		CHECK(collection.indexes_count <= LIMIT_INDEXES);
		collection.name = slice_text("c");
		schema_encode(&schema_collection, &collection, &text);
		buf_clear(&text);
		index_print_list(&collection, &text);
		buf_clear(&text);
		index_write_list(&collection, &text);
		CHECK(mp_valid(buf_slice(&text)));
		buf_close(&text);
	} else {
		CHECK(problem.status != STATUS_OK);
	}
	arena_close(&r->arena);
	free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct index_fields fields;
	struct slice paths[PATHS_MAX];
	struct slice values[VALUES_MAX];
	uint32_t paths_count = 0, values_count = 0;
	struct slice rest = slice_of(data, size);
	struct slice list = take_until(&rest, 0);
	while (list.len > 0 && paths_count < PATHS_MAX)
		paths[paths_count++] = take_until(&list, ';');
	while (rest.len > 0 && values_count < VALUES_MAX)
		values[values_count++] = value_of(take_until(&rest, 0), &arena);
	bool compiled = index_fields_compile(paths, paths_count, &arena, &fields);
	for (uint32_t i = 0; i < values_count; i++) {
		if (compiled)
			use_document(&fields, values[i]);
		try_definition(values[i]);
		for (uint32_t k = 0; k < values_count; k++)
			if (is_value(values[i]) && is_value(values[k]))
				compare(values[i], values[k]);
	}
	arena_close(&arena);
	return 0;
}
