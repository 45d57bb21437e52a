#include "coordinator/notifys.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "coordinator/membership.h"
#include "proto/msgpack.h"

enum { ROW_BYTES_MAX = 4096 };

/* Rows one behind the other, each behind its length in 4 bytes. */
struct notify_rows {
	struct buf bytes;
	bool cut; /* its gateway has more than it reports */
};

void notifys_on_report(struct coordinator *c, const struct event *e)
{
	const struct msg_notify_report *m = e->message.body;
	const struct member_row *member = coordinator_member_row(c, e->message.from.member);
	if (!member || !member->listed || member->role != ROLE_GATEWAY)
		return;
	struct notify_rows *rows = map_get_u64(&c->notifys, member->id);
	if (!rows) {
		rows = mem_alloc_zero(sizeof *rows);
		map_put_u64(&c->notifys, member->id, rows);
	}
	buf_clear(&rows->bytes);
	rows->cut = m->left_out > 0;
	for (uint32_t i = 0; i < m->rows_count; i++) {
		struct mp_reader reader = mp_reader_of(m->rows[i]);
		if (m->rows[i].len > ROW_BYTES_MAX || !mp_valid(m->rows[i]) ||
		    mp_peek(&reader) != MP_MAP) {
			rows->cut = true;
			continue;
		}
		buf_append_be32(&rows->bytes, (uint32_t)m->rows[i].len);
		buf_append_slice(&rows->bytes, m->rows[i]);
	}
}

static struct slice row_with_name(struct coordinator *c, struct slice row,
				  const struct member_row *gateway)
{
	struct mp_reader reader = mp_reader_of(row);
	uint32_t members = mp_read(&reader).count;
	buf_clear(&c->value);
	mp_write_map(&c->value, members + 1);
	buf_append(&c->value, reader.at, (size_t)(reader.end - reader.at));
	mp_write_text(&c->value, "gateway");
	mp_write_str(&c->value, member_name(gateway));
	return buf_slice(&c->value);
}

static void list_gateway(struct coordinator *c, const struct notify_rows *rows,
			 const struct member_row *gateway, struct system_list *list)
{
	size_t at = 0;
	list->ack.cut = list->ack.cut || rows->cut;
	while (at < rows->bytes.len) {
		size_t len = be32_read(rows->bytes.data + at);
		struct slice row = slice_of(rows->bytes.data + at + 4, len);
		system_list_add(c, list, row_with_name(c, row, gateway));
		at += 4 + len;
	}
}

void notifys_list(struct coordinator *c, struct system_list *list)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->notifys, &at));) {
		const struct member_row *gateway = coordinator_member_row(c, map_key_u64(e));
		if (gateway && gateway->listed && membership_alive(c, gateway))
			list_gateway(c, e->value, gateway, list);
	}
}

void notifys_close(struct coordinator *c)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->notifys, &at));) {
		struct notify_rows *rows = e->value;
		buf_close(&rows->bytes);
		free(rows);
	}
	map_close(&c->notifys);
}
