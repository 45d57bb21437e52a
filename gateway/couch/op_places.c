/* _shards: which storage nodes keep what of a database. The coordinator knows their names. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "gateway/couch/couch.h"
#include "gateway/routes.h"

/* CouchDB's ranges are of 32 bits. */
static void print_range(const struct shard *s, struct buf *out)
{
	buf_printf(out, "\"%08" PRIx64 "-%08" PRIx64 "\"", s->hash_first >> 32, s->hash_last >> 32);
}

static bool is_member(struct slice row, uint64_t id)
{
	struct mp_reader reader = mp_reader_of(value_member(row, slice_text("member")));
	struct mp_token number = mp_read(&reader);
	return number.type == MP_UINT && number.u64 == id;
}

static void print_nodes(const struct shard *s, const struct msg_system_list_ack *members,
			struct buf *out)
{
	const char *between = "[";
	for (uint32_t i = 0; i < s->replicas_count; i++)
		for (uint32_t k = 0; k < members->rows_count; k++) {
			if (!is_member(members->rows[k], s->replicas[i].node))
				continue;
			struct mp_reader reader =
			    mp_reader_of(value_member(members->rows[k], slice_text("id")));
			buf_append_text(out, between);
			json_string(mp_read(&reader).bytes, out);
			between = ",";
		}
	buf_append_text(out, *between == '[' ? "[]" : "]");
}

static void members_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			 const void *body)
{
	const struct msg_system_list_ack *ack = body;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	(void)index;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status, "");
		return;
	}
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	if (r->resource.len > 0) {
		const struct shard *s = &map_collection_shard(c, r->resource)->shard;
		buf_append_text(out, "{\"range\":");
		print_range(s, out);
		buf_append_text(out, ",\"nodes\":");
		print_nodes(s, ack, out);
		buf_append_byte(out, '}');
		reply_send(t, r, reply);
		return;
	}
	buf_append_text(out, "{\"shards\":{");
	for (uint32_t i = 0; i < c->shards_count; i++) {
		buf_append_text(out, i > 0 ? "," : "");
		print_range(&c->shards[i]->shard, out);
		buf_append_byte(out, ':');
		print_nodes(&c->shards[i]->shard, ack, out);
	}
	buf_append_text(out, "}}");
	reply_send(t, r, reply);
}

static void places_go(struct turn *t, struct request *r, struct map_collection *c)
{
	(void)c;
	couch_ask_members(t, r, members_came);
}

void couch_places(struct turn *t, struct request *r)
{
	couch_find(t, r, places_go);
}
