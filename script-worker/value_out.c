/* From JavaScript to MessagePack. */
#include <math.h>
#include <stdlib.h>

#include "common/base/map.h"
#include "common/doc/utf8.h"
#include "proto/msgpack.h"
#include "script-worker/value.h"

enum {
	UTF8_BYTES_A_UNIT = 3,
	DEPTH_MAX = LIMIT_JSON_DEPTH + 4 /* results may wrap documents */
};

static const double TWO_63 = 9223372036854775808.0;
static const double TWO_64 = 18446744073709551616.0;

/* What one walk over a result shares. */
struct walk {
	struct values *v;
	struct buf *out;
	const char *why;
	JSValueRef exception;
	enum script_status status;
};

static bool refuse(struct walk *w, enum script_status status, const char *why)
{
	w->status = status;
	w->why = why;
	return false;
}

static bool threw(struct walk *w)
{
	return refuse(w, SCRIPT_THREW, "reading the result threw");
}

/* ---- strings ---- */

static void put_code(uint8_t *at, size_t *len, uint32_t code)
{
	static const uint8_t heads[] = {0, 0, 0xc0, 0xe0, 0xf0};
	size_t bytes = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = bytes; i-- > 0; code >>= 6)
		at[*len + i] = bytes == 1
				   ? (uint8_t)code
				   : (uint8_t)(i == 0 ? heads[bytes] | code : 0x80 | (code & 0x3f));
	*len += bytes;
}

/* False: a surrogate stands alone; U+FFFD stands in its place. */
static bool to_utf8(const JSChar *units, size_t count, uint8_t *at, size_t *len)
{
	bool well = true;
	*len = 0;
	for (size_t i = 0; i < count; i++) {
		uint32_t code = units[i];
		if (code >= 0xd800 && code < 0xdc00 && i + 1 < count && units[i + 1] >= 0xdc00 &&
		    units[i + 1] < 0xe000) {
			code = 0x10000 + ((code - 0xd800) << 10) + (units[++i] - 0xdc00u);
		} else if (code >= 0xd800 && code < 0xe000) {
			code = 0xfffd;
			well = false;
		}
		put_code(at, len, code);
	}
	return well;
}

/* The text in memory of the arena. */
static bool string_bytes(struct walk *w, JSStringRef string, struct slice *out)
{
	size_t count = JSStringGetLength(string), len;
	if (count > SCRIPT_OUTPUT_BYTES_MAX)
		return refuse(w, SCRIPT_TOO_LARGE, "a string of the result is too long");
	uint8_t *at = arena_alloc(&w->v->arena, count * UTF8_BYTES_A_UNIT + 1);
	bool well = to_utf8(JSStringGetCharactersPtr(string), count, at, &len);
	*out = slice_of(at, len);
	return well || refuse(w, SCRIPT_BAD_RESULT, "half a character in a string");
}

static bool write_string(struct walk *w, JSValueRef value)
{
	struct slice text;
	JSStringRef string = JSValueToStringCopy(w->v->ctx, value, &w->exception);
	if (!string)
		return threw(w);
	struct arena_mark mark = arena_mark(&w->v->arena);
	bool ok = string_bytes(w, string, &text);
	if (ok)
		mp_write_str(w->out, text);
	arena_rewind(&w->v->arena, mark);
	JSStringRelease(string);
	return ok;
}

void values_print_text(JSStringRef text, struct buf *out)
{
	enum { UNITS = SCRIPT_TEXT_BYTES_MAX / UTF8_BYTES_A_UNIT };
	uint8_t bytes[UNITS * (UTF8_BYTES_A_UNIT + 1)];
	size_t count = JSStringGetLength(text), len;
	to_utf8(JSStringGetCharactersPtr(text), count < UNITS ? count : UNITS, bytes, &len);
	for (size_t i = 0; i < len; i++)
		if (bytes[i] < 0x20 || bytes[i] == 0x7f)
			bytes[i] = ' ';
	buf_append(out, bytes, len);
}

/* ---- numbers ---- */

/* `from` is what stood there in the arguments, if it came from them: 1 may have been 1.0. */
static bool write_number(struct walk *w, double number, struct slice from)
{
	struct mp_reader r = mp_reader_of(from);
	struct mp_token t = mp_read(&r);
	if (!isfinite(number))
		return refuse(w, SCRIPT_BAD_RESULT, "NaN or Infinity is no JSON");
	if (t.type == MP_DOUBLE && t.number <= number && t.number >= number)
		buf_append_slice(w->out, from);
	else if (trunc(number) < number || trunc(number) > number)
		mp_write_double(w->out, number);
	else if (number >= 0 && number < TWO_64)
		mp_write_u64(w->out, (uint64_t)number);
	else if (number < 0 && number >= -TWO_63)
		mp_write_i64(w->out, (int64_t)number);
	else
		mp_write_double(w->out, number);
	return true;
}

static bool write_bigint(struct walk *w, JSValueRef value)
{
	JSContextRef ctx = w->v->ctx;
	if (JSValueCompareInt64(ctx, value, 0, NULL) == kJSRelationConditionLessThan) {
		if (JSValueCompareInt64(ctx, value, INT64_MIN, NULL) ==
		    kJSRelationConditionLessThan)
			return refuse(w, SCRIPT_BAD_RESULT, "a BigInt beyond 64 bits");
		mp_write_i64(w->out, JSValueToInt64(ctx, value, NULL));
		return true;
	}
	if (JSValueCompareUInt64(ctx, value, UINT64_MAX, NULL) == kJSRelationConditionGreaterThan)
		return refuse(w, SCRIPT_BAD_RESULT, "a BigInt beyond 64 bits");
	mp_write_u64(w->out, JSValueToUInt64(ctx, value, NULL));
	return true;
}

/* ---- arrays and objects ---- */

static struct slice origin_of(const struct values *v, JSObjectRef object)
{
	size_t low = 0, high = v->origins_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if ((uintptr_t)v->origins[mid].object < (uintptr_t)object)
			low = mid + 1;
		else
			high = mid;
	}
	bool found = low < v->origins_count && v->origins[low].object == object;
	return found ? v->origins[low].bytes : slice_of(NULL, 0);
}

static bool write_any(struct walk *w, JSValueRef value, struct slice from, uint32_t depth);

/* The next value of the original; empty when there is none. */
static struct slice next_of(struct mp_reader *r)
{
	return mp_at_end(r) ? slice_of(NULL, 0) : mp_value(r);
}

static bool array_length(struct walk *w, JSObjectRef array, uint32_t *count)
{
	JSStringRef name = JSStringCreateWithUTF8CString("length");
	JSValueRef length = JSObjectGetProperty(w->v->ctx, array, name, &w->exception);
	JSStringRelease(name);
	double number = w->exception ? 0 : JSValueToNumber(w->v->ctx, length, &w->exception);
	if (w->exception)
		return threw(w);
	if (!(number >= 0 && number <= SCRIPT_OUTPUT_BYTES_MAX))
		return refuse(w, SCRIPT_TOO_LARGE, "an array of the result is too long");
	*count = (uint32_t)number;
	return true;
}

static bool write_array(struct walk *w, JSObjectRef array, uint32_t depth)
{
	uint32_t count;
	if (!array_length(w, array, &count))
		return false;
	struct slice from = origin_of(w->v, array);
	struct mp_reader r = mp_reader_of(from);
	mp_write_array(w->out, count);
	for (uint32_t i = 0; i < count; i++) {
		JSValueRef member = JSObjectGetPropertyAtIndex(w->v->ctx, array, i, &w->exception);
		if (w->exception)
			return threw(w);
		struct slice was = next_of(&r);
		if (JSValueIsUndefined(w->v->ctx, member))
			mp_write_nil(w->out);
		else if (!write_any(w, member, was, depth))
			return false;
	}
	return true;
}

/* A member of an object, with where it stood in the one it came from. */
struct member {
	JSStringRef name; /* borrowed */
	struct slice key;
	struct slice from;
	JSValueRef value;
	size_t place;
};

static int compare_places(const void *x, const void *y)
{
	const struct member *a = x, *b = y;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* The engine puts names that are integers first; members that the original had take its order, the
 * others follow in theirs. */
static void restore_order(struct slice origin, struct member *members, size_t count)
{
	struct map places = {0};
	struct mp_reader r = mp_reader_of(origin);
	if (origin.len == 0)
		return;
	for (size_t i = 0; i < count; i++)
		map_put(&places, members[i].key, &members[i]);
	for (size_t place = 0; !mp_at_end(&r); place++) {
		struct mp_token key = mp_read(&r);
		struct slice value = mp_value(&r);
		struct member *m = map_get(&places, key.bytes);
		if (!m)
			continue;
		m->place = place;
		m->from = value;
	}
	map_close(&places);
	qsort(members, count, sizeof *members, compare_places);
}

static bool read_member(struct walk *w, JSObjectRef object, JSStringRef name, struct member *out)
{
	*out = (struct member){.name = name};
	out->value = JSObjectGetProperty(w->v->ctx, object, name, &w->exception);
	if (w->exception)
		return threw(w);
	return string_bytes(w, name, &out->key);
}

/* Values are read in the engine's order, before any is written: a getter may change what follows.
 */
static bool write_members(struct walk *w, JSObjectRef object, JSPropertyNameArrayRef names,
			  uint32_t depth)
{
	size_t count = JSPropertyNameArrayGetCount(names), present = 0;
	struct member *members = arena_alloc(&w->v->arena, (count + 1) * sizeof *members);
	JSValueRef *held = arena_alloc(&w->v->arena, (count + 1) * sizeof *held);
	for (size_t i = 0; i < count; i++) {
		JSStringRef name = JSPropertyNameArrayGetNameAtIndex(names, i);
		struct member *m = &members[present];
		if (!read_member(w, object, name, m))
			return false;
		m->place = LIMIT_MESSAGE_BYTES + i;
		held[present] = m->value;
		present += !JSValueIsUndefined(w->v->ctx, m->value);
	}
	/* what getters returned is nowhere else */
	JSObjectRef keep = JSObjectMakeArray(w->v->ctx, present, held, &w->exception);
	if (!keep)
		return threw(w);
	JSValueProtect(w->v->ctx, keep);
	restore_order(origin_of(w->v, object), members, present);
	mp_write_map(w->out, (uint32_t)present);
	bool ok = true;
	for (size_t i = 0; ok && i < present; i++) {
		mp_write_str(w->out, members[i].key);
		ok = write_any(w, members[i].value, members[i].from, depth);
	}
	JSValueUnprotect(w->v->ctx, keep);
	return ok;
}

static bool write_map(struct walk *w, JSObjectRef object, uint32_t depth)
{
	JSPropertyNameArrayRef names = JSObjectCopyPropertyNames(w->v->ctx, object);
	struct arena_mark mark = arena_mark(&w->v->arena);
	bool ok = write_members(w, object, names, depth);
	arena_rewind(&w->v->arena, mark);
	JSPropertyNameArrayRelease(names);
	return ok;
}

/* Made by {} or Object.create(null): instances of classes, dates, maps, errors are no JSON. */
static bool is_plain(const struct values *v, JSObjectRef object)
{
	JSValueRef prototype = JSObjectGetPrototype(v->ctx, object);
	return !JSObjectIsFunction(v->ctx, object) &&
	       (JSValueIsNull(v->ctx, prototype) ||
		JSValueIsStrictEqual(v->ctx, prototype, v->object_prototype));
}

static bool write_object(struct walk *w, JSObjectRef object, uint32_t depth)
{
	if (JSValueIsObjectOfClass(w->v->ctx, object, w->v->exact_class)) {
		const struct slice *text = JSObjectGetPrivate(object);
		mp_write_ext(w->out, MP_EXT_NUMBER, *text);
		return true;
	}
	if (depth == DEPTH_MAX)
		return refuse(w, SCRIPT_BAD_RESULT, "the result is too deep, or a cycle");
	if (JSValueIsArray(w->v->ctx, object))
		return write_array(w, object, depth + 1);
	if (!is_plain(w->v, object))
		return refuse(w, SCRIPT_BAD_RESULT,
			      "only plain objects and arrays are JSON, no functions, classes, "
			      "dates or promises");
	return write_map(w, object, depth + 1);
}

static bool write_any(struct walk *w, JSValueRef value, struct slice from, uint32_t depth)
{
	JSContextRef ctx = w->v->ctx;
	if (w->out->len > SCRIPT_OUTPUT_BYTES_MAX)
		return refuse(w, SCRIPT_TOO_LARGE, "the result is too large");
	switch (JSValueGetType(ctx, value)) {
	case kJSTypeNull:
		mp_write_nil(w->out);
		return true;
	case kJSTypeBoolean:
		mp_write_bool(w->out, JSValueToBoolean(ctx, value));
		return true;
	case kJSTypeNumber:
		return write_number(w, JSValueToNumber(ctx, value, NULL), from);
	case kJSTypeString:
		return write_string(w, value);
	case kJSTypeBigInt:
		return write_bigint(w, value);
	case kJSTypeObject:
		return write_object(w, JSValueToObject(ctx, value, NULL), depth);
	case kJSTypeUndefined:
		return refuse(w, SCRIPT_BAD_RESULT, "nothing was returned");
	case kJSTypeSymbol:
		break;
	}
	return refuse(w, SCRIPT_BAD_RESULT, "a symbol is no JSON");
}

enum script_status values_write(struct values *v, JSValueRef value, struct buf *out,
				const char **why, JSValueRef *exception)
{
	struct walk w = {.v = v, .out = out, .status = SCRIPT_OK};
	size_t start = out->len;
	bool ok = write_any(&w, value, slice_of(NULL, 0), 0);
	if (ok && out->len - start > SCRIPT_OUTPUT_BYTES_MAX)
		ok = refuse(&w, SCRIPT_TOO_LARGE, "the result is too large");
	if (!ok)
		out->len = start;
	*why = w.why;
	*exception = w.exception;
	return w.status;
}
