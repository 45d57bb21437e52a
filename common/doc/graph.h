/* A document's revision graph: pure operations on a decoded `struct document` (proto).
 *
 * Revisions are kept parents before children; REVISION_LEAF marks those without a child and not
 * closed. Functions that add work on a document whose lists live in the arena given; they may move
 * the lists. */
#ifndef PARLEY_DOC_GRAPH_H
#define PARLEY_DOC_GRAPH_H

#include "common/base/arena.h"
#include "proto/schema.h"

enum {
	GRAPH_NONE = -1,
	GRAPH_BASE_DEPTH_MAX = 8,   /* bases of bases; beyond, a merge does without */
	GRAPH_GROUP_DEPTH_MAX = 64, /* groups within groups; beyond, they are merged at once */
	GRAPH_FOLD_MAX = 128,       /* a group of more that can't be split is merged at once */
	GRAPH_BASES_MAX = 4096,     /* in one decision; beyond, a merge does without */
	GRAPH_WORK_MAX = 1 << 20    /* nodes times revisions */
};

/* Index of the revision, or GRAPH_NONE. */
int graph_find(const struct document *doc, const struct revision *r);
/* The same for each of the names; in the arena. */
int *graph_find_all(const struct document *doc, const struct revision *names, uint32_t count,
		    struct arena *arena);
/* The name of a node; borrows from the document. */
struct revision graph_name(const struct document *doc, uint32_t index);
bool graph_is_leaf(const struct document *doc, uint32_t index);
/* Leaf and not deleted. */
bool graph_is_live(const struct document *doc, uint32_t index);
/* A leaf that counts in a conflict: live; a deletion that an edit stands against; or one that
 * stands for a purged tombstone (REVISION_PURGED). */
bool graph_is_side(const struct document *doc, uint32_t index);
/* Among leaves: one that stands for a purged tombstone; else CouchDB's rule: not deleted, then
 * generation, then hash; GRAPH_NONE of an empty graph. */
int graph_winner(const struct document *doc);
/* All sides, the winner first, the rest in descending order of winning; indexes into out (arena).
 * One: there is no conflict; none: the document is deleted. */
uint32_t graph_sides(const struct document *doc, struct arena *arena, uint32_t **out);
/* The same, by index: sorting thousands takes longer than most of what is done with them. */
uint32_t graph_sides_set(const struct document *doc, struct arena *arena, uint32_t **out);
/* The first of these by winning, `most` at most. */
uint32_t graph_top_sides(const struct document *doc, uint32_t most, struct arena *arena,
			 uint32_t **out);
/* Other sides than the winner. */
uint32_t graph_conflicts(const struct document *doc);
/* The node `added` is a branch, its parents were no leaves: if it is a deletion that meets edits of
 * a common root, or is of what was split off, or an edit that meets nothing but such deletions,
 * these are sides. */
void graph_mark_deletions(struct document *doc, uint32_t added, struct arena *arena);
/* Without an edit that is left no deletion stands against one; but one that is of what was split
 * off does against whatever the id became. */
void graph_settle_deletions(struct document *doc, struct arena *arena);

/* Adds a node with these parents (indexes ascending), whose leaf marks it takes; number = stream
 * number that supersedes them. Returns its index. The hash is borrowed. The revision must not be
 * there yet. */
uint32_t graph_add(struct document *doc, struct arena *arena, const struct revision_node *node,
		   uint64_t number);
/* The same for many: room for all of them at once, then each into it. */
void graph_reserve(struct document *doc, struct arena *arena, uint32_t more);
uint32_t graph_add_reserved(struct document *doc, struct arena *arena,
			    const struct revision_node *node, uint64_t number);
/* Ends a leaf without a child. */
void graph_close(struct document *doc, uint32_t index, uint64_t number);
/* True if `ancestor` is reachable from `index` through parents (or equal). */
bool graph_descends(const struct document *doc, uint32_t index, uint32_t ancestor);

/* The human inputs of a set of nodes: resolutions (REVISION_RESOLVED) are replaced, recursively, by
 * their parents; nodes that are ancestors of others in the set drop out. Sorted by name. Returns
 * the count; *out in the arena. */
uint32_t graph_human_inputs(const struct document *doc, const uint32_t *nodes, uint32_t count,
			    struct arena *arena, uint32_t **out);
/* The same, by index. */
uint32_t graph_human_set(const struct document *doc, const uint32_t *nodes, uint32_t count,
			 struct arena *arena, uint32_t **out);
/* Maximal common ancestors of all nodes (none of them an ancestor of another). Sorted by index. 0:
 * no common root. */
uint32_t graph_common_ancestors(const struct document *doc, const uint32_t *nodes, uint32_t count,
				struct arena *arena, uint32_t **out);
/* Ascending, by generation, then hash: the same for everybody, as indexes need not be. */
void graph_sort_by_name(const struct document *doc, uint32_t *indexes, uint32_t count,
			struct arena *arena);
/* The winner first. */
void graph_sort_by_winning(const struct document *doc, uint32_t *indexes, uint32_t count,
			   struct arena *arena);
/* Splits nodes that are no ancestors of each other: in one group are those whose histories, above
 * what all of them have in common, hang together. (*out)[i] is the group of nodes[i], numbered from
 * 0 in the order of their first nodes. Returns the count: as many as nodes if all went their own
 * ways, 1 if they can't be split. */
uint32_t graph_groups(const struct document *doc, const uint32_t *nodes, uint32_t count,
		      struct arena *arena, uint32_t **out);
/* The same by what they have in common with anything: more than one group means documents that were
 * made without knowing of each other. */
uint32_t graph_families(const struct document *doc, const uint32_t *nodes, uint32_t count,
			struct arena *arena, uint32_t **out);
/* Of the oldest revisions that lead to these nodes the least by name, as an index; GRAPH_NONE of no
 * nodes. */
int graph_first_root(const struct document *doc, const uint32_t *nodes, uint32_t count,
		     struct arena *arena);
/* Those of one group; *members in the arena. Returns the count. */
uint32_t graph_group(const uint32_t *nodes, uint32_t count, const uint32_t *groups, uint32_t group,
		     struct arena *arena, uint32_t **members);
/* A copy with one more place, and what stands there for the merge of these, as if it had been made.
 * Returns its index. */
struct document graph_with_room(const struct document *doc, struct arena *arena);
uint32_t graph_put_merge(struct document *with, const uint32_t *nodes, uint32_t count,
			 struct arena *arena);
/* Whether so many nodes, whose histories are no tree, are split into groups, and a group that can't
 * be split is merged step by step. Else they are merged at once: it bounds the work. */
bool graph_can_split(const struct document *doc, uint32_t count);
bool graph_can_fold(const struct document *doc, uint32_t count);
/* Marks (with 1) what merges of the open conflict read, if there is one: the live leaves, the human
 * inputs below, and the bases of both; the same for each group among them, and each step where a
 * group can't be split; and where bases are several, what merging those reads, and so on. */
void graph_mark_needed(const struct document *doc, struct arena *arena, uint8_t *marks);
/* Drops revisions that are no longer needed: keeps all leaves, closed nodes' names, nodes with
 * REVISION_HAS_BODY or pins, the newest `depth` generations below each leaf, the parents
 * of kept resolutions; never one that is a common ancestor of live leaves. A child of a dropped
 * node is linked to that one's nearest kept ancestors: ancestry among kept nodes stays true, but a
 * parent's generation may then be more than one less. Indexes change. False: all stays as it was.
 */
bool graph_stem(struct document *doc, struct arena *arena, uint32_t depth);

#endif
