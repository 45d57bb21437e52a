/* What is merged are human revisions: resolutions among the leaves give way to what they were made
 * of, so that arbiters that saw different parts arrive at the same result once they see all of it.
 */
#include "common/doc/decide.h"

#include "common/doc/decide_internal.h"
#include "common/doc/graph.h"
#include "common/doc/graph_parts.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

enum { GRAPH_LINKS_MAX = 1 << 20 };

static const uint8_t empty_map[] = {0x80};

/* ---- the graph ---- */

/* Everything that is made of a body walks its bytes, so they must be one. */
static bool body_is_sound(const struct graph_node *node)
{
	return (node->flags & REVISION_DELETED) || !(node->flags & REVISION_HAS_BODY) ||
	       value_is_document(node->body);
}

bool decide_load(struct decide *w)
{
	const struct msg_conflict_read_ack *g = w->graph;
	w->doc.revisions = arena_alloc(w->arena, g->nodes_count * sizeof *w->doc.revisions);
	w->doc.revisions_count = g->nodes_count;
	for (uint32_t i = 0; i < g->nodes_count; i++) {
		const struct graph_node *node = &g->nodes[i];
		for (uint32_t p = 0; p < node->parents_count; p++)
			if (node->parents[p] >= i)
				return false;
		if (!body_is_sound(node))
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

bool decide_is_deleted(const struct decide *w, uint32_t index)
{
	return w->graph->nodes[index].flags & REVISION_DELETED;
}

bool decide_body(const struct decide *w, uint32_t index, struct slice *out)
{
	const struct graph_node *node = &w->graph->nodes[index];
	*out = decide_is_deleted(w, index) ? slice_of(empty_map, 1) : node->body;
	return decide_is_deleted(w, index) || (node->flags & REVISION_HAS_BODY);
}

bool decide_all_bodies(const struct decide *w, const uint32_t *nodes, uint32_t count)
{
	struct slice body;
	for (uint32_t i = 0; i < count; i++)
		if (!decide_body(w, nodes[i], &body))
			return false;
	return true;
}

struct slice decide_revision_text(struct decide *w, uint32_t index)
{
	struct buf text = {0};
	struct revision name = graph_name(&w->doc, index);
	revision_print(&name, &text);
	struct slice copy = arena_copy(w->arena, buf_slice(&text));
	buf_close(&text);
	return copy;
}

/* Their names, sorted. */
static struct revision *names_of(struct decide *w, const uint32_t *nodes, uint32_t count)
{
	struct revision *names = arena_alloc(w->arena, count * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(&w->doc, nodes[i]);
	revision_sort(names, count);
	return names;
}

/* Where one edit after another comes late, each resolution names all that came before: the graph
 * would outgrow the messages that it is read and copied with. */
static bool is_crowded(const struct decide *w)
{
	uint64_t links = 0;
	for (uint32_t i = 0; i < w->doc.revisions_count; i++)
		links += w->doc.revisions[i].parents_count;
	return links > GRAPH_LINKS_MAX;
}

/* The human revisions below the leaves; where cleanup has taken their bodies, or they are more than
 * a resolution can name or the graph should hold, the leaves as they are. */
static bool find_inputs(struct decide *w, const uint32_t *leaves, uint32_t count)
{
	w->inputs_count = graph_human_inputs(&w->doc, leaves, count, w->arena, &w->inputs);
	if (w->inputs_count <= LIMIT_LEAVES && !is_crowded(w) &&
	    decide_all_bodies(w, w->inputs, w->inputs_count))
		return true;
	w->inputs = arena_alloc(w->arena, count * sizeof *w->inputs);
	memcpy(w->inputs, leaves, count * sizeof *w->inputs);
	w->inputs_count = count;
	return decide_all_bodies(w, w->inputs, count);
}

/* ---- by policy ---- */

/* All other leaves came out of the one that is left: it says what they did, and more. */
static void take_single(struct decide *w, struct decision *out)
{
	struct buf detail = {0};
	mp_write_map(&detail, 1);
	mp_write_text(&detail, "strategy");
	mp_write_text(&detail, "single");
	out->how = HOW_SINGLE;
	CHECK(decide_becomes_node(w, w->inputs[0], buf_slice(&detail), out));
	buf_close(&detail);
}

static void merge_inputs(struct decide *w, enum decision_how how, struct decision *out)
{
	struct merge_result merged;
	decide_merge(w, w->inputs, w->inputs_count, &merged);
	out->how = how;
	if (merged.outcome != MERGE_DONE)
		decide_notes(w, buf_slice(&merged.detail), out);
	else if (merged.body.len > LIMIT_BODY_BYTES)
		decide_stays_open(w, "too_large", NULL, (struct slice){0}, out);
	else
		decide_becomes(w, merged.deleted, buf_slice(&merged.body),
			       buf_slice(&merged.detail), out);
	buf_close(&merged.body);
	buf_close(&merged.detail);
}

bool decide_prepare(struct decide *w, struct slice id, struct decision *out)
{
	const struct msg_conflict_read_ack *graph = w->graph;
	struct policy_error error;
	uint32_t *leaves;
	*out = (struct decision){.kind = DECISION_BROKEN};
	if (!decide_load(w))
		return false;
	uint32_t count = graph_sides(&w->doc, w->arena, &leaves);
	out->kind = DECISION_NOTHING;
	if (count < 2)
		return false;
	out->note = (struct msg_conflict_note){.shard = graph->shard,
					       .id = id,
					       .leaves = names_of(w, leaves, count),
					       .leaves_count = count};
	out->resolve = (struct msg_conflict_resolve){.shard = graph->shard,
						     .id = id,
						     .leaves = out->note.leaves,
						     .leaves_count = count,
						     .policy_version = graph->policy_version};
	const char *reason = NULL;
	const char *place = NULL;
	if (count > LIMIT_LEAVES) {
		out->note.leaves_count = LIMIT_LEAVES;
		reason = "too_many_leaves";
	} else if (!policy_parse(graph->policy, w->arena, &w->policy, &error)) {
		reason = "invalid_policy";
		place = error.place;
	} else if (!w->answered && graph_parts_are_left(graph)) {
		reason = "too_large";
	} else if (!find_inputs(w, leaves, count) && !w->answered) {
		reason = "body_missing";
	}
	out->policy = w->policy;
	out->instead_of = w->reason;
	if (reason)
		decide_stays_open(w, reason, place, (struct slice){0}, out);
	return !reason;
}

static void apply_policy(struct decide *w, struct slice id, struct decision *out)
{
	if (decide_roots(w, out))
		return;
	switch (w->policy.strategy) {
	case POLICY_NONE:
		decide_stays_open(w, w->reason ? w->reason : "policy_none", NULL, w->text, out);
		break;
	case POLICY_NEWEST:
		merge_inputs(w, HOW_NEWEST, out);
		break;
	case POLICY_OLDEST:
		merge_inputs(w, HOW_OLDEST, out);
		break;
	case POLICY_MERGE:
		merge_inputs(w, HOW_MERGE, out);
		break;
	case POLICY_SCRIPT:
		decide_asks(w, DECISION_SCRIPT, id, out);
		break;
	case POLICY_EXTERNAL:
		decide_asks(w, DECISION_EXTERNAL, id, out);
		break;
	case POLICY_STRATEGIES:
		CHECK(false);
	}
}

/* Did several sides change a path declared to be for people? No script decides that. */
static bool waits_for_people(struct decide *w)
{
	struct merge_result merged;
	if (!policy_has_below(&w->policy, (struct slice){0}, RULE_MANUAL))
		return false;
	decide_merge_for_people(w, &merged);
	buf_close(&merged.body);
	buf_close(&merged.detail);
	return merged.outcome != MERGE_DONE;
}

void decide_conflict(const struct msg_conflict_read_ack *graph, struct slice id,
		     struct arena *arena, struct decision *out)
{
	struct decide w = {.graph = graph, .arena = arena};
	if (!decide_prepare(&w, id, out))
		return;
	if (w.policy.strategy == POLICY_NONE)
		decide_stays_open(&w, "policy_none", NULL, (struct slice){0}, out);
	else if (w.inputs_count == 1)
		take_single(&w, out);
	else
		apply_policy(&w, id, out);
	if (out->kind == DECISION_NOTE && w.policy.strategy == POLICY_MERGE &&
	    w.policy.fallback == POLICY_SCRIPT && w.inputs_count > 1 && !w.collision_open &&
	    !waits_for_people(&w)) {
		w.reason = "paths";
		decide_asks(&w, DECISION_SCRIPT, id, out);
	}
}

void decide_fallback(const struct msg_conflict_read_ack *graph, struct slice id, const char *reason,
		     struct slice text, struct arena *arena, struct decision *out)
{
	struct decide w = {.graph = graph, .arena = arena, .reason = reason, .text = text};
	if (!decide_prepare(&w, id, out))
		return;
	/* of merge, a fallback that decides has been used already; what is left has a reason */
	w.policy.strategy = w.policy.strategy == POLICY_MERGE ? POLICY_NONE : w.policy.fallback;
	w.policy.fallback = POLICY_NONE;
	if (w.inputs_count == 1)
		take_single(&w, out);
	else
		apply_policy(&w, id, out);
}

void decide_open(const struct msg_conflict_read_ack *graph, struct slice id,
		 const struct decide_why *why, struct arena *arena, struct decision *out)
{
	struct decide w = {.graph = graph, .arena = arena, .reason = why->instead_of};
	if (decide_prepare(&w, id, out))
		decide_stays_open(&w, why->reason, NULL, why->text, out);
}
