/* Paths that enter arrays in several ways: all values are found, at a cost that does not grow with
 * the number of ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/index_key.h"
#include "common/doc/path.h"
#include "common/doc/query.h"
#include "common/doc/value.h"
#include "tests/unit/packed.h"

enum { DOCUMENTS = 10000, FOUND_MAX = 4096 };

/* ---- what is found ---- */

struct sighting {
	const uint8_t *at; /* NULL: absent */
	bool element;
};

struct sightings {
	struct sighting list[FOUND_MAX];
	size_t count;
};

static bool remember(void *context, struct slice value, bool element)
{
	struct sightings *s = context;
	const uint8_t *at = value.len > 0 ? value.data : NULL;
	for (size_t i = 0; i < s->count; i++)
		if (s->list[i].at == at && s->list[i].element == element)
			return false;
	assert_true(s->count < FOUND_MAX);
	s->list[s->count++] = (struct sighting){at, element};
	return false;
}

/* Each way by itself. */
static void follow(struct sightings *s, const struct path_segment *names, uint32_t count,
		   struct slice value)
{
	if (count == 0) {
		remember(s, value, false);
		return;
	}
	if (value_rank(value) != RANK_ARRAY) {
		value = value_member(value, names->name);
		if (value.len == 0)
			remember(s, value, false);
		else
			follow(s, names + 1, count - 1, value);
		return;
	}
	struct slice element;
	for (uint32_t i = 0; (element = value_element(value, i)).len > 0; i++) {
		if (value_rank(element) == RANK_MAP)
			follow(s, names, count, element);
		if (!names->is_index || names->index != i)
			continue;
		if (count == 1)
			remember(s, element, true);
		else
			follow(s, names + 1, count - 1, element);
	}
}

static void random_value(struct rng *rng, struct buf *out, int depth)
{
	uint64_t kind = rng_below(rng, depth > 0 ? 7 : 1);
	if (kind == 0) {
		mp_write_u64(out, kind);
	} else if (kind < 4) {
		uint32_t count = (uint32_t)rng_below(rng, 4);
		mp_write_array(out, count);
		for (uint32_t i = 0; i < count; i++)
			random_value(rng, out, depth - 1);
	} else {
		uint64_t members = rng_below(rng, 8);
		mp_write_map(out, (uint32_t)__builtin_popcountll(members));
		for (int i = 0; i < 3; i++) {
			if (!(members & (1u << i)))
				continue;
			mp_write_str(out, slice_of(&"01a"[i], 1));
			random_value(rng, out, depth - 1);
		}
	}
}

static void all_ways_are_gone(void **state)
{
	static const char *const paths[] = {"0",     "1",     "a",     "0.0",     "0.a",  "a.0",
					    "0.0.0", "1.0.1", "0.a.0", "0.0.0.0", "a.1.0"};
	static struct sightings one, other;
	struct arena arena = {0};
	struct rng rng;
	size_t several = 0;
	(void)state;
	rng_init(&rng, 3);
	for (int i = 0; i < DOCUMENTS; i++) {
		struct buf array = {0};
		struct slice text = slice_text(paths[rng_below(&rng, ARRAY_LEN(paths))]);
		struct path_walk walk = {path_split(text, &arena), path_names(text), remember,
					 &one};
		one.count = other.count = 0;
		mp_write_array(&array, 2);
		random_value(&rng, &array, 6);
		random_value(&rng, &array, 6);
		assert_false(path_walk_array(&walk, buf_slice(&array), 0));
		follow(&other, walk.segments, walk.count, buf_slice(&array));
		assert_int_equal(one.count, other.count);
		for (size_t k = 0; k < other.count; k++)
			remember(&one, slice_of(other.list[k].at, other.list[k].at != NULL),
				 other.list[k].element);
		assert_int_equal(one.count, other.count);
		several += other.count > 2;
		buf_close(&array);
		arena_reset(&arena);
	}
	assert_true(several > DOCUMENTS / 20);
	arena_close(&arena);
}

/* ---- what it costs ---- */

static double seconds(void)
{
	struct timespec now;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* {"0":[{"0":[ ... 1 ... ]}]}: each object is entered as the element 0, and as an object. */
static struct buf nested(uint32_t levels)
{
	struct buf json = {0};
	for (uint32_t i = 0; i < levels; i++)
		buf_append_text(&json, "{\"0\":[");
	buf_append_byte(&json, '1');
	for (uint32_t i = 0; i < levels; i++)
		buf_append_text(&json, "]}");
	struct buf out = packed(buf_cstr(&json));
	buf_close(&json);
	return out;
}

static struct buf path_of(uint32_t names)
{
	struct buf path = {0};
	for (uint32_t i = 0; i < names; i++)
		buf_append_text(&path, i > 0 ? ".0" : "0");
	return path;
}

static double cost_of_filter(const struct buf *body, uint32_t names)
{
	struct arena arena = {0};
	struct query_error error;
	struct buf path = path_of(names);
	struct buf filter = {0};
	mp_write_map(&filter, 1);
	mp_write_str(&filter, buf_slice(&path));
	mp_write_u64(&filter, 7);
	struct query *query = query_compile(buf_slice(&filter), &arena, &error);
	assert_non_null(query);
	double from = seconds();
	for (int i = 0; i < 50; i++)
		assert_false(query_matches(query, slice_text("d"), buf_slice(body)));
	double cost = seconds() - from;
	arena_close(&arena);
	buf_close(&path);
	buf_close(&filter);
	return cost;
}

static double cost_of_keys(const struct buf *body, uint32_t names)
{
	struct arena arena = {0};
	struct index_fields fields;
	struct index_keys keys;
	struct buf path = path_of(names);
	struct slice text = buf_slice(&path);
	assert_true(index_fields_compile(&text, 1, &arena, &fields));
	double from = seconds();
	for (int i = 0; i < 50; i++)
		index_keys_of(&fields, slice_text("d"), buf_slice(body), &arena, &keys);
	double cost = seconds() - from;
	arena_close(&arena);
	buf_close(&path);
	return cost;
}

/* Twice the names go through twice the document; one way after the other, through 120 times as
 * much. */
static void many_ways_cost_as_one(void **state)
{
	(void)state;
	struct buf body = nested(40);
	double few = cost_of_filter(&body, 10);
	assert_true(cost_of_filter(&body, 20) < 20 * few);
	few = cost_of_keys(&body, 10);
	assert_true(cost_of_keys(&body, 20) < 20 * few);
	buf_close(&body);
}

/* How much longer the order of a value so deep down takes than reading the document. */
static double order_cost(const char *open, const char *close, int levels)
{
	enum { COUNT = 300000, TIMES = 8 };
	struct buf text = {0}, path = {0}, scratch = {0};
	struct query_order order;
	struct query_error error;
	for (int i = 0; i < levels; i++) {
		buf_append_text(&text, open);
		buf_append_text(&path, i > 0 ? ".a" : "asc(a");
	}
	buf_append_text(&path, ")");
	buf_append_text(&text, "[1");
	for (int i = 0; i < COUNT; i++)
		buf_append_text(&text, ",1");
	buf_append_text(&text, "]");
	for (int i = 0; i < levels; i++)
		buf_append_text(&text, close);
	struct buf body = packed(buf_cstr(&text));
	assert_true(query_order_parse(slice_text(buf_cstr(&path)), &order, &error));
	double from = seconds();
	for (int i = 0; i < TIMES; i++)
		assert_true(mp_valid(buf_slice(&body)));
	double once = seconds() - from;
	from = seconds();
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(
		    query_order_value(&order, slice_text("i"), buf_slice(&body), &scratch).len, 1);
	double all = seconds() - from;
	buf_close(&text);
	buf_close(&path);
	buf_close(&scratch);
	buf_close(&body);
	return all / once;
}

/* What stands deep down is not read anew for each level. */
static void depth_of_an_order_costs_nothing(void **state)
{
	(void)state;
	double flat = order_cost("{\"a\":", "}", 1);
	assert_true(order_cost("{\"a\":", "}", 96) < 3 * flat);
	assert_true(order_cost("{\"a\":[{\"a\":", "}]}", 32) < 3 * flat);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_ways_are_gone),
	    cmocka_unit_test(many_ways_cost_as_one),
	    cmocka_unit_test(depth_of_an_order_costs_nothing),
	};
	return cmocka_run_group_tests_name("path_walk", tests, open_parser, close_parser);
}
