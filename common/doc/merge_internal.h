/* What the files of the merge share; nobody else includes it.
 *
 * The merge walks base and leaves together, one place (path) at a time, and yields a tree of
 * pieces: runs of input bytes, and the maps and arrays that had to be made anew. What a person may
 * want to know of (dropped values, open paths, deletions that lost against a change) is noted on
 * the way.
 *
 * Leaves are named by rank: 0 is the winner. Only ranks, paths and values decide anything, so the
 * order in which the caller lists the leaves can't show. */
#ifndef PARLEY_DOC_MERGE_INTERNAL_H
#define PARLEY_DOC_MERGE_INTERNAL_H

#include "common/doc/merge.h"
#include "proto/enums.h"

/* One leaf's value at a place. Leaves without one are left out, but where a removal is weighed
 * against changes: there it is empty. */
struct merge_side {
	uint32_t rank;
	struct slice value;
};

struct merge_place {
	struct slice base;              /* empty: absent */
	const struct merge_side *sides; /* by rank */
	uint32_t sides_count;
	const struct merge_side *scope; /* the leaves that have the container, by rank: those that
					 * are not among `sides` lack the value */
	uint32_t scope_count;
};

enum merge_piece_kind { PIECE_RAW, PIECE_MAP, PIECE_ARRAY };

struct merge_piece {
	enum merge_piece_kind kind;
	struct slice raw;          /* PIECE_RAW: a whole value */
	struct slice name;         /* of a member of a map */
	struct merge_piece *first; /* PIECE_MAP, PIECE_ARRAY */
	struct merge_piece *last;
	uint32_t count;
	struct merge_piece *next;
};

enum merge_note_kind {
	NOTE_OPEN,    /* nobody but a person can decide */
	NOTE_DROPPED, /* a rule chose one value, or none; `sides` are the others */
	NOTE_KEPT,    /* changed by some, removed by others: the change stays; `sides` are those who
			 removed it */
	NOTE_KINDS
};

struct merge_note {
	enum merge_note_kind kind;
	struct slice path;
	const char *rule; /* NOTE_DROPPED */
	uint32_t kept;    /* NOTE_DROPPED: rank */
	const struct merge_side *sides;
	uint32_t sides_count;
	struct merge_note *next;
};

struct merge {
	const struct policy *policy;
	struct arena *arena;
	const struct merge_leaf *leaves; /* by rank */
	uint32_t leaves_count;
	bool has_base;
	bool has_sums;    /* the policy has rules under which equal changes add up */
	bool whole;       /* the walk is at an attachment: one thing, whatever its members */
	struct buf path;  /* as in the policy */
	struct buf shown; /* for people: with the keys of elements */
	struct buf form_a;
	struct buf form_b;
	struct merge_note *notes; /* in order of the walk; at most MERGE_NOTES_MAX are kept */
	struct merge_note *notes_last;
	uint32_t notes_count;
	uint32_t open_count;
	uint64_t elements; /* that rules for arrays have looked at */
};

/* Past these a conflict is left to people, or a list is cut. */
enum {
	MERGE_LEAVES_MAX = LIMIT_LEAVES,
	MERGE_ELEMENTS_MAX = 1000000, /* of arrays with a rule, base and all versions: up to 300
				       * bytes of memory and 2 us each, while all else waits */
	MERGE_SIDES_NOTED = 32,       /* of a note; the others are only counted */
	MERGE_NOTES_MAX = 512,
	MERGE_DETAIL_BYTES = LIMIT_POLICY_BYTES - 4096
};

/* ---- merge_value.c: one place ---- */

/* NULL: the value is absent, or open. */
struct merge_piece *merge_value(struct merge *m, const struct merge_place *place);
/* Equal in value, whatever the order of members in maps. Empty equals empty only. Attachments are
 * equal if their contents and types are. */
bool merge_same(struct merge *m, struct slice a, struct slice b);

/* ---- merge.c ---- */

/* Of the place where the walk is. NULL: there are too many already; `sides` are borrowed. */
struct merge_note *merge_note(struct merge *m, enum merge_note_kind kind,
			      const struct merge_side *sides, uint32_t count);
struct merge_piece *merge_raw(struct merge *m, struct slice value);
struct merge_piece *merge_container(struct merge *m, enum merge_piece_kind kind);
void merge_emit(const struct merge_piece *piece, struct buf *out);
/* NULL parts are skipped. */
void merge_attach(struct merge_piece *container, struct merge_piece *part, struct slice name);

/* ---- merge_object.c: where the walk is ---- */

struct merge_path_mark {
	size_t path;
	size_t shown;
};
struct merge_path_mark merge_path_push(struct merge *m, struct slice name);
void merge_path_pop(struct merge *m, struct merge_path_mark mark);

/* ---- merge_object.c, merge_array.c, merge_scalar.c, merge_counter.c ----
 * `place->sides` hold the changed values only, at least two; those of leaves that removed the value
 * are empty, but never for merge_object, `max` and `min`. False: the values are not what the rule
 * is for. */

struct merge_piece *merge_object(struct merge *m, const struct merge_place *place);
/* Counts an array's elements. False: they are more than one merge may look at. */
bool merge_elements_fit(struct merge *m, uint32_t count);
bool merge_set(struct merge *m, const struct merge_place *place, struct merge_piece **out);
bool merge_map(struct merge *m, const struct merge_place *place, const struct policy_path *rule,
	       struct merge_piece **out);
/* RULE_NEWEST, RULE_OLDEST, RULE_MAX, RULE_MIN */
bool merge_pick(struct merge *m, const struct merge_place *place, enum policy_rule rule,
		struct merge_piece **out);
/* The base and all differences to it, as exact decimals. What was removed takes the base away,
 * once. */
bool merge_counter(struct merge *m, const struct merge_place *place, struct merge_piece **out);

/* By stamp, then as revisions win. Ranks. */
bool merge_is_newer(const struct merge *m, uint32_t a, uint32_t b);

/* ---- merge_append.c ----
 * The base with all that the sides put into it, at each place the oldest side's first. False: not
 * arrays, or a side took something out. */

bool merge_append(struct merge *m, const struct merge_place *place, struct merge_piece **out);

/* ---- merge_detail.c ---- */

struct merge_outline {
	const char *reason;     /* of what stays open; NULL: nothing does */
	int winner;             /* rank; -1: none */
	const uint32_t *losers; /* ranks */
	uint32_t losers_count;
	const uint32_t *deleted; /* ranks of deletions that met edits */
	uint32_t deleted_count;
};

/* Appends the record's map, cut to MERGE_DETAIL_BYTES. */
void merge_detail(struct merge *m, const struct merge_outline *outline, struct buf *out);

#endif
