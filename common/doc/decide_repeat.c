/* An answer that comes again, long after: the losers may be gone, the policy another. Names cover
 * contents, so they tell whether it was this answer. */
#include <stdlib.h>

#include "common/doc/decide_internal.h"
#include "common/doc/graph.h"

/* Older versions of the policy that are tried; of a long body fewer. */
enum { VERSIONS_MAX = 256, HASHED_BYTES_MAX = 32 * 1024 * 1024 };

static struct revision *parent_names(struct decide *w, uint32_t index)
{
	const struct revision_node *node = &w->doc.revisions[index];
	struct revision *names = arena_alloc(w->arena, (node->parents_count + 1) * sizeof *names);
	for (uint32_t i = 0; i < node->parents_count; i++)
		names[i] = graph_name(&w->doc, (uint32_t)node->parents[i]);
	return names;
}

static bool is_named(struct decide *w, uint32_t index, struct slice body, uint64_t policy)
{
	char hash[REVISION_HASH_CHARS];
	struct revision name;
	struct revision is = graph_name(&w->doc, index);
	struct revision_content content = {.parents = parent_names(w, index),
					   .parents_count = w->doc.revisions[index].parents_count,
					   .deleted = decide_is_deleted(w, index),
					   .body = body,
					   .policy = policy};
	revision_name(&content, hash, &name);
	return revision_equal(&name, &is);
}

/* Does the result say what the answer does? */
static bool says_the_same(struct decide *w, const struct answer *answer, uint32_t result)
{
	struct slice body;
	struct slice picked_body;
	bool deleted = decide_is_deleted(w, result);
	if (!decide_body(w, result, &body) || answer->kind == ANSWER_SPLIT)
		return false;
	if (answer->kind == ANSWER_DELETE)
		return deleted;
	if (answer->kind == ANSWER_BODY)
		return !deleted && slice_equal(answer->body, body);
	int picked = graph_find(&w->doc, &answer->pick);
	if (picked == GRAPH_NONE || decide_is_deleted(w, (uint32_t)picked) != deleted)
		return false;
	if (decide_body(w, (uint32_t)picked, &picked_body))
		return slice_equal(picked_body, body);
	return is_named(w, (uint32_t)picked, body, 0);
}

/* Under which version of the policy was it ordered? */
static bool find_version(struct decide *w, uint32_t result, struct slice body, uint64_t *version)
{
	uint64_t tries = HASHED_BYTES_MAX / (body.len + 1) + 1;
	for (uint64_t i = 0; i < tries && i < VERSIONS_MAX && i <= w->graph->policy_version; i++) {
		*version = w->graph->policy_version - i;
		if (is_named(w, result, body, *version))
			return true;
	}
	return false;
}

static bool is_of(const struct decide *w, uint32_t node, const uint32_t *inputs, uint32_t count)
{
	const struct revision_node *r = &w->doc.revisions[node];
	if (r->parents_count != count || r->flags & REVISION_CLOSED)
		return false;
	for (uint32_t i = 0; i < count; i++)
		if (r->parents[i] != inputs[i])
			return false;
	return true;
}

static int by_index(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* What stands in the place of these, which are sorted; GRAPH_NONE. */
static int find_result(struct decide *w, const uint32_t *nodes, uint32_t count)
{
	uint32_t *human;
	uint32_t human_count = graph_human_set(&w->doc, nodes, count, w->arena, &human);
	for (uint32_t i = w->doc.revisions_count; i-- > 0;)
		if (is_of(w, i, human, human_count) || is_of(w, i, nodes, count))
			return (int)i;
	return GRAPH_NONE;
}

bool decide_repeat(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct decide_asked *asked, struct arena *arena, struct decision *out)
{
	struct decide w = {.graph = graph, .arena = arena};
	struct slice body;
	*out = (struct decision){.kind = DECISION_NOTHING, .how = asked->answer->how};
	if (!decide_load(&w))
		return false;
	int *found = graph_find_all(&w.doc, asked->leaves, asked->leaves_count, arena);
	uint32_t *nodes = arena_alloc(arena, (asked->leaves_count + 1) * sizeof *nodes);
	for (uint32_t i = 0; i < asked->leaves_count; i++) {
		if (found[i] == GRAPH_NONE)
			return false;
		nodes[i] = (uint32_t)found[i];
	}
	qsort(nodes, asked->leaves_count, sizeof *nodes, by_index);
	int result = find_result(&w, nodes, asked->leaves_count);
	if (result == GRAPH_NONE || !says_the_same(&w, asked->answer, (uint32_t)result) ||
	    !decide_body(&w, (uint32_t)result, &body) ||
	    !find_version(&w, (uint32_t)result, body, &out->resolve.policy_version))
		return false;
	out->resolve.id = id;
	out->resolve.revision = graph_name(&w.doc, (uint32_t)result);
	out->resolve.parents = parent_names(&w, (uint32_t)result);
	out->resolve.parents_count = w.doc.revisions[result].parents_count;
	revision_sort(out->resolve.parents, out->resolve.parents_count);
	decide_name_resolution(out);
	out->kind = DECISION_RESOLVE;
	return true;
}
