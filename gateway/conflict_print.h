/* A conflict, or a record of the history of resolutions, as people see it. */
#ifndef PARLEY_GATEWAY_CONFLICT_PRINT_H
#define PARLEY_GATEWAY_CONFLICT_PRINT_H

#include "gateway/internal.h"

/* JSON. Of the open and resolved: `state`; of the history: `action`, resolved or undone. */
void conflict_print(struct slice collection, const struct conflict_row *row, bool history,
		    struct buf *out);
const char *conflict_kind_name(uint64_t kind);
/* False: no such kind. */
bool conflict_kind_of(struct slice name, uint64_t *kind) MUST_CHECK;
void conflict_print_revisions(const struct revision *revisions, uint32_t count, struct buf *out);

#endif
