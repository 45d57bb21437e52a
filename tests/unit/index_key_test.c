/* Index keys: they sort as values sort, and a document has one for each value that a filter sees.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/index_key.h"
#include "common/doc/query.h"
#include "tests/unit/packed.h"

enum { VALUES = 1200, DOCUMENTS = 3000 };

static int sign(int order)
{
	return order < 0 ? -1 : order > 0;
}

/* ---- random values ---- */

static void random_number(struct rng *rng, struct buf *out)
{
	static const char *const texts[] = {"1e400",
					    "-1e400",
					    "123456789012345678901234567890",
					    "18446744073709551616",
					    "1.5e-400",
					    "1e999",
					    "-123456789012345678901234567890.5",
					    "0.1000000000000000000000000001",
					    "9007199254740993.5",
					    "1e1000000000000000000"};
	switch (rng_below(rng, 7)) {
	case 0:
		mp_write_u64(out, rng_next(rng));
		break;
	case 1:
		mp_write_i64(out, (int64_t)rng_next(rng));
		break;
	case 2:
		mp_write_i64(out, (int64_t)rng_below(rng, 20) - 10);
		break;
	case 3:
		mp_write_double(out, (double)((int64_t)rng_below(rng, 20) - 10));
		break;
	case 4:
		mp_write_double(out, (double)(int64_t)rng_next(rng) / 1024);
		break;
	case 5:
		mp_write_double(out, (double)((int64_t)rng_below(rng, 4000) - 2000) / 1000);
		break;
	default:
		mp_write_ext(out, MP_EXT_NUMBER,
			     slice_text(texts[rng_below(rng, ARRAY_LEN(texts))]));
		break;
	}
}

static void random_string(struct rng *rng, struct buf *out, bool is_long)
{
	char text[400];
	size_t len = rng_below(rng, 6);
	memset(text, 'x', sizeof text);
	if (is_long && rng_below(rng, 10) == 0)
		len = INDEX_VALUE_BYTES - 10 + rng_below(rng, 100);
	for (size_t i = 0; i < len; i++)
		if (i < 3 || i + 10 > len)
			text[i] = "\0\1a\xc3\xa9\xff"[rng_below(rng, 6)];
	mp_write_str(out, slice_of(text, len));
}

static void random_value(struct rng *rng, struct buf *out, int depth)
{
	uint64_t kind = rng_below(rng, depth > 0 ? 7 : 5);
	uint32_t count = (uint32_t)rng_below(rng, 4);
	switch (kind) {
	case 0:
		mp_write_nil(out);
		break;
	case 1:
		mp_write_bool(out, rng_below(rng, 2));
		break;
	case 2:
		random_string(rng, out, true);
		break;
	case 3:
	case 4:
		random_number(rng, out);
		break;
	case 5:
		mp_write_array(out, count);
		for (uint32_t i = 0; i < count; i++)
			random_value(rng, out, depth - 1);
		break;
	default:
		mp_write_map(out, count);
		for (uint32_t i = 0; i < count; i++) {
			mp_write_str(out, slice_of(&"abc"[rng_below(rng, 3)], 1));
			random_value(rng, out, depth - 1);
		}
		break;
	}
}

/* ---- order ---- */

struct sample {
	struct buf value;
	struct buf key;
	bool whole;
};

static void keys_sort_as_values(void **state)
{
	(void)state;
	struct sample *samples = calloc(VALUES, sizeof *samples);
	struct rng rng;
	uint32_t cut = 0;
	assert_non_null(samples);
	rng_init(&rng, 3);
	for (int i = 0; i < VALUES; i++) {
		if (i > 0)
			random_value(&rng, &samples[i].value, 3);
		samples[i].whole =
		    index_value_append(buf_slice(&samples[i].value), &samples[i].key);
		assert_in_range(samples[i].key.len, 1, INDEX_VALUE_BYTES);
		cut += !samples[i].whole;
	}
	assert_in_range(cut, 5, VALUES / 2);
	for (int i = 0; i < VALUES; i++) {
		for (int k = 0; k < VALUES; k++) {
			const struct sample *a = &samples[i], *b = &samples[k];
			int values =
			    sign(value_compare(buf_slice(&a->value), buf_slice(&b->value)));
			int keys = sign(slice_compare(buf_slice(&a->key), buf_slice(&b->key)));
			if (a->whole || b->whole || keys != 0)
				assert_int_equal(values, keys);
			/* none begins with another: what follows in a key changes no order */
			if (keys != 0 && a->key.len < b->key.len)
				assert_memory_not_equal(a->key.data, b->key.data, a->key.len);
		}
	}
	for (int i = 0; i < VALUES; i++) {
		buf_close(&samples[i].value);
		buf_close(&samples[i].key);
	}
	free(samples);
}

static void check_equal(const char *a, const char *b, bool expected)
{
	struct buf x = packed(a), y = packed(b), x_key = {0}, y_key = {0};
	assert_true(index_value_append(buf_slice(&x), &x_key));
	assert_true(index_value_append(buf_slice(&y), &y_key));
	assert_int_equal(slice_equal(buf_slice(&x_key), buf_slice(&y_key)), expected);
	buf_close(&x);
	buf_close(&y);
	buf_close(&x_key);
	buf_close(&y_key);
}

static void equal_values_have_equal_keys(void **state)
{
	(void)state;
	check_equal("1", "1.0", true);
	check_equal("100", "1e2", true);
	check_equal("0", "-0.0", true);
	check_equal("0.5", "5e-1", true);
	check_equal("9007199254740992", "9007199254740993", false);
	check_equal("18446744073709551615", "18446744073709551616", false);
	check_equal("\"\"", "null", false);
	check_equal("[]", "null", false);
	check_equal("[1]", "[1.0]", true);
	check_equal("{\"a\":1}", "{\"a\":1.0}", true);
	check_equal("\"a\\u0000\"", "\"a\"", false);
}

/* ---- a document's keys ---- */

static struct index_keys keys_for(const char *json, const char *path_a, const char *path_b,
				  struct arena *arena)
{
	struct slice paths[] = {slice_text(path_a), slice_text(path_b ? path_b : "")};
	struct index_fields fields;
	struct index_keys keys;
	struct buf body = packed(json);
	assert_true(index_fields_compile(paths, path_b ? 2 : 1, arena, &fields));
	index_keys_of(&fields, slice_text("the-id"), arena_copy(arena, buf_slice(&body)), arena,
		      &keys);
	buf_close(&body);
	return keys;
}

static bool has_key(const struct index_keys *keys, const char *a, const char *b)
{
	struct buf key = {0};
	const char *const values[] = {a, b};
	for (int i = 0; i < 2 && values[i]; i++) {
		struct buf value = {0};
		if (values[i][0])
			value = packed(values[i]);
		(void)index_value_append(buf_slice(&value), &key);
		buf_close(&value);
	}
	bool found = false;
	for (uint32_t i = 0; i < keys->count; i++)
		found = found || slice_equal(keys->keys[i], buf_slice(&key));
	buf_close(&key);
	return found;
}

static void documents_have_a_key_for_each_value(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct index_keys k = keys_for("{\"a\":{\"b\":5}}", "a.b", NULL, &arena);
	assert_int_equal(k.count, 1);
	assert_int_equal(k.has, 0);
	assert_true(has_key(&k, "5", NULL));
	k = keys_for("{\"a\":{}}", "a.b", NULL, &arena);
	assert_true(k.count == 1 && has_key(&k, "", NULL) && has_key(&k, "null", NULL));
	k = keys_for("{\"a\":[3,1,3,2]}", "a", NULL, &arena);
	assert_int_equal(k.count, 4);
	assert_int_equal(k.has, INDEX_HAS_ARRAYS);
	assert_true(has_key(&k, "1", NULL) && has_key(&k, "[3,1,3,2]", NULL));
	k = keys_for("{\"a\":[]}", "a", NULL, &arena);
	assert_true(k.count == 1 && has_key(&k, "[]", NULL));
	k = keys_for("{\"a\":[{\"b\":1},{\"b\":[2,3]},{},7]}", "a.b", NULL, &arena);
	assert_int_equal(k.count, 5); /* 1 2 3 [2,3] and the absent one */
	assert_true(has_key(&k, "3", NULL) && has_key(&k, "", NULL));
	k = keys_for("{\"a\":[7]}", "a.b", NULL, &arena);
	assert_int_equal(k.count, 1); /* no value, not even an absent one, but a key */
	assert_false(has_key(&k, "", NULL));
	k = keys_for("{\"a\":[1,2],\"b\":\"x\"}", "a", "b", &arena);
	assert_true(k.count == 3 && has_key(&k, "2", "\"x\""));
	k = keys_for("{\"a\":[1,2],\"b\":[3,4]}", "b", "a", &arena);
	assert_true(k.count == 9 && has_key(&k, "[3,4]", "2"));
	k = keys_for("{}", "id", NULL, &arena);
	assert_true(k.count == 1 && has_key(&k, "\"the-id\"", NULL));
	arena_close(&arena);
}

static void write_array(struct buf *out, uint32_t count, uint32_t distinct)
{
	buf_append_text(out, "[0");
	for (uint32_t i = 1; i < count; i++)
		buf_printf(out, ",%u", i % distinct);
	buf_append_byte(out, ']');
}

static void many_keys_become_one(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct buf json = {0};
	buf_append_text(&json, "{\"a\":");
	write_array(&json, INDEX_KEYS_MAX - 1, INDEX_KEYS_MAX);
	buf_append_byte(&json, '}');
	struct index_keys k = keys_for(buf_cstr(&json), "a", NULL, &arena);
	assert_int_equal(k.count, INDEX_KEYS_MAX);
	assert_false(k.has & INDEX_HAS_ALWAYS);
	buf_clear(&json);
	buf_append_text(&json, "{\"a\":");
	write_array(&json, INDEX_KEYS_MAX + 1, INDEX_KEYS_MAX + 1);
	buf_append_byte(&json, '}');
	k = keys_for(buf_cstr(&json), "a", NULL, &arena);
	assert_int_equal(k.count, 1);
	assert_true(k.has & INDEX_HAS_ALWAYS);
	assert_true(k.keys[0].len == 1 && k.keys[0].data[0] == INDEX_ALWAYS);
	buf_clear(&json);
	buf_append_text(&json, "{\"a\":"); /* long, but of few values */
	write_array(&json, 20 * INDEX_KEYS_MAX, 10);
	buf_append_byte(&json, '}');
	k = keys_for(buf_cstr(&json), "a", NULL, &arena);
	assert_int_equal(k.count, 11);
	buf_clear(&json);
	buf_append_text(&json, "{\"a\":");
	write_array(&json, 40, 40);
	buf_append_text(&json, ",\"b\":");
	write_array(&json, 40, 40);
	buf_append_byte(&json, '}');
	k = keys_for(buf_cstr(&json), "a", "b", &arena);
	assert_int_equal(k.count, 1);
	assert_true(k.has & INDEX_HAS_ALWAYS);
	buf_close(&json);
	arena_close(&arena);
}

/* What a filter finds at a path has a key there. */
static void filters_see_no_other_values(void **state)
{
	(void)state;
	static const char *const paths[] = {"a", "a.b", "a.0", "a.b.c", "b.0.a"};
	struct rng rng;
	struct arena arena = {0};
	uint32_t found = 0;
	rng_init(&rng, 11);
	for (int i = 0; i < DOCUMENTS; i++) {
		struct buf body = {0}, filter = {0}, value = {0}, key = {0};
		struct slice path = slice_text(paths[rng_below(&rng, ARRAY_LEN(paths))]);
		struct index_fields fields;
		struct index_keys keys;
		struct query_error error;
		mp_write_map(&body, 2);
		mp_write_text(&body, "a");
		random_value(&rng, &body, 4);
		mp_write_text(&body, "b");
		random_value(&rng, &body, 4);
		random_value(&rng, &value, 1);
		mp_write_map(&filter, 1);
		mp_write_str(&filter, path);
		mp_write_map(&filter, 1);
		mp_write_text(&filter, "$eq");
		buf_append_slice(&filter, buf_slice(&value));
		struct query *query = query_compile(buf_slice(&filter), &arena, &error);
		if (query && query_matches(query, slice_text("d"), buf_slice(&body))) {
			bool has = false;
			found++;
			assert_true(index_fields_compile(&path, 1, &arena, &fields));
			index_keys_of(&fields, slice_text("d"), buf_slice(&body), &arena, &keys);
			(void)index_value_append(buf_slice(&value), &key);
			for (uint32_t k = 0; k < keys.count; k++)
				has = has || slice_equal(keys.keys[k], buf_slice(&key));
			assert_true(has);
		}
		buf_close(&body);
		buf_close(&filter);
		buf_close(&value);
		buf_close(&key);
		arena_reset(&arena);
	}
	assert_true(found > DOCUMENTS / 50);
	arena_close(&arena);
}

static void paths_are_checked(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct index_fields fields;
	struct slice good = slice_text("a.b.c");
	struct slice many = slice_text("a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u");
	struct slice empty = {0};
	assert_true(index_fields_compile(&good, 1, &arena, &fields));
	assert_false(index_fields_compile(&many, 1, &arena, &fields));
	assert_false(index_fields_compile(&empty, 1, &arena, &fields));
	assert_false(index_fields_compile(&good, 0, &arena, &fields));
	arena_close(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keys_sort_as_values),
	    cmocka_unit_test(equal_values_have_equal_keys),
	    cmocka_unit_test(documents_have_a_key_for_each_value),
	    cmocka_unit_test(many_keys_become_one),
	    cmocka_unit_test(filters_see_no_other_values),
	    cmocka_unit_test(paths_are_checked),
	};
	return cmocka_run_group_tests_name("index_key", tests, open_parser, close_parser);
}
