/* The coordinator's core granting locks: the test plays the gateway that asks and the leads that
 * settle. */
#ifndef PARLEY_TESTS_CORE_COORDINATOR_LOCK_CASE_H
#define PARLEY_TESTS_CORE_COORDINATOR_LOCK_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/timing.h"
#include "coordinator/lock.h"
#include "tests/sim/coordinator_bench.h"

enum { SETTLE_MS = 2000, SHARDS = 3 };

static inline int setup(void **state)
{
	bench_setup(state);
	struct bench *b = *state;
	bench_advance(b, SETTLE_MS);
	assert_int_equal(
	    bench_create(b, (struct msg_collection_create){.collection = {.name = slice_text("c")},
							   .shards = SHARDS}),
	    STATUS_CREATED);
	bench_advance(b, SETTLE_MS);
	memset(b->acquired, 0xff, sizeof b->acquired);
	memset(b->released, 0xff, sizeof b->released);
	return 0;
}

/* ---- what gateways and leads say ---- */

static inline struct slice id_of(struct bench *b, uint8_t id)
{
	uint8_t *bytes = arena_alloc(&b->arena, 16);
	memset(bytes, id, 16);
	return slice_of(bytes, 16);
}

/* "c", "c/d", "c/d/f"; "!name": advisory. */
static inline struct lock_key key_of(struct bench *b, const char *text)
{
	struct lock_key key = {0};
	struct slice rest = arena_copy(&b->arena, slice_text(text));
	struct slice *parts[] = {&key.name, &key.path.document, &key.path.field};
	if (text[0] == '!') {
		key.advisory = true;
		key.name = rest;
		return key;
	}
	for (int i = 0; i < 3 && rest.len > 0; i++) {
		size_t len = 0;
		while (len < rest.len && rest.data[len] != '/')
			len++;
		*parts[i] = slice_of(rest.data, len);
		size_t used = len < rest.len ? len + 1 : len;
		rest = slice_of(rest.data + used, rest.len - used);
	}
	return key;
}

struct asked {
	uint8_t id;
	const char *key;
	const char *other; /* NULL: one key */
	uint64_t wait_ms, ttl_ms;
	uint8_t session; /* 0: none */
};

static inline void say(struct bench *b, uint16_t type, const void *message)
{
	bench_deliver(b, bench_model(b, GATEWAY), type, message);
	bench_turn(b);
}

/* Within a turn that is not over yet. */
static inline void ask(struct bench *b, struct asked a)
{
	struct lock_key keys[2];
	keys[0] = key_of(b, a.key);
	keys[1] = key_of(b, a.other ? a.other : a.key);
	struct msg_lock_acquire m = {.id = id_of(b, a.id),
				     .keys = keys,
				     .keys_count = a.other ? 2 : 1,
				     .wait_ms = a.wait_ms,
				     .ttl_ms = a.ttl_ms};
	if (a.session)
		m.session = id_of(b, a.session);
	b->acquired[a.id] = BENCH_NONE;
	bench_deliver(b, bench_model(b, GATEWAY), MSG_lock_acquire, &m);
}

static inline void acquire(struct bench *b, struct asked a)
{
	ask(b, a);
	bench_turn(b);
}

static inline void unlock(struct bench *b, uint8_t id, uint8_t request)
{
	struct msg_lock_release m = {.id = id_of(b, id), .request = id_of(b, request)};
	b->released[id] = BENCH_NONE;
	say(b, MSG_lock_release, &m);
}

static inline void ack_set(struct bench *b, const struct bench_set *set, enum status status,
			   uint64_t greatest)
{
	struct msg_lock_set_ack m = {.status = status,
				     .shard = set->shard,
				     .id = id_of(b, set->id),
				     .release = set->release,
				     .token = set->token,
				     .greatest = greatest};
	bench_deliver(b, bench_model(b, set->node), MSG_lock_set_ack, &m);
	bench_turn(b);
}

/* The leads settle all that was said, and what is said to that. */
static inline void settle(struct bench *b)
{
	for (uint32_t i = 0; i < b->sets_count; i++) {
		struct bench_set set = b->sets[i];
		ack_set(b, &set, STATUS_OK, set.token);
	}
	b->sets_count = 0;
}

static inline void held(struct bench *b, struct asked a)
{
	acquire(b, a);
	settle(b);
	assert_int_equal(b->acquired[a.id], STATUS_OK);
}

static inline bool releasing(const struct bench *b, uint8_t id)
{
	for (uint32_t i = 0; i < b->sets_count; i++)
		if (b->sets[i].id == id && b->sets[i].release)
			return true;
	return false;
}

#endif
