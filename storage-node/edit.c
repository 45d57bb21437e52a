/* What a change does to a document's graph and bodies: the same on every replica, whatever its
 * disk. The only inputs are the record, the change, and the settings that the stream ordered. */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/graph_erase.h"
#include "common/doc/graph_line.h"
#include "common/doc/revision.h"
#include "storage-node/purge.h"
#include "storage-node/reopen.h"

enum {
	STEM_SLACK = 32,
	KEPT_AT_ONCE = REVISIONS_KEPT + 2,
	BRANCH_BASES_MAX = LIMIT_REVISIONS / 4, /* generations whose bodies wait for branches */
	MOVED_MAX = 3 /* bodies that an added revision can move: its own, the winners' */
};

/* An edit under way. */
struct editing {
	struct document_view *view;
	struct document *doc;
	struct arena *arena;
	const struct change *change;
	uint64_t number;
	uint32_t count_before;  /* revisions */
	int old_winner;         /* index before, or GRAPH_NONE */
	struct slice old_body;  /* its body, when kept */
	struct slice body;      /* of the winner there is now */
	int added;              /* index of the revision made, or GRAPH_NONE */
	struct slice *reopened; /* REOPEN: bodies of the revisions made, by index; else NULL */
	struct document_edit *out;
	uint32_t bodies_cap;
};

static void body_change(struct editing *e, uint32_t index, struct slice body)
{
	CHECK(e->out->bodies_count < e->bodies_cap);
	e->out->bodies[e->out->bodies_count++] =
	    (struct body_edit){.revision = graph_name(e->doc, index), .body = body};
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a;
	uint64_t y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

/* Indexes of the parents that the graph knows, ascending, each once. */
static uint32_t parent_indexes(struct editing *e, uint64_t **out)
{
	const struct change *change = e->change;
	uint64_t *list = arena_alloc(e->arena, (change->parents_count + 1) * sizeof *list);
	uint32_t count = 0;
	const int *found = graph_find_all(e->doc, change->parents, change->parents_count, e->arena);
	for (uint32_t i = 0; i < change->parents_count; i++)
		if (found[i] != GRAPH_NONE)
			list[count++] = (uint64_t)found[i];
	qsort(list, count, sizeof *list, compare_u64);
	uint32_t unique = 0;
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || list[i] != list[i - 1])
			list[unique++] = list[i];
	*out = list;
	return unique;
}

/* For so many revisions. A document that stays decoded has places at the end of its list. */
static void make_room(struct editing *e, uint32_t more)
{
	const struct large *l = e->view->large;
	bool has =
	    l && e->doc->revisions == l->doc.revisions && e->doc->revisions_count + more <= l->cap;
	if (!has)
		graph_reserve(e->doc, e->arena, more);
}

static void add_revision(struct editing *e, uint64_t extra_flags)
{
	const struct change *change = e->change;
	struct revision_node node = {.generation = change->revision.generation,
				     .hash = change->revision.hash,
				     .flags = extra_flags,
				     .stamp = change->stamp,
				     .policy = change->policy};
	if (change->deleted)
		node.flags |= REVISION_DELETED;
	if (change->body.len > 0)
		node.flags |= REVISION_HAS_BODY;
	node.parents_count = parent_indexes(e, &node.parents);
	make_room(e, 1);
	e->added = (int)graph_add_reserved(e->doc, e->arena, &node, e->number);
}

/* ---- operation ids ---- */

/* What will be applied only later keeps its ids in the list: their keys are not there yet. */
static uint32_t listed_operations(const struct editing *e)
{
	return e->view->overlay ? LIMIT_OPERATION_IDS : OPERATIONS_LISTED;
}

static void remember_operation(struct editing *e)
{
	const struct change *change = e->change;
	struct document *doc = e->doc;
	if (change->operation_digest.len == 0 || change->edit_id.len > 0)
		return;
	struct operation *list = arena_alloc(e->arena, (doc->operations_count + 1) * sizeof *list);
	uint32_t count = 0;
	for (uint32_t i = 0; i < doc->operations_count; i++) {
		uint64_t kept_ms = doc->operations[i].stamp >> 16;
		if (kept_ms + OPERATION_KEEP_MS >= change->stamp >> 16)
			list[count++] = doc->operations[i];
	}
	list[count++] = (struct operation){.id = change->operation_id,
					   .digest = change->operation_digest,
					   .status = change->status,
					   .revision = change->revision,
					   .stamp = change->stamp};
	uint32_t most = listed_operations(e);
	uint32_t moved = count > most ? count - most : 0;
	e->out->operations = list;
	e->out->operations_count = moved;
	doc->operations = list + moved;
	doc->operations_count = count - moved;
}

/* ---- which bodies stay ---- */

static bool only_adds(const struct change *change)
{
	return change->kind == CHANGE_WRITE || change->kind == CHANGE_BRANCH ||
	       change->kind == CHANGE_IMPORT;
}

/* Replicas take branches until they have applied settings that end the mode. What these rest on
 * stays until all have done so, and their outboxes are empty. But one that is away for long must
 * not let the graph fill up, which would end all writes: then the oldest go. */
static bool waits_for_branches(const struct editing *e, const struct revision_node *node,
			       uint64_t winner_generation)
{
	const struct shard_copy *c = e->view->copy;
	return (shard_is_available(c) || c->position.branches_until > e->change->floor) &&
	       node->superseded > e->change->floor &&
	       node->generation + BRANCH_BASES_MAX >= winner_generation;
}

static bool body_stays(const struct editing *e, uint32_t index, const uint8_t *marks,
		       uint64_t winner_generation)
{
	const struct revision_node *node = &e->doc->revisions[index];
	const struct collection *settings = &e->view->copy->settings;
	if ((node->flags & REVISION_LEAF) || node->pins > 0 || marks[index])
		return true;
	if (waits_for_branches(e, node, winner_generation))
		return true;
	return settings->keep_ancestors > 0 &&
	       node->generation + settings->keep_ancestors >= winner_generation;
}

/* The body of a revision that is under no key of its own yet; empty: it is, or has none. */
static struct slice body_in_hand(const struct editing *e, uint32_t index)
{
	if ((int)index == e->added)
		return e->change->body;
	if (e->reopened && e->reopened[index].len > 0)
		return e->reopened[index];
	return (int)index == e->old_winner ? e->old_body : (struct slice){0};
}

static void place_body(struct editing *e, uint32_t index, int winner, bool stays)
{
	struct revision_node *node = &e->doc->revisions[index];
	if (!(node->flags & REVISION_HAS_BODY))
		return;
	struct slice held = body_in_hand(e, index);
	bool in_hand = held.len > 0;
	if ((int)index == winner) {
		/* the body in the record is still that of the winner before */
		int shown = MUTATION(body_of_another) ? winner : e->old_winner;
		e->body = in_hand ? held : document_body_beside(e->view, index, shown);
		if (!in_hand)
			body_change(e, index, (struct slice){0});
	} else if (stays && in_hand) {
		body_change(e, index, held);
	} else if (!stays) {
		if (!in_hand)
			body_change(e, index, (struct slice){0});
		node->flags &= ~(uint64_t)REVISION_HAS_BODY;
	}
}

/* Which bodies and revisions may go is looked at with each change; where there are very many, with
 * each 32nd that adds some, as looking takes longer than all else. Decided by the graph alone: it
 * must be the same on every replica. */
static bool looks_through(const struct editing *e)
{
	return e->doc->revisions_count <= REVISIONS_MANY || !only_adds(e->change) ||
	       e->doc->revisions_count / STEM_SLACK != e->count_before / STEM_SLACK;
}

/* Puts the winner's body into the record, every other one that stays under its own key, and drops
 * the rest. */
static void place_bodies(struct editing *e, int winner)
{
	struct document *doc = e->doc;
	CHECK(doc->revisions != NULL); /* what has changed has one at least */
	if (!looks_through(e)) {
		int before = MUTATION(loser_without_body) ? GRAPH_NONE : e->old_winner;
		const int moved[MOVED_MAX] = {winner, before, e->added};
		for (int i = 0; i < MOVED_MAX; i++)
			if (moved[i] != GRAPH_NONE && (i < 1 || moved[i] != moved[0]) &&
			    (i < 2 || moved[i] != moved[1]))
				place_body(e, (uint32_t)moved[i], winner, true);
		doc->body = e->body;
		return;
	}
	uint8_t *marks = arena_alloc(e->arena, doc->revisions_count + 1);
	graph_mark_needed(doc, e->arena, marks);
	uint64_t generation = winner == GRAPH_NONE ? 0 : doc->revisions[winner].generation;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		place_body(e, i, winner, body_stays(e, i, marks, generation));
	doc->body = e->body;
}

/* ---- kinds of changes ---- */

/* False: it is a branch, beside what was made of its parent. */
static bool extends_leaf(const struct editing *e)
{
	for (uint32_t i = 0; i < e->change->parents_count; i++) {
		int parent = graph_find(e->doc, &e->change->parents[i]);
		if (parent != GRAPH_NONE && graph_is_leaf(e->doc, (uint32_t)parent))
			return true;
	}
	return false;
}

/* The deletion of which a late branch does not know comes back as a leaf that wins, unless there is
 * a live one. Where people have answered one that came late before, it is the deletion that they
 * left. */
static void add_deletion(struct editing *e)
{
	struct document *doc = e->doc;
	const struct revision *name = &e->view->purged->revision;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (graph_is_side(doc, i))
			return;
	int index = graph_find(doc, name);
	if (index == GRAPH_NONE) {
		struct revision_node node = {
		    .generation = name->generation, .hash = name->hash, .flags = REVISION_DELETED};
		index = (int)graph_add(doc, e->arena, &node, e->number);
	} else if (!graph_is_leaf(doc, (uint32_t)index)) {
		index = graph_winner(doc);
	}
	if (index != GRAPH_NONE && (doc->revisions[index].flags & REVISION_DELETED))
		doc->revisions[index].flags |= REVISION_PURGED;
}

/* Whether there is something to add. To one that was made without knowing of the purge, the
 * deletion is added before; one that is that very deletion, taken by another replica as well,
 * brings nothing. */
static bool begin_adding(struct editing *e, uint32_t room)
{
	const struct purged *mark = e->view->purged;
	if (graph_find(e->doc, &e->change->revision) != GRAPH_NONE ||
	    e->doc->revisions_count + room >= LIMIT_REVISIONS)
		return false;
	if (mark && purge_is_again(e->doc, mark, e->change))
		return false;
	e->out->late = mark && purge_is_late(e->doc, mark, e->change);
	if (e->out->late)
		add_deletion(e);
	return true;
}

static bool edit_write(struct editing *e)
{
	if (!begin_adding(e, 1))
		return false;
	bool extends = extends_leaf(e);
	add_revision(e, e->out->late ? REVISION_LATE : 0);
	if (e->change->kind == CHANGE_BRANCH && !extends && !MUTATION(deletion_unopposed))
		graph_mark_deletions(e->doc, (uint32_t)e->added, e->arena);
	remember_operation(e);
	return true;
}

/* A revision that was made elsewhere: with what is not known of its line. */
static bool edit_import(struct editing *e)
{
	const struct change *change = e->change;
	struct revision_node leaf = {.generation = change->revision.generation,
				     .hash = change->revision.hash,
				     .stamp = change->stamp};
	if (!begin_adding(e, KEPT_AT_ONCE))
		return false;
	uint32_t before = e->doc->revisions_count;
	if (change->deleted)
		leaf.flags |= REVISION_DELETED;
	if (change->body.len > 0)
		leaf.flags |= REVISION_HAS_BODY;
	make_room(e, KEPT_AT_ONCE);
	struct graph_line line = {.leaf = &leaf,
				  .ancestors = change->parents,
				  .ancestors_count = change->parents_count,
				  .most = REVISIONS_KEPT};
	if (MUTATION(import_without_line))
		line.ancestors_count = 0;
	struct graph_imported made = graph_import(e->doc, e->arena, &line, e->number);
	e->added = made.index;
	for (uint32_t i = before; e->out->late && i < e->doc->revisions_count; i++)
		e->doc->revisions[i].flags |= REVISION_LATE;
	/* to delete a loser says nothing against what was made of it */
	if (!made.extends && !(change->deleted && made.on_closed))
		graph_mark_deletions(e->doc, (uint32_t)e->added, e->arena);
	return true;
}

static void pin(struct editing *e, uint32_t index)
{
	if (e->out->pinned_count == LIMIT_LEAVES)
		return;
	e->doc->revisions[index].pins++;
	e->out->pinned[e->out->pinned_count++] = graph_name(e->doc, index);
}

/* What this merge reads, a later one may read again: that of a conflict which names these inputs
 * instead of the resolution. Where they are very many, the bases of groups among them may be left
 * out. */
static void pin_inputs(struct editing *e, const uint32_t *leaves, uint32_t count)
{
	const struct document *doc = e->doc;
	uint32_t *bases;
	uint32_t bases_count = graph_common_ancestors(doc, leaves, count, e->arena, &bases);
	uint8_t *needed = arena_alloc(e->arena, doc->revisions_count + 1);
	graph_mark_needed(doc, e->arena, needed);
	e->out->pinned = arena_alloc(e->arena, (doc->revisions_count + 1) * sizeof *e->out->pinned);
	for (uint32_t i = 0; i < bases_count; i++) {
		pin(e, bases[i]);
		needed[bases[i]] = 0;
	}
	for (uint32_t i = 0; i < count; i++) {
		pin(e, leaves[i]);
		needed[leaves[i]] = 0;
	}
	/* what earlier resolutions were made of stays until their own cleanup, and no longer */
	uint32_t *inputs;
	uint32_t inputs_count = graph_human_set(doc, leaves, count, e->arena, &inputs);
	for (uint32_t i = 0; i < inputs_count; i++)
		needed[inputs[i]] = 0;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (needed[i]) /* a deletion, too, which has no body */
			pin(e, i);
}

static bool edit_resolve(struct editing *e)
{
	const struct change *change = e->change;
	int result = graph_find(e->doc, &change->revision);
	if (!document_leaves_are(e->doc, change->leaves, change->leaves_count, e->arena))
		return false;
	/* what it becomes must be a leaf afterwards: a document always has one */
	if (result != GRAPH_NONE ? !graph_is_leaf(e->doc, (uint32_t)result)
				 : e->doc->revisions_count >= LIMIT_REVISIONS)
		return false;
	uint32_t *leaves;
	uint32_t count = graph_sides(e->doc, e->arena, &leaves);
	pin_inputs(e, leaves, count);
	/* nobody could make a decision of people again from what it was made of */
	bool transparent = !change->decided || MUTATION(decision_forgotten);
	if (result == GRAPH_NONE)
		add_revision(e, (transparent ? REVISION_RESOLVED : 0) |
				    (change->split ? REVISION_SPLIT : 0));
	result = graph_find(e->doc, &change->revision);
	e->out->losers = arena_alloc(e->arena, (count + 1) * sizeof *e->out->losers);
	for (uint32_t i = 0; i < count; i++) {
		if ((int)leaves[i] == result)
			continue;
		if (graph_is_leaf(e->doc, leaves[i]))
			graph_close(e->doc, leaves[i], e->number);
		if (e->out->losers_count == LIMIT_LEAVES)
			continue;
		e->out->losers[e->out->losers_count++] = graph_name(e->doc, leaves[i]);
	}
	e->out->resolved = true;
	return true;
}

static bool edit_reopen(struct editing *e)
{
	const struct change *change = e->change;
	struct reopened *list;
	if (!document_leaves_are(e->doc, change->leaves, change->leaves_count, e->arena))
		return false;
	uint32_t count = reopen_list(e->view, change, &list);
	if (count == 0 || e->doc->revisions_count + count > LIMIT_REVISIONS)
		return false;
	e->reopened =
	    arena_alloc(e->arena, (e->doc->revisions_count + count) * sizeof *e->reopened);
	graph_reserve(e->doc, e->arena, count);
	int result = reopen_result(e->doc, change);
	for (uint32_t i = 0; i < count; i++) {
		struct revision name = {list[i].node.generation, list[i].node.hash};
		if (graph_find(e->doc, &name) != GRAPH_NONE)
			continue;
		uint32_t index = graph_add_reserved(e->doc, e->arena, &list[i].node, e->number);
		e->reopened[index] = list[i].body;
	}
	if (count > 1 && result != GRAPH_NONE && graph_is_leaf(e->doc, (uint32_t)result))
		graph_close(e->doc, (uint32_t)result, e->number);
	reopen_hold(e->doc, e->arena);
	return true;
}

/* What it kept was no leaf any more when it was made, but for its result. What was erased since,
 * and came again, is kept by others. */
static bool is_pinned_by(const struct editing *e, const struct conflict *resolved, uint32_t index)
{
	const struct revision_node *node = &e->doc->revisions[index];
	struct revision name = graph_name(e->doc, index);
	bool was_closed = node->superseded > 0 && node->superseded <= resolved->number;
	return node->pins > 0 && (was_closed || revision_equal(&name, &resolved->result));
}

/* Nothing goes while the document is in conflict again: a merge may need it. */
static bool edit_cleanup(struct editing *e, const struct conflict *resolved)
{
	if (!resolved || graph_conflicts(e->doc) > 0)
		return false;
	const int *pinned =
	    graph_find_all(e->doc, resolved->pinned, resolved->pinned_count, e->arena);
	for (uint32_t i = 0; i < resolved->pinned_count; i++)
		if (pinned[i] != GRAPH_NONE && is_pinned_by(e, resolved, (uint32_t)pinned[i]))
			e->doc->revisions[pinned[i]].pins--;
	/* without its inputs a resolution is a revision like any other: later merges start from it
	 */
	int result = graph_find(e->doc, &resolved->result);
	if (result != GRAPH_NONE)
		e->doc->revisions[result].flags &= ~(uint64_t)REVISION_RESOLVED;
	e->out->resolution_gone = e->change->resolution_id;
	return true;
}

/* Nothing has changed since the deletion that this was decided on, so its leaves are the same. */
static bool edit_purge(struct editing *e)
{
	struct document *doc = e->doc;
	if (doc->changed != e->change->seen_number || e->old_winner == GRAPH_NONE ||
	    e->out->was_live || e->out->was_conflict)
		return false;
	e->out->deletion = graph_name(doc, (uint32_t)e->old_winner);
	e->out->bodies = arena_alloc(e->arena, doc->revisions_count * sizeof *e->out->bodies);
	e->bodies_cap = doc->revisions_count;
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if ((doc->revisions[i].flags & REVISION_HAS_BODY) && (int)i != e->old_winner)
			body_change(e, i, (struct slice){0});
	e->out->purged = true;
	return true;
}

/* A wish of people: neither leaves of a conflict nor what a resolution was made of hold it up. */
static bool edit_erase(struct editing *e)
{
	struct document *doc = e->doc;
	const struct change *change = e->change;
	uint8_t *gone = arena_alloc(e->arena, doc->revisions_count + 1);
	if (graph_mark_erased(doc, change->leaves, change->leaves_count, e->arena, gone) == 0)
		return false;
	e->bodies_cap = doc->revisions_count;
	e->out->bodies = arena_alloc(e->arena, e->bodies_cap * sizeof *e->out->bodies);
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (gone[i] && (doc->revisions[i].flags & REVISION_HAS_BODY) &&
		    (int)i != e->old_winner && !MUTATION(erased_body_stays))
			body_change(e, i, (struct slice){0});
	e->out->erased = memchr(gone, 0, doc->revisions_count) == NULL;
	if (e->out->erased)
		return true;
	if (e->out->was_conflict)
		REACHED(erase_in_conflict);
	const int *moved = graph_remove(doc, gone, e->arena);
	if (e->old_winner != GRAPH_NONE)
		e->old_winner = moved[e->old_winner];
	return true;
}

static void look_before(struct editing *e)
{
	struct document_view *v = e->view;
	e->out->existed = v->exists;
	if (!v->exists) {
		v->doc = (struct document){.format = DOCUMENT_FORMAT};
		return;
	}
	e->count_before = e->doc->revisions_count;
	e->old_winner = graph_winner(e->doc);
	e->old_body = e->doc->body;
	e->out->was_live =
	    e->old_winner != GRAPH_NONE && graph_is_live(e->doc, (uint32_t)e->old_winner);
	e->out->was_conflict = graph_conflicts(e->doc) > 0;
}

/* A graph of thousands of leaves has no room for a hundred generations below each. */
static uint32_t kept_generations(const struct document *doc)
{
	if (doc->revisions_count > LIMIT_REVISIONS / 2)
		return 1;
	return doc->revisions_count > REVISIONS_MANY ? REVISIONS_KEPT / 10 : REVISIONS_KEPT;
}

static void finish(struct editing *e)
{
	graph_settle_deletions(e->doc, e->arena);
	const struct body_edit *before = e->out->bodies; /* of what went */
	e->bodies_cap = e->out->bodies_count;
	e->bodies_cap += looks_through(e) ? e->doc->revisions_count : MOVED_MAX;
	e->out->bodies = arena_alloc(e->arena, e->bodies_cap * sizeof *e->out->bodies);
	if (e->out->bodies_count > 0)
		memcpy(e->out->bodies, before, e->out->bodies_count * sizeof *before);
	int winner = graph_winner(e->doc);
	place_bodies(e, winner);
	e->doc->changed = e->number;
	uint32_t count = e->doc->revisions_count;
	bool stems = count > REVISIONS_KEPT + STEM_SLACK &&
		     count / STEM_SLACK != e->count_before / STEM_SLACK;
	e->out->reshaped = !only_adds(e->change);
	if (stems && graph_stem(e->doc, e->arena, kept_generations(e->doc))) {
		e->out->reshaped = true;
		winner = graph_winner(e->doc);
	}
	e->out->is_live = winner != GRAPH_NONE && graph_is_live(e->doc, (uint32_t)winner);
	e->out->is_conflict = graph_conflicts(e->doc) > 0;
}

void edit_apply(struct document_view *view, const struct change *change, uint64_t number,
		const struct conflict *resolved, struct document_edit *out)
{
	*out = (struct document_edit){0};
	struct editing e = {.view = view,
			    .doc = &view->doc,
			    .arena = &view->storage->arena,
			    .change = change,
			    .number = number,
			    .old_winner = GRAPH_NONE,
			    .added = GRAPH_NONE,
			    .out = out};
	look_before(&e);
	if (change->kind == CHANGE_WRITE || change->kind == CHANGE_BRANCH)
		out->changed = edit_write(&e);
	else if (change->kind == CHANGE_IMPORT)
		out->changed = edit_import(&e);
	else if (change->kind == CHANGE_RESOLVE && view->exists)
		out->changed = edit_resolve(&e);
	else if (change->kind == CHANGE_REOPEN && view->exists)
		out->changed = edit_reopen(&e);
	else if (change->kind == CHANGE_CLEANUP && view->exists)
		out->changed = edit_cleanup(&e, resolved);
	else if (change->kind == CHANGE_ERASE && view->exists)
		out->changed = edit_erase(&e);
	if (out->erased)
		return;
	if (change->kind == CHANGE_PURGE && view->exists) {
		out->changed = edit_purge(&e);
	} else if (out->changed) {
		finish(&e);
		return;
	}
	out->is_live = out->was_live;
	out->is_conflict = out->was_conflict;
}
