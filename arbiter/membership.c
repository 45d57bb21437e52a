/* Joining, heartbeats, the lease of shards, and the map. */
#include <stdlib.h>

#include "arbiter/internal.h"
#include "common/base/memory.h"

void arbiter_member_start(struct arbiter *a)
{
	a->started = true;
	a->join_ms = a->now_ms;
	a->heartbeat_ms = a->now_ms + HEARTBEAT_MS;
	a->ask_lease_ms = a->now_ms;
}

int64_t arbiter_member_deadline(const struct arbiter *a)
{
	if (!a->joined)
		return a->join_ms;
	return earlier(a->heartbeat_ms, a->ask_lease_ms);
}

static void send_join(struct arbiter *a, struct effects *fx)
{
	struct msg_member_join join = {.map_version = a->map_version};
	struct envelope envelope = request_new(a, MSG_member_join, 0);
	fx_send(fx, WHEN_NOW, a->options.coordinator, 0, &envelope, &join);
	a->join_ms = a->now_ms + JOIN_MS;
}

static void send_heartbeat(struct arbiter *a, struct effects *fx)
{
	struct msg_heartbeat heartbeat = {.map_version = a->map_version};
	struct envelope envelope = request_new(a, MSG_heartbeat, 0);
	fx_send(fx, WHEN_NOW, a->options.coordinator, 0, &envelope, &heartbeat);
	a->heartbeat_ms = a->now_ms + HEARTBEAT_MS;
}

static void ask_lease(struct arbiter *a, struct effects *fx)
{
	struct msg_arbiter_lease ask = {0};
	struct envelope envelope = request_new(a, MSG_arbiter_lease, 0);
	fx_send(fx, WHEN_NOW, a->options.coordinator, 0, &envelope, &ask);
	a->ask_lease_ms = a->now_ms + ASK_LEASE_MS;
}

void arbiter_member_timer(struct arbiter *a, struct effects *fx)
{
	if (!a->joined) {
		if (a->join_ms <= a->now_ms)
			send_join(a, fx);
		return;
	}
	if (a->heartbeat_ms <= a->now_ms)
		send_heartbeat(a, fx);
	if (a->ask_lease_ms <= a->now_ms)
		ask_lease(a, fx);
}

void arbiter_member_on_join_ack(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_member_join_ack *m = e->message.body;
	if (e->message.from.member != a->options.coordinator || a->joined)
		return;
	if (m->status != STATUS_OK) {
		fx_log(fx, LOG_LEVEL_WARN, "join_refused status=%s text=\"%.*s\"",
		       status_row(m->status)->code, (int)m->text.len,
		       m->text.len ? (const char *)m->text.data : "");
		return;
	}
	a->joined = true;
	a->heartbeat_ms = a->now_ms;
	a->ask_lease_ms = a->now_ms;
	fx_log(fx, LOG_LEVEL_INFO, "joined");
}

void arbiter_member_on_heartbeat_ack(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_heartbeat_ack *m = e->message.body;
	if (e->message.from.member != a->options.coordinator || m->status != STATUS_NOT_FOUND ||
	    !a->joined)
		return;
	a->joined = false;
	a->join_ms = a->now_ms;
	fx_log(fx, LOG_LEVEL_INFO, "join_again");
}

static void lease_shard(struct arbiter *a, struct shard_row *row, struct effects *fx)
{
	if (row->leased == row->listed)
		return;
	row->leased = row->listed;
	arbiter_queue_reset(a, row);
	if (!row->leased)
		arbiter_cleanup_abort(a, row, fx);
}

/* When a lease runs out unrenewed, work goes on: leases only spare double work, and the coordinator
 * may be down. */
void arbiter_member_on_lease(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_arbiter_lease_ack *m = e->message.body;
	if (e->message.from.member != a->options.coordinator)
		return;
	a->lease_until_ms = a->now_ms + (int64_t)(m->ttl_ms < INT32_MAX ? m->ttl_ms : INT32_MAX);
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));)
		((struct shard_row *)entry->value)->listed = false;
	for (uint32_t i = 0; i < m->shards_count; i++) {
		struct shard_row *row = shard_row(a, m->shards[i]);
		if (row)
			row->listed = true;
	}
	at = 0;
	for (struct map_entry *entry; (entry = map_next(&a->shards, &at));)
		lease_shard(a, entry->value, fx);
}

/* ---- the map ---- */

static void adopt_shard(struct arbiter *a, const struct shard *shard, struct effects *fx)
{
	struct shard_row *row = shard_row(a, shard->id);
	if (row && shard->epoch == row->placement.epoch &&
	    !schema_same(&schema_shard, shard, &row->placement)) {
		fx_log(fx, LOG_LEVEL_ERROR, "placement_differs shard=%016llx epoch=%llu",
		       (unsigned long long)shard->id, (unsigned long long)shard->epoch);
		return;
	}
	if (row ? shard->epoch <= row->placement.epoch
		: shard->dropped || a->shards.count >= LIMIT_SHARDS)
		return;
	if (!row) {
		row = mem_alloc_zero(sizeof *row);
		map_put_u64(&a->shards, shard->id, row);
	}
	row->placement = *shard;
	row->placement.replicas = row->replicas;
	memcpy(row->replicas, shard->replicas, shard->replicas_count * sizeof *row->replicas);
	arbiter_cleanup_abort(a, row, fx);
	arbiter_task_lead_moved(a, row);
	arbiter_queue_reset(a, row);
}

static bool is_none(struct arbiter *a, struct slice bytes)
{
	struct policy policy;
	struct policy_error error;
	return policy_parse(bytes, &a->arena, &policy, &error) && policy.strategy == POLICY_NONE;
}

static void adopt_collection(struct arbiter *a, const struct collection *collection,
			     struct effects *fx)
{
	struct collection_row *row = map_get_u64(&a->collections, collection->id);
	if (row && row->version >= collection->version)
		return;
	if (!row) {
		if (a->collections.count >= LIMIT_COLLECTIONS)
			return;
		row = mem_alloc_zero(sizeof *row);
		map_put_u64(&a->collections, collection->id, row);
	}
	*row = (struct collection_row){.version = collection->version,
				       .none = is_none(a, collection->policy),
				       .retain_ms = collection->retain_ms,
				       .name_len = collection->name.len};
	if (row->name_len > 0)
		memcpy(row->name, collection->name.data, row->name_len);
	arbiter_script_policy_moved(a, collection->id, fx);
}

/* The next id of the rows that is not named. */
static bool next_unnamed(const struct map *rows, const struct map *named, size_t *at, uint64_t *id)
{
	for (struct map_entry *entry; (entry = map_next(rows, at));) {
		*id = map_key_u64(entry);
		if (!map_get_u64(named, *id))
			return true;
	}
	return false;
}

/* What was dropped leaves room for others. */
static void drop_unnamed(struct arbiter *a, const struct msg_map_push *m, struct effects *fx)
{
	struct map shards = {.seed = a->shards.seed};
	struct map collections = {.seed = a->collections.seed};
	uint64_t id;
	size_t at = 0;
	for (uint32_t i = 0; i < m->shards_count; i++)
		(void)map_put_u64(&shards, m->shards[i].id, a);
	for (uint32_t i = 0; i < m->collections_count; i++)
		(void)map_put_u64(&collections, m->collections[i].id, a);
	while (next_unnamed(&a->shards, &shards, &at, &id)) {
		arbiter_task_drop(a, id, fx);
		arbiter_queue_free(map_remove_u64(&a->shards, id));
	}
	at = 0;
	while (next_unnamed(&a->collections, &collections, &at, &id))
		free(map_remove_u64(&a->collections, id));
	map_close(&shards);
	map_close(&collections);
}

static void adopt_member(struct arbiter *a, const struct member *member)
{
	if (member->role != ROLE_STORAGE ||
	    (a->members.count >= LIMIT_MEMBERS && !map_get_u64(&a->members, member->id)))
		return;
	char *name = mem_alloc(member->name.len + 1);
	if (member->name.len)
		memcpy(name, member->name.data, member->name.len);
	name[member->name.len] = '\0';
	free(map_put_u64(&a->members, member->id, name));
}

void arbiter_member_on_map(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_map_push *m = e->message.body;
	if (e->message.from.member == a->options.coordinator && m->map_version > a->map_version)
		drop_unnamed(a, m, fx);
	for (uint32_t i = 0; i < m->collections_count; i++)
		adopt_collection(a, &m->collections[i], fx);
	for (uint32_t i = 0; i < m->shards_count; i++)
		adopt_shard(a, &m->shards[i], fx);
	if (m->map_version <= a->map_version)
		return;
	a->map_version = m->map_version;
	for (uint32_t i = 0; i < m->members_count; i++)
		adopt_member(a, &m->members[i]);
	a->ask_lease_ms = a->now_ms; /* of shards that are new */
}

void arbiter_member_on_newer(struct arbiter *a, const struct event *e, struct effects *fx)
{
	const struct msg_shard_newer *m = e->message.body;
	adopt_shard(a, &m->shard, fx);
}
