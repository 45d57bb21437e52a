#include "common/doc/view_script.h"

#include "common/doc/script_source.h"

/* Documents come and rows go as one JSON text: the engine reads and writes it several times faster
 * than values one by one, and rows are just what CouchDB, which does the same, makes of them. What
 * a function does to JSON or Array hurts its own rows only. */
#define BEGIN                                                                                      \
	"  const parse = JSON.parse, stringify = JSON.stringify;\n"                                \
	"  const modules = library === '' ? {} : parse(library);\n" SCRIPT_REQUIRE SCRIPT_COMPILE

const char view_map_source[] =
    "(function (text, library, documents) {\n" BEGIN "  let rows = [];\n"
    "  globalThis.emit = function (key, value) { rows.push(key, value); };\n"
    "  const map = compile(text);\n"
    "  if (typeof map !== 'function') return stringify(map);\n"
    "  let all = '';\n"
    "  for (const document of parse(documents)) {\n"
    "    let made = 'null';\n"
    "    rows = [];\n"
    "    try { map(document); made = stringify(rows); } catch (e) { }\n"
    "    all += all === '' ? made : ',' + made;\n"
    "  }\n"
    "  return '[' + all + ']';\n"
    "})";

const char view_reduce_source[] = "(function (text, library, parts) {\n" BEGIN "  const all = [];\n"
				  "  const reduce = compile(text);\n"
				  "  if (typeof reduce !== 'function') return stringify(reduce);\n"
				  "  try {\n"
				  "    for (const [keys, values, again] of parse(parts))\n"
				  "      all.push(reduce(keys, values, again));\n"
				  "    return stringify(all);\n"
				  "  } catch (e) { return stringify(String(e)); }\n"
				  "})";

const char view_compile_source[] =
    "(function (functions, library) {\n" BEGIN "  for (const [what, text] of parse(functions)) {\n"
    "    const made = compile(text);\n"
    "    if (typeof made !== 'function') return 'Compilation of ' + what + ' failed: ' + made;\n"
    "  }\n"
    "  return '';\n"
    "})";
