#include "script-worker/engine.h"

#include <jsc/jsc.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "proto/msgpack.h"
#include "script-worker/limits.h"
#include "script-worker/prelude.h"
#include "script-worker/value.h"

enum { STACK_BYTES = 2 * 1024 * 1024, HEAP_HINT_BYTES = 64 * 1024 * 1024 };

struct engine {
	JSContextGroupRef group;
	JSStringRef prelude;
	JSClassRef exact_class;
	struct buf text;
};

/* One call. */
struct run {
	struct engine *engine;
	JSGlobalContextRef ctx;
	struct values values;
	JSValueRef exception;
	struct buf *out;
};

/* No compiler that writes code at run time, and no thread beside this one. */
static bool set_options(struct buf *problem)
{
	static const char *const off[] = {"useJIT", "useConcurrentGC", "useConcurrentJIT",
					  "useSharedArrayBuffer"};
	const char *unknown = NULL;
	for (size_t i = 0; i < ARRAY_LEN(off); i++)
		if (!jsc_options_set_boolean(off[i], FALSE))
			unknown = off[i];
	if (!jsc_options_set_uint("numberOfGCMarkers", 1))
		unknown = "numberOfGCMarkers";
	if (!jsc_options_set_uint("maxPerThreadStackUsage", STACK_BYTES))
		unknown = "maxPerThreadStackUsage";
	if (!jsc_options_set_size("forceRAMSize", HEAP_HINT_BYTES))
		unknown = "forceRAMSize";
	if (unknown)
		buf_printf(problem, "this JavaScriptCore has no option %s", unknown);
	return unknown == NULL;
}

/* Finds what this engine offers, once. */
static bool survey(struct engine *e, struct buf *problem)
{
	JSValueRef exception = NULL;
	JSGlobalContextRef ctx = JSGlobalContextCreateInGroup(e->group, NULL);
	JSStringRef source = JSStringCreateWithUTF8CString(script_survey);
	JSValueRef made = JSEvaluateScript(ctx, source, NULL, NULL, 1, &exception);
	if (made && !exception)
		e->prelude = JSValueToStringCopy(ctx, made, &exception);
	JSStringRelease(source);
	JSGlobalContextRelease(ctx);
	if (!e->prelude)
		buf_append_text(problem, "the engine lacks what is to be taken from it");
	return e->prelude != NULL;
}

static bool warm_up(struct engine *e, struct buf *problem)
{
	static const uint8_t nothing[] = {0x90};
	struct buf out = {0};
	enum script_status status =
	    engine_run(e, slice_text(script_warm_up), slice_of(nothing, sizeof nothing), &out);
	if (status != SCRIPT_OK)
		buf_printf(problem, "the engine does not work: %s", buf_cstr(&out));
	buf_close(&out);
	return status == SCRIPT_OK;
}

struct engine *engine_new(struct buf *problem)
{
	if (!set_options(problem))
		return NULL;
	struct engine *e = mem_alloc_zero(sizeof *e);
	e->group = JSContextGroupCreate();
	e->exact_class = values_exact_class_new();
	if (survey(e, problem) && warm_up(e, problem))
		return e;
	engine_free(e);
	return NULL;
}

void engine_free(struct engine *e)
{
	JSClassRelease(e->exact_class);
	if (e->prelude)
		JSStringRelease(e->prelude);
	JSContextGroupRelease(e->group);
	buf_close(&e->text);
	free(e);
}

/* ---- what went wrong ---- */

/* A member of what was thrown, if it is a string; other values could run the script again to become
 * one. */
static JSStringRef string_member(const struct run *r, JSObjectRef object, const char *name)
{
	JSValueRef ignored = NULL;
	JSStringRef key = JSStringCreateWithUTF8CString(name);
	JSValueRef value = JSObjectGetProperty(r->ctx, object, key, &ignored);
	JSStringRelease(key);
	if (ignored || !value || !JSValueIsString(r->ctx, value))
		return NULL;
	return JSValueToStringCopy(r->ctx, value, &ignored);
}

static bool print_member(const struct run *r, JSObjectRef object, const char *name)
{
	JSStringRef text = string_member(r, object, name);
	if (!text)
		return false;
	values_print_text(text, r->out);
	JSStringRelease(text);
	return true;
}

static void print_exception(struct run *r)
{
	JSValueRef thrown = r->exception, ignored = NULL;
	size_t start = r->out->len;
	if (JSValueIsObject(r->ctx, thrown)) {
		JSObjectRef object = JSValueToObject(r->ctx, thrown, &ignored);
		if (print_member(r, object, "name"))
			buf_append_text(r->out, ": ");
		if (!print_member(r, object, "message"))
			buf_append_text(r->out, "thrown without a message");
	} else {
		JSStringRef text = JSValueToStringCopy(r->ctx, thrown, &ignored);
		if (text) {
			values_print_text(text, r->out);
			JSStringRelease(text);
		} else {
			buf_append_text(r->out, "thrown without a message");
		}
	}
	if (r->out->len - start > SCRIPT_TEXT_BYTES_MAX)
		r->out->len = start + SCRIPT_TEXT_BYTES_MAX;
}

/* The engine's own words. */
static bool is_out_of_memory(struct slice text)
{
	static const char *const words[] = {"RangeError: Out of memory", "Error: Out of memory"};
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (text.len >= strlen(words[i]) &&
		    memcmp(text.data, words[i], strlen(words[i])) == 0)
			return true;
	return false;
}

static enum script_status fails(struct run *r, enum script_status status)
{
	size_t start = r->out->len;
	if (!r->exception)
		return status;
	print_exception(r);
	struct slice text = slice_of(r->out->data + start, r->out->len - start);
	return is_out_of_memory(text) ? SCRIPT_MEMORY : status;
}

static enum script_status says(struct run *r, enum script_status status, const char *why)
{
	buf_append_text(r->out, why);
	return status;
}

/* ---- running ---- */

/* The source as an expression inside a function of its own: it can't reach out of the parentheses,
 * and is strict. */
static JSObjectRef compile(struct run *r, struct slice source)
{
	struct buf *body = &r->engine->text;
	buf_clear(body);
	buf_append_text(body, "'use strict'; return (");
	buf_append_slice(body, source);
	buf_append_text(body, "\n);");
	JSStringRef text = values_string(&r->values, buf_slice(body));
	JSObjectRef maker =
	    JSObjectMakeFunction(r->ctx, NULL, 0, NULL, text, NULL, 1, &r->exception);
	JSStringRelease(text);
	if (!maker || r->exception)
		return NULL;
	JSValueRef made = JSObjectCallAsFunction(r->ctx, maker, NULL, 0, NULL, &r->exception);
	if (!made || r->exception || !JSValueIsObject(r->ctx, made))
		return NULL;
	JSObjectRef function = JSValueToObject(r->ctx, made, NULL);
	return JSObjectIsFunction(r->ctx, function) ? function : NULL;
}

static enum script_status call(struct run *r, struct slice source, struct slice arguments)
{
	uint32_t count = 0;
	const char *why;
	JSValueRef *list = NULL;
	JSEvaluateScript(r->ctx, r->engine->prelude, NULL, NULL, 1, &r->exception);
	if (r->exception)
		return fails(r, SCRIPT_CRASHED);
	if (arguments.len > 0 && !(list = values_read_list(&r->values, arguments, &count)))
		return says(r, SCRIPT_TOO_LARGE, "the arguments can't be read");
	JSObjectRef function = compile(r, source);
	if (!function)
		return r->exception ? fails(r, SCRIPT_INVALID)
				    : says(r, SCRIPT_INVALID, "the source is not a function");
	if (arguments.len == 0) {
		mp_write_nil(r->out);
		return SCRIPT_OK;
	}
	JSValueRef result =
	    JSObjectCallAsFunction(r->ctx, function, NULL, count, list, &r->exception);
	if (!result || r->exception)
		return fails(r, SCRIPT_THREW);
	limits_for_result();
	enum script_status status = values_write(&r->values, result, r->out, &why, &r->exception);
	if (status == SCRIPT_OK)
		return status;
	return r->exception ? fails(r, status) : says(r, status, why);
}

enum script_status engine_run(struct engine *e, struct slice source, struct slice arguments,
			      struct buf *out)
{
	struct run r = {.engine = e, .out = out};
	r.ctx = JSGlobalContextCreateInGroup(e->group, NULL);
	values_open(&r.values, r.ctx, e->exact_class);
	enum script_status status = call(&r, source, arguments);
	values_close(&r.values);
	JSGlobalContextRelease(r.ctx);
	return status;
}
