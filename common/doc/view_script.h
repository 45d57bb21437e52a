/* What a script worker runs for views: functions of design documents, each many times in one run.
 * Arguments and results are texts. `library` is JSON, an object of the modules that functions may
 * require; empty: none. */
#ifndef PARLEY_DOC_VIEW_SCRIPT_H
#define PARLEY_DOC_VIEW_SCRIPT_H

/* Of (text, library, documents), a JSON array: for each document an array of keys and values in
 * turn, or null if the function threw; a JSON string if it is no function. */
extern const char view_map_source[];
/* Of (text, library, parts), each part [[[key, id], ...] or null, [value, ...], rereduce]: a JSON
 * array of values, or a JSON string that says what is wrong. */
extern const char view_reduce_source[];
/* Of (functions, library), each [what it is called, text]: nothing, or why one of them is none. */
extern const char view_compile_source[];

#endif
