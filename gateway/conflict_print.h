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

/* JSON. Of the history: one record, with `action`, resolved or undone. Else the entries of one
 * document, as conflict_newest sorts them: what the first says, with `state`, and what is kept of
 * the others. */
void conflict_print(const struct conflict_about *about, const struct conflict_row *rows,
		    uint32_t count, struct buf *out);
/* Sorts the entries of one document: the open one, then resolutions, the newest first. */
void conflict_newest(struct conflict_row *rows, uint32_t count);
/* CONFLICT_UNDONE for a resolution that was taken apart. */
enum { CONFLICT_UNDONE = CONFLICT_STATE_MAX + 1 };
uint64_t conflict_state(const struct conflict *c);
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
