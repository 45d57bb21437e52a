#include "proto/schema_random.h"

#include "common/base/check.h"

enum { SMALL_BYTES = 24, LARGE_BYTES = 1024, RANDOM_MEMBERS = 4, FIXED_MEMBERS = 2 };

/* Hands out the parts of a value; rng NULL: the fixed ones. */
struct maker {
	struct rng *rng;
	struct arena *arena;
};

static uint64_t make_u64(struct maker *m, const struct schema_field *f)
{
	uint64_t greatest = f->limit ? f->limit : UINT64_MAX;
	if (!m->rng)
		return f->limit ? f->limit : f->number * UINT64_C(1000003);
	uint64_t v = rng_next(m->rng);
	switch (rng_below(m->rng, 4)) {
	case 0:
		return 0;
	case 1:
		return greatest;
	case 2:
		/* Each width of the encoding is as likely as the next. */
		v >>= rng_below(m->rng, 64);
		break;
	default:
		break;
	}
	return v > greatest ? v % greatest : v;
}

static int64_t make_i64(struct maker *m, const struct schema_field *f)
{
	if (!m->rng)
		return -(int64_t)f->number;
	uint64_t bits = rng_next(m->rng);
	int64_t v = (int64_t)(bits >> rng_below(m->rng, 64));
	return rng_chance(m->rng, 500000) ? v : -(v >> 1);
}

static struct slice make_bin(struct maker *m, const char *name, uint64_t limit)
{
	if (!m->rng) {
		struct slice text = slice_text(name);
		text.len = text.len < limit ? text.len : limit;
		return arena_copy(m->arena, text);
	}
	uint64_t most = rng_chance(m->rng, 20000) ? LARGE_BYTES : SMALL_BYTES;
	if (most > limit)
		most = limit;
	size_t len = (size_t)rng_below(m->rng, most + 1);
	if (len == 0)
		return (struct slice){0};
	uint8_t *bytes = arena_alloc(m->arena, len);
	rng_fill(m->rng, bytes, len);
	return slice_of(bytes, len);
}

static void make_struct(struct maker *m, const struct schema *schema, void *value);

static size_t member_size(const struct schema_field *f)
{
	if (f->type == SCHEMA_LIST)
		return f->nested->size;
	return f->type == SCHEMA_LIST_U64 ? sizeof(uint64_t) : sizeof(struct slice);
}

static void make_list(struct maker *m, const struct schema_field *f, uint8_t *value)
{
	uint64_t count = m->rng ? rng_below(m->rng, RANDOM_MEMBERS) : FIXED_MEMBERS;
	uint32_t members = (uint32_t)(count < f->limit ? count : f->limit);
	if (members == 0)
		return;
	size_t step = member_size(f);
	uint8_t *items = arena_alloc(m->arena, members * step);
	memcpy(value + f->offset, &items, sizeof items);
	memcpy(value + f->count_offset, &members, sizeof members);
	for (uint8_t *at = items; at < items + members * step; at += step) {
		if (f->type == SCHEMA_LIST)
			make_struct(m, f->nested, at);
		else if (f->type == SCHEMA_LIST_U64)
			*(uint64_t *)(void *)at = m->rng ? rng_next(m->rng) : f->number;
		else
			*(struct slice *)(void *)at = make_bin(m, f->name, f->limit_bytes);
	}
}

static void make_field(struct maker *m, const struct schema_field *f, uint8_t *value)
{
	void *at = value + f->offset;
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		*(uint64_t *)at = make_u64(m, f);
		break;
	case SCHEMA_I64:
		*(int64_t *)at = make_i64(m, f);
		break;
	case SCHEMA_FLAG:
		*(bool *)at = m->rng ? rng_chance(m->rng, 500000) : true;
		break;
	case SCHEMA_BIN:
		*(struct slice *)at = make_bin(m, f->name, f->limit);
		break;
	case SCHEMA_ITEM:
		make_struct(m, f->nested, at);
		break;
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		make_list(m, f, value);
		break;
	}
}

static void make_struct(struct maker *m, const struct schema *schema, void *value)
{
	memset(value, 0, schema->size);
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		const struct schema_field *f = &schema->fields[i];
		bool absent = m->rng && !f->required && rng_chance(m->rng, 300000);
		if (!absent)
			make_field(m, f, value);
	}
}

void schema_random(const struct schema *schema, struct rng *rng, struct arena *arena, void *value)
{
	CHECK(rng != NULL);
	struct maker m = {rng, arena};
	make_struct(&m, schema, value);
}

void schema_fixed(const struct schema *schema, struct arena *arena, void *value)
{
	struct maker m = {NULL, arena};
	make_struct(&m, schema, value);
}
