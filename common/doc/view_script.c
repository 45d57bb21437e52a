#include "common/doc/view_script.h"

/* CouchDB's functions know emit, sum, log, isArray and toJSON, and are not strict: what they assign
 * to without a declaration becomes global. What they give is copied at once, as JSON would: they
 * may change it later. Numbers that a double can't hold are objects without members: as they are.
 */
#define COMMON                                                                                     \
	"  const own = Object.getPrototypeOf({});\n"                                               \
	"  function copy(v, otherwise) {\n"                                                        \
	"    if (typeof v === 'number') return isFinite(v) ? v : null;\n"                          \
	"    if (v === undefined || typeof v === 'function' || typeof v === 'symbol')\n"           \
	"      return otherwise;\n"                                                                \
	"    if (v === null || typeof v !== 'object') return v;\n"                                 \
	"    if (typeof v.toJSON === 'function') return copy(v.toJSON(), otherwise);\n"            \
	"    if (Array.isArray(v)) {\n"                                                            \
	"      const list = [];\n"                                                                 \
	"      for (let i = 0; i < v.length; i++) list.push(copy(v[i], null));\n"                  \
	"      return list;\n"                                                                     \
	"    }\n"                                                                                  \
	"    const names = Object.keys(v);\n"                                                      \
	"    if (names.length === 0 && Object.getPrototypeOf(v) !== own) return v;\n"              \
	"    const made = {};\n"                                                                   \
	"    for (const name of names) {\n"                                                        \
	"      const value = copy(v[name], undefined);\n"                                          \
	"      if (value !== undefined) made[name] = value;\n"                                     \
	"    }\n"                                                                                  \
	"    return made;\n"                                                                       \
	"  }\n"                                                                                    \
	"  globalThis.log = function () {};\n"                                                     \
	"  globalThis.isArray = Array.isArray;\n"                                                  \
	"  globalThis.toJSON = JSON.stringify;\n"                                                  \
	"  globalThis.sum = function (list) {\n"                                                   \
	"    let all = 0;\n"                                                                       \
	"    for (const one of list) all += one;\n"                                                \
	"    return all;\n"                                                                        \
	"  };\n"                                                                                   \
	"  let made;\n"                                                                            \
	"  try { made = (0, eval)('(' + text + '\\n)'); }\n"                                       \
	"  catch (e) { return String(e); }\n"                                                      \
	"  if (typeof made !== 'function') return 'the source is not a function';\n"

const char view_map_source[] = "(function (text, documents) {\n"
			       "  let rows = [];\n"
			       "  globalThis.emit = function (key, value) {\n"
			       "    rows.push(copy(key, null), copy(value, null));\n"
			       "  };\n" COMMON "  const all = [];\n"
			       "  for (const document of documents) {\n"
			       "    rows = [];\n"
			       "    try { made(document); } catch (e) { rows = null; }\n"
			       "    all.push(rows);\n"
			       "  }\n"
			       "  return all;\n"
			       "})";

const char view_reduce_source[] = "(function (text, groups) {\n" COMMON "  const all = [];\n"
				  "  try {\n"
				  "    for (const group of groups)\n"
				  "      all.push(copy(made(group[0], group[1], false), null));\n"
				  "  } catch (e) { return String(e); }\n"
				  "  return all;\n"
				  "})";
