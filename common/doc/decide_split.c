/* Documents that share nothing but their id: made without knowing of each other, they have no
 * common root. All of one kind they count as one entity and are merged; of different kinds each
 * gets an id of its own, derived from the old one and its root, and the old id a stub that names
 * them. What comes to the old id later goes the same way: a split is never taken back. Whoever
 * edits the stub, or writes anew what was deleted, has a document of his own there: what comes late
 * to one of the others goes where that is, and changes nothing of it. */
#include <stdlib.h>

#include "common/doc/graph.h"
#include "common/doc/split_internal.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

static const uint8_t nil[] = {0xc0};

/* ---- stubs ---- */

static bool read_list(struct slice body, struct mp_reader *list, uint32_t *count)
{
	struct mp_reader r = mp_reader_of(body);
	struct mp_token map = mp_read(&r);
	if (map.type != MP_MAP || map.count != 1 || !slice_is(mp_read(&r).bytes, "_split"))
		return false;
	struct mp_token array = mp_read(&r);
	*list = r;
	*count = array.count;
	if (array.type != MP_ARRAY || array.count > LIMIT_LEAVES)
		return false;
	for (uint32_t i = 0; i < array.count; i++)
		if (mp_read(&r).type != MP_STR)
			return false;
	return true;
}

bool split_is_list(struct slice body)
{
	struct mp_reader list;
	uint32_t count;
	return read_list(body, &list, &count);
}

static bool read_stub(const struct decide *w, uint32_t node, struct mp_reader *list,
		      uint32_t *count)
{
	struct slice body;
	return (w->graph->nodes[node].flags & REVISION_SPLIT) && decide_body(w, node, &body) &&
	       read_list(body, list, count);
}

void splitting_add_id(struct splitting *s, struct slice id)
{
	for (uint32_t i = 0; i < s->ids_count; i++)
		if (slice_equal(s->ids[i], id))
			return;
	struct slice *ids = arena_alloc(s->w->arena, (s->ids_count + 1) * sizeof *ids);
	if (s->ids_count)
		memcpy(ids, s->ids, s->ids_count * sizeof *ids);
	ids[s->ids_count++] = id;
	s->ids = ids;
}

static bool is_stub(const struct decide *w, uint32_t node)
{
	struct mp_reader list;
	uint32_t count;
	return read_stub(w, node, &list, &count);
}

/* Ids that an earlier split gave, if one of the leaves is its stub. */
static void take_stub(struct splitting *s, int node)
{
	struct mp_reader list;
	uint32_t count;
	if (node == GRAPH_NONE || !read_stub(s->w, (uint32_t)node, &list, &count))
		return;
	s->was_split = true;
	for (uint32_t i = 0; i < count; i++) {
		struct slice id = mp_read(&list).bytes;
		if (id.data)
			splitting_add_id(s, id);
	}
	s->stub_ids = s->ids_count;
}

/* ---- which documents there are ---- */

bool splitting_fail(struct splitting *s, const char *reason)
{
	decide_stays_open(s->w, reason, NULL, (struct slice){0}, s->out);
	s->failed = true;
	return false;
}

static int by_age(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a;
	uint32_t y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The versions conflict: people are to see that under the new id, not under the old one. If what
 * they have in common is not kept the oldest takes its place: what comes later changes nothing of
 * it. */
static bool divide(struct splitting *s, struct entity *e)
{
	struct decide *w = s->w;
	uint32_t *bases;
	for (uint32_t i = 0; i < e->count; i++)
		if (decide_is_deleted(w, e->nodes[i]))
			return false;
	if (e == &s->own_entity)
		return false;
	qsort(e->nodes, e->count, sizeof *e->nodes, by_age);
	e->on_base = graph_common_ancestors(&w->doc, e->nodes, e->count, w->arena, &bases) == 1 &&
		     !decide_is_deleted(w, bases[0]) && decide_body(w, bases[0], &e->body);
	e->versions = e->nodes + !e->on_base;
	e->versions_count = e->count - !e->on_base;
	return e->on_base || decide_body(w, e->nodes[0], &e->body);
}

/* False: it can't be told (failed), or it is deleted. */
static bool fill_body(struct splitting *s, struct entity *e)
{
	struct decide *w = s->w;
	struct merge_result merged;
	if (e->count == 1)
		return !decide_is_deleted(w, e->nodes[0]) && decide_body(w, e->nodes[0], &e->body);
	decide_merge(w, e->nodes, e->count, &merged);
	bool fine = merged.outcome == MERGE_DONE && !merged.deleted;
	if (merged.outcome == MERGE_OPEN && divide(s, e)) {
		fine = true;
	} else if (merged.outcome != MERGE_DONE) {
		s->failed = true;
		decide_notes(w, buf_slice(&merged.detail), s->out);
	} else if (fine && merged.body.len > LIMIT_BODY_BYTES) {
		fine = splitting_fail(s, "too_large");
	} else if (fine) {
		e->body = arena_copy(w->arena, buf_slice(&merged.body));
	}
	buf_close(&merged.body);
	buf_close(&merged.detail);
	return fine;
}

static struct slice kind_of(const struct decide *w, struct slice body)
{
	const struct policy_roots *roots = &w->policy.roots;
	struct buf kind = {0};
	for (uint32_t i = 0; i < roots->kind_count; i++) {
		struct slice value = value_at(body, roots->kind[i]);
		value_canonical(value.len > 0 ? value : slice_of(nil, sizeof nil), &kind);
	}
	struct slice copy = arena_copy(w->arena, buf_slice(&kind));
	buf_close(&kind);
	return copy;
}

/* Each family's nodes, empty, with room for them. */
static struct entity *families_new(struct arena *arena, const uint32_t *families,
				   uint32_t nodes_count, uint32_t count)
{
	struct entity *out = arena_alloc(arena, (count + 2) * sizeof *out);
	uint32_t *nodes = arena_alloc(arena, (nodes_count + 1) * sizeof *nodes);
	for (uint32_t i = 0; i < nodes_count; i++)
		out[families[i]].count++;
	for (uint32_t f = 0; f < count; f++) {
		out[f].nodes = nodes;
		nodes += out[f].count;
		out[f].count = 0;
	}
	return out;
}

/* The nodes, and where the old id is a document of its own what was split off, so that what comes
 * late meets what went before it. */
static uint32_t find_nodes(const struct splitting *s, uint32_t **out)
{
	const struct document *doc = &s->w->doc;
	uint32_t count = s->count;
	if (s->own_count == 0 && !s->history.freed) {
		*out = s->nodes;
		return count;
	}
	uint32_t *all = arena_alloc(s->w->arena, (count + doc->revisions_count) * sizeof *all);
	for (uint32_t i = 0; i < count; i++)
		all[i] = s->nodes[i];
	for (uint32_t i = 0; i < doc->revisions_count; i++)
		if (s->history.taken[i])
			all[count++] = i;
	return graph_human_inputs(doc, all, count, s->w->arena, out);
}

/* False: nothing came late to it. */
static bool is_wanted(const struct splitting *s, struct entity *e)
{
	const struct graph_split *h = &s->history;
	struct slice body;
	uint32_t came = 0;
	for (uint32_t i = 0; i < e->count; i++) {
		e->late |= h->before[e->nodes[i]];
		e->beside |= !decide_body(s->w, e->nodes[i], &body);
		came += !h->taken[e->nodes[i]];
	}
	if (!e->beside)
		return came > 0;
	uint32_t count = e->count;
	e->count = 0;
	for (uint32_t i = 0; i < count; i++)
		if (!h->taken[e->nodes[i]])
			e->nodes[e->count++] = e->nodes[i];
	return came > 0;
}

/* One for each history but the own one's. */
static void find_families(struct splitting *s)
{
	uint32_t *nodes;
	uint32_t *families;
	uint32_t nodes_count = find_nodes(s, &nodes);
	uint32_t count =
	    graph_families(&s->history.cut, nodes, nodes_count, s->w->arena, &families);
	s->entities = families_new(s->w->arena, families, nodes_count, count);
	for (uint32_t i = 0; i < nodes_count; i++) {
		struct entity *e = &s->entities[families[i]];
		e->nodes[e->count++] = nodes[i];
	}
	for (uint32_t f = 0; f < count; f++)
		if (is_wanted(s, &s->entities[f]))
			s->entities[s->entities_count++] = s->entities[f];
	s->own_stays = s->own_count > 0;
	for (uint32_t f = 0; f < s->entities_count; f++) {
		s->was_split |= s->entities[f].late;
		s->own_stays &= s->entities[f].late;
	}
}

/* What each of them comes to. False: that can't be told. */
static bool fill_entities(struct splitting *s)
{
	uint32_t count = s->entities_count;
	s->entities_count = 0;
	if (s->own_count > 0) {
		s->own_entity = (struct entity){.nodes = s->own, .count = s->own_count};
		s->own_entity.deleted = !fill_body(s, &s->own_entity);
	}
	for (uint32_t f = 0; f < count && !s->failed; f++) {
		struct entity e = s->entities[f];
		e.deleted = !fill_body(s, &e);
		/* whoever deletes what was split off means the document under its own id */
		if (!e.deleted || s->was_split)
			s->entities[s->entities_count++] = e;
	}
	if (s->own_count > 0 && !s->own_stays && !s->own_entity.deleted)
		s->entities[s->entities_count++] = s->own_entity;
	return !s->failed;
}

/* Of one kind they count as one entity. */
static bool own_are_alike(const struct splitting *s)
{
	struct slice first;
	struct slice body;
	if (!decide_body(s->w, s->own[0], &first))
		return false;
	first = kind_of(s->w, first);
	for (uint32_t i = 1; i < s->own_count; i++)
		if (!decide_body(s->w, s->own[i], &body) ||
		    !slice_equal(first, kind_of(s->w, body)))
			return false;
	return true;
}

/* What was made under a freed id is not what was deleted there; and several documents that do not
 * belong together are split again, on somebody's word in any case. */
static void sort_own(struct splitting *s, bool by_word)
{
	uint32_t *families;
	uint32_t live = 0;
	if (!s->history.freed)
		return;
	for (uint32_t i = 0; i < s->own_count; i++)
		if (!decide_is_deleted(s->w, s->own[i]))
			s->own[live++] = s->own[i];
	if (live == 0)
		return;
	s->own_count = live;
	s->own_roots = graph_families(&s->history.cut, s->own, live, s->w->arena, &families);
	if (s->own_roots < 2 || (!by_word && own_are_alike(s)))
		return;
	for (uint32_t i = 0; i < s->own_count; i++)
		s->nodes[s->count++] = s->own[i];
	s->own_count = s->own_roots = 0;
}

static bool kinds_differ(const struct splitting *s)
{
	if (s->entities_count == 0)
		return false;
	struct slice first = kind_of(s->w, s->entities[0].body);
	for (uint32_t i = 1; i < s->entities_count; i++)
		if (!slice_equal(first, kind_of(s->w, s->entities[i].body)))
			return true;
	return false;
}

static void begin(struct splitting *s, struct decide *w, bool by_word, struct decision *out)
{
	*s = (struct splitting){.w = w, .out = out};
	const int *leaves =
	    graph_find_all(&w->doc, out->resolve.leaves, out->resolve.leaves_count, w->arena);
	for (uint32_t i = 0; i < out->resolve.leaves_count; i++)
		take_stub(s, leaves[i]);
	graph_split_find(&w->doc, w->inputs, w->inputs_count, w->arena, &s->history);
	s->nodes = arena_alloc(w->arena, w->inputs_count * sizeof *s->nodes);
	s->own = arena_alloc(w->arena, w->inputs_count * sizeof *s->own);
	for (uint32_t i = 0; i < w->inputs_count; i++) {
		uint32_t node = w->inputs[i];
		if (is_stub(w, node))
			s->stub_inputs = true;
		else if (s->history.after[node])
			s->own[s->own_count++] = node;
		else
			s->nodes[s->count++] = node;
	}
	sort_own(s, by_word);
	find_families(s);
}

/* ---- by policy, or on somebody's word ---- */

static bool leave_open(struct splitting *s)
{
	s->w->collision_open = true;
	decide_stays_open(s->w, "id_collision", NULL, (struct slice){0}, s->out);
	return true;
}

/* Something else was made under the id that was split, or history has forgotten what it is of: who
 * mixes, or names anew, what may be of a document that has its id would be guessing. */
static bool cant_tell(struct splitting *s)
{
	const struct document *cut = &s->history.cut;
	bool doubtful = s->was_split;
	for (uint32_t i = 0; i < s->entities_count && s->own_count > 0 && !s->own_stays; i++) {
		const struct entity *e = &s->entities[i];
		int root = graph_first_root(cut, e->nodes, e->count, s->w->arena);
		doubtful |= cut->revisions[root].generation > 1;
	}
	return s->own_count > 0 && !s->own_stays && doubtful;
}

bool decide_roots(struct decide *w, struct decision *out)
{
	const struct policy_roots *roots = &w->policy.roots;
	enum policy_strategy strategy = w->policy.strategy;
	struct splitting s;
	if (strategy != POLICY_MERGE && strategy != POLICY_NEWEST && strategy != POLICY_OLDEST)
		return false;
	begin(&s, w, false, out);
	bool alone = s.entities_count + (s.own_count > 0) < 2;
	if (!s.was_split && alone)
		return false;
	if (cant_tell(&s) || (s.own_roots > 1 && roots->same_stays_open))
		return leave_open(&s);
	if (!s.was_split && roots->kind_count == 0)
		return roots->same_stays_open && leave_open(&s);
	if (!fill_entities(&s))
		return true;
	if (!s.was_split && !kinds_differ(&s))
		return roots->same_stays_open && leave_open(&s);
	if (roots->different_stays_open)
		return leave_open(&s);
	out->how = HOW_SPLIT;
	struct buf detail = {0};
	mp_write_map(&detail, 1);
	mp_write_text(&detail, "strategy");
	mp_write_text(&detail, "split");
	splitting_become_parts(&s, buf_slice(&detail));
	buf_close(&detail);
	return true;
}

bool decide_split(struct decide *w, struct slice detail, struct decision *out)
{
	struct splitting s;
	enum policy_strategy strategy = w->policy.strategy;
	/* several versions of one of them are merged */
	if (strategy != POLICY_NEWEST && strategy != POLICY_OLDEST)
		w->policy.strategy = POLICY_MERGE;
	begin(&s, w, true, out);
	/* whether its versions can be merged does not matter then */
	if (!s.was_split && s.entities_count + (s.own_count > 0) < 2)
		return false;
	if (!fill_entities(&s))
		return true;
	if (!s.was_split && s.entities_count < 2)
		return false;
	splitting_become_parts(&s, detail);
	return true;
}

void decision_split_refused(struct decision *d, enum status status, struct slice id,
			    struct arena *arena)
{
	if (split_is_taken(status))
		decision_leave_open(d, "split_taken", id, arena);
	else
		decision_leave_open(d, "refused", slice_text(status_row(status)->code), arena);
}
