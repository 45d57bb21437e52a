/* What the sources of several kinds of scripts begin with (view_script.c, function_script.c).
 *
 * CouchDB's functions know emit, sum, log, isArray and toJSON, and are not strict: what they assign
 * to without a declaration becomes global. What they give is copied at once, as JSON would: they
 * may change it later. Numbers that a double can't hold are objects without members: as they are.
 */
#ifndef PARLEY_DOC_SCRIPT_SOURCE_H
#define PARLEY_DOC_SCRIPT_SOURCE_H

/* clang-format off */
/* compile(text): a function, or a text that says why it is none. */
#define SCRIPT_COMMON \
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
	"  }\n" \
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
	"    try { made = (0, eval)('(' + text + '\\n)'); }\n" \
	"    catch (e) { return String(e); }\n" \
	"    return typeof made === 'function' ? made : 'the source is not a function';\n" \
	"  }\n"
/* made: the function of `text`; else that text is the result. */
#define SCRIPT_MADE \
	"  const made = compile(text);\n" \
	"  if (typeof made !== 'function') return made;\n"
/* clang-format on */

#endif
