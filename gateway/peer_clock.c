#include "gateway/peer_clock.h"

#include <stddef.h>

#include "gateway/internal.h"

/* Clocks differ in rate: what was learnt of one is not believed for longer. */
enum {
	CLOCK_KEEP_MS = 60000,
	CLOCK_DRIFT = 10 /* two clocks differ by a tenth of what they count at most */
};

/* Where a message has its time, and the life of the process by whose clock that is. */
struct time_place {
	uint16_t type;
	size_t time, life;
};

#define PLACE(name, time)                                                                          \
	{                                                                                          \
		MSG_##name, offsetof(struct msg_##name, time), offsetof(struct msg_##name, life)   \
	}
static const struct time_place bounds[] = {
    PLACE(doc_write, until_ms),      PLACE(shard_edit, until_ms),
    PLACE(doc_import, until_ms),     PLACE(doc_erase, until_ms),
    PLACE(checkpoint_set, until_ms), PLACE(collection_create, until_ms),
    PLACE(node_update, until_ms)};
static const struct time_place told[] = {
    PLACE(doc_write_ack, clock_ms),      PLACE(shard_edit_ack, clock_ms),
    PLACE(doc_import_ack, clock_ms),     PLACE(doc_erase_ack, clock_ms),
    PLACE(checkpoint_set_ack, clock_ms), PLACE(collection_create_ack, clock_ms),
    PLACE(node_update_ack, clock_ms)};
#undef PLACE

static const struct time_place *place_of(const struct time_place *places, size_t count,
					 uint16_t type)
{
	for (size_t i = 0; i < count; i++)
		if (places[i].type == type)
			return &places[i];
	return NULL;
}

static uint64_t u64_get(const void *message, size_t offset)
{
	return *(const uint64_t *)((const uint8_t *)message + offset);
}

static void u64_set(void *message, size_t offset, uint64_t value)
{
	*(uint64_t *)((uint8_t *)message + offset) = value;
}

static struct peer_clock *clock_find(const struct turn *t, uint64_t member)
{
	struct peer_clocks *clocks = &t->gw->calls.clocks;
	for (uint32_t i = 0; i < clocks->count; i++)
		if (clocks->items[i].member == member)
			return &clocks->items[i];
	return NULL;
}

/* How far it is ahead at least, whatever became of both clocks since that was learnt. */
static int64_t clock_ahead(const struct turn *t, const struct peer_clock *clock)
{
	return clock->ahead_ms - (t->now_ms - clock->seen_ms) / CLOCK_DRIFT;
}

static void learn(struct turn *t, uint64_t clock_ms, uint64_t life)
{
	struct peer_clocks *clocks = &t->gw->calls.clocks;
	uint64_t member = t->event->message.from.member;
	struct peer_clock *clock = clock_find(t, member);
	int64_t ahead_ms = (int64_t)(clock_ms - (uint64_t)t->now_ms);
	if (clock_ms == 0)
		return;
	if (!clock && clocks->count < LIMIT_MEMBERS) {
		clock = &clocks->items[clocks->count++];
		*clock = (struct peer_clock){.member = member, .life = life, .ahead_ms = ahead_ms};
	}
	if (!clock)
		return;
	bool old = clock->life != life || t->now_ms - clock->seen_ms > CLOCK_KEEP_MS;
	if (!old && ahead_ms < clock_ahead(t, clock))
		return;
	clock->life = life;
	clock->ahead_ms = ahead_ms;
	clock->seen_ms = t->now_ms;
}

void peer_clock_learn(struct turn *t)
{
	uint16_t type = t->event->message.envelope.type;
	const void *body = t->event->message.body;
	const struct time_place *place = place_of(told, ARRAY_LEN(told), type);
	if (place)
		learn(t, u64_get(body, place->time), u64_get(body, place->life));
}

void peer_clock_bound(const struct turn *t, uint64_t member, int64_t until_ms, uint16_t type,
		      void *message)
{
	const struct time_place *place = place_of(bounds, ARRAY_LEN(bounds), type);
	const struct peer_clock *clock = clock_find(t, member);
	if (!place)
		return;
	/* before anything is known of its clock: a time that it refuses, telling its own */
	int64_t until = 1;
	int64_t now = 0;
	if (clock) {
		int64_t ttl_ms = until_ms - t->now_ms;
		now = t->now_ms + clock_ahead(t, clock);
		until = now + ttl_ms - ttl_ms / CLOCK_DRIFT;
		now = now > 1 ? now : 1;
	}
	u64_set(message, place->time, until > 1 ? (uint64_t)until : 1);
	u64_set(message, place->life, clock ? clock->life : 0);
	if (type == MSG_doc_import)
		((struct msg_doc_import *)message)->sent_ms = (uint64_t)now;
}
