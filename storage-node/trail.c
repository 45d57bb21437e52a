#include "storage-node/trail.h"

#include "storage-node/internal.h"

enum { TRAIL_STEP_MS = 5000 };
#define KEY_TRAIL "trail"

bool trail_load(struct storage *s)
{
	struct slice value;
	struct trail stored;
	enum store_result result = store_get(s->store, STORE_META, slice_text(KEY_TRAIL), &value);
	if (result == STORE_ABSENT)
		return true;
	if (result != STORE_OK ||
	    !schema_decode(&schema_trail, arena_copy(&s->arena, value), &s->arena, &stored))
		return false;
	s->trail.number = stored.number;
	s->trail.told = stored.told;
	s->trail.count = stored.ids_count;
	for (uint32_t i = 0; i < stored.ids_count; i++)
		s->trail.ids[i] = stored.ids[i];
	arena_reset(&s->arena);
	return true;
}

struct trail trail_of(struct storage *s)
{
	return (struct trail){.number = s->trail.number,
			      .told = s->trail.told,
			      .ids = s->trail.ids,
			      .ids_count = s->trail.count};
}

static void take_step(struct storage *s, struct effects *fx)
{
	struct trail_kept *t = &s->trail;
	if (t->count < LIMIT_TRAIL)
		t->count++;
	memmove(t->ids + 1, t->ids, (t->count - 1) * sizeof *t->ids);
	t->ids[0] = rng_next(&s->rng);
	t->number++;
	t->next_ms = s->now_ms + TRAIL_STEP_MS;
	struct trail stored = trail_of(s);
	buf_clear(&s->value);
	schema_encode(&schema_trail, &stored, &s->value);
	store_put(s->store, STORE_META, slice_text(KEY_TRAIL), buf_slice(&s->value));
	fx_sync(fx);
}

/* The step that is remembered must stay on the trail, and it is one of those after `told`. */
void trail_start(struct storage *s, struct effects *fx)
{
	if (s->trail.number - s->trail.told < LIMIT_TRAIL - 1)
		take_step(s, fx);
}

void trail_tick(struct storage *s, struct effects *fx)
{
	if (s->trail.told == s->trail.number && s->now_ms >= s->trail.next_ms)
		take_step(s, fx);
}

void trail_heard(struct storage *s, uint64_t number)
{
	if (number > s->trail.told && number <= s->trail.number)
		s->trail.told = number;
}
