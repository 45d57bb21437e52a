/* What the files of the decision share; nobody else includes it. */
#ifndef PARLEY_DOC_DECIDE_INTERNAL_H
#define PARLEY_DOC_DECIDE_INTERNAL_H

#include "common/doc/decide.h"
#include "common/doc/merge.h"

struct decide {
	const struct msg_conflict_read_ack *graph;
	struct document doc; /* the graph without bodies */
	struct arena *arena;
	struct policy policy; /* as it is applied: with the fallback as strategy in its place */
	const char *reason;   /* of the fallback; NULL: it is not one */
	struct slice text;    /* of the fallback */
	struct slice by;      /* empty: "arbiter" */
	uint32_t *inputs;     /* what is merged; by name */
	uint32_t inputs_count;
	uint32_t base_depth;  /* 0: inputs are merged, 1: their bases, 2: the bases of those ... */
	uint32_t bases_found; /* for one decision, so far */
	bool answered;        /* somebody said what becomes of it: bodies need not be there */
	bool collision_open;  /* the policy leaves documents that share an id to people */
};

/* ---- decide.c ---- */

/* Fills everything but what comes of the policy. False: *out says it all (there is nothing to
 * resolve, or it can't be). */
bool decide_prepare(struct decide *w, struct slice id, struct decision *out);
/* Fills w->doc. False: the graph is none. */
bool decide_load(struct decide *w);
bool decide_is_deleted(const struct decide *w, uint32_t index);
/* Of a deletion: the empty map. False: it is not kept. */
bool decide_body(const struct decide *w, uint32_t index, struct slice *out);
bool decide_all_bodies(const struct decide *w, const uint32_t *nodes, uint32_t count);
struct slice decide_revision_text(struct decide *w, uint32_t index);

/* ---- decide_merge.c ---- */

/* False: no common ancestor, or none is kept. *ancestor is its index, GRAPH_NONE if several were
 * merged. */
bool decide_base(struct decide *w, struct slice *out, int *ancestor);
void decide_fill_leaf(struct decide *w, uint32_t node, struct merge_leaf *out);
/* By the policy as it is now; base: NULL if there is none. */
void decide_merge_leaves(struct decide *w, const struct merge_leaf *leaves, uint32_t count,
			 const struct slice *base, struct merge_result *out);
/* Of some inputs, by the policy's strategy. The caller closes the two buffers. */
void decide_merge(struct decide *w, const uint32_t *nodes, uint32_t count,
		  struct merge_result *out);
/* Of all inputs, as if what stays open might take the newest: what is open even then, is for
 * people. The caller closes the two buffers. */
void decide_merge_for_people(struct decide *w, struct merge_result *out);

/* ---- decide_split.c ---- */

/* Are there documents among the inputs that share nothing but the id, and is that to be decided in
 * its own way? False: it is a conflict like others. */
bool decide_roots(struct decide *w, struct decision *out);
/* On somebody's word: each becomes a document of its own. False: there is nothing to split. */
bool decide_split(struct decide *w, struct slice detail, struct decision *out);

/* ---- decide_tree.c ---- */

/* Nodes by name, none an ancestor of another. False: their histories are no tree. */
bool decide_merge_tree(struct decide *w, const uint32_t *nodes, uint32_t count,
		       struct merge_result *out);

/* ---- decide_outcome.c ---- */

void decide_becomes(struct decide *w, bool deleted, struct slice body, struct slice detail,
		    struct decision *out);
/* What this one says; false: its body is not kept. */
bool decide_becomes_node(struct decide *w, uint32_t node, struct slice detail,
			 struct decision *out);
/* place, text: for people, may be NULL or empty. */
void decide_stays_open(struct decide *w, const char *reason, const char *place, struct slice text,
		       struct decision *out);
/* From the id, the parents and the policy version. */
void decide_name_resolution(struct decision *out);
/* With this map (it has a "reason") as detail. */
void decide_notes(struct decide *w, struct slice detail, struct decision *out);

/* ---- decide_answer.c ---- */

/* DECISION_SCRIPT or DECISION_EXTERNAL with its input. */
void decide_asks(struct decide *w, enum decision_kind kind, struct slice id, struct decision *out);

#endif
