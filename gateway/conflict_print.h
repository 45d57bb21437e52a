/* A conflict, or a record of the history of resolutions, as people see it. */
#ifndef PARLEY_GATEWAY_CONFLICT_PRINT_H
#define PARLEY_GATEWAY_CONFLICT_PRINT_H

#include "gateway/internal.h"

/* What is known beyond the row itself. */
struct conflict_about {
	struct slice collection; /* name */
	bool history;
	uint64_t retain_ms; /* of the collection */
	uint64_t wall_ms;   /* now */
	const struct msg_conflict_list_ack
	    *ack; /* that the row came with: whom cleanup waits for */
};

/* JSON. Of the open and resolved: `state`; of the history: `action`, resolved or undone. */
void conflict_print(const struct conflict_about *about, const struct conflict_row *row,
		    struct buf *out);
const char *conflict_kind_name(uint64_t kind);
/* False: no such kind. */
bool conflict_kind_of(struct slice name, uint64_t *kind) MUST_CHECK;
void conflict_print_revisions(const struct revision *revisions, uint32_t count, struct buf *out);

#define CONFLICTS_MEMBER "_conflicts"
/* To an object that was printed just now: one more member. */
void conflict_append_revisions(const char *name, const struct revision *revisions, uint32_t count,
			       struct buf *out);
/* CONFLICTS_MEMBER; names: as rows of lists have them, with commas between. */
void conflict_append_names(struct slice names, struct buf *out);

#endif
