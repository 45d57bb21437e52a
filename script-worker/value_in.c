/* From MessagePack to JavaScript. */
#include <stdlib.h>

#include "common/base/memory.h"
#include "proto/msgpack.h"
#include "script-worker/value.h"

/* Integers up to here are the same as doubles. */
static const uint64_t EXACT_INTEGERS = UINT64_C(1) << 53;

/* ---- numbers kept as text ---- */

static JSValueRef exact_convert(JSContextRef ctx, JSObjectRef object, JSType type,
				JSValueRef *exception)
{
	const struct slice *text = JSObjectGetPrivate(object);
	char *copy = mem_alloc(text->len + 1);
	memcpy(copy, text->data, text->len);
	copy[text->len] = '\0';
	JSStringRef string = JSStringCreateWithUTF8CString(copy);
	JSValueRef value = JSValueMakeString(ctx, string);
	if (type == kJSTypeNumber)
		value = JSValueMakeNumber(ctx, JSValueToNumber(ctx, value, exception));
	JSStringRelease(string);
	free(copy);
	return value;
}

JSClassRef values_exact_class_new(void)
{
	JSClassDefinition definition = kJSClassDefinitionEmpty;
	definition.className = "ExactNumber";
	definition.convertToType = exact_convert;
	return JSClassCreate(&definition);
}

/* ---- life ---- */

void values_open(struct values *v, JSContextRef ctx, JSClassRef exact_class)
{
	*v = (struct values){.ctx = ctx, .exact_class = exact_class};
	v->object_prototype = JSObjectGetPrototype(ctx, JSObjectMake(ctx, NULL, NULL));
}

void values_close(struct values *v)
{
	if (v->keep)
		JSValueUnprotect(v->ctx, v->keep);
	free(v->origins);
	arena_close(&v->arena);
}

/* ---- reading ---- */

static void remember(struct values *v, JSObjectRef object, struct slice bytes)
{
	if (v->origins_count == v->origins_cap) {
		v->origins_cap = v->origins_cap ? 2 * v->origins_cap : 64;
		v->origins = mem_realloc(v->origins, v->origins_cap * sizeof *v->origins);
	}
	v->origins[v->origins_count++] = (struct origin){object, bytes};
}

static bool is_plain(struct slice text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] == 0 || text.data[i] >= 0x80)
			return false;
	return true;
}

/* One sequence of UTF-8; U+FFFD and one byte for what is none. */
static uint32_t next_code(struct slice text, size_t *at)
{
	uint8_t head = text.data[*at];
	size_t more = head >= 0xf0 ? 3 : head >= 0xe0 ? 2 : head >= 0xc0 ? 1 : 0;
	uint32_t code = more == 0 ? head : head & (0x3fu >> more);
	(*at)++;
	if (head < 0x80)
		return code;
	if (more == 0 || more > text.len - *at)
		return 0xfffd;
	for (size_t i = 0; i < more; i++)
		code = code << 6 | (text.data[*at + i] & 0x3fu);
	*at += more;
	return code <= 0x10ffff ? code : 0xfffd;
}

JSStringRef values_string(struct values *v, struct slice text)
{
	struct arena_mark mark = arena_mark(&v->arena);
	JSStringRef string;
	if (is_plain(text)) {
		char *copy = arena_alloc(&v->arena, text.len + 1);
		if (text.len > 0)
			memcpy(copy, text.data, text.len);
		string = JSStringCreateWithUTF8CString(copy);
	} else {
		JSChar *units = arena_alloc(&v->arena, text.len * sizeof *units);
		size_t count = 0;
		for (size_t at = 0; at < text.len;) {
			uint32_t code = next_code(text, &at);
			if (code >= 0x10000) {
				units[count++] = (JSChar)(0xd800 + ((code - 0x10000) >> 10));
				code = 0xdc00 + ((code - 0x10000) & 0x3ff);
			}
			units[count++] = (JSChar)code;
		}
		string = JSStringCreateWithCharacters(units, count);
	}
	arena_rewind(&v->arena, mark);
	return string;
}

static JSValueRef read_value(struct values *v, struct mp_reader *r);

static JSValueRef read_array(struct values *v, struct mp_reader *r, uint32_t count)
{
	const uint8_t *from = r->at;
	JSObjectRef array = JSObjectMakeArray(v->ctx, 0, NULL, NULL);
	for (uint32_t i = 0; i < count; i++) {
		JSValueRef member = read_value(v, r);
		if (!member)
			return NULL;
		JSObjectSetPropertyAtIndex(v->ctx, array, i, member, NULL);
	}
	remember(v, array, slice_of(from, (size_t)(r->at - from)));
	return array;
}

static JSValueRef read_map(struct values *v, struct mp_reader *r, uint32_t count)
{
	const uint8_t *from = r->at;
	JSObjectRef map = JSObjectMake(v->ctx, NULL, NULL);
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token key = mp_read(r);
		if (key.type != MP_STR)
			return NULL;
		JSValueRef member = read_value(v, r);
		if (!member)
			return NULL;
		JSStringRef name = values_string(v, key.bytes);
		JSObjectSetProperty(v->ctx, map, name, member, kJSPropertyAttributeNone, NULL);
		JSStringRelease(name);
	}
	remember(v, map, slice_of(from, (size_t)(r->at - from)));
	return map;
}

static JSValueRef read_exact(struct values *v, const struct mp_token *t)
{
	if (t->ext_type != MP_EXT_NUMBER)
		return NULL;
	struct slice *text = arena_alloc(&v->arena, sizeof *text);
	*text = t->bytes;
	JSObjectRef object = JSObjectMake(v->ctx, v->exact_class, text);
	remember(v, object, t->bytes);
	return object;
}

/* NULL: no value that a document may hold. The depth is bounded: the bytes were skipped over. */
static JSValueRef read_value(struct values *v, struct mp_reader *r)
{
	struct mp_token t = mp_read(r);
	JSValueRef value;
	JSStringRef string;
	switch (t.type) {
	case MP_NIL:
		return JSValueMakeNull(v->ctx);
	case MP_BOOL:
		return JSValueMakeBoolean(v->ctx, t.flag);
	case MP_UINT:
		return t.u64 <= EXACT_INTEGERS ? JSValueMakeNumber(v->ctx, (double)t.u64)
					       : JSBigIntCreateWithUInt64(v->ctx, t.u64, NULL);
	case MP_INT:
		return t.i64 >= -(int64_t)EXACT_INTEGERS
			   ? JSValueMakeNumber(v->ctx, (double)t.i64)
			   : JSBigIntCreateWithInt64(v->ctx, t.i64, NULL);
	case MP_DOUBLE:
		return JSValueMakeNumber(v->ctx, t.number);
	case MP_STR:
		string = values_string(v, t.bytes);
		value = JSValueMakeString(v->ctx, string);
		JSStringRelease(string);
		return value;
	case MP_ARRAY:
		return read_array(v, r, t.count);
	case MP_MAP:
		return read_map(v, r, t.count);
	case MP_EXT:
		return read_exact(v, &t);
	case MP_BIN:
	case MP_INVALID:
		break;
	}
	return NULL;
}

static int compare_origins(const void *x, const void *y)
{
	uintptr_t a = (uintptr_t)((const struct origin *)x)->object;
	uintptr_t b = (uintptr_t)((const struct origin *)y)->object;
	return a < b ? -1 : a > b;
}

static void keep_origins(struct values *v)
{
	JSValueRef *objects = arena_alloc(&v->arena, (v->origins_count + 1) * sizeof *objects);
	for (size_t i = 0; i < v->origins_count; i++)
		objects[i] = v->origins[i].object;
	v->keep = JSObjectMakeArray(v->ctx, v->origins_count, objects, NULL);
	if (v->keep)
		JSValueProtect(v->ctx, v->keep);
	if (v->origins_count > 0)
		qsort(v->origins, v->origins_count, sizeof *v->origins, compare_origins);
}

JSValueRef *values_read_list(struct values *v, struct slice array, uint32_t *count)
{
	struct mp_reader r = mp_reader_of(array);
	if (!mp_valid(array) || mp_peek(&r) != MP_ARRAY)
		return NULL;
	JSValueRef list = read_value(v, &r);
	if (!list)
		return NULL;
	keep_origins(v); /* the list itself is among them */
	r = mp_reader_of(array);
	*count = mp_read(&r).count;
	JSValueRef *members = arena_alloc(&v->arena, (*count + 1) * sizeof *members);
	for (uint32_t i = 0; i < *count; i++)
		members[i] = JSObjectGetPropertyAtIndex(v->ctx, (JSObjectRef)list, i, NULL);
	return members;
}
