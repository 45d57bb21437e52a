/* system.indexes: the indexes of all collections, and how far the leads have built them. */
#include "gateway/index_params.h"
#include "gateway/list.h"
#include "gateway/routes.h"
#include "proto/msgpack.h"

/* One index; copied, as the map may change meanwhile. */
struct index_row {
	uint64_t id;    /* unique within its collection only */
	uint64_t owner; /* this collection */
	struct slice collection;
	struct slice name;
	struct slice fields; /* MessagePack array */
	uint32_t shards;
	uint32_t ready; /* shards in which it is */
	uint64_t documents;
	uint64_t total;
	uint64_t keys;
};

struct indexes_op {
	struct list_params params;
	struct index_row *rows;
	uint32_t rows_count;
	struct msg_index_status *asked; /* one per shard */
	uint64_t *owners;               /* of these shards: their collections */
	uint32_t asked_count;
	uint32_t left;
};

static struct slice fields_of(struct turn *t, struct request *r,
			      const struct index_definition *index)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	mp_write_array(out, index->fields_count);
	for (uint32_t i = 0; i < index->fields_count; i++)
		mp_write_str(out, index->fields[i]);
	return arena_copy(&r->arena, buf_slice(out));
}

/* collection/name: names of indexes are unique within their collection only. */
static struct slice row_id(struct turn *t, struct request *r, const struct index_row *row)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	buf_append_slice(out, row->collection);
	buf_append_byte(out, '/');
	buf_append_slice(out, row->name);
	return arena_copy(&r->arena, buf_slice(out));
}

static void write_number(struct buf *out, const char *name, uint64_t value)
{
	mp_write_text(out, name);
	mp_write_u64(out, value);
}

static struct slice row_body(struct turn *t, struct request *r, const struct index_row *row)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	mp_write_map(out, 7);
	mp_write_text(out, "collection");
	mp_write_str(out, row->collection);
	mp_write_text(out, "name");
	mp_write_str(out, row->name);
	mp_write_text(out, "fields");
	buf_append_slice(out, row->fields);
	mp_write_text(out, "ready");
	mp_write_bool(out, row->ready == row->shards);
	write_number(out, "documents", row->documents);
	write_number(out, "total", row->total);
	write_number(out, "keys", row->keys);
	return arena_copy(&r->arena, buf_slice(out));
}

/* Since its leads were asked: nobody can tell any more, and nobody need. */
static bool is_dropped(const struct turn *t, uint64_t collection)
{
	return !map_get_u64(&t->gw->map.collections_by_id, collection);
}

static void indexes_answer(struct turn *t, struct request *r)
{
	struct indexes_op *op = r->op;
	struct system_row *rows = arena_alloc(&r->arena, (op->rows_count + 1) * sizeof *rows);
	uint32_t count = 0;
	for (uint32_t i = 0; i < op->rows_count; i++) {
		if (is_dropped(t, op->rows[i].owner))
			continue;
		rows[count].id = row_id(t, r, &op->rows[i]);
		rows[count++].body = row_body(t, r, &op->rows[i]);
	}
	system_rows_answer(t, r, rows, count, false, &op->params);
}

static void progress_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct indexes_op *op = r->op;
	const struct msg_index_status_ack *ack = body;
	bool dropped = is_dropped(t, op->owners[index]);
	if (!dropped && (!ack || status != STATUS_OK)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	for (uint32_t i = 0; !dropped && i < ack->indexes_count; i++) {
		const struct index_progress *from = &ack->indexes[i];
		for (uint32_t k = 0; k < op->rows_count; k++) {
			struct index_row *row = &op->rows[k];
			if (row->id != from->id || row->owner != op->owners[index])
				continue;
			row->ready += from->ready;
			row->documents += from->documents;
			row->total += from->total;
			row->keys += from->keys;
		}
	}
	if (--op->left == 0)
		indexes_answer(t, r);
}

static void add_collection(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct indexes_op *op = r->op;
	struct slice name = arena_copy(&r->arena, c->settings.name);
	for (uint32_t i = 0; i < c->settings.indexes_count; i++) {
		const struct index_definition *from = &c->settings.indexes[i];
		op->rows[op->rows_count++] =
		    (struct index_row){.id = from->id,
				       .owner = c->settings.id,
				       .collection = name,
				       .name = arena_copy(&r->arena, from->name),
				       .fields = fields_of(t, r, from),
				       .shards = c->shards_count};
	}
	for (uint32_t i = 0; i < c->shards_count && c->settings.indexes_count > 0; i++) {
		op->owners[op->asked_count] = c->settings.id;
		op->asked[op->asked_count++].shard = c->shards[i]->shard.id;
	}
}

static void indexes_list(struct turn *t, struct request *r)
{
	struct indexes_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	uint32_t count = 0;
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;)
		count += ((const struct map_collection *)e->value)->settings.indexes_count;
	op->rows = arena_alloc(&r->arena, (count + 1) * sizeof *op->rows);
	op->asked = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->asked);
	op->owners = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->owners);
	at = 0;
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;) {
		const struct map_collection *c = e->value;
		if (cluster_map_collection(map, c->settings.name))
			add_collection(t, r, c);
	}
}

static void indexes_map(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct indexes_op *op = r->op;
	(void)index;
	(void)status;
	if (!map_refreshed(t, r, body))
		return;
	indexes_list(t, r);
	op->left = op->asked_count;
	if (op->left == 0)
		indexes_answer(t, r);
	index_ask_progress(t, r, op->asked, op->asked_count, progress_came);
}

void native_system_indexes(struct turn *t, struct request *r)
{
	struct indexes_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (list_params(t, r, &op->params, &problem))
		map_refresh(t, r, indexes_map);
	else
		answer_problem(t, r, &problem);
}
