#include "coordinator/report.h"

/* A lead may give up its lead without a newer epoch; then it says so by no longer serving. */
static void take_progress(struct coordinator *c, struct shard_row *row,
			  const struct shard_report *r)
{
	const struct shard *s = &row->placement.shard;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		bool in_sync = s->replicas[i].node == s->lead;
		for (uint32_t k = 0; k < r->replicas_count; k++) {
			const struct replica_progress *p = &r->replicas[k];
			if (p->node == s->replicas[i].node &&
			    p->incarnation == s->replicas[i].incarnation)
				in_sync |= p->in_sync;
		}
		struct replica_view *view = &row->views[i];
		if (in_sync && !view->in_sync) {
			view->in_sync_since_ms = c->now_ms;
			c->review_wanted |= s->replicas[i].learning;
		}
		view->in_sync = in_sync;
	}
}

static void take_one(struct coordinator *c, const struct member_row *m,
		     const struct shard_report *r)
{
	struct shard_row *row = coordinator_shard_row(c, r->shard);
	if (!row)
		return;
	const struct shard *s = &row->placement.shard;
	uint32_t i = placement_index(s, m->id);
	if (i == s->replicas_count || s->replicas[i].incarnation != m->incarnation)
		return;
	struct replica_view *view = &row->views[i];
	if (s->lead == m->id && (!view->known || view->state != (enum shard_state)r->state))
		c->review_wanted = true;
	view->known = true;
	view->vouching = r->vouching;
	if (view->damaged != r->damaged)
		view->damaged_ms = c->now_ms;
	view->damaged = r->damaged;
	view->epoch = r->epoch;
	view->state = (enum shard_state)r->state;
	view->outbox = r->outbox;
	view->last = r->last;
	if (s->lead != m->id)
		return;
	bool serving = r->epoch == s->epoch && r->state == SHARD_SERVING;
	if (row->serving && !serving)
		row->waiting_since_ms = c->now_ms;
	row->serving = serving;
	if (serving)
		row->slow = 0;
	if (serving)
		take_progress(c, row, r);
}

void report_take(struct coordinator *c, const struct member_row *m,
		 const struct shard_report *reports, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		take_one(c, m, &reports[i]);
}

bool report_is_old(const struct coordinator *c, const struct shard_report *reports, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct shard_row *row = coordinator_shard_row(c, reports[i].shard);
		if (row && reports[i].epoch < row->placement.shard.epoch)
			return true;
	}
	return false;
}

void report_forget(struct coordinator *c, uint64_t member)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		struct shard_row *row = e->value;
		uint32_t i = placement_index(&row->placement.shard, member);
		if (i == row->placement.shard.replicas_count)
			continue;
		row->views[i] = (struct replica_view){.failed_ms = row->views[i].failed_ms};
		if (row->placement.shard.lead != member)
			continue;
		row->serving = false;
		row->waiting_since_ms = c->now_ms;
	}
}
