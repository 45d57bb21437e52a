/* What changes do to a document: random sequences of writes, branches, resolutions and cleanups,
 * each compared with a simple model of counts, leaves, pins and bodies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/doc/graph.h"
#include "common/doc/revision.h"
#include "proto/msgpack.h"
#include "storage-node/reopen.h"
#include "tests/sim/disk.h"

enum { RUNS = 40, CHANGES = 60, SHARD = 7 };

struct run {
	struct disk *disk;
	struct store *store;
	struct storage *storage;
	struct shard_copy *copy;
	struct effects fx;
	struct rng rng;
	uint64_t number;
	uint64_t made; /* revisions */
	/* resolutions that wait for their cleanup */
	uint64_t resolutions[CHANGES];
	uint32_t resolutions_count;
	uint32_t reopened;
	bool split; /* some may be of documents that went on under other ids */
};

static void begin(struct run *r, uint64_t seed, enum availability_mode mode)
{
	struct storage_options options = {.self = 1, .incarnation = 1, .boot = 1};
	*r = (struct run){.disk = disk_new()};
	r->store = disk_open(r->disk, NULL);
	r->storage = storage_new(&options, r->store, seed);
	assert_non_null(r->storage);
	r->copy = shard_new(r->storage, SHARD);
	r->copy->settings.mode = mode;
	rng_init(&r->rng, seed);
}

static void end(struct run *r)
{
	storage_free(r->storage);
	assert_int_equal(store_commit(r->store, true), STORE_OK);
	store_close(r->store);
	disk_free(r->disk);
	effects_close(&r->fx);
}

static struct slice text(struct run *r, const char *prefix, uint64_t n)
{
	char chars[32];
	int len = snprintf(chars, sizeof chars, "%s%012llu", prefix, (unsigned long long)n);
	return arena_copy(&r->storage->arena, slice_of(chars, (size_t)len));
}

static struct slice body(struct run *r, uint64_t n)
{
	struct buf bytes = {0};
	mp_write_map(&bytes, 1);
	mp_write_text(&bytes, "v");
	mp_write_u64(&bytes, n);
	struct slice kept = arena_copy(&r->storage->arena, buf_slice(&bytes));
	buf_close(&bytes);
	return kept;
}

static void apply(struct run *r, struct change *change)
{
	struct buf bytes = {0};
	change->id = slice_text("d");
	change->wall_ms = r->number;
	schema_encode(&schema_change, change, &bytes);
	apply_change(r->storage, r->copy, ++r->number, buf_slice(&bytes), &r->fx);
	buf_close(&bytes);
}

static void load(struct run *r, struct document_view *view)
{
	document_load(r->storage, r->copy, slice_text("d"), view);
}

static void write_revision(struct run *r, enum change_kind kind)
{
	struct document_view view;
	struct revision parent;
	struct change change = {.kind = kind, .revision = {1, text(r, "r", ++r->made)}};
	load(r, &view);
	if (view.exists && rng_below(&r->rng, 10) != 0) {
		int index = kind == CHANGE_WRITE
				? graph_winner(&view.doc)
				: (int)rng_below(&r->rng, view.doc.revisions_count);
		parent = graph_name(&view.doc, (uint32_t)index);
		change.revision.generation = parent.generation + 1;
		change.parents = &parent;
		change.parents_count = 1;
	}
	change.deleted = rng_below(&r->rng, 6) == 0;
	if (!change.deleted)
		change.body = body(r, r->made);
	apply(r, &change);
	load(r, &view);
	int index = graph_find(&view.doc, &change.revision);
	assert_int_not_equal(index, GRAPH_NONE);
	assert_true(graph_is_leaf(&view.doc, (uint32_t)index));
	assert_true(slice_equal(document_body(&view, (uint32_t)index), change.body));
}

static void resolve(struct run *r)
{
	struct document_view view;
	uint32_t *leaves;
	load(r, &view);
	uint32_t count = view.exists ? graph_sides(&view.doc, &r->storage->arena, &leaves) : 0;
	if (count < 2)
		return;
	struct revision *names = arena_alloc(&r->storage->arena, count * sizeof *names);
	for (uint32_t i = 0; i < count; i++)
		names[i] = graph_name(&view.doc, leaves[i]);
	struct change change = {.kind = CHANGE_RESOLVE,
				.revision = {names[0].generation + 1, text(r, "r", ++r->made)},
				.parents = names,
				.parents_count = count,
				.leaves = names,
				.leaves_count = count - 1,
				.body = body(r, r->made),
				.resolution_id = text(r, "rid-", r->made)};
	uint64_t changed = view.doc.changed;
	apply(r, &change); /* one leaf is left out: nothing happens */
	load(r, &view);
	assert_true(view.doc.changed == changed);
	change.leaves_count = count;
	apply(r, &change);
	load(r, &view);
	assert_int_equal(graph_conflicts(&view.doc), 0);
	for (uint32_t i = 0; i < count; i++) {
		int index = graph_find(&view.doc, &names[i]);
		assert_int_not_equal(index, GRAPH_NONE);
		bool deleted = view.doc.revisions[index].flags & REVISION_DELETED;
		assert_int_equal(document_body(&view, (uint32_t)index).len == 0, deleted);
	}
	r->resolutions[r->resolutions_count++] = r->made;
}

static void clean(struct run *r)
{
	if (r->resolutions_count == 0)
		return;
	struct document_view view;
	load(r, &view);
	bool open = graph_conflicts(&view.doc) > 0;
	struct change change = {.kind = CHANGE_CLEANUP,
				.resolution_id =
				    text(r, "rid-", r->resolutions[r->resolutions_count - 1])};
	struct slice value;
	struct buf key = {0};
	apply(r, &change);
	enum store_result left = store_get(
	    r->store, STORE_CONFLICTS,
	    key_conflict_resolved(&key, SHARD, slice_text("d"), change.resolution_id), &value);
	assert_int_equal(left, open ? STORE_OK : STORE_ABSENT);
	if (!open)
		r->resolutions_count--;
	buf_close(&key);
}

/* Takes the newest resolution apart, if its losers are there: each is a leaf again. */
static void reopen(struct run *r)
{
	struct document_view view;
	struct conflict row;
	struct slice value;
	struct revision names[LIMIT_HELD_SETS];
	struct buf key = {0};
	if (r->resolutions_count == 0)
		return;
	struct slice rid = text(r, "rid-", r->resolutions[r->resolutions_count - 1]);
	assert_int_equal(store_get(r->store, STORE_CONFLICTS,
				   key_conflict_resolved(&key, SHARD, slice_text("d"), rid),
				   &value),
			 STORE_OK);
	value = arena_copy(&r->storage->arena, value);
	buf_close(&key);
	assert_true(schema_decode(&schema_conflict, value, &r->storage->arena, &row));
	struct change change = {.kind = CHANGE_REOPEN,
				.parents = row.leaves,
				.parents_count = row.leaves_count,
				.closed = &row.result,
				.closed_count = 1,
				.resolution_id = rid};
	struct reopened *list;
	load(r, &view);
	uint32_t *leaves;
	uint32_t live = graph_sides(&view.doc, &r->storage->arena, &leaves);
	if (live > ARRAY_LEN(names))
		return;
	for (uint32_t i = 0; i < live; i++)
		names[i] = graph_name(&view.doc, leaves[i]);
	change.leaves = names;
	change.leaves_count = live;
	uint32_t count = reopen_list(&view, &change, &list);
	if (count == 0 || graph_find(&view.doc, &(struct revision){list[0].node.generation,
								   list[0].node.hash}) >= 0)
		return; /* it was done before */
	apply(r, &change);
	load(r, &view);
	for (uint32_t i = 0; i < count; i++) {
		struct revision name = {list[i].node.generation, list[i].node.hash};
		int index = graph_find(&view.doc, &name);
		assert_int_not_equal(index, GRAPH_NONE);
		assert_true(graph_is_side(&view.doc, (uint32_t)index) ||
			    graph_sides(&view.doc, &r->storage->arena, &leaves) == 0);
		assert_true(slice_equal(document_body(&view, (uint32_t)index), list[i].body));
	}
	assert_true(reopen_is_held(&view.doc, &r->storage->arena));
	r->reopened++;
}

/* What must hold after every change. */
static void check(struct run *r)
{
	struct document_view view;
	struct slice value;
	struct buf key = {0};
	load(r, &view);
	if (!view.exists)
		return;
	int winner = graph_winner(&view.doc);
	assert_int_not_equal(winner, GRAPH_NONE);
	bool live = graph_is_live(&view.doc, (uint32_t)winner);
	bool open = graph_conflicts(&view.doc) > 0;
	uint64_t pins = 0;
	assert_int_equal(r->copy->position.documents, live);
	assert_int_equal(r->copy->position.deleted, !live);
	assert_int_equal(r->copy->position.conflicts, open);
	assert_int_equal(store_get(r->store, STORE_CONFLICTS,
				   key_conflict_open(&key, SHARD, slice_text("d")), &value),
			 open ? STORE_OK : STORE_ABSENT);
	for (uint32_t i = 0; i < view.doc.revisions_count; i++) {
		const struct revision_node *node = &view.doc.revisions[i];
		struct revision name = graph_name(&view.doc, i);
		bool has = node->flags & REVISION_HAS_BODY;
		bool apart = has && (int)i != winner; /* under a key of its own */
		pins += node->pins;
		assert_int_equal(store_get(r->store, STORE_DOCUMENTS,
					   key_body(&key, SHARD, slice_text("d"), &name), &value),
				 apart ? STORE_OK : STORE_ABSENT);
		if (graph_is_live(&view.doc, i))
			assert_true(has);
	}
	assert_int_equal(pins > 0, r->resolutions_count > 0);
	assert_true(live || !open || r->split); /* deletions of one document agree */
	buf_close(&key);
}

static uint32_t random_changes(uint64_t seed, enum availability_mode mode)
{
	struct run r;
	begin(&r, seed, mode);
	for (int i = 0; i < CHANGES; i++) {
		uint64_t kind = rng_below(&r.rng, 10);
		if (kind < 4)
			write_revision(&r, CHANGE_WRITE);
		else if (kind < 7)
			write_revision(&r, CHANGE_BRANCH);
		else if (kind < 9)
			resolve(&r);
		else if (rng_below(&r.rng, 2) == 0)
			clean(&r);
		else
			reopen(&r);
		check(&r);
		arena_reset(&r.storage->arena);
	}
	end(&r);
	return r.reopened;
}

static void test_random_changes(void **state)
{
	(void)state;
	uint32_t reopened = 0;
	for (uint64_t seed = 1; seed <= RUNS; seed++)
		reopened += random_changes(seed, seed % 2 ? MODE_AVAILABLE : MODE_CONSISTENT);
	assert_true(reopened > 0);
}

/* ---- bases ---- */

static void write_child(struct run *r, const struct revision *parent, enum change_kind kind,
			uint64_t floor, struct revision *out)
{
	struct revision known = parent ? *parent : (struct revision){0};
	struct change change = {.kind = kind,
				.revision = {known.generation + 1, text(r, "r", ++r->made)},
				.parents = &known,
				.parents_count = parent != NULL,
				.body = body(r, r->made),
				.floor = floor};
	apply(r, &change);
	*out = change.revision;
}

/* However far the versions go on, and whatever else is forgotten meanwhile. */
static void test_the_base_stays_while_a_conflict_is_open(void **state)
{
	enum { EDITS = 3000 };
	struct run r;
	struct revision base, online, offline;
	struct document_view view;
	uint32_t *leaves, *bases;
	(void)state;
	begin(&r, 7, MODE_AVAILABLE);
	write_child(&r, NULL, CHANGE_WRITE, 0, &base);
	write_child(&r, &base, CHANGE_WRITE, 0, &online);
	write_child(&r, &base, CHANGE_BRANCH, 0, &offline);
	for (uint32_t i = 0; i < EDITS; i++) {
		struct revision *side = i % 2 ? &online : &offline;
		write_child(&r, side, CHANGE_WRITE, r.number, side); /* no branch is anywhere */
	}
	load(&r, &view);
	assert_int_equal(graph_conflicts(&view.doc), 1);
	assert_true(view.doc.revisions_count < EDITS / 2); /* the rest was forgotten */
	uint32_t count = graph_sides(&view.doc, &r.storage->arena, &leaves);
	assert_int_equal(
	    graph_common_ancestors(&view.doc, leaves, count, &r.storage->arena, &bases), 1);
	struct revision name = graph_name(&view.doc, bases[0]);
	assert_true(revision_equal(&name, &base));
	assert_true(slice_equal(document_body(&view, bases[0]), body(&r, 1)));
	assert_true(view.doc.revisions[bases[0]].superseded < r.number);
	end(&r);
}

static bool body_is_kept(struct run *r, const struct revision *name)
{
	struct document_view view;
	load(r, &view);
	int index = graph_find(&view.doc, name);
	return index != GRAPH_NONE && document_body(&view, (uint32_t)index).len > 0;
}

/* Two of three sides have more in common than all three: what is in conflict with the resolution
 * later is merged with all three again. */
static void test_the_base_of_a_group_stays_until_the_cleanup(void **state)
{
	struct run r;
	struct document_view view;
	struct revision base, inner, near, far, result, late;
	(void)state;
	begin(&r, 9, MODE_AVAILABLE);
	write_child(&r, NULL, CHANGE_WRITE, 0, &base);
	write_child(&r, &base, CHANGE_WRITE, 0, &inner);
	write_child(&r, &inner, CHANGE_WRITE, 0, &near);
	write_child(&r, &inner, CHANGE_BRANCH, 0, &far);
	write_child(&r, &base, CHANGE_BRANCH, 0, &late);
	resolve(&r);
	load(&r, &view);
	result = graph_name(&view.doc, (uint32_t)graph_winner(&view.doc));
	write_child(&r, &result, CHANGE_WRITE, r.number, &result); /* no branch is anywhere */
	assert_true(body_is_kept(&r, &base));
	assert_true(body_is_kept(&r, &inner));
	write_child(&r, &near, CHANGE_BRANCH, r.number, &late);
	assert_true(body_is_kept(&r, &inner));
	resolve(&r);
	for (int i = 0; i < 2; i++)
		clean(&r);
	check(&r);
	write_child(&r, &late, CHANGE_WRITE, r.number, &late);
	assert_false(body_is_kept(&r, &base));
	assert_false(body_is_kept(&r, &inner));
	end(&r);
}

/* ---- deletions against edits ---- */

/* A child of `parent`; NULL: a root. */
static struct revision child(struct run *r, const struct revision *parent, enum change_kind kind,
			     bool deleted)
{
	struct revision known = parent ? *parent : (struct revision){0};
	struct change change = {.kind = kind,
				.revision = {known.generation + 1, text(r, "r", ++r->made)},
				.parents = &known,
				.parents_count = parent != NULL,
				.deleted = deleted};
	if (!deleted)
		change.body = body(r, r->made);
	apply(r, &change);
	check(r);
	return change.revision;
}

static void sides_are(struct run *r, uint32_t expected, int kind)
{
	struct document_view view;
	struct conflict row;
	struct slice value;
	struct buf key = {0};
	uint32_t *sides;
	load(r, &view);
	assert_int_equal(graph_sides(&view.doc, &r->storage->arena, &sides), expected);
	enum store_result found = store_get(
	    r->store, STORE_CONFLICTS, key_conflict_open(&key, SHARD, slice_text("d")), &value);
	buf_close(&key);
	assert_int_equal(found == STORE_OK, kind >= 0);
	if (kind < 0)
		return;
	assert_true(schema_decode(&schema_conflict, arena_copy(&r->storage->arena, value),
				  &r->storage->arena, &row));
	assert_int_equal(row.kind, kind);
	assert_int_equal(row.leaves_count, expected);
}

enum { NO_CONFLICT = -1 };

static void test_a_deletion_meets_an_edit(void **state)
{
	(void)state;
	for (int edit_first = 0; edit_first < 2; edit_first++) {
		struct run r;
		begin(&r, 3, MODE_AVAILABLE);
		struct revision base = child(&r, NULL, CHANGE_WRITE, false);
		(void)child(&r, &base, CHANGE_WRITE, !edit_first);
		sides_are(&r, (uint32_t)edit_first, NO_CONFLICT);
		(void)child(&r, &base, CHANGE_BRANCH, edit_first);
		sides_are(&r, 2, CONFLICT_DELETE);
		resolve(&r); /* the deletion is a loser, and counts no more */
		check(&r);
		sides_are(&r, 1, NO_CONFLICT);
		reopen(&r);
		sides_are(&r, 2, CONFLICT_DELETE);
		assert_int_equal(r.reopened, 1);
		end(&r);
	}
}

/* What two of three sides began anew after is what they have in common, though it has no body. */
static void test_a_deletion_before_a_group_stays_until_the_cleanup(void **state)
{
	enum { EDITS = 1000 };
	struct run r;
	struct document_view view;
	(void)state;
	begin(&r, 10, MODE_AVAILABLE);
	struct revision base = child(&r, NULL, CHANGE_WRITE, false);
	struct revision gone = child(&r, &base, CHANGE_WRITE, true);
	(void)child(&r, &gone, CHANGE_WRITE, false);
	(void)child(&r, &gone, CHANGE_BRANCH, false);
	(void)child(&r, &base, CHANGE_BRANCH, false);
	sides_are(&r, 3, CONFLICT_EDITS);
	resolve(&r);
	load(&r, &view);
	struct revision result = graph_name(&view.doc, (uint32_t)graph_winner(&view.doc));
	for (int i = 0; i < EDITS; i++)
		write_child(&r, &result, CHANGE_WRITE, r.number, &result);
	load(&r, &view);
	assert_true(view.doc.revisions_count < EDITS / 2);
	assert_int_not_equal(graph_find(&view.doc, &gone), GRAPH_NONE);
	end(&r);
}

/* What an old resolution was made of goes with it, though later ones were made on top. */
static void test_inputs_stay_until_their_own_cleanup(void **state)
{
	enum { LATE = 50, KEPT = 5 };
	struct run r;
	struct revision base, edit, late;
	struct document_view view;
	uint32_t bodies = 0;
	(void)state;
	begin(&r, 11, MODE_CONSISTENT);
	write_child(&r, NULL, CHANGE_WRITE, 0, &base);
	write_child(&r, &base, CHANGE_WRITE, 0, &edit);
	for (int i = 0; i < LATE; i++) {
		write_child(&r, &base, CHANGE_BRANCH, 0, &late);
		resolve(&r);
		if (i < KEPT)
			continue;
		struct change change = {.kind = CHANGE_CLEANUP,
					.resolution_id = text(&r, "rid-", r.resolutions[i - KEPT])};
		apply(&r, &change);
	}
	load(&r, &view);
	for (uint32_t i = 0; i < view.doc.revisions_count; i++)
		bodies += (view.doc.revisions[i].flags & REVISION_HAS_BODY) != 0;
	assert_in_range(bodies, KEPT, 3 * KEPT);
	end(&r);
}

static void test_deletions_that_meet_no_edit(void **state)
{
	struct run r;
	(void)state;
	begin(&r, 4, MODE_AVAILABLE);
	struct revision base = child(&r, NULL, CHANGE_WRITE, false);
	struct revision gone = child(&r, &base, CHANGE_WRITE, true); /* the only leaf's */
	sides_are(&r, 0, NO_CONFLICT);
	(void)child(&r, &base, CHANGE_BRANCH, true); /* both sides deleted it */
	sides_are(&r, 0, NO_CONFLICT);
	struct revision again = child(&r, &gone, CHANGE_BRANCH, false); /* on the deletion */
	sides_are(&r, 1, NO_CONFLICT);
	struct revision one = child(&r, &again, CHANGE_WRITE, false);
	struct revision other = child(&r, &again, CHANGE_BRANCH, false);
	sides_are(&r, 2, CONFLICT_EDITS);
	(void)child(&r, &other, CHANGE_WRITE, true); /* a client chose: the other one */
	sides_are(&r, 1, NO_CONFLICT);
	(void)child(&r, &again, CHANGE_BRANCH, true);
	sides_are(&r, 2, CONFLICT_DELETE);
	(void)child(&r, &one, CHANGE_WRITE, true); /* now all are */
	sides_are(&r, 0, NO_CONFLICT);
	(void)child(&r, NULL, CHANGE_BRANCH, false); /* another document of this id */
	sides_are(&r, 1, NO_CONFLICT);
	end(&r);
}

/* What the first made is there again, by nobody's hand, when the second is taken apart; it ends
 * with the first. */
static void test_two_resolutions_taken_apart(void **state)
{
	(void)state;
	for (int edited = 0; edited < 2; edited++) {
		struct run r;
		struct document_view view;
		begin(&r, 8, MODE_AVAILABLE);
		struct revision base = child(&r, NULL, CHANGE_WRITE, false);
		for (int i = 0; i < 2; i++)
			(void)child(&r, &base, i ? CHANGE_BRANCH : CHANGE_WRITE, false);
		resolve(&r);
		load(&r, &view);
		struct revision first = graph_name(&view.doc, (uint32_t)graph_winner(&view.doc));
		(void)child(&r, &base, CHANGE_BRANCH, false);
		resolve(&r);
		reopen(&r);
		sides_are(&r, 2, CONFLICT_EDITS);
		load(&r, &view);
		int copy = graph_winner(&view.doc);
		assert_true(graph_descends(&view.doc, (uint32_t)copy,
					   (uint32_t)graph_find(&view.doc, &first)));
		struct revision again = graph_name(&view.doc, (uint32_t)copy);
		if (edited)
			(void)child(&r, &again, CHANGE_WRITE, false);
		r.resolutions_count--;
		reopen(&r);
		assert_int_equal(r.reopened, 2);
		sides_are(&r, edited ? 4 : 3, CONFLICT_EDITS);
		r.resolutions_count++;
		end(&r);
	}
}

/* What was split off, and the stub that was left. */
static struct revision split(struct run *r, struct revision roots[2])
{
	for (int i = 0; i < 2; i++)
		roots[i] = child(r, NULL, i ? CHANGE_BRANCH : CHANGE_WRITE, false);
	struct change change = {.kind = CHANGE_RESOLVE,
				.revision = {2, text(r, "s", ++r->made)},
				.parents = roots,
				.parents_count = 2,
				.leaves = roots,
				.leaves_count = 2,
				.body = body(r, r->made),
				.split = true,
				.resolution_id = text(r, "rid-", r->made)};
	apply(r, &change);
	r->resolutions[r->resolutions_count++] = r->made;
	r->split = true;
	return change.revision;
}

/* Of what was split off: it counts whatever the id became, so that it reaches its document. */
static void test_a_deletion_that_is_late_to_a_split(void **state)
{
	(void)state;
	for (int late_first = 0; late_first < 2; late_first++) {
		struct run r;
		struct revision roots[2];
		begin(&r, 5, MODE_AVAILABLE);
		struct revision stub = split(&r, roots);
		if (late_first) {
			(void)child(&r, &roots[0], CHANGE_BRANCH, true);
			sides_are(&r, 2, CONFLICT_DELETE);
		}
		(void)child(&r, &stub, CHANGE_WRITE, true);
		sides_are(&r, late_first ? 2 : 0, late_first ? CONFLICT_DELETE : NO_CONFLICT);
		if (!late_first)
			(void)child(&r, &roots[0], CHANGE_BRANCH, true);
		sides_are(&r, 2, CONFLICT_DELETE);
		resolve(&r);
		sides_are(&r, 1, NO_CONFLICT);
		reopen(&r);
		sides_are(&r, 2, CONFLICT_DELETE);
		end(&r);
	}
}

/* Made under the id that was freed by who knows nothing of the split: no edit of the same document.
 */
static void test_a_late_deletion_beside_another_root(void **state)
{
	struct run r;
	struct revision roots[2];
	(void)state;
	begin(&r, 6, MODE_AVAILABLE);
	struct revision stub = split(&r, roots);
	(void)child(&r, &stub, CHANGE_WRITE, true);
	(void)child(&r, NULL, CHANGE_BRANCH, false);
	sides_are(&r, 1, NO_CONFLICT);
	(void)child(&r, &roots[0], CHANGE_BRANCH, true);
	sides_are(&r, 2, CONFLICT_ROOTS);
	(void)child(&r, &roots[0], CHANGE_BRANCH, false);
	sides_are(&r, 3, CONFLICT_ROOTS);
	end(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random_changes),
	    cmocka_unit_test(test_a_deletion_meets_an_edit),
	    cmocka_unit_test(test_a_deletion_before_a_group_stays_until_the_cleanup),
	    cmocka_unit_test(test_inputs_stay_until_their_own_cleanup),
	    cmocka_unit_test(test_deletions_that_meet_no_edit),
	    cmocka_unit_test(test_two_resolutions_taken_apart),
	    cmocka_unit_test(test_a_deletion_that_is_late_to_a_split),
	    cmocka_unit_test(test_a_late_deletion_beside_another_root),
	    cmocka_unit_test(test_the_base_stays_while_a_conflict_is_open),
	    cmocka_unit_test(test_the_base_of_a_group_stays_until_the_cleanup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
