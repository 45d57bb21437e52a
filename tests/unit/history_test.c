/* What arbiters make of whole histories. Edits arrive in any order that keeps parents before
 * children, one to three arbiters decide on what they see and try to resolve it, late and twice:
 * all must arrive at what one arbiter makes of everything at once, to the byte.
 *
 * With a number as argument: so many merges, instead of the usual few. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/decide.h"
#include "common/doc/graph.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "tests/unit/random_document.h"

enum { EDITS_MAX = 128, NODES_MAX = 1024, ARBITERS = 3, LEAVES_MOST = 50 };

static uint64_t merges_wanted = 1500;

/* What people did: known before it arrives anywhere. */
struct edit {
	struct revision name;
	uint32_t parents[2]; /* edits */
	uint32_t parents_count;
	bool deleted;
	uint64_t stamp;
	struct slice body;
};

struct history {
	struct arena arena;
	struct rng rng;
	struct json_parser *parser;
	struct slice policy;
	struct edit edits[EDITS_MAX];
	uint32_t count;
	uint64_t merges;
};

/* What one shard has of it. */
struct world {
	struct history *h;
	struct document doc;
	struct slice bodies[NODES_MAX];
	uint64_t number;
};

/* How it ends. */
struct outcome {
	bool resolved;
	uint32_t inputs; /* of the last resolution; 0: there was none */
	struct slice name;
	struct slice body;
	struct slice detail; /* if it stays open */
};

/* ---- histories ---- */

static const char *const policies[] = {
    "{}",
    "{\"strategy\":\"newest\"}",
    "{\"strategy\":\"oldest\"}",
    "{\"strategy\":\"script\",\"script\":\"stand-in\"}",
    "{\"fallback\":\"newest\"}",
    RANDOM_POLICY("\"fallback\":\"oldest\","),
    RANDOM_POLICY("\"fallback\":\"newest\",\"deletes\":\"delete-wins\","),
    RANDOM_POLICY(""),
};

static void set_policy(struct history *h, const char *json)
{
	struct buf bytes = {0};
	struct json_error error;
	assert_true(json_to_msgpack(h->parser, slice_text(json), &bytes, &error));
	h->policy = arena_copy(&h->arena, buf_slice(&bytes));
	buf_close(&bytes);
}

static bool is_ancestor(const struct history *h, uint32_t above, uint32_t below)
{
	const struct edit *e = &h->edits[below];
	for (uint32_t p = 0; p < e->parents_count; p++)
		if (e->parents[p] == above || is_ancestor(h, above, e->parents[p]))
			return true;
	return false;
}

/* Often a small change of what the parent says. */
static struct slice body_of_edit(struct history *h, const struct edit *e)
{
	struct buf fresh = {0};
	struct buf out = {0};
	random_document(&h->rng, &fresh);
	if (e->parents_count > 0 && rng_below(&h->rng, 4) > 0)
		value_merge_patch(h->edits[e->parents[0]].body, buf_slice(&fresh), &out);
	else
		buf_append_slice(&out, buf_slice(&fresh));
	struct slice body = arena_copy(&h->arena, buf_slice(&out));
	buf_close(&fresh);
	buf_close(&out);
	return body;
}

static void add_edit(struct history *h, struct edit e)
{
	char text[32];
	for (uint32_t p = 0; p < e.parents_count; p++)
		if (h->edits[e.parents[p]].name.generation >= e.name.generation)
			e.name.generation = h->edits[e.parents[p]].name.generation + 1;
	if (e.parents_count == 0)
		e.name.generation = 1;
	int len = snprintf(text, sizeof text, "%08x", (unsigned)rng_next(&h->rng));
	e.name.hash = arena_copy(&h->arena, slice_of(text, (size_t)len));
	e.stamp = rng_below(&h->rng, 8);
	if (!e.deleted)
		e.body = body_of_edit(h, &e);
	h->edits[h->count++] = e;
}

static uint32_t any_edit(struct history *h)
{
	uint64_t spread = rng_below(&h->rng, 3) ? h->count : (h->count < 4 ? h->count : 4);
	return (uint32_t)(h->count - 1 - rng_below(&h->rng, spread));
}

static void random_edit(struct history *h)
{
	struct edit e = {0};
	if (h->count > 0 && rng_below(&h->rng, 40) > 0) {
		e.parents[e.parents_count++] = any_edit(h);
		uint32_t other = any_edit(h);
		uint32_t first = e.parents[0];
		/* people merge, too: that is how histories come to cross */
		if (rng_below(&h->rng, 5) == 0 && other != first && !is_ancestor(h, other, first) &&
		    !is_ancestor(h, first, other))
			e.parents[e.parents_count++] = other;
	}
	e.deleted = e.parents_count > 0 && rng_below(&h->rng, 16) == 0;
	add_edit(h, e);
	if (!e.deleted)
		return;
	/* a deletion is no version that anybody could merge: somebody goes on from it */
	struct edit again = {.parents = {h->count - 1}, .parents_count = 1};
	add_edit(h, again);
}

static uint32_t count_leaves(const struct history *h)
{
	uint8_t has_child[EDITS_MAX] = {0};
	uint32_t leaves = 0;
	for (uint32_t i = 0; i < h->count; i++)
		for (uint32_t p = 0; p < h->edits[i].parents_count; p++)
			has_child[h->edits[i].parents[p]] = 1;
	for (uint32_t i = 0; i < h->count; i++)
		leaves += !has_child[i];
	return leaves;
}

static void make_history(struct history *h, const char *policy)
{
	arena_reset(&h->arena);
	h->count = 0;
	set_policy(h, policy);
	uint32_t leaves = 2 + (uint32_t)rng_below(&h->rng, rng_below(&h->rng, 10) ? 6 : 49);
	while (count_leaves(h) < leaves && h->count + 2 < EDITS_MAX)
		random_edit(h);
}

/* ---- a shard ---- */

static uint64_t find(const struct world *w, const struct revision *name)
{
	int index = graph_find(&w->doc, name);
	assert_int_not_equal(index, GRAPH_NONE);
	return (uint64_t)index;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void add_node(struct world *w, const struct revision_node *like,
		     const struct revision *parents, uint32_t count, struct slice body)
{
	struct revision_node node = *like;
	node.parents = arena_alloc(&w->h->arena, (count + 1) * sizeof *node.parents);
	node.parents_count = count;
	for (uint32_t i = 0; i < count; i++)
		node.parents[i] = find(w, &parents[i]);
	qsort(node.parents, count, sizeof *node.parents, compare_u64);
	assert_true(w->doc.revisions_count < NODES_MAX);
	uint32_t index = graph_add(&w->doc, &w->h->arena, &node, ++w->number);
	w->bodies[index] = body;
}

static void arrive(struct world *w, uint32_t which)
{
	const struct edit *e = &w->h->edits[which];
	struct revision parents[2];
	struct revision_node node = {.generation = e->name.generation,
				     .hash = e->name.hash,
				     .stamp = e->stamp,
				     .flags = e->deleted ? REVISION_DELETED : REVISION_HAS_BODY};
	for (uint32_t p = 0; p < e->parents_count; p++)
		parents[p] = w->h->edits[e->parents[p]].name;
	add_node(w, &node, parents, e->parents_count, e->body);
}

/* A script that says what it was given. */
static void run_script(const struct msg_conflict_read_ack *graph, struct arena *arena,
		       struct decision *out)
{
	struct answer answer = {.kind = ANSWER_BODY, .how = HOW_SCRIPT};
	struct buf output = {0};
	struct buf hex = {0};
	uint8_t digest[16];
	digest16(out->input, digest);
	buf_append_hex(&hex, digest, sizeof digest);
	mp_write_map(&output, 1);
	mp_write_text(&output, "saw");
	mp_write_str(&output, buf_slice(&hex));
	answer.body = arena_copy(arena, buf_slice(&output));
	decide_answer(graph, slice_text("d"), &answer, arena, out);
	buf_close(&output);
	buf_close(&hex);
}

static void ask_about(const struct world *w, struct decision *out)
{
	struct arena *arena = &w->h->arena;
	uint32_t count = w->doc.revisions_count;
	struct graph_node *nodes = arena_alloc(arena, (count + 1) * sizeof *nodes);
	for (uint32_t i = 0; i < count; i++) {
		const struct revision_node *from = &w->doc.revisions[i];
		nodes[i] = (struct graph_node){.revision = graph_name(&w->doc, i),
					       .parents = from->parents,
					       .parents_count = from->parents_count,
					       .flags = from->flags,
					       .stamp = from->stamp,
					       .body = w->bodies[i]};
	}
	struct msg_conflict_read_ack graph = {
	    .nodes = nodes, .nodes_count = count, .policy_version = 1, .policy = w->h->policy};
	decide_conflict(&graph, slice_text("d"), arena, out);
	if (out->kind == DECISION_SCRIPT)
		run_script(&graph, arena, out);
	assert_int_not_equal(out->kind, DECISION_BROKEN);
	if (out->kind != DECISION_RESOLVE)
		return;
	w->h->merges++;
	/* the names outlive the decision */
	out->resolve.revision.hash = arena_copy(arena, out->resolve.revision.hash);
}

static bool leaves_are(struct world *w, const struct msg_conflict_resolve *m)
{
	uint32_t *leaves;
	uint32_t count = graph_sides(&w->doc, &w->h->arena, &leaves);
	if (count != m->leaves_count)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		int index = graph_find(&w->doc, &m->leaves[i]);
		if (index == GRAPH_NONE || !graph_is_live(&w->doc, (uint32_t)index))
			return false;
	}
	return true;
}

static uint64_t greatest_stamp(const struct world *w, const struct msg_conflict_resolve *m)
{
	const struct revision_node *nodes = w->doc.revisions;
	uint64_t stamp = 0;
	CHECK(nodes);
	for (uint32_t i = 0; i < m->parents_count; i++) {
		uint64_t other = nodes[find(w, &m->parents[i])].stamp;
		stamp = other > stamp ? other : stamp;
	}
	return stamp;
}

static void add_resolution(struct world *w, const struct msg_conflict_resolve *m)
{
	uint64_t body = m->deleted ? REVISION_DELETED : REVISION_HAS_BODY;
	struct revision_node node = {.generation = m->revision.generation,
				     .hash = m->revision.hash,
				     .stamp = greatest_stamp(w, m),
				     .policy = m->policy_version,
				     .flags = REVISION_RESOLVED | body};
	add_node(w, &node, m->parents, m->parents_count, m->body);
}

/* As a lead does it: exactly these leaves, or nothing. */
static bool resolve(struct world *w, const struct msg_conflict_resolve *m)
{
	if (!leaves_are(w, m))
		return false;
	int result = graph_find(&w->doc, &m->revision);
	if (result == GRAPH_NONE)
		add_resolution(w, m);
	else
		assert_true(graph_is_leaf(&w->doc, (uint32_t)result));
	for (uint32_t i = 0; i < m->leaves_count; i++) {
		uint32_t index = (uint32_t)find(w, &m->leaves[i]);
		if (graph_is_leaf(&w->doc, index) && !revision_equal(&m->leaves[i], &m->revision))
			graph_close(&w->doc, index, ++w->number);
	}
	return true;
}

/* ---- the end ---- */

static void conclude(struct world *w, struct outcome *out)
{
	struct decision d;
	*out = (struct outcome){0};
	for (ask_about(w, &d); d.kind == DECISION_RESOLVE; ask_about(w, &d)) {
		assert_true(resolve(w, &d.resolve));
		out->inputs = d.resolve.parents_count;
	}
	out->resolved = d.kind == DECISION_NOTHING;
	if (!out->resolved) {
		out->detail = d.note.detail;
		return;
	}
	int winner = graph_winner(&w->doc);
	if (winner == GRAPH_NONE)
		return;
	struct revision name = graph_name(&w->doc, (uint32_t)winner);
	struct buf text = {0};
	revision_print(&name, &text);
	out->name = arena_copy(&w->h->arena, buf_slice(&text));
	out->body = w->bodies[winner];
	buf_close(&text);
}

static void same_end(const struct history *h, const struct outcome *a, const struct outcome *b)
{
	if (a->resolved != b->resolved || !slice_equal(a->body, b->body) ||
	    !slice_equal(a->detail, b->detail))
		fail_msg("after %llu merges: %.*s is not %.*s", (unsigned long long)h->merges,
			 (int)a->name.len, (const char *)a->name.data, (int)b->name.len,
			 (const char *)b->name.data);
	/* one edit that has all others in it may be left as it is */
	if (a->inputs > 1 || b->inputs > 1)
		assert_true(slice_equal(a->name, b->name));
}

static void all_at_once(struct history *h, struct outcome *out)
{
	static struct world w;
	w = (struct world){.h = h};
	for (uint32_t i = 0; i < h->count; i++)
		arrive(&w, i);
	conclude(&w, out);
}

/* ---- what storage nodes forget ---- */

/* No more than is needed stays: of bodies, and of the graph. */
static void forget(struct world *w)
{
	struct arena *arena = &w->h->arena;
	uint32_t count = w->doc.revisions_count;
	if (count == 0 || !w->doc.revisions)
		return;
	uint8_t *needed = arena_alloc(arena, count);
	struct document before = w->doc;
	struct slice *bodies = arena_alloc(arena, count * sizeof *bodies);
	graph_mark_needed(&w->doc, arena, needed);
	for (uint32_t i = 0; i < count; i++) {
		if (!needed[i] && !graph_is_leaf(&w->doc, i)) {
			w->doc.revisions[i].flags &= ~(uint64_t)REVISION_HAS_BODY;
			w->bodies[i] = (struct slice){0};
		}
		bodies[i] = w->bodies[i];
	}
	before.revisions = arena_alloc(arena, count * sizeof *before.revisions);
	memcpy(before.revisions, w->doc.revisions, count * sizeof *before.revisions);
	graph_stem(&w->doc, arena, (uint32_t)rng_below(&w->h->rng, 3));
	for (uint32_t i = 0; i < w->doc.revisions_count; i++) {
		struct revision name = graph_name(&w->doc, i);
		int was = graph_find(&before, &name);
		assert_int_not_equal(was, GRAPH_NONE);
		w->bodies[i] = bodies[was];
	}
}

/* ---- in pieces ---- */

/* One that is not here yet, and whose parents are. */
static uint32_t next_arrival(struct history *h, const uint8_t *here)
{
	for (;;) {
		uint32_t i = (uint32_t)rng_below(&h->rng, h->count);
		bool ready = !here[i];
		for (uint32_t p = 0; p < h->edits[i].parents_count; p++)
			ready = ready && here[h->edits[i].parents[p]];
		if (ready)
			return i;
	}
}

/* Arbiters decide now and send later, some of it twice. */
static void in_pieces(struct history *h, uint32_t arbiters, struct outcome *out)
{
	static struct world w;
	struct decision sent[ARBITERS];
	bool under_way[ARBITERS] = {false};
	uint8_t here[EDITS_MAX] = {0};
	uint32_t arrived = 0;
	w = (struct world){.h = h};
	while (arrived < h->count) {
		uint32_t who = (uint32_t)rng_below(&h->rng, arbiters);
		switch (rng_below(&h->rng, 3)) {
		case 0:
			ask_about(&w, &sent[who]);
			under_way[who] = sent[who].kind == DECISION_RESOLVE;
			break;
		case 1:
			if (under_way[who])
				(void)resolve(&w, &sent[who].resolve);
			under_way[who] = under_way[who] && rng_below(&h->rng, 2);
			break;
		default:
			who = next_arrival(h, here);
			here[who] = 1;
			arrived++;
			arrive(&w, who);
		}
	}
	if (rng_below(&h->rng, 2))
		forget(&w);
	conclude(&w, out);
}

static void test_pieces_give_the_whole(void **state)
{
	struct history *h = *state;
	uint32_t resolved = 0;
	uint32_t open = 0;
	for (uint32_t round = 0; h->merges < merges_wanted; round++) {
		struct outcome whole;
		struct outcome pieces;
		make_history(h, policies[round % ARRAY_LEN(policies)]);
		all_at_once(h, &whole);
		resolved += whole.resolved;
		open += !whole.resolved;
		for (uint32_t i = 0; i < 4; i++) {
			in_pieces(h, 1 + i % ARBITERS, &pieces);
			same_end(h, &pieces, &whole);
		}
	}
	assert_true(resolved > 20 && open > 5); /* both occur */
	print_message("%llu merges: %u histories resolved, %u left open\n",
		      (unsigned long long)h->merges, resolved, open);
}

/* ---- every grouping ---- */

/* What an arbiter makes of some leaves of a shard that has nothing else. */
static bool resolve_some(struct history *h, const uint8_t *groups, uint8_t group,
			 struct msg_conflict_resolve *out)
{
	static struct world w;
	struct decision d;
	w = (struct world){.h = h};
	for (uint32_t i = 0; i < h->count; i++)
		if (groups[i] == group || groups[i] == 0)
			arrive(&w, i);
	ask_about(&w, &d);
	*out = d.resolve;
	return d.kind == DECISION_RESOLVE;
}

/* groups: of each edit, from 1; 0 is what they have in common. */
static void check_grouping(struct history *h, const uint8_t *groups, uint8_t most,
			   const struct outcome *whole)
{
	static struct world w;
	struct outcome out;
	w = (struct world){.h = h};
	for (uint32_t i = 0; i < h->count; i++)
		arrive(&w, i);
	for (uint8_t g = 1; g <= most; g++) {
		struct msg_conflict_resolve m;
		if (resolve_some(h, groups, g, &m))
			add_resolution(&w, &m);
	}
	conclude(&w, &out);
	same_end(h, &out, whole);
}

/* All ways to put the edits from `at` on into groups. */
static void each_grouping(struct history *h, uint8_t *groups, uint32_t at, uint8_t most,
			  const struct outcome *whole)
{
	if (at == h->count) {
		check_grouping(h, groups, most, whole);
		return;
	}
	for (uint8_t g = 1; g <= most + 1; g++) {
		groups[at] = g;
		each_grouping(h, groups, at + 1, g > most ? g : most, whole);
	}
}

static void test_every_grouping(void **state)
{
	struct history *h = *state;
	for (uint32_t round = 0; round < 14; round++) {
		uint8_t groups[EDITS_MAX] = {0};
		struct outcome whole;
		uint32_t leaves = 2 + round % 4;
		struct edit child = {.parents = {0}, .parents_count = 1};
		make_history(h, policies[round % ARRAY_LEN(policies)]);
		h->count = 0;
		add_edit(h, (struct edit){0});
		for (uint32_t i = 0; i < leaves; i++)
			add_edit(h, child);
		all_at_once(h, &whole);
		each_grouping(h, groups, 1, 0, &whole);
	}
}

/* ---- bases of bases ---- */

/* Two people who, again and again, each take in what the other did: of the last two edits the bases
 * are several, and so are the bases of those. */
static void make_ladder(struct history *h, uint32_t rungs)
{
	struct edit both = {.parents_count = 2};
	struct edit first = {.parents = {0}, .parents_count = 1};
	h->count = 0;
	add_edit(h, (struct edit){0});
	add_edit(h, first);
	add_edit(h, first);
	for (uint32_t i = 0; i < rungs; i++) {
		both.parents[0] = h->count - 2;
		both.parents[1] = h->count - 1;
		add_edit(h, both);
		add_edit(h, both);
	}
}

static void test_bases_of_bases_stay(void **state)
{
	struct history *h = *state;
	for (uint32_t round = 0; round < 200; round++) {
		static struct world w;
		struct outcome whole;
		struct outcome out;
		make_history(h, policies[round % ARRAY_LEN(policies)]);
		make_ladder(h, 1 + round % 4);
		all_at_once(h, &whole);
		w = (struct world){.h = h};
		for (uint32_t i = 0; i < h->count; i++)
			arrive(&w, i);
		forget(&w);
		conclude(&w, &out);
		same_end(h, &out, &whole);
	}
}

/* ---- to the last entry ---- */

/* Everybody adds one to a number and an entry to a list, in histories that cross as they like. */
static void body_of_counter(struct history *h, struct edit *e, bool *has)
{
	struct buf out = {0};
	uint32_t log[EDITS_MAX];
	uint32_t count = 0;
	for (uint32_t p = 0; p < e->parents_count; p++) {
		struct mp_reader r =
		    mp_reader_of(value_member(h->edits[e->parents[p]].body, slice_text("log")));
		for (uint32_t left = mp_read(&r).count; left > 0; left--) {
			uint64_t entry = mp_read(&r).u64;
			if (!has[entry])
				log[count++] = (uint32_t)entry;
			has[entry] = true;
		}
	}
	log[count++] = (uint32_t)(e - h->edits);
	mp_write_map(&out, 2);
	mp_write_text(&out, "n");
	mp_write_u64(&out, count);
	mp_write_text(&out, "log");
	mp_write_array(&out, count);
	for (uint32_t i = 0; i < count; i++)
		mp_write_u64(&out, log[i]);
	e->body = arena_copy(&h->arena, buf_slice(&out));
	buf_close(&out);
}

static void count_along(struct history *h)
{
	for (uint32_t i = 0; i < h->count; i++) {
		bool has[EDITS_MAX] = {false};
		h->edits[i].deleted = false;
		body_of_counter(h, &h->edits[i], has);
	}
}

static void check_exact(const struct history *h, const struct outcome *out)
{
	bool has[EDITS_MAX] = {false};
	struct mp_reader n = mp_reader_of(value_member(out->body, slice_text("n")));
	struct mp_reader r = mp_reader_of(value_member(out->body, slice_text("log")));
	assert_true(out->resolved);
	assert_int_equal(mp_read(&n).u64, h->count);
	assert_int_equal(mp_read(&r).count, h->count);
	for (uint32_t i = 0; i < h->count; i++) {
		uint64_t entry = mp_read(&r).u64;
		assert_true(entry < h->count && !has[entry]);
		has[entry] = true;
	}
}

static void test_counts_are_exact(void **state)
{
	struct history *h = *state;
	for (uint32_t round = 0; round < 400; round++) {
		struct outcome whole;
		struct outcome pieces;
		make_history(h, "{\"paths\":{\"n\":\"counter\",\"log\":\"append\"}}");
		if (round % 4 == 0)
			make_ladder(h, 1 + round % 5);
		for (uint32_t i = 1; i < h->count; i++)
			if (h->edits[i].parents_count == 0)
				h->count = i; /* without a base nobody knows who counted what */
		count_along(h);
		all_at_once(h, &whole);
		check_exact(h, &whole);
		in_pieces(h, 1 + round % ARBITERS, &pieces);
		check_exact(h, &pieces);
	}
}

/* ---- fifty ---- */

static void test_fifty_leaves(void **state)
{
	struct history *h = *state;
	for (uint32_t round = 0; round < ARRAY_LEN(policies); round++) {
		struct outcome whole;
		struct outcome pieces;
		struct edit child = {.parents = {0}, .parents_count = 1};
		make_history(h, policies[round]);
		h->count = 0;
		add_edit(h, (struct edit){0});
		for (uint32_t i = 0; i < LEAVES_MOST; i++)
			add_edit(h, child);
		all_at_once(h, &whole);
		in_pieces(h, ARBITERS, &pieces);
		same_end(h, &pieces, &whole);
		if (whole.resolved)
			assert_int_equal(whole.inputs, LEAVES_MOST);
	}
}

static int setup(void **state)
{
	static struct history h;
	h = (struct history){.parser = json_parser_new()};
	rng_init(&h.rng, 2026);
	*state = &h;
	return 0;
}

static int teardown(void **state)
{
	struct history *h = *state;
	json_parser_free(h->parser);
	arena_close(&h->arena);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_every_grouping, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bases_of_bases_stay, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_counts_are_exact, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_fifty_leaves, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pieces_give_the_whole, setup, teardown),
	};
	if (argc > 1)
		merges_wanted = strtoull(argv[1], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
