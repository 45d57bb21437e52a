#include "common/doc/function_script.h"

#include "common/doc/script_source.h"

/* clang-format off */
/* Modules stand anywhere in the design document. */
#define OF_DESIGN \
	SCRIPT_COMMON \
	"  const modules = design;\n" \
	SCRIPT_REQUIRE

const char function_filter_source[] =
	"(function (text, design, documents, req) {\n"
	OF_DESIGN SCRIPT_MADE
	"  const all = [];\n"
	"  for (const document of documents) all.push(!!made.call(design, document, req));\n"
	"  return all;\n"
	"})";

const char function_view_filter_source[] =
	"(function (text, design, documents) {\n"
	"  let emitted;\n"
	"  globalThis.emit = function () { emitted = true; };\n"
	OF_DESIGN SCRIPT_MADE
	"  const all = [];\n"
	"  for (const document of documents) {\n"
	"    emitted = false;\n"
	"    made.call(design, document);\n"
	"    all.push(emitted);\n"
	"  }\n"
	"  return all;\n"
	"})";

/* What is thrown may be anything, and be no JSON. */
const char function_validate_source[] =
	"(function (texts, items, user, security) {\n"
	SCRIPT_COMMON
	"  function refusal(e) {\n"
	"    const plain = e !== null && typeof e === 'object' && !(e instanceof Error);\n"
	"    try {\n"
	"      if (plain && e.forbidden !== undefined)\n"
	"        return ['forbidden', copy(e.forbidden, null)];\n"
	"      if (plain && e.unauthorized !== undefined)\n"
	"        return ['unauthorized', copy(e.unauthorized, null)];\n"
	"      return ['failed', String(e)];\n"
	"    } catch (ignored) { return ['failed', 'what was thrown is no JSON']; }\n"
	"  }\n"
	"  function make(text, modules) {\n"
	SCRIPT_REQUIRE
	"    const own_require = globalThis.require;\n"
	"    const made = compile(text);\n"
	"    if (typeof made !== 'function') return made;\n"
	"    return function (document, old) {\n"
	"      globalThis.require = own_require;\n"
	"      made.call(modules, document, old, user, security);\n"
	"    };\n"
	"  }\n"
	"  const rules = [];\n"
	"  for (const [text, design] of texts) {\n"
	"    const rule = make(text, design);\n"
	"    if (typeof rule !== 'function') return rule;\n"
	"    rules.push(rule);\n"
	"  }\n"
	"  const all = [];\n"
	"  for (const item of items) {\n"
	"    let verdict = null;\n"
	"    for (const rule of rules) {\n"
	"      try { rule(item[0], item[1]); }\n"
	"      catch (e) { verdict = refusal(e); break; }\n"
	"    }\n"
	"    all.push(verdict);\n"
	"  }\n"
	"  return all;\n"
	"})";

/* A response that is a text is a body. */
#define RESPONSE \
	"  function response(v) { return copy(typeof v === 'string' ? { body: v } : v, null); }\n"

/* What is thrown as an error of CouchDB's is the response, in its words. */
#define ANSWER \
	"  const codes = { bad_request: 400, unauthorized: 401, forbidden: 403, not_found: 404,\n" \
	"    conflict: 409 };\n" \
	"  function error_of(e) {\n" \
	"    if (e === null || typeof e !== 'object' || e instanceof Error) return null;\n" \
	"    if (Array.isArray(e))\n" \
	"      return e[0] === 'error' || e[0] === 'fatal' ? e.slice(1) : null;\n" \
	"    for (const name of ['forbidden', 'unauthorized'])\n" \
	"      if (e[name] !== undefined) return [name, e[name]];\n" \
	"    return e.error !== undefined ? [e.error, e.reason] : null;\n" \
	"  }\n" \
	"  function answer_of(call) {\n" \
	"    try { return call(); }\n" \
	"    catch (e) {\n" \
	"      const list = error_of(e);\n" \
	"      if (!list) throw e;\n" \
	"      const error = String(list[0]);\n" \
	"      const code = Object.hasOwn(codes, error) ? codes[error] : 500;\n" \
	"      return [null, { code, json: { error, reason: copy(list[1], null) } }];\n" \
	"    }\n" \
	"  }\n"

const char function_show_source[] =
	"(function (text, design, document, req) {\n"
	OF_DESIGN SCRIPT_MADE RESPONSE ANSWER
	"  return answer_of(() => [null, response(made.call(design, document, req))]);\n"
	"})";

/* What it sends is the body, and what it returns comes last. */
const char function_list_source[] =
	"(function (text, design, answer, req) {\n"
	"  const { rows, ...head } = JSON.parse(answer);\n"
	"  const sent = [];\n"
	"  let begun = {};\n"
	"  let at = 0;\n"
	"  globalThis.start = function (v) { begun = v || {}; };\n"
	"  globalThis.send = function (chunk) { sent.push(String(chunk)); };\n"
	"  globalThis.getRow = function () { return at < rows.length ? rows[at++] : null; };\n"
	OF_DESIGN SCRIPT_MADE ANSWER
	"  return answer_of(() => {\n"
	"    const tail = made.call(design, head, req);\n"
	"    if (tail !== undefined && tail !== null) sent.push(String(tail));\n"
	"    const headers = { 'Content-Type': 'application/json', ...begun.headers };\n"
	"    return [null, copy({ code: begun.code, headers, body: sent.join('') }, null)];\n"
	"  });\n"
	"})";

const char function_update_source[] =
	"(function (text, design, document, req) {\n"
	OF_DESIGN SCRIPT_MADE RESPONSE ANSWER
	"  return answer_of(() => {\n"
	"    const result = made.call(design, document, req);\n"
	"    if (!Array.isArray(result))\n"
	"      throw new TypeError('an update function returns [document, response]');\n"
	"    return [copy(result[0], null), response(result[1])];\n"
	"  });\n"
	"})";
/* clang-format on */
