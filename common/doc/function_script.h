/* What a script worker runs for functions of design documents that are no views: each for many
 * documents in one run. All return a text if a source is no function. */
#ifndef PARLEY_DOC_FUNCTION_SCRIPT_H
#define PARLEY_DOC_FUNCTION_SCRIPT_H

/* Of (text, design document, documents, req): an array of booleans. */
extern const char function_filter_source[];
/* The same of a map function: whether it emits anything. */
extern const char function_view_filter_source[];
/* validate_doc_update, of ([[text, design document or null], ...], [[new document, old one or
 * null], ...], userCtx, secObj): of each document null, or [kind, reason] of the first function
 * that refuses it. kind: "forbidden", "unauthorized", "failed". */
extern const char function_validate_source[];
/* Of (text, design document, document or null, req): [document or null, response]. */
extern const char function_update_source[];
/* The same of a show function, which makes no document. */
extern const char function_show_source[];
/* The same of a list function, which is given the answer of a view, as JSON text. */
extern const char function_list_source[];

#endif
