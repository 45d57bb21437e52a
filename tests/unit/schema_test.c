#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "proto/msgpack.h"
#include "proto/schema.h"
#include "proto/schema_random.h"

enum { ROUNDS = 300, PAIRS_MAX = 80 };

/* ---- values ---- */

static bool is_list(const struct schema_field *f)
{
	return f->type == SCHEMA_LIST || f->type == SCHEMA_LIST_U64 || f->type == SCHEMA_LIST_BIN;
}

/* Memory that one value and its copy need; reused from value to value. */
struct bench {
	struct arena arena;
	struct buf bytes;
	struct buf again;
	void *value;
	void *copy;
};

static void bench_start(struct bench *b, const struct schema *schema)
{
	arena_reset(&b->arena);
	buf_clear(&b->bytes);
	buf_clear(&b->again);
	b->value = arena_alloc(&b->arena, schema->size);
	b->copy = arena_alloc(&b->arena, schema->size);
}

static void bench_close(struct bench *b)
{
	arena_close(&b->arena);
	buf_close(&b->bytes);
	buf_close(&b->again);
}

/* ---- the table itself ---- */

static void test_rows_ascend_and_have_limits(void **state)
{
	(void)state;
	for (size_t i = 0; schema_all[i]; i++) {
		const struct schema *s = schema_all[i];
		assert_true(s->fields_count > 0 && s->fields_count <= 64);
		for (uint32_t k = 0; k < s->fields_count; k++) {
			const struct schema_field *f = &s->fields[k];
			assert_true(f->number > (k ? s->fields[k - 1].number : 0));
			assert_true(f->offset < s->size);
			if (is_list(f) || f->type == SCHEMA_BIN)
				assert_true(f->limit > 0);
			if (f->type == SCHEMA_LIST_BIN)
				assert_true(f->limit_bytes > 0);
			assert_int_equal(f->type == SCHEMA_ITEM || f->type == SCHEMA_LIST,
					 f->nested != NULL);
		}
	}
}

static void test_messages_are_found_by_number(void **state)
{
	(void)state;
	size_t messages = 0;
	for (size_t i = 0; schema_all[i]; i++) {
		if (schema_all[i]->number == 0)
			continue;
		messages++;
		assert_ptr_equal(schema_of_message(schema_all[i]->number), schema_all[i]);
		assert_true(schema_all[i]->senders && schema_all[i]->receivers);
	}
	for (uint32_t number = 0; number <= UINT16_MAX; number++)
		messages -= schema_of_message((uint16_t)number) != NULL;
	assert_int_equal(messages, 0);
	assert_ptr_equal(schema_of_message(MSG_doc_write), &schema_msg_doc_write);
	assert_null(schema_of_message(MSG_NONE));
}

/* ---- encodings ---- */

static void test_the_bytes_of_a_struct(void **state)
{
	(void)state;
	static const uint8_t expected[] = {0x83, 1,    7,   2, 0xc4, 1, 'a', 4,  0x82,
					   1,    0xcc, 200, 2, 0xc4, 2, 'x', 'y'};
	struct msg_doc_read read = {.shard = 7,
				    .id = slice_text("a"),
				    .revision = {.generation = 200, .hash = slice_text("xy")}};
	struct msg_doc_read decoded;
	struct buf out = {0};
	struct arena arena = {0};
	schema_encode(&schema_msg_doc_read, &read, &out);
	assert_int_equal(out.len, sizeof expected);
	assert_memory_equal(out.data, expected, sizeof expected);

	assert_true(schema_decode(&schema_msg_doc_read, buf_slice(&out), &arena, &decoded));
	assert_int_equal(decoded.shard, 7);
	assert_true(slice_is(decoded.id, "a"));
	assert_int_equal(decoded.revision.generation, 200);
	assert_true(slice_is(decoded.revision.hash, "xy"));
	assert_false(decoded.any);
	assert_false(decoded.want_leaves);
	/* Slices borrow the bytes; nothing was copied. */
	assert_ptr_equal(decoded.id.data, out.data + 6);
	assert_int_equal(arena.used, 0);
	buf_close(&out);
	arena_close(&arena);
}

static void test_zero_and_empty_optional_fields_are_left_out(void **state)
{
	(void)state;
	struct msg_stream_append append = {.shard = 0};
	struct buf out = {0};
	schema_encode(&schema_msg_stream_append, &append, &out);
	assert_int_equal(out.len, 3);
	assert_memory_equal(out.data, "\x81\x01\x00", 3);
	buf_close(&out);
}

static void round_trip(struct bench *b, const struct schema *schema)
{
	schema_encode(schema, b->value, &b->bytes);
	memset(b->copy, 0xa5, schema->size);
	assert_true(schema_decode(schema, buf_slice(&b->bytes), &b->arena, b->copy));
	assert_true(schema_same(schema, b->value, b->copy));
	schema_encode(schema, b->copy, &b->again);
	assert_true(slice_equal(buf_slice(&b->bytes), buf_slice(&b->again)));
	assert_true(mp_valid(buf_slice(&b->bytes)));
}

static void test_random_values_survive_a_round_trip(void **state)
{
	(void)state;
	struct bench b = {0};
	struct rng rng;
	rng_init(&rng, 1);
	for (size_t i = 0; schema_all[i]; i++) {
		for (int round = 0; round < ROUNDS; round++) {
			bench_start(&b, schema_all[i]);
			schema_random(schema_all[i], &rng, &b.arena, b.value);
			round_trip(&b, schema_all[i]);
		}
		bench_start(&b, schema_all[i]);
		schema_fixed(schema_all[i], &b.arena, b.value);
		round_trip(&b, schema_all[i]);
	}
	bench_close(&b);
}

/* Exactly what is encoded alike is the same. */
static void test_values_are_compared(void **state)
{
	(void)state;
	struct bench b = {0};
	struct rng rng;
	rng_init(&rng, 2);
	for (size_t i = 0; schema_all[i]; i++) {
		for (int round = 0; round < ROUNDS; round++) {
			bench_start(&b, schema_all[i]);
			schema_random(schema_all[i], &rng, &b.arena, b.value);
			schema_random(schema_all[i], &rng, &b.arena, b.copy);
			schema_encode(schema_all[i], b.value, &b.bytes);
			schema_encode(schema_all[i], b.copy, &b.again);
			bool alike = slice_equal(buf_slice(&b.bytes), buf_slice(&b.again));
			assert_int_equal(schema_same(schema_all[i], b.value, b.copy), alike);
		}
	}
	bench_close(&b);
}

/* One field or member at a time. */
static void test_differences_are_seen(void **state)
{
	(void)state;
	struct replica replicas[2] = {{.node = 1, .incarnation = 5}, {.node = 2}};
	struct replica others[2] = {replicas[0], replicas[1]};
	struct shard a = {.id = 7, .lead = 1, .replicas = replicas, .replicas_count = 2};
	struct shard b = a;
	b.replicas = others;
	assert_true(schema_same(&schema_shard, &a, &b));
	b.lead = 2;
	assert_false(schema_same(&schema_shard, &a, &b));
	b.lead = a.lead;
	others[1].learning = true;
	assert_false(schema_same(&schema_shard, &a, &b));
	others[1].learning = false;
	b.replicas_count = 1;
	assert_false(schema_same(&schema_shard, &a, &b));
	struct change x = {.id = slice_text("a"), .revision.hash = slice_text("h")};
	struct change y = {.id = slice_text("a"), .revision.hash = slice_text("h")};
	assert_true(schema_same(&schema_change, &x, &y));
	y.revision.hash = slice_text("i");
	assert_false(schema_same(&schema_change, &x, &y));
}

static void test_a_seed_gives_the_same_value_again(void **state)
{
	(void)state;
	struct bench b = {0};
	for (uint64_t seed = 0; seed < 50; seed++) {
		struct rng first;
		struct rng second;
		rng_init(&first, seed);
		rng_init(&second, seed);
		bench_start(&b, &schema_document);
		schema_random(&schema_document, &first, &b.arena, b.value);
		schema_random(&schema_document, &second, &b.arena, b.copy);
		assert_true(schema_same(&schema_document, b.value, b.copy));
	}
	bench_close(&b);
}

/* ---- damage ---- */

static void damage(struct rng *rng, struct buf *bytes)
{
	size_t at = (size_t)rng_below(rng, bytes->len);
	switch (rng_below(rng, 5)) {
	case 0:
		bytes->data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
		break;
	case 1:
		bytes->data[at] = (uint8_t)rng_next(rng);
		break;
	case 2:
		bytes->len = at;
		break;
	case 3:
		memmove(bytes->data + at, bytes->data + at + 1, bytes->len - at - 1);
		bytes->len--;
		break;
	default:
		buf_append_byte(bytes, 0);
		memmove(bytes->data + at + 1, bytes->data + at, bytes->len - at - 1);
		bytes->data[at] = (uint8_t)rng_next(rng);
		break;
	}
}

static bool all_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;
	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

/* Decodes a copy of exactly the right size, so that a sanitizer sees a read past its end. Whatever
 * is accepted keeps the limits: the encoder checks them. */
static bool decode_damaged(struct bench *b, const struct schema *schema)
{
	size_t len = b->bytes.len;
	uint8_t *exact = mem_alloc(len ? len : 1);
	struct buf print = {0};
	memcpy(exact, b->bytes.data, len);
	bool ok = schema_decode(schema, slice_of(exact, len), &b->arena, b->copy);
	if (ok) {
		schema_encode(schema, b->copy, &b->again);
		assert_true(schema_decode(schema, buf_slice(&b->again), &b->arena, b->value));
		assert_true(schema_same(schema, b->value, b->copy));
		schema_print(schema, b->copy, &print);
	} else {
		assert_true(all_zero(b->copy, schema->size));
	}
	buf_close(&print);
	free(exact);
	return ok;
}

static void test_damaged_encodings_are_refused_or_mean_something(void **state)
{
	(void)state;
	struct bench b = {0};
	struct rng rng;
	int accepted = 0;
	int refused = 0;
	rng_init(&rng, 2);
	for (size_t i = 0; schema_all[i]; i++) {
		for (int round = 0; round < ROUNDS; round++) {
			bench_start(&b, schema_all[i]);
			schema_random(schema_all[i], &rng, &b.arena, b.value);
			schema_encode(schema_all[i], b.value, &b.bytes);
			for (uint64_t n = 1 + rng_below(&rng, 3); n > 0 && b.bytes.len > 0; n--)
				damage(&rng, &b.bytes);
			if (decode_damaged(&b, schema_all[i]))
				accepted++;
			else
				refused++;
		}
	}
	/* Both kinds were there, or the damage tests nothing. */
	assert_true(accepted > 1000 && refused > 1000);
	bench_close(&b);
}

static void test_every_truncation_is_refused(void **state)
{
	(void)state;
	struct bench b = {0};
	for (size_t i = 0; schema_all[i]; i++) {
		bench_start(&b, schema_all[i]);
		schema_fixed(schema_all[i], &b.arena, b.value);
		schema_encode(schema_all[i], b.value, &b.bytes);
		for (size_t len = 0; len < b.bytes.len; len++)
			assert_false(schema_decode(schema_all[i], slice_of(b.bytes.data, len),
						   &b.arena, b.copy));
		buf_append_byte(&b.bytes, 0xc0);
		assert_false(schema_decode(schema_all[i], buf_slice(&b.bytes), &b.arena, b.copy));
	}
	bench_close(&b);
}

/* ---- encodings made by hand from the pairs of a good one ---- */

struct pairs {
	const struct schema *schema;
	struct bench bench;
	uint64_t numbers[PAIRS_MAX];
	struct slice values[PAIRS_MAX];
	uint32_t count;
	struct buf made;
};

/* One pair for each row, in order. */
static void pairs_load(struct pairs *p, const struct schema *schema)
{
	p->schema = schema;
	bench_start(&p->bench, schema);
	schema_fixed(schema, &p->bench.arena, p->bench.value);
	schema_encode(schema, p->bench.value, &p->bench.bytes);
	struct mp_reader r = mp_reader_of(buf_slice(&p->bench.bytes));
	p->count = mp_read(&r).count;
	assert_int_equal(p->count, schema->fields_count);
	for (uint32_t i = 0; i < p->count; i++) {
		p->numbers[i] = mp_read(&r).u64;
		p->values[i] = mp_value(&r);
	}
	assert_true(mp_at_end(&r));
}

static bool pairs_decode(struct pairs *p)
{
	buf_clear(&p->made);
	mp_write_map(&p->made, p->count);
	for (uint32_t i = 0; i < p->count; i++) {
		mp_write_u64(&p->made, p->numbers[i]);
		buf_append_slice(&p->made, p->values[i]);
	}
	return schema_decode(p->schema, buf_slice(&p->made), &p->bench.arena, p->bench.copy);
}

static void pairs_insert(struct pairs *p, uint32_t at, uint64_t number, struct slice value)
{
	memmove(&p->numbers[at + 1], &p->numbers[at], (p->count - at) * sizeof p->numbers[0]);
	memmove(&p->values[at + 1], &p->values[at], (p->count - at) * sizeof p->values[0]);
	p->numbers[at] = number;
	p->values[at] = value;
	p->count++;
}

static void pairs_remove(struct pairs *p, uint32_t at)
{
	p->count--;
	memmove(&p->numbers[at], &p->numbers[at + 1], (p->count - at) * sizeof p->numbers[0]);
	memmove(&p->values[at], &p->values[at + 1], (p->count - at) * sizeof p->values[0]);
}

static void pairs_close(struct pairs *p)
{
	bench_close(&p->bench);
	buf_close(&p->made);
}

static void test_required_fields_must_be_there(void **state)
{
	(void)state;
	struct pairs p = {0};
	for (size_t i = 0; schema_all[i]; i++) {
		for (uint32_t k = 0; k < schema_all[i]->fields_count; k++) {
			pairs_load(&p, schema_all[i]);
			pairs_remove(&p, k);
			assert_int_equal(pairs_decode(&p), !schema_all[i]->fields[k].required);
		}
	}
	pairs_close(&p);
}

static void test_numbers_must_ascend(void **state)
{
	(void)state;
	struct pairs p = {0};
	for (size_t i = 0; schema_all[i]; i++) {
		for (uint32_t k = 0; k < schema_all[i]->fields_count; k++) {
			pairs_load(&p, schema_all[i]);
			assert_true(pairs_decode(&p));
			pairs_insert(&p, k, p.numbers[k], p.values[k]);
			assert_false(pairs_decode(&p));
			pairs_load(&p, schema_all[i]);
			pairs_insert(&p, p.count, p.numbers[k], p.values[k]);
			if (k + 1 < schema_all[i]->fields_count)
				pairs_remove(&p, k);
			assert_false(pairs_decode(&p));
		}
		pairs_load(&p, schema_all[i]);
		pairs_insert(&p, 0, 0, slice_text("\xc0"));
		assert_false(pairs_decode(&p));
	}
	pairs_close(&p);
}

static void test_unknown_fields_are_skipped(void **state)
{
	(void)state;
	struct pairs p = {0};
	static const uint8_t nested[] = {0x81, 0xa1, 'k', 0x93, 1, 0xc0, 0xca, 0, 0, 0, 0};
	for (size_t i = 0; schema_all[i]; i++) {
		pairs_load(&p, schema_all[i]);
		pairs_insert(&p, p.count, 200, slice_text("\xc0"));
		pairs_insert(&p, p.count, UINT64_MAX, slice_text("\x91\xa3now"));
		assert_true(pairs_decode(&p));
		assert_true(schema_same(p.schema, p.bench.value, p.bench.copy));
		pairs_insert(&p, p.count - 1, 201, slice_of(nested, sizeof nested));
		assert_true(pairs_decode(&p));
		/* Skipped is not unchecked. */
		p.values[p.count - 2] = slice_text("\xc1");
		assert_false(pairs_decode(&p));
	}
	pairs_close(&p);
}

static void test_values_must_have_their_type(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
	} values[] = {
	    {"\xc0", 1},          {"\xa1x", 2},    {"\xff", 1},        {"\xcb\0\0\0\0\0\0\0\0", 9},
	    {"\xc7\x01\x01x", 4}, {"\x91\xc0", 2}, {"\x81\x01\xc0", 3}};
	struct pairs p = {0};
	for (size_t i = 0; schema_all[i]; i++) {
		for (uint32_t k = 0; k < schema_all[i]->fields_count; k++) {
			for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
				if (schema_all[i]->fields[k].type == SCHEMA_I64)
					continue;
				pairs_load(&p, schema_all[i]);
				p.values[k] = slice_of(values[v].bytes, values[v].len);
				assert_false(pairs_decode(&p));
			}
		}
	}
	pairs_close(&p);
}

/* ---- limits ---- */

/* The encoding of a value of field f that has `size`: the number, the bytes, or the members. */
static void write_sized(const struct schema_field *f, uint64_t size, struct slice member,
			struct buf *out)
{
	if (f->type == SCHEMA_U64) {
		mp_write_u64(out, size);
	} else if (f->type == SCHEMA_BIN) {
		uint8_t *zeros = mem_alloc_zero(size);
		mp_write_bin(out, slice_of(zeros, size));
		free(zeros);
	} else {
		mp_write_array(out, (uint32_t)size);
		for (uint64_t i = 0; i < size; i++)
			buf_append_slice(out, member);
	}
}

/* The first member of a list's encoding. */
static struct slice first_member(struct slice list)
{
	struct mp_reader r = mp_reader_of(list);
	struct mp_token head = mp_read(&r);
	return head.type == MP_ARRAY ? mp_value(&r) : (struct slice){0};
}

static void check_limit(struct pairs *p, const struct schema *schema, uint32_t row)
{
	const struct schema_field *f = &schema->fields[row];
	if (f->limit == 0 || f->type == SCHEMA_FLAG)
		return;
	for (uint64_t past = 0; past < 2; past++) {
		struct buf out = {0};
		pairs_load(p, schema);
		write_sized(f, f->limit + past, first_member(p->values[row]), &out);
		p->values[row] = buf_slice(&out);
		bool ok = pairs_decode(p);
		if (ok != !past)
			print_error("%s.%s\n", schema->name, f->name);
		assert_int_equal(ok, !past);
		buf_close(&out);
	}
}

static void test_limits_hold_at_and_past(void **state)
{
	(void)state;
	struct pairs p = {0};
	for (size_t i = 0; schema_all[i]; i++)
		for (uint32_t k = 0; k < schema_all[i]->fields_count; k++)
			check_limit(&p, schema_all[i], k);
	pairs_close(&p);
}

static void test_members_of_byte_lists_are_limited(void **state)
{
	(void)state;
	static uint8_t zeros[LIMIT_ORDER_KEY_BYTES + 1];
	struct arena arena = {0};
	for (size_t past = 0; past < 2; past++) {
		struct row row;
		struct buf out = {0};
		mp_write_map(&out, 3);
		mp_write_u64(&out, 1);
		mp_write_bin(&out, slice_text("id"));
		mp_write_u64(&out, 2);
		schema_encode(&schema_revision, &(struct revision){0}, &out);
		mp_write_u64(&out, 5);
		mp_write_array(&out, 1);
		mp_write_bin(&out, slice_of(zeros, LIMIT_ORDER_KEY_BYTES + past));
		assert_int_equal(schema_decode(&schema_row, buf_slice(&out), &arena, &row), !past);
		buf_close(&out);
	}
	arena_close(&arena);
}

/* A short message must not make the reader take much memory. */
static void test_a_false_count_takes_no_memory(void **state)
{
	(void)state;
	struct arena arena = {0};
	struct msg_map_push push;
	struct buf out = {0};
	mp_write_map(&out, 2);
	mp_write_u64(&out, 1);
	mp_write_u64(&out, 1);
	mp_write_u64(&out, 4);
	mp_write_array(&out, LIMIT_SHARDS);
	for (int i = 0; i < LIMIT_SHARDS; i++)
		mp_write_map(&out, 0);
	assert_false(schema_decode(&schema_msg_map_push, buf_slice(&out), &arena, &push));
	assert_int_equal(arena.used, 0);
	buf_close(&out);
	arena_close(&arena);
}

/* ---- types that messages.def does not use at present ---- */

struct odd {
	int64_t signed_number;
	bool flag;
	uint64_t number;
};

static const struct schema_field odd_fields[] = {
    {.name = "signed_number",
     .number = 2,
     .type = SCHEMA_I64,
     .offset = offsetof(struct odd, signed_number)},
    {.name = "flag",
     .number = 5,
     .type = SCHEMA_FLAG,
     .limit = 1,
     .offset = offsetof(struct odd, flag)},
    {.name = "number", .number = 9, .type = SCHEMA_U64, .offset = offsetof(struct odd, number)}};
static const struct schema odd_schema = {
    .name = "odd", .size = sizeof(struct odd), .fields = odd_fields, .fields_count = 3};

static void test_signed_fields(void **state)
{
	(void)state;
	const int64_t values[] = {INT64_MIN, -1, 0, 1, 300, INT64_MAX};
	struct arena arena = {0};
	for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
		struct odd odd = {.signed_number = values[i], .flag = true};
		struct odd copy;
		struct buf out = {0};
		schema_encode(&odd_schema, &odd, &out);
		assert_true(schema_decode(&odd_schema, buf_slice(&out), &arena, &copy));
		assert_true(copy.signed_number == values[i]);
		assert_true(copy.flag);
		buf_close(&out);
	}
	struct odd copy;
	const struct slice too_large = slice_text("\x81\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff");
	assert_false(schema_decode(&odd_schema, too_large, &arena, &copy));
	arena_close(&arena);
}

static void test_unknown_fields_between_known_ones_are_skipped(void **state)
{
	(void)state;
	static const uint8_t bytes[] = {0x86, 1,    0xc0, 2,    0xff, 3, 0x91, 0x80,
					5,    0xc3, 7,    0xa1, 'x',  9, 44};
	struct arena arena = {0};
	struct odd odd;
	assert_true(schema_decode(&odd_schema, slice_of(bytes, sizeof bytes), &arena, &odd));
	assert_true(odd.signed_number == -1);
	assert_true(odd.flag);
	assert_int_equal(odd.number, 44);
	arena_close(&arena);
}

/* ---- printing ---- */

static void test_printing(void **state)
{
	(void)state;
	struct revision expected[] = {{.generation = 1, .hash = slice_text("ab")},
				      {.generation = 2, .hash = slice_of("\0\xff", 2)}};
	struct msg_doc_write write = {.shard = 7,
				      .op = WRITE_PUT,
				      .id = slice_text("a b"),
				      .body =
					  slice_text("0123456789012345678901234567890123456789"),
				      .expected = expected,
				      .expected_count = 2,
				      .branch = true};
	struct buf out = {0};
	schema_print(&schema_msg_doc_write, &write, &out);
	assert_string_equal(buf_cstr(&out),
			    "doc_write{shard=7 op=2 id=\"a b\" "
			    "body=\"01234567890123456789012345678901\"..(40) "
			    "expected=[{generation=1 hash=\"ab\"} {generation=2 hash=0x00ff}] "
			    "operation_id=\"\" branch=true}");
	buf_close(&out);
}

static void test_long_lists_are_cut_when_printed(void **state)
{
	(void)state;
	uint64_t shards[LIMIT_SHARDS] = {0};
	struct msg_arbiter_lease_ack ack = {.shards = shards, .shards_count = 20, .ttl_ms = 5};
	struct buf out = {0};
	schema_print(&schema_msg_arbiter_lease_ack, &ack, &out);
	assert_string_equal(buf_cstr(&out), "arbiter_lease_ack{shards=[0 0 0 0 0 0 0 0 0 0 0 0 0 0 "
					    "0 0 ..(20)] ttl_ms=5}");
	buf_close(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows_ascend_and_have_limits),
	    cmocka_unit_test(test_messages_are_found_by_number),
	    cmocka_unit_test(test_the_bytes_of_a_struct),
	    cmocka_unit_test(test_zero_and_empty_optional_fields_are_left_out),
	    cmocka_unit_test(test_random_values_survive_a_round_trip),
	    cmocka_unit_test(test_values_are_compared),
	    cmocka_unit_test(test_differences_are_seen),
	    cmocka_unit_test(test_a_seed_gives_the_same_value_again),
	    cmocka_unit_test(test_damaged_encodings_are_refused_or_mean_something),
	    cmocka_unit_test(test_every_truncation_is_refused),
	    cmocka_unit_test(test_required_fields_must_be_there),
	    cmocka_unit_test(test_numbers_must_ascend),
	    cmocka_unit_test(test_unknown_fields_are_skipped),
	    cmocka_unit_test(test_values_must_have_their_type),
	    cmocka_unit_test(test_limits_hold_at_and_past),
	    cmocka_unit_test(test_members_of_byte_lists_are_limited),
	    cmocka_unit_test(test_a_false_count_takes_no_memory),
	    cmocka_unit_test(test_signed_fields),
	    cmocka_unit_test(test_unknown_fields_between_known_ones_are_skipped),
	    cmocka_unit_test(test_printing),
	    cmocka_unit_test(test_long_lists_are_cut_when_printed),
	};
	return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
