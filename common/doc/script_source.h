/* What the sources of several kinds of scripts begin with (view_script.c, function_script.c).
 *
 * CouchDB's functions know emit, sum, log, isArray and toJSON, and are not strict: what they assign
 * to without a declaration becomes global. What they give is copied at once, as JSON would: they
 * may change it later. Numbers that a double can't hold are objects without members: as they are.
 */
#ifndef PARLEY_DOC_SCRIPT_SOURCE_H
#define PARLEY_DOC_SCRIPT_SOURCE_H

/* clang-format off */
#define SCRIPT_COPY \
	"  const own = Object.getPrototypeOf({});\n" \
	"  function copy(v, otherwise) {\n" \
	"    if (typeof v === 'number') return isFinite(v) ? v : null;\n" \
	"    if (v === undefined || typeof v === 'function' || typeof v === 'symbol')\n" \
	"      return otherwise;\n" \
	"    if (v === null || typeof v !== 'object') return v;\n" \
	"    if (typeof v.toJSON === 'function') return copy(v.toJSON(), otherwise);\n" \
	"    if (Array.isArray(v)) {\n" \
	"      const list = [];\n" \
	"      for (let i = 0; i < v.length; i++) list.push(copy(v[i], null));\n" \
	"      return list;\n" \
	"    }\n" \
	"    const names = Object.keys(v);\n" \
	"    if (names.length === 0 && Object.getPrototypeOf(v) !== own) return v;\n" \
	"    const made = {};\n" \
	"    for (const name of names) {\n" \
	"      const value = copy(v[name], undefined);\n" \
	"      if (value !== undefined) made[name] = value;\n" \
	"    }\n" \
	"    return made;\n" \
	"  }\n"
/* compile(text): a function, or a text that says why it is none. */
#define SCRIPT_COMPILE \
	"  globalThis.log = function () {};\n" \
	"  globalThis.isArray = Array.isArray;\n" \
	"  globalThis.toJSON = JSON.stringify;\n" \
	"  globalThis.sum = function (list) {\n" \
	"    let all = 0;\n" \
	"    for (const one of list) all += one;\n" \
	"    return all;\n" \
	"  };\n" \
	"  function compile(text) {\n" \
	"    let made;\n" \
	"    try { made = (0, eval)('(' + text.replace(/[;\\s]+$/, '') + '\\n)'); }\n" \
	"    catch (e) { return String(e); }\n" \
	"    return typeof made === 'function' ? made : 'the source is not a function';\n" \
	"  }\n"
#define SCRIPT_COMMON SCRIPT_COPY SCRIPT_COMPILE
/* require(path): of `modules`, an object of texts and objects; paths are absolute in it, or begin
 * with a dot. */
#define SCRIPT_REQUIRE \
	"  const loaded = new Map();\n" \
	"  function load(path, from) {\n" \
	"    const names = path[0] === '.' ? from.slice(0, -1) : [];\n" \
	"    for (const name of path.split('/')) {\n" \
	"      if (name === '..') names.pop();\n" \
	"      else if (name !== '.' && name !== '') names.push(name);\n" \
	"    }\n" \
	"    let text = modules;\n" \
	"    for (const name of names)\n" \
	"      text = text !== null && typeof text === 'object' && Object.hasOwn(text, name)\n" \
	"        ? text[name] : undefined;\n" \
	"    if (typeof text !== 'string') throw new Error('there is no module ' + path);\n" \
	"    const id = names.join('/');\n" \
	"    if (!loaded.has(id)) {\n" \
	"      const module = { id, exports: {} };\n" \
	"      loaded.set(id, module);\n" \
	"      (0, eval)('(function (module, exports, require) {' + text + '\\n})')\n" \
	"        .call(module.exports, module, module.exports, (next) => load(next, names));\n" \
	"    }\n" \
	"    return loaded.get(id).exports;\n" \
	"  }\n" \
	"  globalThis.require = (path) => load(String(path), []);\n"
/* made: the function of `text`; else that text is the result. */
#define SCRIPT_MADE \
	"  const made = compile(text);\n" \
	"  if (typeof made !== 'function') return made;\n"
/* clang-format on */

#endif
