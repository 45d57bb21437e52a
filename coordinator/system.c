#include "coordinator/system.h"

#include <stdio.h>

#include "coordinator/lock.h"
#include "coordinator/membership.h"
#include "coordinator/moves.h"
#include "coordinator/notifys.h"
#include "proto/msgpack.h"

enum { INCARNATION_TEXT_BYTES = 17, LIST_BYTES_MAX = LIMIT_MESSAGE_BYTES / 2 };

static const char *const role_names[ROLE_MAX + 1] = {"none", "gateway", "storage", "coordinator",
						     "arbiter"};
static const char *const health_names[HEALTH_MAX + 1] = {"offline", "healthy", "unhealthy",
							 "fatal"};
static const char *const recovery_names[] = {"waiting", "recovered", "refused"};

static void count_shards(const struct coordinator *c, uint64_t node, uint64_t *shards,
			 uint64_t *leads)
{
	*shards = 0;
	*leads = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		const struct shard *s = &((struct shard_row *)e->value)->placement.shard;
		*shards += placement_index(s, node) < s->replicas_count;
		*leads += s->lead == node;
	}
}

static void write_number(struct buf *out, const char *key, uint64_t value)
{
	mp_write_text(out, key);
	mp_write_u64(out, value);
}

static void write_string(struct buf *out, const char *key, const char *value)
{
	mp_write_text(out, key);
	mp_write_text(out, value);
}

static void write_row(const struct coordinator *c, const struct member_row *m, struct buf *out)
{
	bool self = m->id == c->options.self;
	uint64_t shards;
	uint64_t leads;
	count_shards(c, m->id, &shards, &leads);
	char incarnation[INCARNATION_TEXT_BYTES] = "";
	if (m->incarnation != 0)
		snprintf(incarnation, sizeof incarnation, "%016llx",
			 (unsigned long long)m->incarnation);
	mp_write_map(out, 12);
	mp_write_text(out, "id");
	mp_write_str(out, member_name(m));
	write_number(out, "member", m->id);
	write_string(out, "role", role_names[m->role]);
	write_string(out, "health", health_names[m->health]);
	write_string(out, "incarnation", incarnation);
	write_number(out, "boot", self ? c->state.boot : m->boot);
	write_number(out, "shards", shards);
	write_number(out, "leads", leads);
	int64_t seen = self ? c->wall_ms : m->seen_wall_ms;
	write_number(out, "lastSeenMs", seen > 0 ? (uint64_t)seen : 0);
	mp_write_text(out, "diskFull");
	mp_write_bool(out, self ? c->disk_full : m->disk_full);
	mp_write_text(out, "draining");
	mp_write_bool(out, m->draining);
	write_number(out, "toMove", moves_left(c, m));
}

void system_list_add(struct coordinator *c, struct system_list *list, struct slice row)
{
	struct msg_system_list_ack *ack = &list->ack;
	if (row.len > LIMIT_POLICY_BYTES || list->bytes + row.len > LIST_BYTES_MAX ||
	    ack->rows_count == LIMIT_SYSTEM_ROWS) {
		ack->cut = true;
		return;
	}
	if (!ack->rows)
		ack->rows = arena_alloc(&c->arena, LIMIT_SYSTEM_ROWS * sizeof *ack->rows);
	ack->rows[ack->rows_count++] = arena_copy(&c->arena, row);
	list->bytes += row.len;
}

static void list_nodes(struct coordinator *c, struct system_list *list)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (!m->listed)
			continue;
		buf_clear(&c->value);
		write_row(c, m, &c->value);
		system_list_add(c, list, buf_slice(&c->value));
	}
}

void system_on_list(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_system_list *m = e->message.body;
	struct system_list list = {.ack.status = STATUS_OK};
	if (slice_is(m->collection, "system.nodes"))
		list_nodes(c, &list);
	else if (slice_is(m->collection, "system.locks"))
		lock_list(c, &list);
	else if (slice_is(m->collection, "system.notifys"))
		notifys_list(c, &list);
	else
		list.ack.status = STATUS_NOT_FOUND;
	fx_reply(fx, WHEN_DURABLE, e, MSG_system_list_ack, &list.ack);
}

static void members_metric(const struct coordinator *c, struct buf *out)
{
	uint32_t counts[ROLE_MAX + 1][HEALTH_MAX + 1] = {{0}};
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (m->listed)
			counts[m->role][m->health]++;
	}
	buf_append_text(out, "# HELP parley_members Members of the list by role and health.\n"
			     "# TYPE parley_members gauge\n");
	for (int role = ROLE_NONE + 1; role <= ROLE_MAX; role++)
		for (int health = 0; health <= HEALTH_MAX; health++)
			buf_printf(out, "parley_members{role=\"%s\",health=\"%s\"} %u\n",
				   role_names[role], health_names[health], counts[role][health]);
}

static void shards_metric(const struct coordinator *c, struct buf *out)
{
	uint64_t serving = 0;
	uint64_t taking_over = 0;
	uint64_t no_lead = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		const struct shard_row *row = e->value;
		if (row->placement.shard.dropped)
			continue;
		const struct member_row *lead =
		    coordinator_member_row(c, row->placement.shard.lead);
		if (!lead || !membership_alive(c, lead))
			no_lead++;
		else if (row->serving)
			serving++;
		else
			taking_over++;
	}
	buf_printf(out,
		   "# HELP parley_shards Shards by what their lead does.\n"
		   "# TYPE parley_shards gauge\n"
		   "parley_shards{state=\"serving\"} %llu\n"
		   "parley_shards{state=\"taking_over\"} %llu\n"
		   "parley_shards{state=\"no_lead\"} %llu\n",
		   (unsigned long long)serving, (unsigned long long)taking_over,
		   (unsigned long long)no_lead);
}

void system_metrics(const void *core, struct buf *out)
{
	const struct coordinator *c = core;
	members_metric(c, out);
	shards_metric(c, out);
	lock_metrics(c, out);
	buf_printf(out,
		   "# HELP parley_failovers_total Leads replaced because they were lost.\n"
		   "# TYPE parley_failovers_total counter\n"
		   "parley_failovers_total %llu\n"
		   "# HELP parley_moves_total Replicas moved to another node.\n"
		   "# TYPE parley_moves_total counter\n"
		   "parley_moves_total %llu\n"
		   "# HELP parley_map_version Version of the cluster map.\n"
		   "# TYPE parley_map_version gauge\n"
		   "parley_map_version %llu\n"
		   "# HELP parley_recovery 1 for the state that the coordinator is in.\n"
		   "# TYPE parley_recovery gauge\n",
		   (unsigned long long)c->failovers, (unsigned long long)c->moved,
		   (unsigned long long)c->state.map_version);
	for (size_t i = 0; i < ARRAY_LEN(recovery_names); i++)
		buf_printf(out, "parley_recovery{state=\"%s\"} %d\n", recovery_names[i],
			   i == (size_t)c->recovery);
}

static bool storage_healthy(const struct coordinator *c)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (m->listed && m->role == ROLE_STORAGE && m->health == HEALTH_HEALTHY)
			return true;
	}
	return false;
}

bool system_ready(const void *core, int64_t now_ms, struct buf *out)
{
	const struct coordinator *c = core;
	(void)now_ms;
	bool recovered = c->recovery == RECOVERY_DONE;
	bool storage = storage_healthy(c);
	/* the store was loaded, or there would be no core to ask */
	buf_append_text(out, "store ok\n");
	if (recovered)
		buf_append_text(out, "recovered ok\n");
	else if (c->recovery == RECOVERY_WAITING)
		buf_append_text(out, "recovered failed: waiting for storage nodes to join\n");
	else
		buf_printf(out, "recovered failed: %.*s\n", (int)c->refused_text.len,
			   (const char *)c->refused_text.data);
	buf_append_text(out,
			storage ? "storage_nodes ok\n" : "storage_nodes failed: none is healthy\n");
	if (c->draining)
		buf_append_text(out, "draining failed: about to stop\n");
	return recovered && storage && !c->draining;
}
