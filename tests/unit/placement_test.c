/* Placement: the moves, their invariants, and the choices. */
#include "common/quorum.h"
#include "coordinator/placement.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "common/base/rng.h"

enum { ROUNDS = 2000, NODES_MAX = 40 };

/* Nodes 1..n with incarnations 101.., led by node 1. */
static void build(struct placement *p, uint32_t n, uint32_t w)
{
	*p = (struct placement){.shard = {.id = 7,
					  .collection = 3,
					  .hash_last = UINT64_MAX,
					  .epoch = 1,
					  .lead = 1,
					  .replicas_count = n,
					  .write_quorum = w}};
	p->shard.replicas = p->replicas;
	for (uint32_t i = 0; i < n; i++)
		p->replicas[i] = (struct replica){.node = i + 1, .incarnation = 101 + i};
}

static void test_invariants(void **state)
{
	(void)state;
	struct placement p;
	build(&p, 3, 2);
	assert_null(placement_problem(&p.shard));
	p.shard.write_quorum = 1; /* 2W = 2 <= 3 */
	assert_non_null(placement_problem(&p.shard));
	p.shard.write_quorum = 4;
	assert_non_null(placement_problem(&p.shard));
	build(&p, 2, 1); /* 2W = N */
	assert_non_null(placement_problem(&p.shard));
	build(&p, 3, 2);
	p.replicas[2].node = 1;
	assert_non_null(placement_problem(&p.shard));
	build(&p, 3, 2);
	p.replicas[0].learning = true;
	assert_non_null(placement_problem(&p.shard));
	p.shard.lead = 0;
	assert_null(placement_problem(&p.shard));
	p.shard.lead = 9;
	assert_non_null(placement_problem(&p.shard));
	build(&p, 3, 2);
	p.shard.epoch = 0;
	assert_non_null(placement_problem(&p.shard));
	p.shard.epoch = UINT64_MAX;
	assert_non_null(placement_problem(&p.shard));
	build(&p, 3, 2);
	p.replicas[1].incarnation = 0;
	assert_non_null(placement_problem(&p.shard));
}

static void test_lead(void **state)
{
	(void)state;
	struct placement p;
	struct placement next;
	build(&p, 3, 2);
	struct placement_move move = {.kind = PLACEMENT_LEAD, .lead = 2};
	assert_true(placement_apply(&p.shard, &move, &next));
	assert_int_equal(next.shard.epoch, 2);
	assert_int_equal(next.shard.lead, 2);
	assert_ptr_equal(next.shard.replicas, next.replicas);
	assert_int_equal(p.shard.epoch, 1);
	move.lead = 4;
	assert_false(placement_apply(&p.shard, &move, &next));
	move.lead = 0;
	assert_false(placement_apply(&p.shard, &move, &next));
	p.replicas[1].learning = true;
	move.lead = 2;
	assert_false(placement_apply(&p.shard, &move, &next));
	build(&p, 3, 2);
	p.shard.epoch = UINT64_MAX;
	assert_false(placement_apply(&p.shard, &move, &next));
}

static void test_renew_and_promote(void **state)
{
	(void)state;
	struct placement p;
	struct placement next;
	build(&p, 3, 2);
	struct placement_move renew = {
	    .kind = PLACEMENT_RENEW, .node = 1, .incarnation = 201, .lead = 3};
	assert_true(placement_apply(&p.shard, &renew, &next));
	assert_int_equal(next.shard.lead, 3);
	assert_true(next.replicas[0].learning);
	assert_int_equal(next.replicas[0].incarnation, 201);
	assert_int_equal(placement_voting(&next.shard), 2);
	/* the same again changes nothing, and the node itself can't be its successor */
	assert_false(placement_apply(&next.shard, &renew, &p));
	build(&p, 3, 2);
	renew.lead = 1;
	assert_false(placement_apply(&p.shard, &renew, &next));
	/* with nobody to take over: no lead */
	renew.lead = 0;
	assert_true(placement_apply(&p.shard, &renew, &next));
	assert_int_equal(next.shard.lead, 0);
	/* of a replica that does not lead: the lead stays, whatever the move says */
	renew = (struct placement_move){
	    .kind = PLACEMENT_RENEW, .node = 2, .incarnation = 202, .lead = 3};
	assert_true(placement_apply(&p.shard, &renew, &next));
	assert_int_equal(next.shard.lead, 1);

	struct placement_move promote = {.kind = PLACEMENT_PROMOTE, .node = 2, .incarnation = 102};
	struct placement last;
	assert_false(placement_apply(&next.shard, &promote, &last)); /* another incarnation */
	promote.incarnation = 202;
	assert_true(placement_apply(&next.shard, &promote, &last));
	assert_false(last.replicas[1].learning);
	assert_int_equal(last.shard.epoch, 3);
	assert_false(placement_apply(&last.shard, &promote, &next)); /* it votes already */
}

static void test_successor(void **state)
{
	(void)state;
	struct placement p;
	build(&p, 3, 2);
	struct placement_candidate c[3] = {
	    {.alive = false, .vouching = true, .last = {.epoch = 9, .number = 99}},
	    {.alive = true, .vouching = true, .last = {.epoch = 2, .number = 50}},
	    {.alive = true, .vouching = true, .last = {.epoch = 3, .number = 10}}};
	assert_int_equal(placement_successor(&p.shard, c), 3); /* epoch before number */
	c[1].last = (struct position){.epoch = 3, .number = 11};
	assert_int_equal(placement_successor(&p.shard, c), 2);
	c[2].last = c[1].last;
	assert_int_equal(placement_successor(&p.shard, c), 2); /* first among equals */
	c[1].damaged = true;
	assert_int_equal(placement_successor(&p.shard, c), 3);
	c[1].last.number++; /* nothing to fetch is better */
	assert_int_equal(placement_successor(&p.shard, c), 2);
	c[1].vouching = false;
	assert_int_equal(placement_successor(&p.shard, c), 3);
	c[2].excluded = true;
	assert_int_equal(placement_successor(&p.shard, c), 2);
	p.replicas[1].learning = true;
	assert_int_equal(placement_successor(&p.shard, c), 0);
}

static void test_preferred(void **state)
{
	(void)state;
	struct placement p;
	build(&p, 3, 2);
	p.shard.lead = 3;
	bool ready[3] = {false, true, true};
	assert_int_equal(placement_preferred(&p.shard, ready), 2);
	ready[0] = true;
	assert_int_equal(placement_preferred(&p.shard, ready), 1);
	p.replicas[0].learning = true;
	assert_int_equal(placement_preferred(&p.shard, ready), 2);
	p.shard.lead = 2;
	assert_int_equal(placement_preferred(&p.shard, ready), 0);
	ready[1] = false; /* the one that leads is not to */
	assert_int_equal(placement_preferred(&p.shard, ready), 3);
	ready[2] = false;
	assert_int_equal(placement_preferred(&p.shard, ready), 0);
}

static void test_takeover_quorum(void **state)
{
	(void)state;
	struct placement p;
	build(&p, 3, 2);
	assert_int_equal(quorum_takeover(&p.shard), 2);
	build(&p, 5, 4);
	assert_int_equal(quorum_takeover(&p.shard), 2);
	build(&p, 1, 1);
	assert_int_equal(quorum_takeover(&p.shard), 1);
}

static void test_ranges_cover_all(void **state)
{
	(void)state;
	for (uint32_t count = 1; count <= LIMIT_COLLECTION_SHARDS; count++) {
		uint64_t expected = 0;
		for (uint32_t i = 0; i < count; i++) {
			uint64_t first;
			uint64_t last;
			placement_range(i, count, &first, &last);
			assert_true(first == expected && first <= last);
			expected = last + 1;
		}
		assert_true(expected == 0); /* the last range ended at the last hash */
	}
}

/* Whatever order the nodes come in, the ranking is one; taking a node away leaves the order of the
 * rest. */
static void test_rank_is_stable(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 1);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t key = rng_next(&rng);
		uint32_t n = 2 + (uint32_t)rng_below(&rng, NODES_MAX - 2);
		uint64_t a[NODES_MAX];
		uint64_t b[NODES_MAX];
		for (uint32_t i = 0; i < n; i++)
			a[i] = b[n - 1 - i] = i + 1;
		placement_rank(key, a, n);
		placement_rank(key, b, n);
		assert_memory_equal(a, b, n * sizeof *a);
		uint64_t gone = 1 + rng_below(&rng, n);
		uint32_t left = 0;
		for (uint32_t i = 0; i < n; i++)
			if (i + 1 != gone)
				b[left++] = i + 1;
		placement_rank(key, b, left);
		for (uint32_t i = 0, k = 0; i < n; i++)
			if (a[i] != gone)
				assert_true(a[i] == b[k++]);
	}
}

static void test_rank_is_fair(void **state)
{
	(void)state;
	enum { KEYS = 10000, NODES = 5 };
	uint32_t first[NODES + 1] = {0};
	struct rng rng;
	rng_init(&rng, 2);
	for (int i = 0; i < KEYS; i++) {
		uint64_t nodes[NODES] = {1, 2, 3, 4, 5};
		placement_rank(rng_next(&rng), nodes, NODES);
		first[nodes[0]]++;
	}
	for (int i = 1; i <= NODES; i++)
		assert_in_range(first[i], KEYS / NODES * 9 / 10, KEYS / NODES * 11 / 10);
}

static void test_balance(void **state)
{
	(void)state;
	uint64_t nodes[3] = {5, 6, 7};
	placement_balance(nodes, (uint64_t[]){2, 1, 1}, 3);
	uint64_t expected[3] = {6, 7, 5};
	assert_memory_equal(nodes, expected, sizeof nodes);
	placement_balance(nodes, (uint64_t[]){0, 0, 0}, 3);
	assert_memory_equal(nodes, expected, sizeof nodes);
}

static struct placement_move random_move(struct rng *rng, const struct placement *p)
{
	uint32_t n = p->shard.replicas_count;
	const struct replica *r = &p->replicas[rng_below(rng, n)];
	struct placement_move move = {.kind = rng_below(rng, PLACEMENT_MOVES),
				      .node = r->node,
				      .incarnation = r->incarnation,
				      .lead = rng_below(rng, n + 2)};
	if (move.kind == PLACEMENT_RENEW && !rng_chance(rng, 100000))
		move.incarnation = 1 + rng_below(rng, 1000);
	return move;
}

/* Nodes, range, N and W never change; at most one replica does; the epoch goes up by one. */
static void check_step(const struct placement *from, const struct placement *to)
{
	const struct shard *a = &from->shard;
	const struct shard *b = &to->shard;
	assert_null(placement_problem(b));
	assert_true(b->epoch == a->epoch + 1 && b->id == a->id);
	assert_true(b->replicas_count == a->replicas_count && b->write_quorum == a->write_quorum);
	uint32_t changed = 0;
	for (uint32_t i = 0; i < a->replicas_count; i++) {
		const struct replica *x = &from->replicas[i];
		const struct replica *y = &to->replicas[i];
		assert_true(x->node == y->node);
		/* nobody votes with data that the placement did not list before */
		assert_true(y->learning || x->incarnation == y->incarnation);
		changed += x->incarnation != y->incarnation || x->learning != y->learning;
	}
	assert_true(changed <= 1);
}

static void test_random_moves(void **state)
{
	(void)state;
	struct rng rng;
	rng_init(&rng, 3);
	uint64_t taken = 0;
	for (int round = 0; round < ROUNDS; round++) {
		struct placement p;
		uint32_t n = 1 + (uint32_t)rng_below(&rng, LIMIT_REPLICAS);
		build(&p, n, n / 2 + 1 + (uint32_t)rng_below(&rng, n - n / 2));
		for (int step = 0; step < 20; step++) {
			struct placement next;
			struct placement_move move = random_move(&rng, &p);
			if (!placement_apply(&p.shard, &move, &next))
				continue;
			check_step(&p, &next);
			placement_copy(&p, &next.shard);
			assert_true(placement_equal(&p.shard, &next.shard));
			taken++;
		}
	}
	assert_true(taken > ROUNDS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_invariants),        cmocka_unit_test(test_lead),
	    cmocka_unit_test(test_renew_and_promote), cmocka_unit_test(test_successor),
	    cmocka_unit_test(test_preferred),         cmocka_unit_test(test_takeover_quorum),
	    cmocka_unit_test(test_ranges_cover_all),  cmocka_unit_test(test_rank_is_stable),
	    cmocka_unit_test(test_rank_is_fair),      cmocka_unit_test(test_balance),
	    cmocka_unit_test(test_random_moves),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
