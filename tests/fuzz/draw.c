#include "tests/fuzz/draw.h"

#include "common/base/check.h"
#include "common/doc/json.h"

enum { MEMBERS_MAX = 4, RAW_MAX = 24, SMALL = 8, ENUM_MAX = 16 };

void draw_know(struct draw_known *known, const char *name, const uint64_t *values, uint32_t count)
{
	CHECK(known->count < DRAW_KNOWN_MAX && count <= DRAW_NUMBERS_MAX);
	struct draw_numbers *n = &known->numbers[known->count++];
	n->name = name;
	n->count = count;
	memcpy(n->values, values, count * sizeof *values);
}

uint8_t draw_byte(struct draw *d)
{
	if (d->rest.len == 0)
		return 0;
	uint8_t byte = d->rest.data[0];
	d->rest = slice_of(d->rest.data + 1, d->rest.len - 1);
	return byte;
}

uint64_t draw_below(struct draw *d, uint64_t n)
{
	uint64_t v = draw_byte(d);
	if (n > 256)
		v = v << 8 | draw_byte(d);
	return v % n;
}

struct slice draw_raw(struct draw *d, size_t bytes_max)
{
	size_t len = draw_below(d, bytes_max + 1);
	len = len < d->rest.len ? len : d->rest.len;
	struct slice raw = slice_of(d->rest.data, len);
	d->rest = slice_of(d->rest.data + len, d->rest.len - len);
	return raw;
}

/* ---- numbers ---- */

static uint64_t any_number(struct draw *d)
{
	uint64_t v = 0;
	for (int i = 0; i < 8; i++)
		v = v << 8 | draw_byte(d);
	return v;
}

static uint64_t known_number(struct draw *d, const char *name)
{
	for (uint32_t i = 0; i < d->numbers_count; i++)
		if (strcmp(d->numbers[i].name, name) == 0)
			return d->numbers[i].values[draw_below(d, d->numbers[i].count)];
	return draw_below(d, SMALL);
}

static uint64_t number(struct draw *d, const char *name, uint64_t limit)
{
	uint64_t v;
	if (limit > 0 && limit <= ENUM_MAX)
		return draw_below(d, limit + 1);
	switch (draw_below(d, 10)) {
	case 6:
		v = draw_below(d, SMALL);
		break;
	case 7:
		v = draw_below(d, 256);
		break;
	case 8:
		v = any_number(d);
		break;
	case 9:
		v = UINT64_MAX;
		break;
	default:
		v = known_number(d, name);
	}
	if (limit > 0 && v > limit)
		return v == UINT64_MAX ? limit : v % (limit + 1);
	return v;
}

/* ---- bytes ---- */

static bool known_text(struct draw *d, const struct schema_field *f, uint64_t limit,
		       struct slice *out)
{
	for (uint32_t i = 0; i < d->texts_count; i++) {
		const struct draw_texts *t = &d->texts[i];
		if (strcmp(t->name, f->name) != 0 || (t->limit && t->limit != limit))
			continue;
		*out = t->values[draw_below(d, t->count)];
		return out->len <= limit;
	}
	return false;
}

static struct slice filler(struct draw *d, size_t len)
{
	uint8_t *bytes = arena_alloc(d->arena, len + 1);
	memset(bytes, 'x', len);
	return slice_of(bytes, len);
}

static struct slice text(struct draw *d, const struct schema_field *f, uint64_t limit)
{
	struct slice out;
	uint64_t choice = draw_below(d, 10);
	if (choice < 7 && d->bin && d->bin(d, f, &out) && out.len <= limit)
		return out;
	if (choice < 7 && known_text(d, f, limit, &out))
		return out;
	if (choice == 7)
		return slice_of(NULL, 0);
	if (choice == 8)
		return filler(d, limit < LIMIT_POLICY_BYTES ? limit : LIMIT_POLICY_BYTES);
	return draw_raw(d, limit < RAW_MAX ? limit : RAW_MAX);
}

/* ---- structures ---- */

static void one(struct draw *d, const struct schema *schema, void *value)
{
	if (schema == &schema_revision && d->seen_count > 0 && draw_below(d, 4) < 3) {
		uint32_t known = d->seen_count < DRAW_SEEN_MAX ? d->seen_count : DRAW_SEEN_MAX;
		uint64_t age = draw_below(d, known);
		*(struct revision *)value = d->seen[(d->seen_count - 1 - age) % DRAW_SEEN_MAX];
	} else {
		draw_struct(d, schema, value);
	}
}

static size_t member_size(const struct schema_field *f)
{
	if (f->type == SCHEMA_LIST)
		return f->nested->size;
	return f->type == SCHEMA_LIST_U64 ? sizeof(uint64_t) : sizeof(struct slice);
}

static void list(struct draw *d, const struct schema_field *f, uint8_t *value)
{
	uint32_t count = (uint32_t)draw_below(d, MEMBERS_MAX + 1);
	size_t step = member_size(f);
	count = count < f->limit ? count : (uint32_t)f->limit;
	uint8_t *items = arena_alloc(d->arena, count * step + 1);
	for (uint8_t *at = items; at < items + count * step; at += step) {
		if (f->type == SCHEMA_LIST)
			one(d, f->nested, at);
		else if (f->type == SCHEMA_LIST_U64)
			*(uint64_t *)(void *)at = number(d, f->name, 0);
		else
			*(struct slice *)(void *)at = text(d, f, f->limit_bytes);
	}
	memcpy(value + f->offset, &items, sizeof items);
	memcpy(value + f->count_offset, &count, sizeof count);
}

static void field(struct draw *d, const struct schema_field *f, uint8_t *value)
{
	void *at = value + f->offset;
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		*(uint64_t *)at = number(d, f->name, f->limit);
		break;
	case SCHEMA_I64:
		*(int64_t *)at = (int64_t)number(d, f->name, 0);
		break;
	case SCHEMA_FLAG:
		*(bool *)at = draw_below(d, 2);
		break;
	case SCHEMA_BIN:
		*(struct slice *)at = text(d, f, f->limit);
		break;
	case SCHEMA_ITEM:
		one(d, f->nested, at);
		break;
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		list(d, f, value);
		break;
	}
}

void draw_struct(struct draw *d, const struct schema *schema, void *value)
{
	memset(value, 0, schema->size);
	for (uint32_t i = 0; i < schema->fields_count; i++)
		if (schema->fields[i].required || draw_below(d, 4) > 0)
			field(d, &schema->fields[i], value);
}

void *draw_new(struct draw *d, const struct schema *schema)
{
	void *value = arena_alloc(d->arena, schema->size);
	draw_struct(d, schema, value);
	return value;
}

struct slice draw_encoded(struct draw *d, const struct schema *schema)
{
	struct buf bytes = {0};
	schema_encode(schema, draw_new(d, schema), &bytes);
	struct slice copy = arena_copy(d->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return copy;
}

/* ---- what was seen ---- */

static void learn_revision(struct draw *d, const struct revision *r)
{
	uint32_t at = d->seen_count % DRAW_SEEN_MAX;
	if (r->hash.len == 0)
		return;
	memcpy(d->seen_hash[at], r->hash.data, r->hash.len);
	d->seen[at] = (struct revision){r->generation, slice_of(d->seen_hash[at], r->hash.len)};
	d->seen_count++;
}

void draw_learn(struct draw *d, const struct schema *schema, const void *value)
{
	const uint8_t *bytes = value;
	if (schema == &schema_revision)
		learn_revision(d, value);
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		const struct schema_field *f = &schema->fields[i];
		if (f->type == SCHEMA_ITEM)
			draw_learn(d, f->nested, bytes + f->offset);
		if (f->type != SCHEMA_LIST)
			continue;
		const uint8_t *items;
		uint32_t count;
		memcpy(&items, bytes + f->offset, sizeof items);
		memcpy(&count, bytes + f->count_offset, sizeof count);
		for (uint32_t k = 0; k < count; k++)
			draw_learn(d, f->nested, items + k * f->nested->size);
	}
}

uint32_t draw_kinds(enum role receiver, struct draw_kind kinds[DRAW_KINDS_MAX])
{
	uint32_t count = 0;
	for (uint32_t type = 1; type <= MSG_NUMBER_MAX; type++)
		for (enum role sender = ROLE_GATEWAY; sender <= ROLE_MAX; sender++)
			if (message_allowed((uint16_t)type, sender, receiver)) {
				CHECK(count < DRAW_KINDS_MAX);
				kinds[count++] = (struct draw_kind){(uint16_t)type, sender};
			}
	return count;
}

struct slice draw_json(struct arena *arena, const char *json)
{
	struct json_parser *parser = json_parser_new();
	struct buf packed = {0};
	struct json_error error;
	CHECK(json_to_msgpack(parser, slice_text(json), &packed, &error));
	struct slice copy = arena_copy(arena, buf_slice(&packed));
	buf_close(&packed);
	json_parser_free(parser);
	return copy;
}
