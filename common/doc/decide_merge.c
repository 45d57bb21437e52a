/* The merge of a document's inputs. What they have in common is its base. Some of them may have
 * more in common among each other: these are merged first, on a base of their own, as what happened
 * there would else count once for each of them. */
#include "common/doc/decide_internal.h"
#include "common/doc/graph.h"
#include "proto/msgpack.h"

static const uint8_t empty_map[] = {0x80};

/* ---- leaves and bases ---- */

static void merge_result_close(struct merge_result *result)
{
	buf_close(&result->body);
	buf_close(&result->detail);
}

void decide_fill_leaf(struct decide *w, uint32_t node, struct merge_leaf *out)
{
	*out = (struct merge_leaf){.revision = decide_revision_text(w, node),
				   .stamp = w->graph->nodes[node].stamp,
				   .deleted = decide_is_deleted(w, node)};
	if (!out->deleted)
		out->body = w->graph->nodes[node].body;
}

void decide_merge_leaves(struct decide *w, const struct merge_leaf *leaves, uint32_t count,
			 const struct slice *base, struct merge_result *out)
{
	struct merge_input input = {.leaves = leaves,
				    .leaves_count = count,
				    .has_base = base != NULL,
				    .base = base ? *base : (struct slice){0},
				    .policy = &w->policy};
	merge_run(&input, w->arena, out);
}

static struct merge_leaf *leaves_of(struct decide *w, const uint32_t *nodes, uint32_t count)
{
	struct merge_leaf *leaves = arena_alloc(w->arena, count * sizeof *leaves);
	for (uint32_t i = 0; i < count; i++)
		decide_fill_leaf(w, nodes[i], &leaves[i]);
	return leaves;
}

static void merge_set_of(struct decide *w, const uint32_t *nodes, uint32_t count, uint32_t depth,
			 struct merge_result *out);

/* What several bases (of a criss-cross) come to, whatever the strategy; what of that would stay
 * open is left out, so that it counts as changed on every side. */
static struct slice merge_bases(struct decide *w, uint32_t *bases, uint32_t count)
{
	struct policy policy = w->policy;
	struct merge_result merged;
	graph_sort_by_name(&w->doc, bases, count, w->arena);
	w->policy.strategy = POLICY_MERGE;
	w->policy.fallback = POLICY_NONE;
	w->base_depth++;
	merge_set_of(w, bases, count, 0, &merged);
	w->base_depth--;
	w->policy = policy;
	struct slice body =
	    merged.deleted ? slice_of(empty_map, 1) : arena_copy(w->arena, buf_slice(&merged.body));
	merge_result_close(&merged);
	return body;
}

/* Can they be merged: are they kept, and what they have in common in its turn? */
static bool are_kept(struct decide *w, const uint32_t *nodes, uint32_t count)
{
	uint32_t *below;
	struct arena_mark mark = arena_mark(w->arena);
	uint32_t found = graph_common_ancestors(&w->doc, nodes, count, w->arena, &below);
	bool kept = decide_all_bodies(w, nodes, count) && decide_all_bodies(w, below, found);
	arena_rewind(w->arena, mark);
	return kept;
}

static bool has_parents(const struct revision_node *node, const uint32_t *list, uint32_t count)
{
	bool same = node->parents_count == count;
	for (uint32_t i = 0; same && i < count; i++)
		same = node->parents[i] == list[i];
	return same;
}

/* What these (ascending) have come to before: a later resolution names the edits themselves instead
 * of the resolution that it closed. When that one is cleaned up their bodies may go, but its own is
 * kept for the later one. Of several the last by name. */
static bool find_resolution(struct decide *w, const uint32_t *bases, uint32_t count,
			    struct slice *out)
{
	uint32_t pair[2]; /* the best one, and the next */
	uint32_t found = 0;
	for (uint32_t i = 0; i < w->doc.revisions_count; i++) {
		const struct revision_node *node = &w->doc.revisions[i];
		if (!(node->flags & REVISION_CLOSED) || !has_parents(node, bases, count) ||
		    !decide_body(w, i, out))
			continue;
		pair[found++] = i;
		graph_sort_by_name(&w->doc, pair, found, w->arena);
		pair[0] = pair[found - 1];
		found = 1;
	}
	return found > 0 && decide_body(w, pair[0], out);
}

/* The body that the nodes have in common. False: none is kept. */
static bool find_base(struct decide *w, const uint32_t *nodes, uint32_t count, struct slice *out)
{
	uint32_t *ancestors;
	if (w->base_depth == GRAPH_BASE_DEPTH_MAX || w->bases_found++ >= GRAPH_BASES_MAX)
		return false;
	uint32_t found = graph_common_ancestors(&w->doc, nodes, count, w->arena, &ancestors);
	if (found > 1 && !are_kept(w, ancestors, found))
		return find_resolution(w, ancestors, found, out);
	if (found == 0 || !decide_all_bodies(w, ancestors, found))
		return false;
	if (found == 1)
		return decide_body(w, ancestors[0], out);
	*out = merge_bases(w, ancestors, found);
	return out->len > 0;
}

bool decide_base(struct decide *w, struct slice *out, int *ancestor)
{
	uint32_t *ancestors;
	*ancestor = GRAPH_NONE;
	if (graph_common_ancestors(&w->doc, w->inputs, w->inputs_count, w->arena, &ancestors) == 1)
		*ancestor = (int)ancestors[0];
	return find_base(w, w->inputs, w->inputs_count, out);
}

/* ---- groups ---- */

/* What the members of a group come to, under the name of the one that wins. False: it stays open,
 * *out says why. */
static bool fill_group(struct decide *w, const uint32_t *members, uint32_t count, uint32_t depth,
		       struct merge_leaf *leaf, struct merge_result *out)
{
	decide_fill_leaf(w, members[count - 1], leaf); /* by name */
	if (count == 1)
		return true;
	merge_set_of(w, members, count, depth + 1, out);
	if (out->outcome != MERGE_DONE && w->base_depth == 0)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (w->graph->nodes[members[i]].stamp > leaf->stamp)
			leaf->stamp = w->graph->nodes[members[i]].stamp;
	leaf->deleted = out->deleted;
	leaf->body = out->deleted ? (struct slice){0} : arena_copy(w->arena, buf_slice(&out->body));
	merge_result_close(out);
	return true;
}

/* One after the other, each on what it has in common with those before. False: a base is not kept;
 * *out is as it was. */
static bool merge_steps(struct decide *w, const uint32_t *nodes, uint32_t count,
			struct merge_result *out)
{
	struct document whole = w->doc;
	struct document with = graph_with_room(&whole, w->arena);
	struct merge_leaf pair[2];
	*out = (struct merge_result){0};
	decide_fill_leaf(w, nodes[0], &pair[0]);
	for (uint32_t i = 1; i < count && (out->outcome == MERGE_DONE || w->base_depth > 0); i++) {
		struct slice base;
		uint32_t ends[2] = {nodes[0], nodes[i]};
		decide_fill_leaf(w, nodes[i], &pair[1]);
		if (i > 1) {
			ends[0] = graph_put_merge(&with, nodes, i, w->arena);
			w->doc = with;
		}
		bool has_base = find_base(w, ends, 2, &base);
		w->doc = whole;
		merge_result_close(out);
		if (!has_base)
			return false;
		decide_merge_leaves(w, pair, 2, &base, out);
		pair[0].revision = pair[1].revision;
		pair[0].stamp = pair[0].stamp > pair[1].stamp ? pair[0].stamp : pair[1].stamp;
		pair[0].deleted = out->deleted;
		pair[0].body = arena_copy(w->arena, buf_slice(&out->body));
	}
	return true;
}

/* As deep as histories branch, which is bounded. */
static void merge_set_of(struct decide *w, const uint32_t *nodes, uint32_t count, uint32_t depth,
			 struct merge_result *out)
{
	struct slice base;
	uint32_t *groups = NULL;
	uint32_t groups_count = count;
	if (decide_merge_tree(w, nodes, count, out))
		return;
	bool has_base = find_base(w, nodes, count, &base);
	if (depth < GRAPH_GROUP_DEPTH_MAX && graph_can_split(&w->doc, count))
		groups_count = graph_groups(&w->doc, nodes, count, w->arena, &groups);
	if (groups_count == 1 && graph_can_fold(&w->doc, count) &&
	    merge_steps(w, nodes, count, out))
		return;
	struct merge_leaf *leaves;
	if (groups_count == 1 || groups_count == count) {
		groups_count = count;
		leaves = leaves_of(w, nodes, count);
	} else {
		leaves = arena_alloc(w->arena, groups_count * sizeof *leaves);
		for (uint32_t g = 0; g < groups_count; g++) {
			uint32_t *members;
			uint32_t members_count =
			    graph_group(nodes, count, groups, g, w->arena, &members);
			if (!fill_group(w, members, members_count, depth, &leaves[g], out))
				return;
		}
	}
	decide_merge_leaves(w, leaves, groups_count, has_base ? &base : NULL, out);
}

void decide_merge(struct decide *w, const uint32_t *nodes, uint32_t count, struct merge_result *out)
{
	if (w->policy.strategy == POLICY_MERGE)
		merge_set_of(w, nodes, count, 0, out);
	else
		decide_merge_leaves(w, leaves_of(w, nodes, count), count, NULL, out);
}

void decide_merge_for_people(struct decide *w, struct merge_result *out)
{
	enum policy_strategy fallback = w->policy.fallback;
	w->bases_found = 0;
	w->policy.fallback = POLICY_NEWEST;
	decide_merge(w, w->inputs, w->inputs_count, out);
	w->policy.fallback = fallback;
}
