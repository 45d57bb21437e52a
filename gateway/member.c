/* The gateway as a member: joining, heartbeats, and where maps come from. */
#include <inttypes.h>

#include "common/timing.h"
#include "gateway/call.h"
#include "gateway/notify/notify.h"

bool member_coordinator_alive(const struct gateway *gw, int64_t now_ms)
{
	return gw->member.heard && now_ms - gw->member.heard_ms < OFFLINE_MS;
}

static void send_to(struct turn *t, uint64_t member, uint16_t type, const void *message)
{
	struct envelope envelope = {.type = type};
	fx_send(t->fx, WHEN_NOW, member, 0, &envelope, message);
}

static void ask_map(struct turn *t, uint64_t member)
{
	struct msg_map_request ask = {.map_version = t->gw->map.version};
	send_to(t, member, MSG_map_request, &ask);
}

/* One storage node after the other. Also with a map: it tells whether anybody is there, and a map
 * that came while this gateway was cut off from the coordinator. */
static void ask_storage(struct turn *t)
{
	struct gateway *gw = t->gw;
	if (gw->options.storage_count > 0)
		ask_map(t, gw->storage[gw->member.storage_next++ % gw->options.storage_count]);
}

void member_tick(struct turn *t)
{
	struct gateway *gw = t->gw;
	if (t->now_ms < gw->member.tick_ms)
		return;
	gw->member.tick_ms = t->now_ms + HEARTBEAT_MS;
	if (gw->member.joined) {
		struct msg_heartbeat beat = {.map_version = gw->map.version};
		send_to(t, gw->options.coordinator, MSG_heartbeat, &beat);
	} else {
		struct msg_member_join join = {.map_version = gw->map.version,
					       .version = slice_text(gw->options.version)};
		send_to(t, gw->options.coordinator, MSG_member_join, &join);
	}
	if (!member_coordinator_alive(gw, t->now_ms))
		ask_storage(t);
}

void member_start(struct turn *t)
{
	/* Silence counts from the start: storage nodes are asked only after it has lasted. */
	t->gw->member.heard = true;
	t->gw->member.heard_ms = t->now_ms;
	t->gw->member.tick_ms = t->now_ms;
	member_tick(t);
}

/* Who listens already wants all that a new collection holds; requests that begin to look at it only
 * what comes next. */
static void map_changed(struct turn *t)
{
	call_map_changed(t);
	notify_map_changed(t);
	request_map_changed(t);
}

static void joined(struct turn *t, const struct msg_member_join_ack *ack)
{
	bool welcome = status_is_success(ack->status);
	t->gw->member.joined = welcome;
	if (welcome)
		fx_log(t->fx, LOG_LEVEL_INFO, "joined coordinator=%" PRIu64,
		       t->gw->options.coordinator);
	else
		fx_log(t->fx, LOG_LEVEL_ERROR, "join_refused code=%s text=\"%.*s\"",
		       status_row(ack->status)->code, (int)ack->text.len,
		       (const char *)ack->text.data);
}

static void beat_seen(struct turn *t, const struct msg_heartbeat_ack *ack)
{
	if (ack->status != STATUS_OK)
		t->gw->member.joined = false;
	if (ack->map_version > t->gw->map.whole)
		ask_map(t, t->gw->options.coordinator);
}

static void map_pushed(struct turn *t, const struct msg_map_push *push)
{
	bool coordinator = t->event->message.from.role == ROLE_COORDINATOR;
	if (cluster_map_adopt(&t->gw->map, push, coordinator, t->fx))
		map_changed(t);
	if (t->event->message.envelope.request_id != 0)
		call_answered(t);
}

static void note_heard(struct turn *t)
{
	struct member_state *m = &t->gw->member;
	if (t->event->message.from.role == ROLE_COORDINATOR) {
		m->heard = true;
		m->heard_ms = t->now_ms;
	} else {
		m->storage_heard = true;
		m->storage_heard_ms = t->now_ms;
	}
}

bool member_message(struct turn *t)
{
	const void *body = t->event->message.body;
	const struct msg_shard_newer *newer = body;
	note_heard(t);
	switch (t->event->message.envelope.type) {
	case MSG_member_join_ack:
		joined(t, body);
		return true;
	case MSG_heartbeat_ack:
		beat_seen(t, body);
		return true;
	case MSG_map_push:
		map_pushed(t, body);
		return true;
	case MSG_shard_newer:
		if (cluster_map_adopt_shard(&t->gw->map, &newer->shard, t->fx))
			map_changed(t);
		return true;
	default:
		return false;
	}
}
