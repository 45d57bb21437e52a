/* The coordinator's core against model members: each scenario is the trace that it leaves, or the
 * placement that it ends with. */
#include "tests/sim/coordinator_bench.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/timing.h"
#include "coordinator/recovery.h"
#include "proto/msgpack.h"
#include "proto/schema_random.h"

enum { SETTLE_MS = 2000 };

static uint64_t ask(struct bench *b, uint64_t operation, bool drop)
{
	return bench_create(b,
			    (struct msg_collection_create){.collection = {.name = slice_text("t")},
							   .operation = operation,
							   .drop = drop,
							   .shards = 1});
}

static void expect(struct bench *b, const char *trace)
{
	assert_string_equal(buf_cstr(&b->trace), trace);
	buf_clear(&b->trace);
}

#define SHARD(epoch, lead, list)                                                                   \
	"  shard{id=0 collection=0 hash_last=0 epoch=" epoch " lead=" lead " replicas=[" list      \
	"] write_quorum=2}\n"
#define ALL_VOTE "{node=12 incarnation=268} {node=13 incarnation=269} {node=11 incarnation=267}"
#define B_LEARNS                                                                                   \
	"{node=12 incarnation=368 learning=true} {node=13 incarnation=269} {node=11 "              \
	"incarnation=267}"
#define B_RENEWED "{node=12 incarnation=368} {node=13 incarnation=269} {node=11 incarnation=267}"

static void test_joins_and_create(void **state)
{
	struct bench *b = *state;
	bench_advance(b, 500);
	bench_create(b, (struct msg_collection_create){.collection = {.name = slice_text("t")},
						       .shards = 1});
	assert_int_equal(b->created, STATUS_CREATED);
	expect(b, "coordinator_started boot=1 map_version=0 shards=0\n"
		  "member_health member=1 health=healthy\n"
		  "member_joined member=11 role=2 incarnation=000000000000010b boot=1\n"
		  "member_joined member=12 role=2 incarnation=000000000000010c boot=1\n"
		  "member_joined member=13 role=2 incarnation=000000000000010d boot=1\n"
		  "member_joined member=21 role=1 incarnation=0000000000000000 boot=0\n"
		  "member_joined member=31 role=4 incarnation=0000000000000000 boot=0\n"
		  "member_joined member=32 role=4 incarnation=0000000000000000 boot=0\n"
		  "member_health member=11 health=healthy\n"
		  "member_health member=12 health=healthy\n"
		  "member_health member=13 health=healthy\n"
		  "member_health member=21 health=healthy\n"
		  "member_health member=31 health=healthy\n"
		  "member_health member=32 health=healthy\n"
		  "recovered map_version=0 shards=0\n"
		  "map 1\n"
		  "collection_created name=t id=# shards=1 replicas=3\n"
		  "map 2\n" SHARD("1", "12", ALL_VOTE));
}

static void test_offline_lead_and_back(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_down(b, lead);
	bench_advance(b, OFFLINE_MS + 300);
	expect(b, "member_health member=12 health=offline\n"
		  "placement shard=# epoch=2 lead=13 why=offline\n"
		  "map 3\n" SHARD("2", "13", ALL_VOTE));
	bench_boot(b, lead);
	bench_advance(b, MOVE_BACK_MS - 500);
	expect(b, "member_health member=12 health=healthy\n"
		  "map 4\n" SHARD("2", "13", ALL_VOTE));
	bench_advance(b, 1000);
	expect(b, "placement shard=# epoch=3 lead=12 why=move_back\n"
		  "map 5\n" SHARD("3", "12", ALL_VOTE));
	bench_advance(b, 60000);
	expect(b, "");
}

static void test_successor_is_most_advanced(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	assert_int_equal(lead, 12);
	bench_model(b, 13)->copies[0].last = (struct position){.epoch = 1, .number = 7};
	bench_model(b, 11)->copies[0].last = (struct position){.epoch = 1, .number = 8};
	bench_advance(b, 500);
	bench_down(b, lead);
	bench_advance(b, OFFLINE_MS + 300);
	assert_int_equal(bench_placement(b)->lead, 11);
}

/* Copies of a request, however late, also after a restart. */
static void test_asked_again(void **state)
{
	struct bench *b = *state;
	bench_advance(b, SETTLE_MS);
	assert_int_equal(ask(b, 1, false), STATUS_CREATED);
	assert_int_equal(ask(b, 1, false), STATUS_CREATED);
	assert_int_equal(ask(b, 2, false), STATUS_OK);
	assert_int_equal(ask(b, 3, true), STATUS_OK);
	assert_int_equal(ask(b, 3, true), STATUS_OK);
	assert_int_equal(ask(b, 2, false), STATUS_OK); /* it was there then */
	assert_int_equal(ask(b, 4, true), STATUS_NOT_FOUND);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(ask(b, 1, false), STATUS_CREATED);
	assert_int_equal(ask(b, 5, true), STATUS_NOT_FOUND);
	assert_int_equal(ask(b, 6, false), STATUS_CREATED);
	assert_int_equal(ask(b, 3, true), STATUS_OK); /* the one made since stays */
	assert_int_equal(ask(b, 7, false), STATUS_OK);
}

static void test_restarted_lead(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_boot(b, lead);
	bench_advance(b, 500);
	expect(b, "placement shard=# epoch=2 lead=12 why=restarted\n"
		  "map 3\n" SHARD("2", "12", ALL_VOTE));
}

static void test_stuck_lead(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_model(b, lead)->copies[0].state = SHARD_STUCK;
	bench_advance(b, 500);
	expect(b, "placement shard=# epoch=2 lead=13 why=stuck\n"
		  "map 3\n" SHARD("2", "13", ALL_VOTE));
	/* it is in sync as a replica, but not trusted with the lead soon */
	bench_advance(b, MOVE_BACK_MS * 3);
	expect(b, "");
}

static void test_slow_lead(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_model(b, 13)->never_serves = true;
	bench_down(b, lead);
	bench_advance(b, OFFLINE_MS + TAKEOVER_MS - 200);
	assert_int_equal(bench_placement(b)->lead, 13);
	bench_advance(b, 500);
	assert_int_equal(bench_placement(b)->lead, 11);
	assert_int_equal(bench_placement(b)->epoch, 3);
	/* the only one left is left alone */
	bench_model(b, 11)->never_serves = true;
	bench_model(b, 11)->copies[0].state = SHARD_PROMISING;
	bench_down(b, 13);
	bench_advance(b, 4 * TAKEOVER_MS);
	assert_int_equal(bench_placement(b)->epoch, 3);
}

static void test_nobody_alive_waits(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	for (uint64_t id = NODE_A; id < NODE_A + NODES; id++)
		bench_down(b, id);
	bench_advance(b, 10000);
	assert_int_equal(bench_placement(b)->epoch, 1);
	bench_boot(b, 13);
	bench_advance(b, 500);
	assert_int_equal(bench_placement(b)->epoch, 2);
	assert_int_equal(bench_placement(b)->lead, 13);
}

static void test_wiped_node(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_wipe(b, lead);
	bench_boot(b, lead);
	bench_model(b, lead)->out_of_sync = true;
	bench_advance(b, SETTLE_MS);
	expect(b, "join_waits member=12 incarnation=0000000000000170 alive=000000000000010c\n"
		  "member_health member=12 health=unhealthy\n"
		  "placement shard=# epoch=2 lead=13 why=new_incarnation\n"
		  "map 3\n" SHARD("2", "13", B_LEARNS));
	bench_model(b, lead)->out_of_sync = false;
	bench_advance(b, 1000);
	expect(b, "placement shard=# epoch=3 lead=13 why=in_sync\n"
		  "map 4\n" SHARD("3", "13", B_RENEWED) "member_health member=12 health=healthy\n");
}

/* A majority lost its data: nobody may lead, and the nodes that lost it say so. */
static void test_two_wiped_nodes(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	for (uint64_t id = 12; id <= 13; id++) {
		bench_wipe(b, id);
		bench_boot(b, id);
		bench_model(b, id)->out_of_sync = true;
		bench_model(b, id)->never_serves = true;
	}
	bench_model(b, 11)->never_serves = true;
	bench_advance(b, 5000);
	assert_int_equal(placement_voting(bench_placement(b)), 1);
	assert_int_equal(bench_placement(b)->lead, 11);
	struct buf out = {0};
	coordinator_ops.metrics(b->core, &out);
	assert_non_null(strstr(buf_cstr(&out), "role=\"storage\",health=\"fatal\"} 2\n"));
	buf_close(&out);
}

static void test_restart_recovers(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_down(b, lead);
	bench_down(b, 13);
	bench_restart(b);
	buf_clear(&b->trace);
	bench_advance(b, 5000);
	/* one of three can't tell whether there was a newer epoch */
	assert_null(strstr(buf_cstr(&b->trace), "placement"));
	struct buf out = {0};
	assert_false(coordinator_ops.ready(b->core, b->now_ms, &out));
	assert_non_null(strstr(buf_cstr(&out), "recovered failed: waiting"));
	buf_close(&out);
	assert_int_equal(
	    bench_create(b,
			 (struct msg_collection_create){.collection = {.name = slice_text("new")}}),
	    STATUS_STARTING);
	buf_clear(&b->trace);
	bench_boot(b, 13);
	bench_advance(b, OFFLINE_MS + 500);
	expect(b, "member_joined member=13 role=2 incarnation=000000000000010d boot=2\n"
		  "member_health member=13 health=healthy\n"
		  "recovered map_version=2 shards=1\n"
		  "map 3\n" SHARD("1", "12",
				  ALL_VOTE) "placement shard=# epoch=2 lead=13 why=offline\n"
					    "map 4\n" SHARD("2", "13", ALL_VOTE));
}

/* The node with the only copy of something. */
static uint64_t home_of_single(struct bench *b, struct copy **copy)
{
	for (uint64_t id = NODE_A; id < NODE_A + NODES + BENCH_MORE; id++)
		for (uint32_t i = 0; i < bench_model(b, id)->copies_count; i++) {
			*copy = &bench_model(b, id)->copies[i];
			if ((*copy)->placement.shard.replicas_count == 1)
				return id;
		}
	return 0;
}

/* What a node that is gone for good has alone must not keep all else from being decided. */
static void test_restart_without_a_node(void **state)
{
	struct bench *b = *state;
	struct copy *copy = NULL;
	struct msg_collection_create one = {
	    .collection = {.name = slice_text("one"), .replicas = 1}, .shards = 1};
	uint64_t lead = bench_begin(b);
	bench_grow(b);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(bench_create(b, one), STATUS_CREATED);
	uint64_t home = home_of_single(b, &copy);
	assert_int_not_equal(home, lead);
	bench_down(b, home);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(ask(b, 1, false), STATUS_STARTING);
	bench_advance(b, RECOVERY_PATIENCE_MS);
	assert_int_equal(ask(b, 1, false), STATUS_OK);
	bench_down(b, lead);
	bench_advance(b, OFFLINE_MS + 500);
	assert_int_equal(bench_placement(b)->epoch, 2);
	/* that one is left alone until its node tells what it knows */
	buf_clear(&b->trace);
	bench_boot(b, home);
	bench_advance(b, SETTLE_MS);
	assert_null(strstr(buf_cstr(&b->trace), "recovery_refused"));
	assert_int_equal(copy->placement.shard.epoch, 2);
	assert_int_equal(copy->state, SHARD_SERVING);
}

/* A restart while all is well moves no lead. */
static void test_restart_is_quiet(void **state)
{
	struct bench *b = *state;
	uint64_t lead = bench_begin(b);
	bench_restart(b);
	bench_advance(b, 10000);
	assert_int_equal(bench_placement(b)->epoch, 1);
	assert_int_equal(bench_placement(b)->lead, lead);
	struct buf out = {0};
	assert_true(coordinator_ops.ready(b->core, b->now_ms, &out));
	buf_close(&out);
}

/* Fail-over after the backup was taken; then the backup is put back. */
static void put_old_state_back(struct bench *b, bool recover)
{
	struct disk *backup = disk_clone(b->disk);
	bench_down(b, 12);
	bench_advance(b, OFFLINE_MS + 300);
	assert_int_equal(bench_placement(b)->epoch, 2);
	bench_stop(b);
	disk_restore(b->disk, backup);
	disk_free(backup);
	bench_start(b, recover);
	buf_clear(&b->trace);
}

static void test_old_state_is_refused(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	put_old_state_back(b, false);
	bench_advance(b, 10000);
	const char *trace = buf_cstr(&b->trace);
	const char *refused = strstr(trace, "recovery_refused");
	assert_non_null(refused);
	assert_null(strstr(refused + 1, "recovery_refused"));
	assert_null(strstr(trace, "placement"));
	assert_null(strstr(trace, "\nmap "));
	assert_int_equal(
	    bench_create(b,
			 (struct msg_collection_create){.collection = {.name = slice_text("new")}}),
	    STATUS_COORDINATOR_UNAVAILABLE);
	struct buf out = {0};
	assert_false(coordinator_ops.ready(b->core, b->now_ms, &out));
	assert_non_null(strstr(buf_cstr(&out), "recovered failed: member 1"));
	buf_close(&out);
}

static void test_recover_from_nodes(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	put_old_state_back(b, true);
	/* a promise beyond all placements binds whoever made it */
	bench_model(b, 11)->copies[0].promised = 9;
	bench_advance(b, RECOVERY_PATIENCE_MS + 5000);
	assert_non_null(strstr(buf_cstr(&b->trace), "recovery_shard shard=# epoch=2 lead=13"));
	assert_true(bench_placement(b)->epoch >= 10);
	bench_boot(b, 12);
	bench_advance(b, 1000);
	assert_int_equal(
	    bench_create(b,
			 (struct msg_collection_create){.collection = {.name = slice_text("new")}}),
	    STATUS_CREATED);
}

static void test_lost_state_is_refused(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	bench_stop(b);
	disk_wipe(b->disk);
	bench_start(b, false);
	buf_clear(&b->trace);
	bench_advance(b, 2000);
	assert_non_null(strstr(buf_cstr(&b->trace), "recovery_refused"));
	bench_stop(b);
	disk_wipe(b->disk);
	bench_start(b, true);
	bench_advance(b, 2000);
	/* the collection is not in the models' joins; its shard is */
	assert_int_equal(bench_placement(b)->lead, 12);
	struct buf out = {0};
	assert_true(coordinator_ops.ready(b->core, b->now_ms, &out));
	buf_close(&out);
}

/* The disk is lost, and 11 is away, which alone knows of the collection. */
static void lose_all_but_one(struct bench *b, struct collection *settings)
{
	struct model *gateway = bench_model(b, GATEWAY);
	bench_begin(b);
	*settings = (struct collection){.id = bench_placement(b)->collection,
					.name = slice_text("t"),
					.version = 1,
					.replicas = 3,
					.write_quorum = 2};
	bench_model(b, NODE_A)->collections = settings;
	bench_model(b, NODE_A)->collections_count = 1;
	bench_down(b, NODE_A);
	gateway->joined = false;
	gateway->map_version = 0;
	bench_stop(b);
	disk_wipe(b->disk);
	bench_start(b, true);
	buf_clear(&b->trace);
}

/* As long as there is hope, nothing is made anew that one of them has, and nobody is told that
 * there is nothing. */
static void test_lost_state_waits_for_all(void **state)
{
	struct bench *b = *state;
	struct collection settings;
	lose_all_but_one(b, &settings);
	bench_advance(b, SETTLE_MS);
	b->now_ms += 60000; /* stopped for so long: that counts for nobody's silence */
	bench_step(b, &(struct event){.kind = EVENT_TIMER});
	bench_advance(b, 1000);
	bench_deliver(b, bench_model(b, GATEWAY), MSG_map_request, &(struct msg_map_request){0});
	bench_turn(b);
	assert_null(strstr(buf_cstr(&b->trace), "\nmap "));
	assert_int_equal(ask(b, 1, false), STATUS_STARTING);
	bench_boot(b, NODE_A);
	bench_advance(b, SETTLE_MS);
	assert_non_null(strstr(buf_cstr(&b->trace), "\nmap "));
	assert_int_equal(ask(b, 1, false), STATUS_OK);
}

/* It came too late: of two with one name some members would see this and some the other. */
static void test_recovered_name_is_taken(void **state)
{
	struct bench *b = *state;
	struct collection settings;
	lose_all_but_one(b, &settings);
	settings.id++; /* the bench's random numbers begin anew */
	struct msg_collection_create anew = {.collection = {.name = slice_text("t"), .replicas = 1},
					     .operation = 1};
	bench_advance(b, RECOVERY_PATIENCE_MS + SETTLE_MS);
	assert_int_equal(bench_create(b, anew), STATUS_CREATED);
	bench_boot(b, NODE_A);
	bench_advance(b, SETTLE_MS);
	assert_non_null(strstr(buf_cstr(&b->trace), "recovery_name_taken member=11 name=t"));
	assert_int_equal(ask(b, 2, true), STATUS_OK);
	assert_int_equal(ask(b, 3, true), STATUS_NOT_FOUND);
	/* it is not lost: there is room for it now */
	bench_boot(b, NODE_A);
	bench_advance(b, SETTLE_MS);
	anew.operation = 4;
	anew.collection.replicas = 3;
	assert_int_equal(bench_create(b, anew), STATUS_OK);
}

/* One node was away when the collection was dropped, another heard of it. */
static void test_drops_are_recovered(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	uint64_t id = bench_model(b, NODE_A)->copies[0].placement.shard.collection;
	bench_stop(b);
	disk_wipe(b->disk);
	bench_model(b, NODE_A + 1)->dropped = &id;
	bench_model(b, NODE_A + 1)->dropped_count = 1;
	bench_start(b, true);
	buf_clear(&b->trace);
	bench_advance(b, 3000);
	assert_non_null(strstr(buf_cstr(&b->trace), "recovery_drop collection="));
	assert_null(strstr(buf_cstr(&b->trace), "\nplacement shard="));
	assert_int_equal(ask(b, 7, false), STATUS_CREATED);
	/* who comes with it later does not bring it back, nor into doubt what is known here */
	bench_model(b, NODE_A + 1)->dropped_count = 0;
	bench_stop(b);
	bench_start(b, false);
	buf_clear(&b->trace);
	bench_advance(b, 3000);
	assert_null(strstr(buf_cstr(&b->trace), "recovery_refused"));
	assert_null(strstr(buf_cstr(&b->trace), "recovery_shard"));
}

static void test_unknown_drop_is_refused(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	uint64_t id = bench_model(b, NODE_A)->copies[0].placement.shard.collection;
	bench_model(b, NODE_A + 1)->dropped = &id;
	bench_model(b, NODE_A + 1)->dropped_count = 1;
	bench_restart(b);
	bench_advance(b, 3000);
	assert_non_null(strstr(buf_cstr(&b->trace), "recovery_refused"));
}

static void test_put_back_copy_is_revoked(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	bench_boot(b, 11);
	bench_boot(b, 13);
	bench_advance(b, SETTLE_MS);
	/* one late message of the earlier life is nothing */
	struct model late = *bench_model(b, 13);
	late.boot = 1;
	bench_join(b, &late);
	bench_turn(b);
	assert_true(bench_model(b, 13)->joined);
	/* a copy of the directory keeps asking */
	bench_down(b, 13);
	bench_advance(b, SETTLE_MS);
	struct model *m = bench_model(b, 13);
	m->boot = 1;
	m->up = true;
	m->joined = false;
	bench_advance(b, 1000);
	assert_int_equal(m->refused, STATUS_OK);
	bench_advance(b, 1500);
	assert_int_equal(m->refused, STATUS_INCARNATION_REVOKED);
	/* one that is a single start old has counted as many starts as the one that is gone */
	bench_boot(b, 11);
	bench_advance(b, SETTLE_MS);
	assert_true(bench_model(b, 11)->joined);
	bench_down(b, 11);
	bench_advance(b, SETTLE_MS);
	struct model *same = bench_model(b, 11);
	same->life++;
	same->up = true;
	same->joined = false;
	bench_advance(b, 2500);
	assert_int_equal(same->refused, STATUS_INCARNATION_REVOKED);
	/* and so does one of an incarnation that was given up, even after a restart */
	bench_wipe(b, 13);
	bench_boot(b, 13);
	bench_advance(b, SETTLE_MS);
	assert_int_equal(m->refused, STATUS_OK);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	bench_down(b, 13);
	m->incarnation -= 100;
	m->boot = 50;
	m->up = true;
	m->joined = false;
	bench_advance(b, 2 * SETTLE_MS);
	assert_int_equal(m->refused, STATUS_INCARNATION_REVOKED);
}

/* A node that was started with another's key waits for its silence. That the coordinator has just
 * started, and has not heard of the other yet, is none: its data must not be given up. */
static void test_twin_waits_after_a_start(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	struct model twin = *bench_model(b, 12);
	twin.incarnation += 100;
	twin.copies_count = 0;
	bench_join(b, &twin);
	bench_restart(b);
	bench_join(b, &twin);
	bench_turn(b);
	bench_advance(b, SETTLE_MS);
	assert_true(bench_model(b, 12)->joined);
	assert_int_equal(bench_placement(b)->replicas[0].incarnation,
			 bench_model(b, 12)->incarnation);
}

static void come_back(struct bench *b, uint64_t id, uint64_t number, const uint64_t *ids,
		      uint32_t count)
{
	struct model *m = bench_model(b, id);
	bench_boot(b, id);
	memcpy(m->trail_ids, ids, count * sizeof *ids);
	m->trail = (struct trail){.number = number, .ids = m->trail_ids, .ids_count = count};
	bench_advance(b, SETTLE_MS);
}

/* One made while the node ran counts as the next start: it lacks the step that is remembered. */
static void test_copy_of_running_node_is_revoked(void **state)
{
	static const uint64_t old[] = {41, 40}, later[] = {55, 43, 42, 41, 40};
	static const uint64_t other[] = {60, 77, 42}, far[] = {99, 98};
	struct bench *b = *state;
	bench_begin(b);
	come_back(b, 13, 2, old, 2);
	assert_true(bench_model(b, 13)->joined);
	come_back(b, 13, 5, later, 5); /* further steps, and the known one among them */
	assert_true(bench_model(b, 13)->joined);
	bench_down(b, 13);
	bench_restart(b);
	bench_advance(b, SETTLE_MS);
	come_back(b, 13, 3, (const uint64_t[]){44, 41, 40}, 3);
	assert_false(bench_model(b, 13)->joined);
	assert_int_equal(bench_model(b, 13)->refused, STATUS_INCARNATION_REVOKED);
	come_back(b, 12, 4, later, 2);
	come_back(b, 12, 5, other, 3); /* it went on from the step before */
	assert_int_equal(bench_model(b, 12)->refused, STATUS_INCARNATION_REVOKED);
	come_back(b, 11, 4, later, 2);
	come_back(b, 11, 90, far, 2); /* what is remembered is no longer listed: let in */
	assert_true(bench_model(b, 11)->joined);
}

static void test_stranger(void **state)
{
	struct bench *b = *state;
	bench_advance(b, SETTLE_MS);
	coordinator_members_set(b->core, bench_members,
				BENCH_MEMBERS - 4); /* without 13 and others */
	bench_advance(b, 500);
	assert_int_equal(bench_model(b, 13)->refused, STATUS_UNKNOWN_MEMBER);
	assert_int_equal(bench_model(b, 12)->refused, STATUS_OK);
	coordinator_members_set(b->core, bench_members, BENCH_MEMBERS);
	bench_advance(b, 500);
	assert_int_equal(bench_model(b, 13)->refused, STATUS_OK);
}

/* A coordinator that was stopped for a while takes its own silence for nobody else's. */
static void test_sleep_moves_nothing(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	b->now_ms += 60000;
	bench_step(b, &(struct event){.kind = EVENT_TIMER});
	bench_turn(b);
	bench_advance(b, 2000);
	expect(b, "");
}

/* What was decided in a turn whose commit fails was never said. */
static void test_crash_before_commit(void **state)
{
	struct bench *b = *state;
	bench_begin(b);
	b->lose_commits = true;
	bench_create(b, (struct msg_collection_create){.collection = {.name = slice_text("x")}});
	assert_true(b->created == UINT64_MAX);
	b->lose_commits = false;
	bench_restart(b);
	buf_clear(&b->trace);
	bench_advance(b, SETTLE_MS);
	assert_null(strstr(buf_cstr(&b->trace), "refused"));
	assert_int_equal(
	    bench_create(b,
			 (struct msg_collection_create){.collection = {.name = slice_text("x")}}),
	    STATUS_CREATED);
}

/* Leads of many shards are spread, and two arbiters share them without a gap. */
static void test_balance_and_leases(void **state)
{
	struct bench *b = *state;
	bench_advance(b, SETTLE_MS);
	struct msg_collection_create twelve = {.collection = {.name = slice_text("t")},
					       .shards = 12};
	assert_int_equal(bench_create(b, twelve), STATUS_CREATED);
	uint32_t leads[NODES] = {0};
	for (uint32_t i = 0; i < 12; i++)
		leads[bench_model(b, 11)->copies[i].placement.shard.lead - NODE_A]++;
	for (int i = 0; i < NODES; i++)
		assert_int_equal(leads[i], 4);
	for (uint64_t id = ARBITER_A; id <= ARBITER_B; id++) {
		bench_deliver(b, bench_model(b, id), MSG_arbiter_lease,
			      &(struct msg_arbiter_lease){0});
		bench_turn(b);
	}
	assert_int_equal(b->leased_count[0] + b->leased_count[1], 12);
	assert_true(b->leased_count[0] > 0 && b->leased_count[1] > 0);
	for (uint32_t i = 0; i < b->leased_count[0]; i++)
		for (uint32_t k = 0; k < b->leased_count[1]; k++)
			assert_true(b->leased[0][i] != b->leased[1][k]);
	bench_down(b, ARBITER_B);
	bench_advance(b, SETTLE_MS);
	bench_deliver(b, bench_model(b, ARBITER_A), MSG_arbiter_lease,
		      &(struct msg_arbiter_lease){0});
	bench_turn(b);
	assert_int_equal(b->leased_count[0], 12);
}

static void random_step(struct bench *b, struct rng *rng)
{
	static const uint16_t types[] = {MSG_member_join,   MSG_heartbeat,   MSG_map_request,
					 MSG_arbiter_lease, MSG_system_list, MSG_collection_create};
	const struct model *from = &b->models[rng_below(rng, BENCH_MEMBERS)];
	const struct schema *schema = schema_of_message(types[rng_below(rng, ARRAY_LEN(types))]);
	if (!message_allowed(schema->number, from->role, ROLE_COORDINATOR))
		return;
	void *message = arena_alloc(&b->arena, schema->size);
	schema_random(schema, rng, &b->arena, message);
	/* few values, so that members are accepted and get beyond their joins */
	if (schema->number == MSG_member_join)
		((struct msg_member_join *)message)->incarnation = 1 + rng_below(rng, 2);
	if (schema->number == MSG_heartbeat)
		((struct msg_heartbeat *)message)->incarnation = 1 + rng_below(rng, 2);
	bench_deliver(b, from, schema->number, message);
}

/* Peers that say anything at all: the core stays up, and what it stores can be loaded. */
static void test_random_messages(void **state)
{
	struct bench *b = *state;
	struct rng rng;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		rng_init(&rng, seed);
		bench_stop(b);
		disk_wipe(b->disk);
		bench_start(b, seed % 2 == 0);
		for (int i = 0; i < 300; i++) {
			random_step(b, &rng);
			b->now_ms += (int64_t)rng_below(&rng, 200);
			bench_step(b, &(struct event){.kind = EVENT_TIMER});
			bench_step(b, &(struct event){.kind = EVENT_TURN});
			assert_int_equal(store_commit(b->store, true), STORE_OK);
			effects_clear(&b->fx);
			arena_reset(&b->arena);
		}
		bench_restart(b);
	}
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(test_joins_and_create),
	    CASE(test_offline_lead_and_back),
	    CASE(test_successor_is_most_advanced),
	    CASE(test_restarted_lead),
	    CASE(test_stuck_lead),
	    CASE(test_slow_lead),
	    CASE(test_nobody_alive_waits),
	    CASE(test_wiped_node),
	    CASE(test_two_wiped_nodes),
	    CASE(test_restart_recovers),
	    CASE(test_restart_without_a_node),
	    CASE(test_restart_is_quiet),
	    CASE(test_old_state_is_refused),
	    CASE(test_recover_from_nodes),
	    CASE(test_lost_state_waits_for_all),
	    CASE(test_recovered_name_is_taken),
	    CASE(test_drops_are_recovered),
	    CASE(test_unknown_drop_is_refused),
	    CASE(test_lost_state_is_refused),
	    CASE(test_put_back_copy_is_revoked),
	    CASE(test_twin_waits_after_a_start),
	    CASE(test_copy_of_running_node_is_revoked),
	    CASE(test_stranger),
	    CASE(test_sleep_moves_nothing),
	    CASE(test_crash_before_commit),
	    CASE(test_asked_again),
	    CASE(test_balance_and_leases),
	    CASE(test_random_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
