/* What is merged are human revisions: resolutions among the leaves give way to what they were made
 * of, so that arbiters that saw different parts arrive at the same result once they see all of it.
 */
#include "arbiter/decide.h"

#include "common/doc/graph.h"
#include "common/doc/merge.h"
#include "proto/msgpack.h"

enum { BASE_DEPTH_MAX = 8 };

struct work {
	const struct msg_conflict_read_ack *graph;
	struct document doc; /* the graph without bodies */
	struct arena *arena;
	struct policy policy;
	uint32_t *inputs; /* what is merged; by name */
	uint32_t inputs_count;
};

static const uint8_t empty_map[] = {0x80};

/* ---- the graph ---- */

static bool load_graph(struct work *w)
{
	const struct msg_conflict_read_ack *g = w->graph;
	w->doc.revisions = arena_alloc(w->arena, g->nodes_count * sizeof *w->doc.revisions);
	w->doc.revisions_count = g->nodes_count;
	for (uint32_t i = 0; i < g->nodes_count; i++) {
		const struct graph_node *node = &g->nodes[i];
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (node->parents[p] >= i)
				return false;
		w->doc.revisions[i] =
		    (struct revision_node){.generation = node->revision.generation,
					   .hash = node->revision.hash,
					   .parents = node->parents,
					   .parents_count = node->parents_count,
					   .flags = node->flags,
					   .stamp = node->stamp};
	}
	return true;
}

static bool is_deleted(const struct work *w, uint32_t index)
{
	return w->graph->nodes[index].flags & REVISION_DELETED;
}

/* Of a deletion: the empty map. False: it is not kept. */
static bool body_of(const struct work *w, uint32_t index, struct slice *out)
{
	const struct graph_node *node = &w->graph->nodes[index];
	*out = is_deleted(w, index) ? slice_of(empty_map, 1) : node->body;
	return is_deleted(w, index) || (node->flags & REVISION_HAS_BODY);
}

static bool all_bodies(const struct work *w, const uint32_t *nodes, uint32_t count)
{
	struct slice body;
	for (uint32_t i = 0; i < count; i++)
		if (!body_of(w, nodes[i], &body))
			return false;
	return true;
}

static struct slice revision_text(struct work *w, uint32_t index)
{
	struct buf text = {0};
	struct revision name = graph_name(&w->doc, index);
	revision_print(&name, &text);
	struct slice copy = arena_copy(w->arena, buf_slice(&text));
	buf_close(&text);
	return copy;
}

/* Their names, sorted. */
static struct revision *names_of(struct work *w, const uint32_t *nodes, uint32_t count)
{
	struct revision *names = arena_alloc(w->arena, count * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(&w->doc, nodes[i]);
	revision_sort(names, count);
	return names;
}

/* The human revisions below the leaves; where cleanup has taken their bodies, the leaves as they
 * are. */
static bool find_inputs(struct work *w, const uint32_t *leaves, uint32_t count)
{
	w->inputs_count = graph_human_inputs(&w->doc, leaves, count, w->arena, &w->inputs);
	if (all_bodies(w, w->inputs, w->inputs_count))
		return true;
	w->inputs = arena_alloc(w->arena, count * sizeof *w->inputs);
	memcpy(w->inputs, leaves, count * sizeof *w->inputs);
	w->inputs_count = count;
	return all_bodies(w, w->inputs, count);
}

/* ---- merging ---- */

static void merge_nodes(struct work *w, const uint32_t *nodes, uint32_t count,
			const struct slice *base, struct merge_result *out)
{
	struct merge_leaf *leaves = arena_alloc(w->arena, count * sizeof *leaves);
	for (uint32_t i = 0; i < count; i++) {
		leaves[i].revision = revision_text(w, nodes[i]);
		leaves[i].stamp = w->graph->nodes[nodes[i]].stamp;
		leaves[i].deleted = is_deleted(w, nodes[i]);
		if (!leaves[i].deleted)
			leaves[i].body = w->graph->nodes[nodes[i]].body;
	}
	struct merge_input input = {.leaves = leaves,
				    .leaves_count = count,
				    .has_base = base != NULL,
				    .base = base ? *base : (struct slice){0},
				    .policy = &w->policy};
	merge_run(&input, w->arena, out);
}

/* The body that the nodes have in common. Several ancestors (a criss-cross) are merged in their
 * turn; what of that would stay open is left out, so that it counts as changed on every side.
 * False: none is kept. */
static bool find_base(struct work *w, const uint32_t *nodes, uint32_t count, uint32_t depth,
		      struct slice *out)
{
	uint32_t *ancestors;
	uint32_t found = graph_common_ancestors(&w->doc, nodes, count, w->arena, &ancestors);
	if (found == 0 || depth == BASE_DEPTH_MAX || !all_bodies(w, ancestors, found))
		return false;
	if (found == 1)
		return body_of(w, ancestors[0], out);
	struct slice below;
	bool has_below = find_base(w, ancestors, found, depth + 1, &below);
	struct merge_result merged;
	merge_nodes(w, ancestors, found, has_below ? &below : NULL, &merged);
	*out =
	    merged.deleted ? slice_of(empty_map, 1) : arena_copy(w->arena, buf_slice(&merged.body));
	buf_close(&merged.body);
	buf_close(&merged.detail);
	return out->len > 0;
}

/* ---- outcomes ---- */

/* The map with "by": "arbiter" in front. */
static struct slice signed_detail(struct arena *arena, struct slice map)
{
	struct buf out = {0};
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	mp_write_map(&out, head.count + 1);
	mp_write_text(&out, "by");
	mp_write_text(&out, "arbiter");
	buf_append(&out, r.at, (size_t)(r.end - r.at));
	struct slice copy = arena_copy(arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

static void stays_open(struct work *w, const char *reason, const char *place, struct decision *out)
{
	struct buf map = {0};
	mp_write_map(&map, place ? 2 : 1);
	mp_write_text(&map, "reason");
	mp_write_text(&map, reason);
	if (place) {
		mp_write_text(&map, "place");
		mp_write_text(&map, place);
	}
	out->kind = DECISION_NOTE;
	out->note.detail = signed_detail(w->arena, buf_slice(&map));
	buf_close(&map);
}

/* H(document, inputs, policy version) */
static void name_resolution(struct work *w, struct decision *out)
{
	struct buf form = {0};
	mp_write_array(&form, 3);
	mp_write_bin(&form, out->resolve.id);
	mp_write_array(&form, w->inputs_count);
	for (uint32_t i = 0; i < w->inputs_count; i++) {
		struct buf text = {0};
		revision_print(&out->resolve.parents[i], &text);
		mp_write_str(&form, buf_slice(&text));
		buf_close(&text);
	}
	mp_write_u64(&form, out->resolve.policy_version);
	digest16(buf_slice(&form), out->resolution_id);
	buf_close(&form);
	out->resolve.resolution_id = slice_of(out->resolution_id, sizeof out->resolution_id);
}

static void becomes(struct work *w, bool deleted, struct slice body, struct slice detail,
		    struct decision *out)
{
	struct msg_conflict_resolve *m = &out->resolve;
	m->parents = names_of(w, w->inputs, w->inputs_count);
	m->parents_count = w->inputs_count;
	m->deleted = deleted;
	m->body = deleted ? (struct slice){0} : arena_copy(w->arena, body);
	m->detail = signed_detail(w->arena, detail);
	struct revision_content content = {.parents = m->parents,
					   .parents_count = m->parents_count,
					   .deleted = deleted,
					   .body = m->body,
					   .policy = m->policy_version};
	revision_name(&content, out->hash, &m->revision);
	name_resolution(w, out);
	out->kind = DECISION_RESOLVE;
}

/* All other leaves came out of the one that is left: it says what they did, and more. */
static void take_single(struct work *w, struct decision *out)
{
	struct buf detail = {0};
	struct slice body;
	mp_write_map(&detail, 1);
	mp_write_text(&detail, "strategy");
	mp_write_text(&detail, "single");
	CHECK(body_of(w, w->inputs[0], &body));
	out->how = HOW_SINGLE;
	becomes(w, is_deleted(w, w->inputs[0]), body, buf_slice(&detail), out);
	buf_close(&detail);
}

static enum decision_how how_of(enum policy_strategy strategy)
{
	switch (strategy) {
	case POLICY_NEWEST:
		return HOW_NEWEST;
	case POLICY_OLDEST:
		return HOW_OLDEST;
	case POLICY_NONE:
	case POLICY_MERGE:
		break;
	}
	return HOW_MERGE;
}

static void merge_inputs(struct work *w, struct decision *out)
{
	struct slice base;
	bool has_base = w->policy.strategy == POLICY_MERGE &&
			find_base(w, w->inputs, w->inputs_count, 0, &base);
	struct merge_result merged;
	merge_nodes(w, w->inputs, w->inputs_count, has_base ? &base : NULL, &merged);
	out->how = how_of(w->policy.strategy);
	if (merged.outcome != MERGE_DONE) {
		out->kind = DECISION_NOTE;
		out->note.detail = signed_detail(w->arena, buf_slice(&merged.detail));
	} else if (merged.body.len > LIMIT_BODY_BYTES) {
		stays_open(w, "too_large", NULL, out);
	} else {
		becomes(w, merged.deleted, buf_slice(&merged.body), buf_slice(&merged.detail), out);
	}
	buf_close(&merged.body);
	buf_close(&merged.detail);
}

void arbiter_decide(const struct msg_conflict_read_ack *graph, struct slice id, struct arena *arena,
		    struct decision *out)
{
	struct work w = {.graph = graph, .arena = arena};
	struct policy_error error;
	uint32_t *leaves;
	*out = (struct decision){.kind = DECISION_BROKEN};
	if (!load_graph(&w))
		return;
	uint32_t count = graph_live_leaves(&w.doc, arena, &leaves);
	out->kind = DECISION_NOTHING;
	if (count < 2)
		return;
	out->note = (struct msg_conflict_note){.shard = graph->shard,
					       .id = id,
					       .leaves = names_of(&w, leaves, count),
					       .leaves_count = count};
	out->resolve = (struct msg_conflict_resolve){.shard = graph->shard,
						     .id = id,
						     .leaves = out->note.leaves,
						     .leaves_count = count,
						     .policy_version = graph->policy_version};
	if (count > LIMIT_LEAVES) {
		out->note.leaves_count = LIMIT_LEAVES;
		stays_open(&w, "too_many_leaves", NULL, out);
	} else if (!policy_parse(graph->policy, arena, &w.policy, &error)) {
		stays_open(&w, "invalid_policy", error.place, out);
	} else if (w.policy.strategy == POLICY_NONE) {
		stays_open(&w, "policy_none", NULL, out);
	} else if (!find_inputs(&w, leaves, count)) {
		stays_open(&w, "body_missing", NULL, out);
	} else if (w.inputs_count > LIMIT_LEAVES) {
		stays_open(&w, "too_many_inputs", NULL, out);
	} else if (w.inputs_count == 1) {
		take_single(&w, out);
	} else {
		merge_inputs(&w, out);
	}
}
