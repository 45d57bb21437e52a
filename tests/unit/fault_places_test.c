/* Nodes that fail at a given step of what is done with a conflict, in the simulated cluster: each
 * step of each procedure, whoever takes it; all that the simulator checks must hold. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "proto/schema.h"
#include "tests/sim/trap.h"

enum { FIRST_SEED = 1, SEEDS_PER_HIT = 8 };

/* How many seeds are to fail at each place: one, or as many as PLACES_SEEDS says. */
static int seeds_wanted(void)
{
	const char *text = getenv("PLACES_SEEDS");
	unsigned long wanted = text ? strtoul(text, NULL, 10) : 1;
	return wanted >= 1 && wanted <= 1000000 ? (int)wanted : 1;
}

/* Seeds in which a node fails there, as many as are wanted; a step that is never taken proves
 * nothing. */
static void fail_at(const struct sim_trap *trap, bool sender_too)
{
	int wanted = seeds_wanted();
	for (int where = sender_too ? TRAP_SENT : TRAP_ARRIVING; where <= TRAP_ARRIVED; where++) {
		struct sim_trap place = *trap;
		int failed = 0;
		uint64_t trace;
		uint64_t ms;
		place.where = (enum trap_where)where;
		for (int i = 0; failed < wanted && i < wanted * SEEDS_PER_HIT; i++) {
			int sprung = 0;
			struct sim_options options = {.trap = &place, .trap_sprung = &sprung};
			if (sim_run(FIRST_SEED + (uint64_t)i, &options, &trace, &ms) > 0)
				fail_msg("%s where=%d pause=%d seed=%d",
					 schema_of_message(trap->type)->name, where, trap->pause,
					 FIRST_SEED + i);
			failed += sprung > 0;
		}
		assert_int_equal(failed, wanted);
	}
}

/* The losers of a conflict go from all replicas or from none, after all have said yes. */
static void test_cleanup(void **state)
{
	static const uint16_t steps[] = {MSG_cleanup_prepare, MSG_cleanup_prepare_ack,
					 MSG_cleanup_commit, MSG_cleanup_commit_ack};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct sim_trap trap = {
		    .type = steps[i], .every = 3, .workload = "dispute", .arbiters = 2};
		fail_at(&trap, true);
		trap.pause = true;
		fail_at(&trap, false);
	}
}

/* The tombstone of a deleted document likewise. */
static void test_purge(void **state)
{
	static const uint16_t steps[] = {MSG_cleanup_prepare_ack, MSG_cleanup_commit};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct sim_trap trap = {
		    .type = steps[i], .every = 3, .workload = "purge", .arbiters = 2};
		fail_at(&trap, true);
	}
}

/* Three arbiters, of which some stand still with a decision made, while the policy changes. */
static void test_several_arbiters(void **state)
{
	static const uint16_t steps[] = {MSG_conflict_read_ack, MSG_conflict_resolve,
					 MSG_conflict_resolve_ack};
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		struct sim_trap trap = {.type = steps[i],
					.every = 2,
					.pause = true,
					.workload = "policy",
					.arbiters = 3};
		fail_at(&trap, true);
	}
}

/* Documents that share an id: between what a split writes and the stub. */
static void test_split(void **state)
{
	(void)state;
	struct sim_trap trap = {.type = MSG_doc_write,
				.sender = ROLE_ARBITER,
				.every = 2,
				.workload = "collision",
				.arbiters = 2};
	fail_at(&trap, true);
	trap.type = MSG_conflict_resolve;
	fail_at(&trap, false);
}

/* What an offline client brings late, while it is ordered. */
static void test_late_branches(void **state)
{
	(void)state;
	struct sim_trap trap = {.type = MSG_doc_write,
				.sender = ROLE_GATEWAY,
				.every = 25,
				.workload = "dispute",
				.arbiters = 1};
	fail_at(&trap, false);
	trap.pause = true; /* others take them, and bring them when the lead is back */
	fail_at(&trap, false);
}

/* A collection is said to be made, and then nobody can name a lead for it: nothing else fails. */
static void test_made_and_left_alone(void **state)
{
	struct sim_trap never = {
	    .type = MSG_shard_served, .every = INT_MAX, .workload = "alone", .arbiters = 1};
	(void)state;
	for (uint64_t seed = FIRST_SEED; seed < FIRST_SEED + SEEDS_PER_HIT; seed++) {
		int sprung = 0;
		uint64_t trace, ms;
		struct sim_options options = {.trap = &never, .trap_sprung = &sprung};
		assert_int_equal(sim_run(seed, &options, &trace, &ms), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cleanup),          cmocka_unit_test(test_purge),
	    cmocka_unit_test(test_several_arbiters), cmocka_unit_test(test_split),
	    cmocka_unit_test(test_late_branches),    cmocka_unit_test(test_made_and_left_alone),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
