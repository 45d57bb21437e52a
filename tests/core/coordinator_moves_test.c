/* Replicas that move to other nodes: each step, and what happens when somebody is lost in between.
 */
#include "tests/sim/coordinator_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/quorum.h"
#include "common/timing.h"
#include "coordinator/moves.h"

enum { SETTLE_MS = 2000, STEP_MS = 50, LONG_MS = 20000, LEAD = 12, OLD = 11 };

/* Everybody up, five storage nodes, one collection on the first three: 12 leads, 13, 11. */
static int setup(void **state)
{
	bench_setup(state);
	struct bench *b = *state;
	assert_int_equal(bench_begin(b), LEAD);
	bench_grow(b);
	bench_advance(b, SETTLE_MS);
	return 0;
}

static uint64_t ask(struct bench *b, const struct msg_node_update *m)
{
	b->updated = BENCH_NONE;
	bench_deliver(b, bench_model(b, GATEWAY), MSG_node_update, m);
	bench_turn(b);
	return b->updated;
}

static uint64_t update(struct bench *b, const char *name, bool drain, const char *by)
{
	return ask(b, &(struct msg_node_update){
			  .name = slice_text(name), .drain = drain, .replaced_by = slice_text(by)});
}

static bool lists(struct bench *b, uint64_t node)
{
	const struct shard *s = bench_placement(b);
	return placement_index(s, node) < s->replicas_count;
}

static bool joining(struct bench *b)
{
	const struct shard *s = bench_placement(b);
	return placement_joining(s) < s->replicas_count;
}

/* Until the placement is of that kind; checks each on the way. */
static void advance_until(struct bench *b, bool (*reached)(struct bench *b))
{
	for (int i = 0; i < LONG_MS / STEP_MS && !reached(b); i++) {
		bench_advance(b, STEP_MS);
		assert_null(placement_problem(bench_placement(b)));
	}
	assert_true(reached(b));
}

static bool is_joint(struct bench *b)
{
	return quorum_joint(bench_placement(b));
}

static bool is_settled(struct bench *b)
{
	return !joining(b) && bench_placement(b)->replicas_count == 3 &&
	       placement_voting(bench_placement(b)) == 3;
}

static bool old_gone(struct bench *b)
{
	return is_settled(b) && !lists(b, OLD);
}

static bool lead_gone(struct bench *b)
{
	return is_settled(b) && !lists(b, LEAD);
}

/* One epoch a step: joins, votes beside the old one, has its place. */
static void test_drain(void **state)
{
	struct bench *b = *state;
	uint64_t epoch = bench_placement(b)->epoch;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, joining);
	const struct shard *s = bench_placement(b);
	assert_int_equal(s->epoch, epoch + 1);
	assert_int_equal(s->replicas_count, 4);
	assert_int_equal(s->replicas[placement_joining(s)].node, 14);
	assert_true(s->replicas[placement_joining(s)].learning);
	assert_int_equal(s->replicas[placement_leaving(s)].node, OLD);
	advance_until(b, is_joint);
	assert_int_equal(bench_placement(b)->epoch, epoch + 2);
	assert_int_equal(bench_placement(b)->lead, LEAD);
	advance_until(b, old_gone);
	assert_int_equal(bench_placement(b)->epoch, epoch + 3);
	assert_int_equal(bench_placement(b)->replicas[2].node, 14);
	bench_advance(b, LONG_MS);
	assert_int_equal(bench_placement(b)->epoch, epoch + 3);
}

/* The place in the list goes along, and with it the lead, once the new node has proved itself. */
static void test_drain_of_lead(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "b", true, "e"), STATUS_OK);
	advance_until(b, is_joint);
	assert_int_not_equal(bench_placement(b)->lead, LEAD);
	advance_until(b, lead_gone);
	bench_advance(b, MOVE_BACK_MS * 2);
	assert_int_equal(bench_placement(b)->lead, 15);
}

/* The next in the list knows that its data are damaged: it leads only if all others do, too. */
static void test_damaged_is_not_chosen(void **state)
{
	struct bench *b = *state;
	bench_model(b, 13)->copies[0].damaged = true;
	assert_int_equal(update(b, "b", true, "e"), STATUS_OK);
	advance_until(b, is_joint);
	assert_int_equal(bench_placement(b)->lead, OLD);
}

static void test_damaged_is_better_than_nobody(void **state)
{
	struct bench *b = *state;
	bench_model(b, 13)->copies[0].damaged = true;
	bench_model(b, OLD)->copies[0].damaged = true;
	assert_int_equal(update(b, "b", true, "e"), STATUS_OK);
	advance_until(b, joining);
	for (uint32_t i = 0; i < bench_model(b, 15)->copies_count; i++)
		bench_model(b, 15)->copies[i].damaged = true;
	advance_until(b, is_joint);
	assert_int_equal(bench_placement(b)->lead, 13);
}

/* Only the one that leaves has all whole: it leads until the new one has it, too. */
static void test_the_last_whole_one_leaves(void **state)
{
	struct bench *b = *state;
	bench_model(b, 14)->out_of_sync = true;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, joining);
	bench_model(b, LEAD)->copies[0].damaged = true;
	bench_model(b, 13)->copies[0].damaged = true;
	bench_advance(b, LONG_MS);
	assert_int_equal(bench_placement(b)->lead, OLD);
	bench_model(b, 14)->out_of_sync = false;
	advance_until(b, old_gone);
	assert_int_equal(bench_placement(b)->lead, 14);
}

/* Nobody has all whole: what is left goes to the new disk (storage-node/snapshot.c,
 * end_with_position), which soon sees that a record can't be read. The damaged disk must get empty
 * all the same, and the lead must come to rest. */
static void test_nobody_is_whole(void **state)
{
	struct bench *b = *state;
	uint64_t id = bench_placement(b)->id;
	for (uint64_t node = 11; node <= 13; node++)
		bench_model(b, node)->copies[0].damaged = true;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	for (int i = 0; i < 60 * LONG_MS / STEP_MS && !old_gone(b); i++) {
		bench_advance(b, STEP_MS);
		for (uint64_t node = 14; node <= 15; node++) {
			struct model *m = bench_model(b, node);
			for (uint32_t k = 0; k < m->copies_count; k++)
				if (m->copies[k].placement.shard.id == id)
					m->copies[k].damaged = is_joint(b) && lists(b, node);
		}
	}
	assert_true(bench_placement(b)->epoch < 10);
	assert_true(old_gone(b));
}

/* Nothing is admitted before it is in sync, and nobody leaves before a lead has served with both
 * sets. */
static void test_waits_for_sync_and_serving(void **state)
{
	struct bench *b = *state;
	bench_model(b, 14)->out_of_sync = true;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, joining);
	bench_advance(b, LONG_MS);
	assert_false(is_joint(b));
	bench_model(b, 14)->out_of_sync = false;
	for (uint64_t id = 11; id <= 15; id++)
		bench_model(b, id)->never_serves = true;
	advance_until(b, is_joint);
	bench_advance(b, LONG_MS);
	assert_true(lists(b, OLD) && is_joint(b));
	for (uint64_t id = 11; id <= 15; id++)
		bench_model(b, id)->never_serves = false;
	advance_until(b, old_gone);
}

/* The old node has not come to the joint lead's entry, or has branches: it stays. */
static void test_waits_for_the_old_node(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, joining);
	/* admitted with the next heartbeats: from then on the old node says that it lags */
	while (!is_joint(b))
		bench_advance(b, STEP_MS);
	bench_model(b, OLD)->copies[0].last = (struct position){0};
	bench_advance(b, LONG_MS);
	assert_true(lists(b, OLD));
	bench_model(b, OLD)->copies[0].last.epoch = bench_placement(b)->epoch;
	advance_until(b, old_gone);
}

static void test_coordinator_restarts_at_each_step(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	bench_restart(b);
	advance_until(b, joining);
	bench_restart(b);
	advance_until(b, is_joint);
	bench_restart(b);
	advance_until(b, old_gone);
	bench_restart(b);
	bench_advance(b, LONG_MS);
	assert_true(old_gone(b));
}

static void test_coordinator_dies_before_commit(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	for (int64_t at_ms = 0; !old_gone(b); at_ms += STEP_MS) {
		assert_true(at_ms < LONG_MS);
		b->lose_commits = true;
		bench_advance(b, STEP_MS);
		b->lose_commits = false;
		bench_restart(b);
		bench_advance(b, 600);
		assert_null(placement_problem(bench_placement(b)));
	}
}

static bool is_on_e(struct bench *b)
{
	return old_gone(b) && lists(b, 15);
}

/* Lost while it learns: called off, and another one is chosen. */
static void test_target_dies_learning(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	bench_model(b, 14)->out_of_sync = true;
	bench_model(b, 15)->out_of_sync = true;
	advance_until(b, joining);
	const struct shard *s = bench_placement(b);
	uint64_t target = s->replicas[placement_joining(s)].node;
	bench_down(b, target);
	bench_model(b, 14)->out_of_sync = false;
	bench_model(b, 15)->out_of_sync = false;
	bench_advance(b, MOVE_PATIENCE_MS + SETTLE_MS);
	advance_until(b, old_gone);
	assert_false(lists(b, target));
}

/* Lost while both sets decide: back to the old one, from whoever leads. */
static void test_target_dies_joint(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, is_joint);
	bench_down(b, 14);
	bench_advance(b, MOVE_PATIENCE_MS + SETTLE_MS);
	assert_true(is_settled(b));
	assert_true(lists(b, OLD));
	bench_boot(b, 14);
	advance_until(b, old_gone);
}

/* It lost its disk while it voted: it learns again, and only the old set decides. */
static void test_target_wiped_joint(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, is_joint);
	bench_down(b, 14);
	bench_advance(b, SETTLE_MS);
	bench_wipe(b, 14);
	bench_model(b, 14)->out_of_sync = true;
	bench_boot(b, 14);
	bench_advance(b, SETTLE_MS);
	assert_true(joining(b) && !is_joint(b));
	bench_model(b, 14)->out_of_sync = false;
	advance_until(b, old_gone);
}

/* A node that is gone for good is replaced without it. */
static void test_source_is_dead(void **state)
{
	struct bench *b = *state;
	bench_down(b, LEAD);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(update(b, "b", true, "e"), STATUS_OK);
	advance_until(b, lead_gone);
	assert_true(lists(b, 15));
}

/* The node that is to take all has this one already: another takes it. */
static void test_target_has_one_already(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, "b"), STATUS_OK);
	advance_until(b, old_gone);
	assert_true(lists(b, LEAD));
}

static bool next_gone(struct bench *b)
{
	return is_settled(b) && !lists(b, 13);
}

/* What waits for its replacement keeps no other from being emptied. */
static void test_target_of_another_is_away(void **state)
{
	struct bench *b = *state;
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(update(b, "b", true, "e"), STATUS_OK);
	assert_int_equal(update(b, "c", true, ""), STATUS_OK);
	advance_until(b, next_gone);
	assert_true(lists(b, LEAD) && lists(b, 14));
	bench_boot(b, 15);
	advance_until(b, lead_gone);
	assert_true(lists(b, 15));
}

/* The node that was to take all is to be emptied itself, or gone for good: any other takes it. */
static void test_target_is_drained_too(void **state)
{
	struct bench *b = *state;
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(update(b, "a", true, "e"), STATUS_OK);
	assert_int_equal(update(b, "e", true, ""), STATUS_OK);
	advance_until(b, old_gone);
	assert_true(lists(b, 14));
}

static void test_target_leaves_the_list(void **state)
{
	struct bench *b = *state;
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(update(b, "a", true, "e"), STATUS_OK);
	b->members_count--;
	coordinator_members_set(b->core, bench_members, b->members_count);
	advance_until(b, old_gone);
	assert_true(lists(b, 14));
}

/* What it is to take does not fit on its disk, which has room again without it: the next one gets
 * its chance. */
static void test_target_runs_full(void **state)
{
	struct bench *b = *state;
	bench_model(b, 14)->out_of_sync = bench_model(b, 15)->out_of_sync = true;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	advance_until(b, joining);
	const struct shard *s = bench_placement(b);
	uint64_t target = s->replicas[placement_joining(s)].node;
	bench_model(b, target == 14 ? 15 : 14)->out_of_sync = false;
	for (int i = 0; i < LONG_MS / STEP_MS && !old_gone(b); i++) {
		bench_model(b, target)->disk_full = joining(b) && lists(b, target);
		bench_advance(b, STEP_MS);
	}
	assert_true(old_gone(b));
	assert_false(lists(b, target));
}

/* Likewise if it votes already, and so can't follow. */
static void test_target_runs_full_joint(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	while (!is_joint(b))
		bench_advance(b, STEP_MS);
	const struct shard *s = bench_placement(b);
	struct model *target = bench_model(b, s->replicas[placement_joining(s)].node);
	target->disk_full = target->out_of_sync = true;
	advance_until(b, old_gone);
	assert_false(lists(b, target->id));
}

static void test_source_dies_on_the_way(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "b", true, ""), STATUS_OK);
	advance_until(b, joining);
	bench_down(b, LEAD);
	advance_until(b, lead_gone);
}

static void test_called_off(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	assert_int_equal(update(b, "a", false, ""), STATUS_OK);
	advance_until(b, is_settled);
	uint64_t epoch = bench_placement(b)->epoch;
	bench_advance(b, LONG_MS);
	assert_int_equal(bench_placement(b)->epoch, epoch);
}

/* Copies that come when it was called off: in time, too late, of an earlier start. */
static void test_late_copies_empty_nothing(void **state)
{
	struct bench *b = *state;
	uint64_t until_ms = (uint64_t)b->now_ms + 2 * SETTLE_MS;
	bench_down(b, 14);
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	struct msg_node_update drain = {
	    .name = slice_text("a"), .drain = true, .operation = 7, .until_ms = until_ms};
	assert_int_equal(ask(b, &drain), STATUS_STALE); /* it knows no clock yet */
	drain.life = b->told.life;
	assert_int_equal(b->told.clock_ms, b->now_ms);
	assert_int_equal(ask(b, &drain), STATUS_OK);
	assert_int_equal(update(b, "a", false, ""), STATUS_OK);
	assert_int_equal(ask(b, &drain), STATUS_OK);
	bench_advance(b, 2 * SETTLE_MS);
	drain.operation++;
	assert_int_equal(ask(b, &drain), STATUS_STALE);
	bench_restart(b);
	bench_boot(b, 15);
	drain.until_ms += LONG_MS;
	drain.life--;
	bench_advance(b, SETTLE_MS);
	assert_int_equal(ask(b, &drain), STATUS_STALE);
	bench_advance(b, LONG_MS);
	assert_true(is_settled(b) && lists(b, OLD));
}

/* A node that lost its data gets a placement of before, when all are at rest: it hears of the
 * newest one, of which it is no part, although it has the newest map. */
static void test_late_placement_is_passed(void **state)
{
	struct bench *b = *state;
	struct placement joint;
	assert_int_equal(update(b, "a", true, "d"), STATUS_OK);
	advance_until(b, is_joint);
	placement_copy(&joint, bench_placement(b));
	advance_until(b, old_gone);
	bench_down(b, OLD);
	bench_advance(b, SETTLE_MS);
	bench_wipe(b, OLD);
	bench_boot(b, OLD);
	bench_advance(b, SETTLE_MS);
	struct model *old = bench_model(b, OLD);
	uint64_t map_version = old->map_version;
	assert_true(old->joined && old->copies_count == 0);
	old->copies[old->copies_count++] = (struct copy){0};
	placement_copy(&old->copies[0].placement, &joint.shard);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(old->map_version, map_version);
	assert_true(placement_equal(&old->copies[0].placement.shard, bench_placement(b)));
}

static void test_update_checks(void **state)
{
	struct bench *b = *state;
	assert_int_equal(update(b, "x", true, ""), STATUS_NOT_FOUND);
	assert_int_equal(update(b, "gateway", true, ""), STATUS_NOT_FOUND);
	assert_int_equal(update(b, "a", true, "a"), STATUS_BAD_PARAMETER);
	assert_int_equal(update(b, "a", true, "gateway"), STATUS_BAD_PARAMETER);
	assert_int_equal(update(b, "a", false, "d"), STATUS_BAD_PARAMETER);
	assert_int_equal(update(b, "d", true, ""), STATUS_OK);
	assert_int_equal(update(b, "a", true, "d"), STATUS_BAD_PARAMETER);
	/* and nothing goes to a node that is to be emptied */
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	advance_until(b, is_on_e);
}

static void test_nowhere_to_go(void **state)
{
	struct bench *b = *state;
	bench_down(b, 14);
	bench_down(b, 15);
	bench_advance(b, SETTLE_MS);
	uint64_t epoch = bench_placement(b)->epoch;
	assert_int_equal(update(b, "a", true, ""), STATUS_OK);
	bench_advance(b, LONG_MS);
	assert_int_equal(bench_placement(b)->epoch, epoch);
	bench_boot(b, 15);
	advance_until(b, is_on_e);
}

static void test_evicted(void **state)
{
	struct bench *b = *state;
	b->evict_after_ms = 60000;
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	bench_down(b, OLD);
	bench_advance(b, 50000);
	assert_true(lists(b, OLD));
	bench_advance(b, LONG_MS);
	assert_true(old_gone(b));
	/* back again: it has no place any more, and gets none back */
	bench_boot(b, OLD);
	bench_advance(b, LONG_MS);
	assert_true(old_gone(b));
}

static void test_rebalance(void **state)
{
	struct bench *b = *state;
	struct msg_collection_create m = {.collection = {.name = slice_text("u")}, .shards = 9};
	assert_int_equal(update(b, "d", true, ""), STATUS_OK);
	assert_int_equal(update(b, "e", true, ""), STATUS_OK);
	assert_int_equal(bench_create(b, m), STATUS_CREATED);
	assert_int_equal(update(b, "d", false, ""), STATUS_OK);
	assert_int_equal(update(b, "e", false, ""), STATUS_OK);
	b->rebalance = true;
	bench_restart(b);
	bench_advance(b, 20 * LONG_MS);
	uint32_t placed[5] = {0};
	for (uint64_t id = NODE_A; id < NODE_A + 5; id++)
		for (uint32_t i = 0; i < bench_model(b, id)->copies_count; i++) {
			const struct shard *s = &bench_model(b, id)->copies[i].placement.shard;
			placed[id - NODE_A] += placement_index(s, id) < s->replicas_count;
		}
	for (int i = 0; i < 5; i++)
		assert_int_equal(placed[i], 6);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_drain),
	    CASE(test_drain_of_lead),
	    CASE(test_damaged_is_not_chosen),
	    CASE(test_the_last_whole_one_leaves),
	    CASE(test_nobody_is_whole),
	    CASE(test_damaged_is_better_than_nobody),
	    CASE(test_waits_for_sync_and_serving),
	    CASE(test_waits_for_the_old_node),
	    CASE(test_coordinator_restarts_at_each_step),
	    CASE(test_coordinator_dies_before_commit),
	    CASE(test_target_dies_learning),
	    CASE(test_target_dies_joint),
	    CASE(test_target_wiped_joint),
	    CASE(test_source_is_dead),
	    CASE(test_target_has_one_already),
	    CASE(test_target_of_another_is_away),
	    CASE(test_target_is_drained_too),
	    CASE(test_target_leaves_the_list),
	    CASE(test_target_runs_full),
	    CASE(test_target_runs_full_joint),
	    CASE(test_source_dies_on_the_way),
	    CASE(test_called_off),
	    CASE(test_late_copies_empty_nothing),
	    CASE(test_late_placement_is_passed),
	    CASE(test_update_checks),
	    CASE(test_nowhere_to_go),
	    CASE(test_evicted),
	    CASE(test_rebalance),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
