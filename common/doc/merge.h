/* Three-way merge of documents per JSON path: n-way, order-free, deterministic to the byte (DESIGN
 * 7). */
#ifndef PARLEY_DOC_MERGE_H
#define PARLEY_DOC_MERGE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/doc/policy.h"

struct merge_leaf {
	struct slice revision; /* text of the revision: sorts the leaves, names losers */
	uint64_t stamp;        /* hybrid logical clock; 0: oldest */
	bool deleted;
	struct slice body; /* MessagePack map; empty if deleted */
};

struct merge_input {
	const struct merge_leaf *leaves; /* any order */
	uint32_t leaves_count;           /* >= 1 */
	bool has_base;
	struct slice base;           /* MessagePack map */
	const struct policy *policy; /* strategy neither SCRIPT nor EXTERNAL; of the fallbacks only
				      * NEWEST and OLDEST count, for paths that would stay open */
};

enum merge_outcome {
	MERGE_DONE,   /* body (or deleted) is the result */
	MERGE_OPEN,   /* some paths need a person: they are in `open_paths` */
	MERGE_SKIPPED /* the policy says to leave it */
};

struct merge_result {
	enum merge_outcome outcome;
	bool deleted;
	struct buf
	    body; /* MessagePack map of the result, when DONE and not deleted. When OPEN under
		   * `merge`: what could be decided, without the open paths (may be empty) */
	struct buf detail; /* MessagePack map for the record, see merge_detail.c; leaves room for
			    * members that the caller adds within LIMIT_POLICY_BYTES */
};

/* Any order of leaves gives the same bytes. The caller closes the two buffers. */
void merge_run(const struct merge_input *input, struct arena *arena, struct merge_result *out);

/* What a script made of the versions (empty: it deletes them), but with the paths that are for
 * people (RULE_MANUAL) as the merge has them: appends that to body, and to paths the declared ones
 * at which the script said something else, as a MessagePack array. False: it removes or replaces
 * what holds such a path. */
bool merge_keep_manual(const struct policy *policy, struct slice given, struct slice merged,
		       struct arena *arena, struct buf *body, struct buf *paths) MUST_CHECK;

#endif
