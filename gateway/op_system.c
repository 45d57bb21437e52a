/* What the cluster tells about itself: name, limits, members, collections with their counts. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "common/retain.h"
#include "gateway/index_params.h"
#include "gateway/list.h"
#include "gateway/routes.h"

void native_root(struct turn *t, struct request *r)
{
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"status\":200,\"name\":\"parley\",\"version\":");
	json_string(slice_text(t->gw->options.version), &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

void native_limits(struct turn *t, struct request *r)
{
	const struct gateway_limits *l = &t->gw->options.limits;
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '{');
#define LIMIT(field, option, initial, least, greatest, doc)                                        \
	buf_printf(&reply->body, "\"" option "\":%" PRIu32 ",", l->field);
#include "gateway/limits.def"
#undef LIMIT
	buf_printf(&reply->body,
		   "\"max_id_bytes\":%d,\"max_json_depth\":%d,\"max_query_bytes\":%d,"
		   "\"max_fields\":%d,\"max_order_keys\":%d,\"max_skip\":%d}",
		   LIMIT_ID_BYTES, LIMIT_JSON_DEPTH, LIMIT_QUERY_BYTES, LIMIT_FIELDS,
		   LIMIT_ORDER_KEYS, LIST_SKIP_MAX);
	reply_send(t, r, reply);
}

/* ---- rows that the coordinator has ---- */

struct rows_op {
	struct list_params params;
	struct msg_system_list list;
};

static void rows_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	const struct rows_op *op = r->op;
	const struct msg_system_list_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status, "");
		return;
	}
	struct system_row *rows = arena_alloc(&r->arena, (ack->rows_count + 1) * sizeof *rows);
	uint32_t count = 0;
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		struct slice member = value_member(ack->rows[i], slice_text("id"));
		struct mp_reader reader = mp_reader_of(member);
		struct mp_token id = mp_read(&reader);
		if (id.type != MP_STR || !value_is_document(ack->rows[i]))
			continue;
		buf_clear(&t->gw->scratch);
		value_without_member(ack->rows[i], slice_text("id"), &t->gw->scratch);
		rows[count].id = arena_copy(&r->arena, id.bytes);
		rows[count++].body = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
	}
	system_rows_answer(t, r, rows, count, ack->cut, &op->params);
}

void native_system(struct turn *t, struct request *r)
{
	struct rows_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (!list_params(t, r, &op->params, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	op->list.collection = system_collection(r);
	struct call_spec spec = {
	    .reach = REACH_COORDINATOR,
	    .type = MSG_system_list,
	    .answer = MSG_system_list_ack,
	    .message = &op->list,
	    .repeatable = true,
	    .done = rows_came,
	};
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- system.collections ---- */

struct counted {
	uint64_t collection;
	uint64_t documents;
};

struct collections_op {
	struct list_params params;
	struct counted *collections;
	uint32_t collections_count;
	struct msg_shard_query *queries; /* one per shard */
	uint32_t *owners;                /* index into collections */
	uint32_t queries_count;
	uint32_t left;
	bool without_policies; /* scripts are the operators' */
};

static struct slice collection_row_id(struct request *r, uint64_t id)
{
	struct buf text = {0};
	buf_printf(&text, "%016" PRIx64, id);
	struct slice out = arena_copy(&r->arena, buf_slice(&text));
	buf_close(&text);
	return out;
}

static void write_number(struct buf *out, const char *name, uint64_t value)
{
	mp_write_text(out, name);
	mp_write_u64(out, value);
}

static struct slice collection_row_body(struct turn *t, struct request *r,
					const struct map_collection *c, uint64_t documents)
{
	const struct collection *s = &c->settings;
	struct buf *out = &t->gw->scratch;
	const struct collections_op *op = r->op;
	bool policy = s->policy.len > 0 && !op->without_policies;
	buf_clear(out);
	mp_write_map(out, 10 + policy + (s->indexes_count > 0));
	mp_write_text(out, "collectionId");
	mp_write_str(out, s->name);
	write_number(out, "documentCount", documents);
	mp_write_text(out, "mode");
	mp_write_text(out, s->mode == MODE_AVAILABLE ? "available" : "consistent");
	write_number(out, "replicas", s->replicas);
	write_number(out, "writeQuorum", s->write_quorum);
	write_number(out, "shards", c->shards_count);
	write_number(out, "settingsVersion", s->version);
	write_number(out, "retainMs", s->retain_ms);
	write_number(out, "keepAncestors", s->keep_ancestors);
	write_number(out, "retainDeletedMs", retain_deleted_ms(s));
	if (policy) {
		mp_write_text(out, "policy");
		buf_append_slice(out, s->policy);
	}
	if (s->indexes_count > 0) {
		mp_write_text(out, "indexes");
		index_write_list(s, out);
	}
	return arena_copy(&r->arena, buf_slice(out));
}

static void collections_answer(struct turn *t, struct request *r)
{
	struct collections_op *op = r->op;
	struct system_row *rows =
	    arena_alloc(&r->arena, (op->collections_count + 1) * sizeof *rows);
	uint32_t count = 0;
	for (uint32_t i = 0; i < op->collections_count; i++) {
		const struct map_collection *c =
		    map_get_u64(&t->gw->map.collections_by_id, op->collections[i].collection);
		if (!c)
			continue; /* dropped meanwhile */
		rows[count].id = collection_row_id(r, c->settings.id);
		rows[count].body = collection_row_body(t, r, c, op->collections[i].documents);
		/* A name in the address stands for the id. */
		if (slice_equal(r->resource, c->settings.name))
			r->resource = rows[count].id;
		count++;
	}
	system_rows_answer(t, r, rows, count, false, &op->params);
}

static void collection_counted(struct turn *t, struct request *r, uint32_t index,
			       enum status status, const void *body)
{
	struct collections_op *op = r->op;
	const struct msg_shard_query_ack *ack = body;
	struct counted *counted = &op->collections[op->owners[index]];
	/* where it was dropped meanwhile nobody can count it, and nobody need */
	bool dropped = !map_get_u64(&t->gw->map.collections_by_id, counted->collection);
	if (!dropped && (!ack || status != STATUS_OK)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	op->left--;
	struct msg_shard_query *query = &op->queries[index];
	if (!dropped)
		counted->documents += ack->count;
	if (!dropped && ack->more_after.len > 0) {
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = query->shard,
					 .type = MSG_shard_query,
					 .answer = MSG_shard_query_ack,
					 .message = query,
					 .repeatable = true,
					 .index = index,
					 .done = collection_counted};
		query->after = arena_copy(&r->arena, ack->more_after);
		op->left++;
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	if (op->left == 0)
		collections_answer(t, r);
}

static void collections_list(struct turn *t, struct request *r, struct collections_op *op)
{
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	op->collections =
	    arena_alloc(&r->arena, (map->collections_by_id.count + 1) * sizeof *op->collections);
	op->queries = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->queries);
	op->owners = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->owners);
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		if (!cluster_map_collection(map, c->settings.name) || map_collection_hidden(c))
			continue;
		for (uint32_t i = 0; i < c->shards_count; i++) {
			op->queries[op->queries_count].shard = c->shards[i]->shard.id;
			op->queries[op->queries_count].count = true;
			op->owners[op->queries_count++] = op->collections_count;
		}
		op->collections[op->collections_count++].collection = c->settings.id;
	}
}

static void collections_ask(struct turn *t, struct request *r)
{
	struct collections_op *op = r->op;
	collections_list(t, r, op);
	op->left = op->queries_count;
	if (op->left == 0)
		collections_answer(t, r);
	for (uint32_t i = 0; i < op->queries_count && !r->finished; i++) {
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = op->queries[i].shard,
					 .type = MSG_shard_query,
					 .answer = MSG_shard_query_ack,
					 .message = &op->queries[i],
					 .repeatable = true,
					 .index = i,
					 .done = collection_counted};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
}

/* The map may have been changed through another gateway a moment ago: the coordinator is asked for
 * a newer one. */
static void collections_map(struct turn *t, struct request *r, uint32_t index, enum status status,
			    const void *body)
{
	(void)index;
	(void)status;
	if (map_refreshed(t, r, body))
		collections_ask(t, r);
}

void native_collections(struct turn *t, struct request *r)
{
	struct collections_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	op->without_policies = r->http->roles & HTTP_ROLE_READER;
	if (!list_params(t, r, &op->params, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	map_refresh(t, r, collections_map);
}
