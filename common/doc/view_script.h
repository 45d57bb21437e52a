/* What a script worker runs for views: functions of design documents, each many times in one run.
 */
#ifndef PARLEY_DOC_VIEW_SCRIPT_H
#define PARLEY_DOC_VIEW_SCRIPT_H

/* Of (text, documents): for each document an array of keys and values in turn, or null if the
 * function threw; a text if it is no function. */
extern const char view_map_source[];
/* Of (text, groups), each group [[[key, id], ...], [value, ...]]: an array of values, or a text. */
extern const char view_reduce_source[];

#endif
