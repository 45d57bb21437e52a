#include "proto/schema.h"

#include "common/base/check.h"
#include "proto/msgpack.h"

enum { SCHEMA_LEVELS = 8, PRINT_BYTES = 32, PRINT_MEMBERS = 16 };

/* ---- access to the C structs through rows ---- */

static const void *field_at(const struct schema_field *f, const void *value)
{
	return (const uint8_t *)value + f->offset;
}

static uint32_t list_count(const struct schema_field *f, const void *value)
{
	return *(const uint32_t *)(const void *)((const uint8_t *)value + f->count_offset);
}

/* Copied, not cast: a pointer to some struct must not be read as a pointer to void. */
static const uint8_t *list_items(const struct schema_field *f, const void *value)
{
	const uint8_t *items;
	memcpy(&items, field_at(f, value), sizeof items);
	return items;
}

static size_t member_size(const struct schema_field *f)
{
	if (f->type == SCHEMA_LIST)
		return f->nested->size;
	return f->type == SCHEMA_LIST_U64 ? sizeof(uint64_t) : sizeof(struct slice);
}

static bool struct_is_empty(const struct schema *schema, const void *value);

static bool field_is_empty(const struct schema_field *f, const void *value)
{
	const void *at = field_at(f, value);
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		return *(const uint64_t *)at == 0;
	case SCHEMA_I64:
		return *(const int64_t *)at == 0;
	case SCHEMA_FLAG:
		return !*(const bool *)at;
	case SCHEMA_BIN:
		return ((const struct slice *)at)->len == 0;
	case SCHEMA_ITEM:
		return struct_is_empty(f->nested, at);
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		return list_count(f, value) == 0;
	}
	return true;
}

static bool struct_is_empty(const struct schema *schema, const void *value)
{
	for (uint32_t i = 0; i < schema->fields_count; i++)
		if (!field_is_empty(&schema->fields[i], value))
			return false;
	return true;
}

/* ---- comparing ---- */

static bool same_bytes(const void *a, const void *b)
{
	return slice_equal(*(const struct slice *)a, *(const struct slice *)b);
}

static bool same_list(const struct schema_field *f, const void *a, const void *b)
{
	uint32_t count = list_count(f, a);
	const uint8_t *x = list_items(f, a);
	const uint8_t *y = list_items(f, b);
	size_t step = member_size(f);
	if (count != list_count(f, b))
		return false;
	for (uint32_t i = 0; i < count; i++, x += step, y += step) {
		bool same;
		if (f->type == SCHEMA_LIST)
			same = schema_same(f->nested, x, y);
		else if (f->type == SCHEMA_LIST_U64)
			same = memcmp(x, y, step) == 0;
		else
			same = same_bytes(x, y);
		if (!same)
			return false;
	}
	return true;
}

static bool same_field(const struct schema_field *f, const void *a, const void *b)
{
	const void *x = field_at(f, a);
	const void *y = field_at(f, b);
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
	case SCHEMA_I64:
		return memcmp(x, y, sizeof(uint64_t)) == 0;
	case SCHEMA_FLAG:
		return *(const bool *)x == *(const bool *)y;
	case SCHEMA_BIN:
		return same_bytes(x, y);
	case SCHEMA_ITEM:
		return schema_same(f->nested, x, y);
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		return same_list(f, a, b);
	}
	return false;
}

bool schema_same(const struct schema *schema, const void *a, const void *b)
{
	for (uint32_t i = 0; i < schema->fields_count; i++)
		if (!same_field(&schema->fields[i], a, b))
			return false;
	return true;
}

/* ---- encoding ---- */

static void encode_list(const struct schema_field *f, const void *value, struct buf *out)
{
	uint32_t count = list_count(f, value);
	const uint8_t *at = list_items(f, value);
	size_t step = member_size(f);
	CHECK(count <= f->limit);
	mp_write_array(out, count);
	for (uint32_t i = 0; i < count; i++, at += step) {
		if (f->type == SCHEMA_LIST) {
			schema_encode(f->nested, at, out);
		} else if (f->type == SCHEMA_LIST_U64) {
			mp_write_u64(out, *(const uint64_t *)(const void *)at);
		} else {
			struct slice bytes = *(const struct slice *)(const void *)at;
			CHECK(bytes.len <= f->limit_bytes);
			mp_write_bin(out, bytes);
		}
	}
}

static void encode_field(const struct schema_field *f, const void *value, struct buf *out)
{
	const void *at = field_at(f, value);
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		CHECK(f->limit == 0 || *(const uint64_t *)at <= f->limit);
		mp_write_u64(out, *(const uint64_t *)at);
		break;
	case SCHEMA_I64:
		mp_write_i64(out, *(const int64_t *)at);
		break;
	case SCHEMA_FLAG:
		mp_write_bool(out, *(const bool *)at);
		break;
	case SCHEMA_BIN:
		CHECK(((const struct slice *)at)->len <= f->limit);
		mp_write_bin(out, *(const struct slice *)at);
		break;
	case SCHEMA_ITEM:
		schema_encode(f->nested, at, out);
		break;
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		encode_list(f, value, out);
		break;
	}
}

void schema_encode(const struct schema *schema, const void *value, struct buf *out)
{
	uint64_t present = 0;
	uint32_t count = 0;
	CHECK(schema->fields_count <= 64);
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		const struct schema_field *f = &schema->fields[i];
		if (!f->required && field_is_empty(f, value))
			continue;
		present |= UINT64_C(1) << i;
		count++;
	}
	mp_write_map(out, count);
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		if (!(present >> i & 1))
			continue;
		mp_write_u64(out, schema->fields[i].number);
		encode_field(&schema->fields[i], value, out);
	}
}

/* ---- decoding ---- */

/* What one decoding shares. */
struct decoder {
	struct mp_reader bytes;
	struct arena *arena;
	unsigned level;
};

static bool decode_struct(struct decoder *d, const struct schema *schema, void *value);

static bool decode_bin(struct decoder *d, uint64_t limit, struct slice *out)
{
	struct slice bytes;
	if (!mp_read_bin(&d->bytes, &bytes) || bytes.len > limit)
		return false;
	*out = bytes;
	return true;
}

static bool decode_u64(struct decoder *d, uint64_t limit, uint64_t *out)
{
	uint64_t v;
	if (!mp_read_uint(&d->bytes, &v) || (limit > 0 && v > limit))
		return false;
	*out = v;
	return true;
}

static bool decode_i64(struct decoder *d, int64_t *out)
{
	struct mp_token t = mp_read(&d->bytes);
	if (t.type == MP_INT)
		*out = t.i64;
	else if (t.type == MP_UINT && t.u64 <= INT64_MAX)
		*out = (int64_t)t.u64;
	else
		return false;
	return true;
}

static bool decode_flag(struct decoder *d, bool *out)
{
	struct mp_token t = mp_read(&d->bytes);
	if (t.type != MP_BOOL)
		return false;
	*out = t.flag;
	return true;
}

/* The fewest bytes that a member can take: a head, and a number and a value for each required
 * field. */
static size_t least_bytes(const struct schema_field *f)
{
	if (f->type != SCHEMA_LIST)
		return 1;
	size_t bytes = 1;
	for (uint32_t i = 0; i < f->nested->fields_count; i++)
		bytes += f->nested->fields[i].required ? 2 : 0;
	return bytes;
}

static bool decode_members(struct decoder *d, const struct schema_field *f, uint8_t *at,
			   uint32_t count)
{
	size_t step = member_size(f);
	for (uint32_t i = 0; i < count; i++, at += step) {
		bool ok;
		if (f->type == SCHEMA_LIST)
			ok = decode_struct(d, f->nested, at);
		else if (f->type == SCHEMA_LIST_U64)
			ok = decode_u64(d, 0, (uint64_t *)(void *)at);
		else
			ok = decode_bin(d, f->limit_bytes, (struct slice *)(void *)at);
		if (!ok)
			return false;
	}
	return true;
}

static bool decode_list(struct decoder *d, const struct schema_field *f, void *value)
{
	struct mp_token head = mp_read(&d->bytes);
	if (head.type != MP_ARRAY || head.count > f->limit)
		return false;
	if (head.count == 0)
		return true;
	size_t left = (size_t)(d->bytes.end - d->bytes.at);
	if (head.count > left / least_bytes(f))
		return false;
	void *items = arena_alloc(d->arena, head.count * member_size(f));
	memcpy((uint8_t *)value + f->offset, &items, sizeof items);
	memcpy((uint8_t *)value + f->count_offset, &head.count, sizeof head.count);
	return decode_members(d, f, items, head.count);
}

static bool decode_field(struct decoder *d, const struct schema_field *f, void *value)
{
	void *at = (uint8_t *)value + f->offset;
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		return decode_u64(d, f->limit, at);
	case SCHEMA_I64:
		return decode_i64(d, at);
	case SCHEMA_FLAG:
		return decode_flag(d, at);
	case SCHEMA_BIN:
		return decode_bin(d, f->limit, at);
	case SCHEMA_ITEM:
		return decode_struct(d, f->nested, at);
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		return decode_list(d, f, value);
	}
	return false;
}

/* Steps over rows below `number`, none of which may be required. */
static bool pass_absent(const struct schema *schema, uint32_t *row, uint64_t number)
{
	while (*row < schema->fields_count && schema->fields[*row].number < number) {
		if (schema->fields[*row].required)
			return false;
		++*row;
	}
	return true;
}

static bool decode_pairs(struct decoder *d, const struct schema *schema, void *value,
			 uint32_t pairs)
{
	uint32_t row = 0;
	uint64_t last = 0;
	for (uint32_t i = 0; i < pairs; i++) {
		uint64_t number;
		if (!mp_read_uint(&d->bytes, &number) || number <= last)
			return false;
		last = number;
		if (!pass_absent(schema, &row, last))
			return false;
		bool known = row < schema->fields_count && schema->fields[row].number == last;
		if (known ? !decode_field(d, &schema->fields[row++], value) : !mp_skip(&d->bytes))
			return false;
	}
	return pass_absent(schema, &row, UINT64_MAX);
}

static bool decode_struct(struct decoder *d, const struct schema *schema, void *value)
{
	uint32_t pairs;
	if (!mp_read_map(&d->bytes, &pairs) || d->level >= SCHEMA_LEVELS)
		return false;
	d->level++;
	bool ok = decode_pairs(d, schema, value, pairs);
	d->level--;
	return ok;
}

bool schema_decode(const struct schema *schema, struct slice bytes, struct arena *arena,
		   void *value)
{
	struct decoder d = {.bytes = mp_reader_of(bytes), .arena = arena};
	memset(value, 0, schema->size);
	if (decode_struct(&d, schema, value) && mp_at_end(&d.bytes))
		return true;
	memset(value, 0, schema->size);
	return false;
}

/* ---- printing ---- */

static void print_bin(struct slice bytes, struct buf *out)
{
	struct slice shown =
	    slice_of(bytes.data, bytes.len < PRINT_BYTES ? bytes.len : PRINT_BYTES);
	bool text = true;
	for (size_t i = 0; i < shown.len; i++)
		text =
		    text && shown.data[i] >= 0x20 && shown.data[i] < 0x7f && shown.data[i] != '"';
	buf_append_text(out, text ? "\"" : "0x");
	if (text)
		buf_append_slice(out, shown);
	else
		buf_append_hex(out, shown.data, shown.len);
	buf_append_text(out, text ? "\"" : "");
	if (shown.len < bytes.len)
		buf_printf(out, "..(%zu)", bytes.len);
}

static void print_fields(const struct schema *schema, const void *value, struct buf *out);

static void print_list(const struct schema_field *f, const void *value, struct buf *out)
{
	uint32_t count = list_count(f, value);
	const uint8_t *at = list_items(f, value);
	size_t step = member_size(f);
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < count && i < PRINT_MEMBERS; i++, at += step) {
		buf_append_text(out, i ? " " : "");
		if (f->type == SCHEMA_LIST)
			print_fields(f->nested, at, out);
		else if (f->type == SCHEMA_LIST_U64)
			buf_printf(out, "%llu",
				   (unsigned long long)*(const uint64_t *)(const void *)at);
		else
			print_bin(*(const struct slice *)(const void *)at, out);
	}
	if (count > PRINT_MEMBERS)
		buf_printf(out, " ..(%u)", count);
	buf_append_byte(out, ']');
}

static void print_field(const struct schema_field *f, const void *value, struct buf *out)
{
	const void *at = field_at(f, value);
	buf_printf(out, "%s=", f->name);
	switch ((enum schema_type)f->type) {
	case SCHEMA_U64:
		buf_printf(out, "%llu", (unsigned long long)*(const uint64_t *)at);
		break;
	case SCHEMA_I64:
		buf_printf(out, "%lld", (long long)*(const int64_t *)at);
		break;
	case SCHEMA_FLAG:
		buf_append_text(out, *(const bool *)at ? "true" : "false");
		break;
	case SCHEMA_BIN:
		print_bin(*(const struct slice *)at, out);
		break;
	case SCHEMA_ITEM:
		print_fields(f->nested, at, out);
		break;
	case SCHEMA_LIST:
	case SCHEMA_LIST_U64:
	case SCHEMA_LIST_BIN:
		print_list(f, value, out);
		break;
	}
}

static void print_fields(const struct schema *schema, const void *value, struct buf *out)
{
	bool first = true;
	buf_append_byte(out, '{');
	for (uint32_t i = 0; i < schema->fields_count; i++) {
		const struct schema_field *f = &schema->fields[i];
		if (!f->required && field_is_empty(f, value))
			continue;
		buf_append_text(out, first ? "" : " ");
		print_field(f, value, out);
		first = false;
	}
	buf_append_byte(out, '}');
}

void schema_print(const struct schema *schema, const void *value, struct buf *out)
{
	buf_append_text(out, schema->name);
	print_fields(schema, value, out);
}
