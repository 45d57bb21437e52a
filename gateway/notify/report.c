/* Who listens here, told to the coordinator for system.notifys. */
#include <inttypes.h>

#include "common/doc/revision.h"
#include "gateway/notify/feed.h"
#include "proto/msgpack.h"

static const char *const kind_names[SUBSCRIBER_KINDS] = {"websocket", "events", "conflicts"};

/* The same row has the same id in every report. */
static void write_id(struct turn *t, const struct pattern *p, int kind, struct buf *out)
{
	struct notify *n = t->gw->notify;
	uint8_t digest[16];
	buf_clear(&n->frame);
	buf_append_byte(&n->frame, (uint8_t)kind);
	buf_append_slice(&n->frame, p->text);
	digest16(buf_slice(&n->frame), digest);
	buf_clear(&n->frame);
	buf_printf(&n->frame, "%" PRIu64 "-", t->gw->options.self);
	buf_append_hex(&n->frame, digest, 8);
	mp_write_text(out, "id");
	mp_write_str(out, buf_slice(&n->frame));
}

static struct slice row(struct turn *t, const struct pattern *p, int kind, struct arena *arena)
{
	struct buf *out = &t->gw->notify->json;
	buf_clear(out);
	mp_write_map(out, 5);
	write_id(t, p, kind, out);
	mp_write_text(out, "notifyPath");
	mp_write_str(out, p->text);
	mp_write_text(out, "kind");
	mp_write_text(out, kind_names[kind]);
	mp_write_text(out, "subscribers");
	mp_write_u64(out, p->audience[kind].count);
	mp_write_text(out, "sinceMs");
	mp_write_u64(out, p->since_wall_ms > 0 ? (uint64_t)p->since_wall_ms : 0);
	return arena_copy(arena, buf_slice(out));
}

static void report(struct turn *t)
{
	struct notify *n = t->gw->notify;
	struct msg_notify_report m = {0};
	struct arena arena = {0};
	size_t at = 0;
	m.rows = arena_alloc(&arena, LIMIT_NOTIFY_ROWS * sizeof *m.rows);
	for (struct map_entry *e; (e = map_next(&n->patterns, &at));) {
		const struct pattern *p = e->value;
		for (int kind = 0; kind < SUBSCRIBER_KINDS; kind++) {
			if (p->audience[kind].count == 0)
				continue;
			if (m.rows_count == LIMIT_NOTIFY_ROWS)
				m.left_out++;
			else
				m.rows[m.rows_count++] = row(t, p, kind, &arena);
		}
	}
	struct envelope envelope = {.type = MSG_notify_report};
	fx_send(t->fx, WHEN_NOW, t->gw->options.coordinator, 0, &envelope, &m);
	arena_close(&arena);
}

void report_tick(struct turn *t)
{
	struct notify *n = t->gw->notify;
	bool again = n->patterns.count > 0 && t->now_ms >= n->report_ms + NOTIFY_REPORT_AGAIN_MS;
	if (!again && (!n->report_due || t->now_ms < n->report_ms + NOTIFY_REPORT_MS))
		return;
	n->report_due = false;
	n->report_ms = t->now_ms;
	report(t);
}
