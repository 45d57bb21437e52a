/* The pool with real workers: what scripts can do, and above all what they can't. */
#include "common/run/script_pool.h"
#include "common/run/script_queue.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/run/clock.h"

enum {
	PATH_BYTES = 4096,
	TIME_MS = 2000, /* far more than any of these needs */
	SHORT_MS = 50,
	MEMORY_BYTES = 64 * 1024 * 1024,
	RESULTS_MAX = 1024,
	PATIENCE_MS = 120000
};

struct seen {
	uint64_t id;
	enum script_status status;
	char text[4096];
};

static struct loop loop;
static struct logger logger;
static struct script_pool *pool;
static struct json_parser *parser;
static struct seen seen[RESULTS_MAX];
static uint32_t seen_count;
static size_t seen_bytes; /* of the last one's text */
static uint64_t last_id;
static char worker_path[PATH_BYTES];

/* ---- the bench ---- */

static void on_event(void *context, struct event *event)
{
	struct buf text = {0};
	(void)context;
	assert_int_equal(event->kind, EVENT_SCRIPT);
	assert_true(seen_count < RESULTS_MAX);
	struct seen *s = &seen[seen_count++];
	s->id = event->script.id;
	s->status = event->script.status;
	if (s->status == SCRIPT_OK)
		assert_true(json_from_msgpack(event->script.output, &text));
	else
		buf_append_slice(&text, event->script.output);
	seen_bytes = text.len;
	snprintf(s->text, sizeof s->text, "%s", buf_cstr(&text));
	buf_close(&text);
}

/* Until `count` have ended. */
static void await(uint32_t count)
{
	int64_t until_ms = clock_boot_ms() + PATIENCE_MS;
	while (seen_count < count) {
		assert_true(clock_boot_ms() < until_ms);
		int64_t deadline = script_pool_deadline(pool);
		loop_wait(&loop, deadline < until_ms ? deadline : until_ms);
		script_pool_turn(pool, on_event, NULL);
	}
	assert_int_equal(seen_count, count);
}

static uint64_t submit(const char *source, const char *arguments, uint64_t time_ms)
{
	struct buf bytes = {0};
	struct json_error error;
	assert_true(json_to_msgpack(parser, slice_text(arguments), &bytes, &error));
	struct script_request request = {.id = ++last_id,
					 .time_ms = time_ms,
					 .memory_bytes = MEMORY_BYTES,
					 .source = slice_text(source),
					 .arguments = buf_slice(&bytes)};
	script_pool_submit(pool, &request);
	buf_close(&bytes);
	return last_id;
}

/* Only compiled. */
static const struct seen *compile(const char *source)
{
	struct script_request request = {.id = ++last_id,
					 .time_ms = TIME_MS,
					 .memory_bytes = MEMORY_BYTES,
					 .source = slice_text(source)};
	seen_count = 0;
	script_pool_submit(pool, &request);
	await(1);
	return &seen[0];
}

static const struct seen *run(const char *source, const char *arguments, uint64_t time_ms)
{
	seen_count = 0;
	uint64_t id = submit(source, arguments, time_ms);
	await(1);
	assert_int_equal(seen[0].id, id);
	return &seen[0];
}

static void returns(const char *source, const char *arguments, const char *expected)
{
	const struct seen *s = run(source, arguments, TIME_MS);
	if (s->status != SCRIPT_OK || strcmp(s->text, expected) != 0)
		print_error("%s\n -> %s %s\n", source, script_status_name(s->status), s->text);
	assert_int_equal(s->status, SCRIPT_OK);
	assert_string_equal(s->text, expected);
}

static void fails(const char *source, uint64_t time_ms, enum script_status status, const char *text)
{
	const struct seen *s = run(source, "[]", time_ms);
	if (s->status != status || !strstr(s->text, text))
		print_error("%s\n -> %s %s\n", source, script_status_name(s->status), s->text);
	assert_int_equal(s->status, status);
	assert_non_null(strstr(s->text, text));
}

static uint64_t metric(const char *name)
{
	struct buf out = {0};
	script_pool_metrics(pool, &out);
	const char *at = strstr(buf_cstr(&out), name);
	assert_non_null(at);
	uint64_t value = strtoull(at + strlen(name), NULL, 10);
	buf_close(&out);
	return value;
}

static void pool_open(const char *program, uint32_t workers)
{
	struct script_pool_setup setup = {
	    .program = program, .workers = workers, .loop = &loop, .logger = &logger};
	pool = script_pool_new(&setup);
	seen_count = 0;
}

/* Beside the folder that this program is in. */
static int setup_all(void **state)
{
	(void)state;
	ssize_t len = readlink("/proc/self/exe", worker_path, sizeof worker_path - 1);
	assert_true(len > 0);
	worker_path[len] = '\0';
	for (int i = 0; i < 2; i++)
		*strrchr(worker_path, '/') = '\0';
	len = (ssize_t)strlen(worker_path);
	snprintf(worker_path + len, sizeof worker_path - (size_t)len, "/parley-script-worker");
	parser = json_parser_new();
	loop_open(&loop);
	logger_open(&logger, "test", "script", LOG_LEVEL_FATAL);
	pool_open(worker_path, 1);
	return 0;
}

static int teardown_all(void **state)
{
	(void)state;
	script_pool_free(pool);
	loop_close(&loop);
	logger_close(&logger);
	json_parser_free(parser);
	return 0;
}

/* ---- what scripts can do ---- */

static void test_functions(void **state)
{
	(void)state;
	returns("(a, b) => a + b", "[1,2]", "3");
	returns("function (a) { return {made: a.x, by: [1, 'two', null, true]} }", "[{\"x\":{}}]",
		"{\"made\":{},\"by\":[1,\"two\",null,true]}");
	returns("() => ({a: undefined, b: [undefined, , 1]})", "[]", "{\"b\":[null,null,1]}");
	returns("() => 1 // with a comment", "[]", "1");
	returns("(() => { const twice = (x) => 2 * x; return (a) => twice(a); })()", "[4]", "8");
	returns("(a) => new Date(a).toISOString()", "[\"2020-07-01T12:00:00+02:00\"]",
		"\"2020-07-01T10:00:00.000Z\"");
	returns("() => new Date(2020, 0, 1).getTimezoneOffset()", "[]", "0");
}

/* What a script leaves alone comes back to the byte. */
static void test_values_survive(void **state)
{
	static const char all[] =
	    "[{\"b\":1,\"10\":2.0,\"2\":-0.0,\"__proto__\":{\"x\":1},\"constructor\":5,"
	    "\"toString\":\"q\",\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80\":\"\\u0000\\n\\\"\","
	    "\"big\":18446744073709551615,\"low\":-9223372036854775808,\"edge\":9007199254740993,"
	    "\"exact\":0.12345678901234567890123,\"huge\":1e400,\"list\":[1.0,2,[],{}]}]";
	char body[sizeof all];
	(void)state;
	snprintf(body, sizeof body, "%.*s", (int)sizeof all - 3, all + 1);
	returns("(a) => a", all, body);
	returns("(a) => { a.list.push(a.big); a.b++; delete a.list[1]; return [a.b, a.list]; }",
		all, "[2,[1.0,null,[],{},18446744073709551615]]");
	returns("(a) => [a.low + 1n, a.exact + 0, String(a.exact), a.huge > 1e300, typeof a.edge]",
		all,
		"[-9223372036854775807,0.12345678901234568,\"0.12345678901234567890123\",true,"
		"\"bigint\"]");
	returns("() => [2**53, 2**63, -(2**63), 1e20, 1.5, -0, 2n**64n - 1n]", "[]",
		"[9007199254740992,9223372036854775808,-9223372036854775808,1e+20,1.5,0,"
		"18446744073709551615]");
}

static void test_what_is_no_json(void **state)
{
	static const char *const results[] = {
	    "undefined",          "NaN",
	    "[1, -Infinity]",     "() => 1",
	    "new Map()",          "Symbol()",
	    "new Date(0)",        "/x/",
	    "2n ** 64n",          "-(2n ** 63n) - 1n",
	    "'\\ud800'",          "[[Symbol()]]",
	    "({['\\udc00']: 1})", "new Error('')",
	    "Promise.resolve(1)", "(async () => 1)()",
	};
	char source[128];
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(results); i++) {
		snprintf(source, sizeof source, "() => (%s)", results[i]);
		fails(source, TIME_MS, SCRIPT_BAD_RESULT, "");
	}
	fails("() => { const a = []; a.push(a); return a; }", TIME_MS, SCRIPT_BAD_RESULT, "cycle");
	fails("() => { const a = {}; a.a = {a}; return a; }", TIME_MS, SCRIPT_BAD_RESULT, "cycle");
	fails("() => { const a = []; a.length = 4e9; return a; }", TIME_MS, SCRIPT_TOO_LARGE, "");
	fails("() => 'x'.repeat(20e6)", TIME_MS, SCRIPT_TOO_LARGE, "");
}

static void test_a_source_is_compiled_without_a_call(void **state)
{
	(void)state;
	assert_int_equal(compile("() => { for (;;); }")->status, SCRIPT_OK);
	assert_string_equal(seen[0].text, "null");
	assert_int_equal(compile("(() => { for (;;); })()")->status, SCRIPT_TIME);
	assert_int_equal(compile("() => {")->status, SCRIPT_INVALID);
	assert_int_equal(compile("5")->status, SCRIPT_INVALID);
}

static void test_what_is_no_function(void **state)
{
	static const char *const sources[] = {
	    "",
	    "5",
	    "null",
	    "{}",
	    "nonsense here",
	    "() => {",
	    "() => {}); }; { (function () {}",
	    "return 1",
	    "import('x')",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		fails(sources[i], TIME_MS, SCRIPT_INVALID, "");
}

/* ---- what scripts can't do ---- */

static void test_exceptions(void **state)
{
	(void)state;
	fails("() => { throw new TypeError('so\\nand so'); }", TIME_MS, SCRIPT_THREW,
	      "TypeError: so and so");
	fails("() => { throw 'text'; }", TIME_MS, SCRIPT_THREW, "text");
	fails("() => { throw null; }", TIME_MS, SCRIPT_THREW, "null");
	fails("() => { throw Symbol('x'); }", TIME_MS, SCRIPT_THREW, "without a message");
	fails("() => { throw {toString() { throw 1; }}; }", TIME_MS, SCRIPT_THREW, "without");
	fails("() => { throw {get message() { throw 1; }}; }", TIME_MS, SCRIPT_THREW, "without");
	fails("() => { throw 'x'.repeat(1e6); }", TIME_MS, SCRIPT_THREW, "xxx");
	fails("() => ({get x() { throw new Error('read'); }})", TIME_MS, SCRIPT_THREW, "read");
	fails("() => new Proxy([], {getPrototypeOf() { throw 2; }})", TIME_MS, SCRIPT_THREW, "");
	fails("() => { const f = () => 1 + f(); f(); }", TIME_MS, SCRIPT_THREW, "call stack");
}

/* Each ends a worker; the next run finds another one. */
static void test_endless(void **state)
{
	static const char *const sources[] = {
	    "() => { for (;;); }",
	    "() => ({get x() { for (;;); }})",
	    "() => { throw {get message() { for (;;); }}; }",
	    "() => { throw {toString() { for (;;); }, name: {}}; }",
	    "async () => { for (;;) await 1; }",
	    "() => { const f = () => f(); f(); }",
	    "() => new Proxy({}, {ownKeys() { for (;;); }})",
	    "(() => { for (;;); })()",
	    "() => { const next = () => Promise.resolve().then(next); next(); return 1; }",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		uint64_t starts = metric("\nparley_script_worker_starts_total ");
		fails(sources[i], SHORT_MS, SCRIPT_TIME, "longer than 50 ms");
		returns("() => 'well'", "[]", "\"well\"");
		assert_int_equal(metric("\nparley_script_worker_starts_total "), starts + 1);
	}
}

/* Bombs end, by a limit of the engine's own or by that on time. */
static void test_regular_expressions(void **state)
{
	static const char *const sources[] = {
	    "() => /^(a+)+$/.test('a'.repeat(40) + 'b')",
	    "() => /(x+x+)+y/.test('x'.repeat(4000))",
	    "() => 'a'.repeat(1e5).replace(/(a*)*b/g, 'c').length",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		const struct seen *s = run(sources[i], "[]", SHORT_MS);
		assert_true(s->status == SCRIPT_OK || s->status == SCRIPT_TIME);
	}
	returns("(a) => a.match(/(?<y>\\d+)-\\p{L}/u).groups.y", "[\"x12-\xc3\xa4\"]", "\"12\"");
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED true
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* A sanitizer's own end of a process that gets no memory asks for more than the worker may. */
static bool is_out_of_memory(enum script_status status)
{
	return status == SCRIPT_MEMORY || (SANITIZED && status == SCRIPT_CRASHED);
}

static void test_memory(void **state)
{
	static const char *const sources[] = {
	    "() => { const a = []; for (;;) a.push({a: [1, 2, 3]}); }",
	    "() => { let s = 'x'; for (;;) s += s; }",
	    "() => 'x'.repeat(2 ** 30)",
	    "() => new ArrayBuffer(2 ** 31)",
	    "() => { const a = []; for (;;) a.push(new Uint8Array(1 << 20).fill(1)); }",
	    "() => { const m = new Map(); for (let i = 0; ; i++) m.set(i, 'x' + i); }",
	    "() => 2n ** 100000000n",
	};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(sources); i++) {
		const struct seen *s = run(sources[i], "[]", 10000);
		if (!is_out_of_memory(s->status))
			print_error("%s\n -> %s %s\n", sources[i], script_status_name(s->status),
				    s->text);
		assert_true(is_out_of_memory(s->status));
		returns("() => 'well'", "[]", "\"well\"");
	}
	/* what one run took is not missing in the next */
	for (int i = 0; i < 8; i++)
		returns("() => new Uint8Array(40 << 20).fill(1).length", "[]", "41943040");
}

static void length_is(const char *source, size_t chars)
{
	const struct seen *s = run(source, "[]", 10000);
	if (s->status != SCRIPT_OK)
		print_error("%s\n -> %s %s\n", source, script_status_name(s->status), s->text);
	assert_int_equal(s->status, SCRIPT_OK);
	assert_int_equal(seen_bytes, chars + 2);
}

/* Writing it down takes no memory of the script's. */
static void test_large_results(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		length_is("() => 'x'.repeat(8e6)", 8000000);
		length_is("() => 'x'.repeat(16777216)", 16777216);
	}
	length_is("() => '\u00e4'.repeat(8388608)", 16777216);
	fails("() => 'x'.repeat(16777216 + 65536)", 10000, SCRIPT_TOO_LARGE, "too large");
}

/* What a worker has from others, but not enough to be replaced. */
static void test_runs_before_decide_nothing(void **state)
{
	(void)state;
	if (SANITIZED)
		skip(); /* its worker dies of a forbidden call, which is no want of memory */
	for (int i = 0; i < 4; i++) {
		uint64_t starts = metric("parley_script_worker_starts_total ");
		returns("() => new Uint8Array(24 << 20).fill(1).length", "[]", "25165824");
		returns("() => new Uint8Array(54 << 20).fill(1).length", "[]", "56623104");
		assert_true(metric("parley_script_worker_starts_total ") <= starts + 2);
	}
	uint64_t starts = metric("parley_script_worker_starts_total ");
	const struct seen *s = run("() => new Uint8Array(65 << 20).fill(1).length", "[]", 10000);
	assert_true(is_out_of_memory(s->status));
	assert_true(metric("parley_script_worker_starts_total ") <= starts + 2);
	returns("() => 'well'", "[]", "\"well\"");
}

/* A worker says that it has no memory left before it ends, and may not write to a file. */
static void test_last_words_in_a_file(void **state)
{
	int terminal = dup(STDERR_FILENO);
	FILE *file = tmpfile();
	struct buf text = {0};
	(void)state;
	assert_non_null(file);
	assert_true(terminal >= 0 && dup2(fileno(file), STDERR_FILENO) >= 0);
	script_pool_free(pool);
	pool_open(worker_path, 1);
	returns("() => 1", "[]", "1");
	assert_true(dup2(terminal, STDERR_FILENO) >= 0);
	buf_append_text(&text, "[\"");
	for (int i = 0; i < 11500000; i++)
		buf_append_text(&text, "\xc3\xa4");
	buf_append_text(&text, "\"]");
	const struct seen *s = run("(a) => [...a].length", buf_cstr(&text), 10000);
	if (!is_out_of_memory(s->status))
		print_error("%s %s\n", script_status_name(s->status), s->text);
	assert_true(is_out_of_memory(s->status));
	buf_close(&text);
	fclose(file);
	close(terminal);
}

static void test_the_world_is_away(void **state)
{
	(void)state;
	returns("() => ['performance', 'Intl', 'WebAssembly', 'Atomics', 'SharedArrayBuffer',"
		" 'setTimeout', 'queueMicrotask', 'console', 'WeakRef', 'FinalizationRegistry',"
		" 'crypto', 'fetch', 'XMLHttpRequest', 'require', 'process', 'load', 'readFile',"
		" 'print', '$vm', 'Temporal', 'ShadowRealm', 'imports']"
		".filter((name) => typeof globalThis[name] !== 'undefined')",
		"[]", "[]");
	returns("() => [Math.random, Date.now, ''.localeCompare, (1).toLocaleString,"
		" [].toLocaleString, 1n.toLocaleString, new Date(0).toLocaleString,"
		" new Int8Array(1).toLocaleString].every((f) => f === undefined)",
		"[]", "true");
	fails("() => new Date()", TIME_MS, SCRIPT_THREW, "no clock");
	fails("() => Date()", TIME_MS, SCRIPT_THREW, "no clock");
	fails("() => new (new Date(0).constructor)()", TIME_MS, SCRIPT_THREW, "no clock");
	fails("() => Reflect.construct(Date, [])", TIME_MS, SCRIPT_THREW, "no clock");
	fails("() => import('file:///etc/passwd')", TIME_MS, SCRIPT_BAD_RESULT, "promises");
	fails("() => require('fs')", TIME_MS, SCRIPT_THREW, "ReferenceError");
}

/* A run finds the world as if it were the first. */
static void test_nothing_is_carried_over(void **state)
{
	static const char counter[] = "(() => { let n = 0; return () => ++n; })()";
	(void)state;
	returns("() => { globalThis.leak = 1; Object.prototype.leak = 2; Array.prototype.map = 3;"
		" JSON.parse = () => 4; Object.keys = () => [5]; Math.max = () => 6;"
		" Date.prototype.getTime = () => 7; Symbol.prototype.x = 8; RegExp.prototype.exec ="
		" () => null; Function.prototype.call = () => 9; String.prototype.trim = () => 10;"
		" return []; }",
		"[]", "[]");
	returns("() => [typeof leak, typeof {}.leak, typeof [].map, JSON.parse('1'),"
		" Object.keys({a: 1}), Math.max(1), new Date(5).getTime(), /a/.exec('a').length,"
		" (function () { return 0; }).call(), ' a '.trim()]",
		"[]", "[\"undefined\",\"undefined\",\"function\",1,[\"a\"],1,5,1,0,\"a\"]");
	returns(counter, "[]", "1");
	returns(counter, "[]", "1");
	returns("() => { 'a'.match(/(a)/); return RegExp.$1; }", "[]", "\"a\"");
	returns("() => RegExp.$1", "[]", "\"\"");
	fails("() => { leak = 1; }", TIME_MS, SCRIPT_THREW, "leak");
	returns("() => eval('var leak = 1; leak') + new Function('return 1')()", "[]", "2");
	returns("() => typeof leak", "[]", "\"undefined\"");
}

/* ---- the pool ---- */

static void test_many_wait_their_turn(void **state)
{
	(void)state;
	seen_count = 0;
	for (uint32_t i = 0; i < SCRIPT_QUEUE_MAX + 10; i++)
		submit("(a) => a", "[1]", TIME_MS);
	await(SCRIPT_QUEUE_MAX + 10);
	uint32_t busy = 0;
	for (uint32_t i = 0; i < seen_count; i++)
		busy += seen[i].status == SCRIPT_BUSY;
	assert_int_equal(busy, 10);
	assert_true(script_pool_idle(pool));
}

/* Neither one that loops nor one that dies keeps the others from their answers. */
static void test_two_workers(void **state)
{
	(void)state;
	script_pool_free(pool);
	pool_open(worker_path, 2);
	uint64_t loops = submit("() => { for (;;); }", "[]", 300);
	for (int i = 0; i < 20; i++)
		submit("(a) => a", "[1]", TIME_MS);
	await(21);
	uint32_t well = 0;
	for (uint32_t i = 0; i < seen_count; i++) {
		well += seen[i].status == SCRIPT_OK;
		assert_true(seen[i].status == SCRIPT_OK || seen[i].id == loops);
	}
	assert_int_equal(well, 20);
	assert_int_equal(metric("parley_script_runs_total{result=\"time\"} "), 1);
	assert_int_equal(metric("parley_script_runs_total{result=\"ok\"} "), 20);
}

static void test_large_arguments(void **state)
{
	struct buf text = {0};
	(void)state;
	buf_append_text(&text, "[[");
	for (int i = 0; i < 100000; i++)
		buf_printf(&text, "%s{\"n\":%d,\"t\":\"%064d\"}", i ? "," : "", i, i);
	buf_append_text(&text, "]]");
	returns("(a) => a.length + a[99999].n", buf_cstr(&text), "199999");
	buf_close(&text);
}

static void without_worker(const char *program)
{
	script_pool_free(pool);
	pool_open(program, 1);
	submit("() => 1", "[]", TIME_MS);
	submit("() => 1", "[]", TIME_MS);
	await(2);
	assert_int_equal(seen[0].status, SCRIPT_UNAVAILABLE);
	assert_int_equal(seen[1].status, SCRIPT_UNAVAILABLE);
	/* and the next try is not at once */
	submit("() => 1", "[]", TIME_MS);
	assert_true(script_pool_deadline(pool) > clock_boot_ms());
}

static void test_no_worker(void **state)
{
	(void)state;
	without_worker("/nowhere/parley-script-worker");
	without_worker("/bin/false");
	without_worker("/bin/echo");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_functions),
	    cmocka_unit_test(test_values_survive),
	    cmocka_unit_test(test_what_is_no_json),
	    cmocka_unit_test(test_what_is_no_function),
	    cmocka_unit_test(test_a_source_is_compiled_without_a_call),
	    cmocka_unit_test(test_exceptions),
	    cmocka_unit_test(test_endless),
	    cmocka_unit_test(test_regular_expressions),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_large_results),
	    cmocka_unit_test(test_runs_before_decide_nothing),
	    cmocka_unit_test(test_last_words_in_a_file),
	    cmocka_unit_test(test_the_world_is_away),
	    cmocka_unit_test(test_nothing_is_carried_over),
	    cmocka_unit_test(test_many_wait_their_turn),
	    cmocka_unit_test(test_two_workers),
	    cmocka_unit_test(test_large_arguments),
	    cmocka_unit_test(test_no_worker),
	};
	return cmocka_run_group_tests(tests, setup_all, teardown_all);
}
