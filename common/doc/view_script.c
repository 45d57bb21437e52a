#include "common/doc/view_script.h"

#include "common/doc/script_source.h"

const char view_map_source[] = "(function (text, documents) {\n"
			       "  let rows = [];\n"
			       "  globalThis.emit = function (key, value) {\n"
			       "    rows.push(copy(key, null), copy(value, null));\n"
			       "  };\n" SCRIPT_COMMON SCRIPT_MADE "  const all = [];\n"
			       "  for (const document of documents) {\n"
			       "    rows = [];\n"
			       "    try { made(document); } catch (e) { rows = null; }\n"
			       "    all.push(rows);\n"
			       "  }\n"
			       "  return all;\n"
			       "})";

const char view_reduce_source[] =
    "(function (text, groups) {\n" SCRIPT_COMMON SCRIPT_MADE "  const all = [];\n"
    "  try {\n"
    "    for (const group of groups)\n"
    "      all.push(copy(made(group[0], group[1], false), null));\n"
    "  } catch (e) { return String(e); }\n"
    "  return all;\n"
    "})";
