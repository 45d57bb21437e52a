#include "common/run/script_queue.h"

#include <string.h>

static bool is_there(const struct script_share *s)
{
	return s->waiting > 0 || s->running > 0;
}

/* Of those that are there. When nobody is, nobody has had anything. */
static uint64_t least_used(struct script_queue *q)
{
	uint64_t least = UINT64_MAX;
	for (uint32_t i = 0; i < SCRIPT_GROUPS_MAX; i++)
		if (is_there(&q->shares[i]) && q->shares[i].used_us < least)
			least = q->shares[i].used_us;
	if (least != UINT64_MAX)
		return least;
	for (uint32_t i = 0; i < SCRIPT_GROUPS_MAX; i++)
		q->shares[i].used_us = 0;
	return 0;
}

static struct script_share *share_find(struct script_queue *q, uint64_t group)
{
	for (uint32_t i = 0; i < SCRIPT_GROUPS_MAX; i++)
		if (q->shares[i].known && q->shares[i].group == group)
			return &q->shares[i];
	return NULL;
}

/* A row for another group: a free one, else that of who has had least of those that are gone; past
 * the bound groups share. */
static struct script_share *share_new(struct script_queue *q, uint64_t group)
{
	struct script_share *best = NULL;
	for (uint32_t i = 0; i < SCRIPT_GROUPS_MAX; i++) {
		struct script_share *s = &q->shares[i];
		if (is_there(s) || (best && best->used_us <= s->used_us))
			continue;
		best = s;
	}
	if (!best)
		return &q->shares[group % SCRIPT_GROUPS_MAX];
	*best = (struct script_share){.group = group, .known = true};
	return best;
}

/* Who was away has hardly more to come than those who were not. */
static struct script_share *share_of(struct script_queue *q, uint64_t group)
{
	uint64_t least = least_used(q);
	struct script_share *s = share_find(q, group);
	if (!s)
		s = share_new(q, group);
	if (!is_there(s) && s->used_us + SCRIPT_CREDIT_US < least)
		s->used_us = least - SCRIPT_CREDIT_US;
	return s;
}

bool script_queue_put(struct script_queue *q, struct script_job *job)
{
	if (q->count == SCRIPT_QUEUE_MAX || q->bytes + job->frame.len > SCRIPT_QUEUE_BYTES_MAX)
		return false;
	struct script_share *s = share_of(q, job->group);
	job->group = s->group;
	s->waiting++;
	q->bytes += job->frame.len;
	q->jobs[q->count++] = *job;
	*job = (struct script_job){0};
	return true;
}

/* A slow group may not have all workers. */
static bool may_run(const struct script_share *s, uint32_t workers)
{
	return workers < 2 || s->last_us < SCRIPT_SLOW_US || s->running + 1 < workers;
}

/* Of two that have had as much, who comes anew. */
static bool comes_before(const struct script_share *a, const struct script_share *b)
{
	if (a->used_us != b->used_us)
		return a->used_us < b->used_us;
	return a->last_us < b->last_us;
}

/* The job whose turn it is, and its share; NULL. */
static struct script_share *next_share(struct script_queue *q, uint32_t workers, uint32_t *at)
{
	struct script_share *best = NULL;
	for (uint32_t i = 0; i < q->count; i++) {
		struct script_share *s = share_find(q, q->jobs[i].group);
		if (!s || !may_run(s, workers) || (best && !comes_before(s, best)))
			continue;
		best = s;
		*at = i;
	}
	return best;
}

bool script_queue_ready(struct script_queue *q, uint32_t workers)
{
	uint32_t at;
	return next_share(q, workers, &at) != NULL;
}

static struct script_job take_out(struct script_queue *q, struct script_share *s, uint32_t at)
{
	struct script_job job = q->jobs[at];
	q->count--;
	q->bytes -= job.frame.len;
	memmove(&q->jobs[at], &q->jobs[at + 1], (q->count - at) * sizeof q->jobs[0]);
	q->jobs[q->count] = (struct script_job){0};
	s->waiting--;
	return job;
}

bool script_queue_take(struct script_queue *q, uint32_t workers, struct script_job *out)
{
	uint32_t at = 0;
	struct script_share *s = next_share(q, workers, &at);
	if (!s)
		return false;
	*out = take_out(q, s, at);
	s->running++;
	s->used_us += s->last_us;
	out->counted_us = s->last_us;
	return true;
}

void script_queue_ended(struct script_queue *q, const struct script_job *job, uint64_t took_us)
{
	struct script_share *s = share_find(q, job->group);
	if (!s || s->running == 0)
		return;
	s->running--;
	s->used_us += took_us - job->counted_us;
	s->last_us = took_us;
}

void script_queue_drop(struct script_queue *q, uint64_t id)
{
	for (uint32_t i = 0; i < q->count; i++) {
		struct script_share *s = share_find(q, q->jobs[i].group);
		if (q->jobs[i].id != id || !s)
			continue;
		struct script_job job = take_out(q, s, i);
		buf_close(&job.frame);
		return;
	}
}

void script_queue_clear(struct script_queue *q)
{
	for (uint32_t i = 0; i < q->count; i++)
		buf_close(&q->jobs[i].frame);
	for (uint32_t i = 0; i < SCRIPT_GROUPS_MAX; i++)
		q->shares[i].waiting = 0;
	q->count = 0;
	q->bytes = 0;
}
