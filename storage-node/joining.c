/* This node as a member: joining, heartbeats, and being told that its data is too old. */
#include "storage-node/internal.h"
#include "storage-node/lock.h"

static struct shard_report report_of(struct storage *s, struct shard_copy *c)
{
	struct shard_report r = {
	    .shard = c->id,
	    .epoch = c->placement.epoch,
	    .promised = c->promise.epoch,
	    .state = c->state,
	    .last = {.epoch = c->position.last_epoch, .number = c->position.last},
	    .settled = c->settled,
	    .documents = c->position.documents,
	    .conflicts = c->position.conflicts,
	    .outbox = c->outbox_count,
	    .vouching = shard_vouching(s, c),
	    .damaged = c->integrity.damaged,
	};
	if (c->state != SHARD_SERVING)
		return r;
	/* cut off from its replicas only, a lead serves nobody: the coordinator must see that */
	if (!lease_held(s, c))
		r.state = SHARD_PREPARING;
	r.replicas = arena_alloc(&s->arena, (c->followers_count + 1) * sizeof *r.replicas);
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		r.replicas[r.replicas_count++] =
		    (struct replica_progress){.node = f->node,
					      .incarnation = f->incarnation,
					      .number = f->acked,
					      .in_sync = f->heard && f->acked >= c->settled &&
							 s->now_ms - f->heard_ms < OFFLINE_MS};
	}
	r.replicas[r.replicas_count++] =
	    (struct replica_progress){.node = s->options.self,
				      .incarnation = s->options.incarnation,
				      .number = c->durable,
				      .in_sync = c->durable >= c->settled};
	return r;
}

static struct shard_report *reports(struct storage *s, uint32_t *count)
{
	struct shard_report *list = arena_alloc(&s->arena, (s->shards.count + 1) * sizeof *list);
	size_t at = 0;
	*count = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		list[(*count)++] = report_of(s, entry->value);
	return list;
}

static void send_join(struct storage *s, struct effects *fx)
{
	struct msg_member_join join = {.boot = s->options.boot,
				       .life = s->options.life,
				       .incarnation = s->options.incarnation,
				       .version = slice_text("parley 1.0"),
				       .map_version = s->map_version,
				       .trail = trail_of(s),
				       .lock_token = lock_greatest(s)};
	join.reports = reports(s, &join.reports_count);
	join.shards = arena_alloc(&s->arena, (s->shards.count + 1) * sizeof *join.shards);
	join.collections =
	    arena_alloc(&s->arena, (s->collections.count + 1) * sizeof *join.collections);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		join.shards[join.shards_count++] = ((struct shard_copy *)entry->value)->placement;
	join.dropped = map_dropped(s, &join.dropped_count);
	at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->collections, &at));)
		join.collections[join.collections_count++] =
		    ((struct known_collection *)entry->value)->collection;
	struct envelope envelope = {.type = MSG_member_join, .request_id = s->next_request++};
	fx_send(fx, WHEN_DURABLE, s->options.coordinator, 0, &envelope, &join);
}

static void send_heartbeat(struct storage *s, struct effects *fx)
{
	struct msg_heartbeat beat = {.boot = s->options.boot,
				     .life = s->options.life,
				     .incarnation = s->options.incarnation,
				     .map_version = s->map_version,
				     .disk_full = s->disk_full,
				     .trail_number = s->trail.number,
				     .trail_id = s->trail.ids[0]};
	beat.shards = reports(s, &beat.shards_count);
	struct envelope envelope = {.type = MSG_heartbeat, .request_id = s->next_request++};
	fx_send(fx, WHEN_DURABLE, s->options.coordinator, 0, &envelope, &beat);
}

void joining_tick(struct storage *s, struct effects *fx)
{
	if (s->now_ms < s->heartbeat_ms)
		return;
	s->heartbeat_ms = s->now_ms + HEARTBEAT_MS;
	trail_tick(s, fx);
	if (s->joined)
		send_heartbeat(s, fx);
	else
		send_join(s, fx);
}

/* An answer to an earlier life of this process says nothing about this one. */
static bool of_this_life(const struct storage *s, const struct event *e)
{
	uint64_t id = e->message.envelope.request_id;
	return id >= s->first_request && id < s->next_request;
}

static void revoked(struct storage *s, struct effects *fx)
{
	(void)s;
	fx_reset(fx,
		 "the cluster remembers more than this data directory holds: incarnation revoked");
}

void joining_on_join_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_member_join_ack *m = e->message.body;
	if (!of_this_life(s, e))
		return;
	if (m->status == STATUS_INCARNATION_REVOKED) {
		revoked(s, fx);
		return;
	}
	if (m->status != STATUS_OK) {
		fx_log(fx, LOG_LEVEL_ERROR, "join_refused status=%s text=\"%.*s\"",
		       status_row(m->status)->code, (int)m->text.len, (const char *)m->text.data);
		return;
	}
	if (!s->joined)
		fx_log(fx, LOG_LEVEL_INFO, "joined boot=%llu", (unsigned long long)s->options.boot);
	s->joined = true;
	s->admitted = true;
	trail_heard(s, m->trail_number);
}

void joining_on_heartbeat_ack(struct storage *s, const struct event *e, struct effects *fx)
{
	const struct msg_heartbeat_ack *m = e->message.body;
	if (!of_this_life(s, e))
		return;
	if (m->status == STATUS_INCARNATION_REVOKED)
		revoked(s, fx);
	else if (m->status == STATUS_NOT_FOUND)
		s->joined = false;
	else
		trail_heard(s, m->trail_number);
}
