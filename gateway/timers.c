#include "gateway/timers.h"

#include <stdbool.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"

enum { TIMERS_FIRST = 256 };

void timers_close(struct timers *t)
{
	free(t->heap);
	*t = (struct timers){0};
}

static bool earlier(const struct timer *a, const struct timer *b)
{
	return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

static void place(struct timers *t, struct timer *timer, uint32_t at)
{
	t->heap[at] = timer;
	timer->place = at + 1;
}

static void sift_up(struct timers *t, struct timer *timer, uint32_t at)
{
	while (at > 0 && earlier(timer, t->heap[(at - 1) / 2])) {
		place(t, t->heap[(at - 1) / 2], at);
		at = (at - 1) / 2;
	}
	place(t, timer, at);
}

static void sift_down(struct timers *t, struct timer *timer, uint32_t at)
{
	for (;;) {
		uint32_t child = 2 * at + 1;
		if (child >= t->count)
			break;
		if (child + 1 < t->count && earlier(t->heap[child + 1], t->heap[child]))
			child++;
		if (!earlier(t->heap[child], timer))
			break;
		place(t, t->heap[child], at);
		at = child;
	}
	place(t, timer, at);
}

void timers_clear(struct timers *t, struct timer *timer)
{
	if (timer->place == 0)
		return;
	uint32_t at = timer->place - 1;
	CHECK(t->heap[at] == timer);
	timer->place = 0;
	struct timer *last = t->heap[--t->count];
	if (last == timer)
		return;
	if (at > 0 && earlier(last, t->heap[(at - 1) / 2]))
		sift_up(t, last, at);
	else
		sift_down(t, last, at);
}

void timers_set(struct timers *t, struct timer *timer, int64_t at_ms)
{
	timers_clear(t, timer);
	if (t->count == t->cap) {
		t->cap = t->cap ? t->cap * 2 : TIMERS_FIRST;
		t->heap = mem_realloc(t->heap, t->cap * sizeof *t->heap);
	}
	timer->at_ms = at_ms;
	timer->order = ++t->order;
	sift_up(t, timer, t->count++);
}

struct timer *timers_first(const struct timers *t)
{
	return t->count ? t->heap[0] : NULL;
}
