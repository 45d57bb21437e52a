/* Checkpoints of clients that sync: PUT, GET and DELETE /_/checkpoints/{collection}/{name}, and the
 * rows of system.checkpoints. Each shard of the collection keeps its own part; a position is what
 * GET /_/notify gives as the id of an event: shards, and a number in the stream of each. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/native.h"
#include "gateway/notify/events.h"
#include "gateway/routes.h"
#include "gateway/url.h"

#define NO_CHECKPOINT "The collection has no checkpoint of this name."

enum { ASKED_MAX = 32, ROWS_MAX = 64 * 1024, POSITION_BYTES = 16, OPERATION_BYTES = 16 };

/* One shard's part of one checkpoint. */
struct part {
	struct slice collection;
	struct slice name;
	uint64_t shard;
	uint64_t number;
	uint64_t updated_ms;
};

struct asked {
	struct msg_checkpoint_set set;
	struct msg_checkpoint_list list;
	struct slice collection; /* name */
};

struct checkpoints_op {
	struct asked *shards;
	uint32_t shards_count;
	uint32_t next; /* to be asked */
	uint32_t left; /* asked */
	struct slice position;
	bool found;
	struct part *parts; /* on the heap */
	uint32_t parts_count;
	uint32_t parts_cap;
	bool cut;
	struct list_params params; /* of system.checkpoints */
};

static void checkpoints_close(struct request *r)
{
	struct checkpoints_op *op = r->op;
	free(op->parts);
}

static struct checkpoints_op *op_new(struct request *r)
{
	struct checkpoints_op *op = arena_alloc(&r->arena, sizeof *op);
	r->op = op;
	return op;
}

/* Of one checkpoint. NULL: it can't have this name, which is answered. */
static struct checkpoints_op *op_named(struct turn *t, struct request *r)
{
	if (collection_name_valid(r->resource))
		return op_new(r);
	answer_status(t, r, STATUS_BAD_NAME, "path");
	return NULL;
}

static enum status status_told(enum status status)
{
	return status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status;
}

static bool add_shards(struct request *r, const struct map_collection *c)
{
	struct checkpoints_op *op = r->op;
	r->close =
	    checkpoints_close; /* not before: while a collection is looked for, r->op is not ours */
	struct slice name = arena_copy(&r->arena, c->settings.name);
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct asked *a = &op->shards[op->shards_count++];
		*a = (struct asked){.collection = name};
		a->set.shard = a->list.shard = c->shards[i]->shard.id;
		a->set.checkpoint.name = a->list.name = r->resource;
	}
	return c->shards_count > 0;
}

static bool begin_collection(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct checkpoints_op *op = r->op;
	if (!c) {
		answer_no_collection(t, r, "path");
		return false;
	}
	op->shards = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->shards);
	return add_shards(r, c);
}

/* ---- showing ---- */

static int part_order(const void *a, const void *b)
{
	const struct part *x = a;
	const struct part *y = b;
	int order = slice_compare(x->collection, y->collection);
	if (order == 0)
		order = slice_compare(x->name, y->name);
	return order ? order : (x->shard > y->shard) - (x->shard < y->shard);
}

/* Those of one checkpoint, from `first` on. */
static uint32_t group_end(const struct checkpoints_op *op, uint32_t first)
{
	uint32_t end = first + 1;
	while (end < op->parts_count && slice_equal(op->parts[end].name, op->parts[first].name) &&
	       slice_equal(op->parts[end].collection, op->parts[first].collection))
		end++;
	return end;
}

static struct slice group_position(struct turn *t, struct request *r, uint32_t first, uint32_t end)
{
	const struct checkpoints_op *op = r->op;
	struct position_of list[LIMIT_COLLECTION_SHARDS];
	uint32_t count = 0;
	for (uint32_t i = first; i < end && count < ARRAY_LEN(list); i++)
		list[count++] = (struct position_of){op->parts[i].shard, op->parts[i].number};
	buf_clear(&t->gw->scratch);
	position_print(list, count, &t->gw->scratch);
	return arena_copy(&r->arena, buf_slice(&t->gw->scratch));
}

static uint64_t group_updated_ms(const struct checkpoints_op *op, uint32_t first, uint32_t end)
{
	uint64_t updated_ms = 0;
	for (uint32_t i = first; i < end; i++)
		if (op->parts[i].updated_ms > updated_ms)
			updated_ms = op->parts[i].updated_ms;
	return updated_ms;
}

static void show_one(struct turn *t, struct request *r)
{
	const struct checkpoints_op *op = r->op;
	if (op->parts_count == 0) {
		answer_not_found(t, r, "path", NO_CHECKPOINT);
		return;
	}
	struct slice position = group_position(t, r, 0, op->parts_count);
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"collection\":");
	json_string(r->collection, &reply->body);
	buf_append_text(&reply->body, ",\"name\":");
	json_string(r->resource, &reply->body);
	buf_append_text(&reply->body, ",\"position\":");
	json_string(position, &reply->body);
	buf_printf(&reply->body, ",\"updatedAt\":%" PRIu64 "}",
		   group_updated_ms(op, 0, op->parts_count));
	reply_send(t, r, reply);
}

static struct system_row row_of(struct turn *t, struct request *r, uint32_t first, uint32_t end)
{
	const struct checkpoints_op *op = r->op;
	const struct part *p = &op->parts[first];
	struct slice position = group_position(t, r, first, end);
	struct system_row row = {0};
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	buf_append_slice(out, p->collection);
	buf_append_byte(out, '/');
	buf_append_slice(out, p->name);
	row.id = arena_copy(&r->arena, buf_slice(out));
	buf_clear(out);
	mp_write_map(out, 4);
	mp_write_text(out, "collection");
	mp_write_str(out, p->collection);
	mp_write_text(out, "name");
	mp_write_str(out, p->name);
	mp_write_text(out, "position");
	mp_write_str(out, position);
	mp_write_text(out, "updatedAt");
	mp_write_u64(out, group_updated_ms(op, first, end));
	row.body = arena_copy(&r->arena, buf_slice(out));
	return row;
}

static void show_rows(struct turn *t, struct request *r)
{
	struct checkpoints_op *op = r->op;
	struct system_row *rows = arena_alloc(&r->arena, (op->parts_count + 1) * sizeof *rows);
	uint32_t count = 0;
	if (op->parts_count > 1)
		qsort(op->parts, op->parts_count, sizeof *op->parts, part_order);
	for (uint32_t first = 0; first < op->parts_count;) {
		uint32_t end = group_end(op, first);
		rows[count++] = row_of(t, r, first, end);
		first = end;
	}
	system_rows_answer(t, r, rows, count, op->cut, &op->params);
}

/* ---- asking the leads ---- */

static call_done part_came;

/* Among those of all collections one that was dropped meanwhile has none. */
static bool is_passed_over(const struct turn *t, const struct request *r, uint32_t index)
{
	const struct checkpoints_op *op = r->op;
	return r->collection.len == 0 &&
	       !cluster_map_has_shard(&t->gw->map, op->shards[index].list.shard);
}

static void ask_more(struct turn *t, struct request *r)
{
	struct checkpoints_op *op = r->op;
	bool one = r->collection.len > 0;
	for (; op->left < ASKED_MAX && op->next < op->shards_count && !r->finished; op->next++) {
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = op->shards[op->next].list.shard,
					 .type = MSG_checkpoint_list,
					 .answer = MSG_checkpoint_list_ack,
					 .message = &op->shards[op->next].list,
					 .repeatable = true,
					 .index = op->next,
					 .done = part_came};
		if (is_passed_over(t, r, op->next))
			continue;
		op->left++;
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
	if (op->left > 0 || r->finished)
		return;
	if (one)
		show_one(t, r);
	else
		show_rows(t, r);
}

static void part_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct checkpoints_op *op = r->op;
	const struct msg_checkpoint_list_ack *ack = status == STATUS_OK ? body : NULL;
	if (!ack && !is_passed_over(t, r, index)) {
		answer_status(t, r, status_told(status), "");
		return;
	}
	op->left--;
	for (uint32_t i = 0; ack && i < ack->checkpoints_count; i++) {
		const struct checkpoint *p = &ack->checkpoints[i];
		op->cut = op->cut || op->parts_count == ROWS_MAX;
		if (op->cut)
			break;
		if (op->parts_count == op->parts_cap) {
			op->parts_cap = op->parts_cap ? op->parts_cap * 2 : 16;
			op->parts = mem_realloc(op->parts, op->parts_cap * sizeof *op->parts);
		}
		op->parts[op->parts_count++] =
		    (struct part){.collection = op->shards[index].collection,
				  .name = arena_copy(&r->arena, p->name),
				  .shard = op->shards[index].list.shard,
				  .number = p->number,
				  .updated_ms = p->updated_ms};
	}
	ask_more(t, r);
}

static void show_go(struct turn *t, struct request *r, struct map_collection *c)
{
	if (begin_collection(t, r, c))
		ask_more(t, r);
}

void native_checkpoint(struct turn *t, struct request *r)
{
	if (op_named(t, r))
		collection_find(t, r, false, show_go);
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct checkpoints_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	(void)index;
	(void)status;
	if (!map_refreshed(t, r, body))
		return;
	op->shards = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->shards);
	for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;)
		(void)add_shards(r, e->value);
	for (uint32_t i = 0; i < op->shards_count; i++)
		op->shards[i].list.name = slice_of(NULL, 0); /* all of them */
	ask_more(t, r);
}

void native_system_checkpoints(struct turn *t, struct request *r)
{
	struct checkpoints_op *op = op_new(r);
	struct problem problem;
	if (list_params(t, r, &op->params, &problem))
		map_refresh(t, r, map_came);
	else
		answer_problem(t, r, &problem);
}

/* ---- changing ---- */

static void part_set(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct checkpoints_op *op = r->op;
	bool drop = r->method == HTTP_DELETE;
	(void)index;
	if (!body || !(status_is_success(status) || (drop && status == STATUS_NOT_FOUND))) {
		answer_status(t, r, status_told(status), drop ? "path" : "/position");
		return;
	}
	op->found = op->found || status_is_success(status);
	if (--op->left > 0)
		return;
	if (!op->found) {
		answer_not_found(t, r, "path", NO_CHECKPOINT);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"collection\":");
	json_string(r->collection, &reply->body);
	buf_append_text(&reply->body, ",\"name\":");
	json_string(r->resource, &reply->body);
	buf_append_byte(&reply->body, '}');
	reply_send(t, r, reply);
}

static void set_all(struct turn *t, struct request *r)
{
	struct checkpoints_op *op = r->op;
	uint8_t *id = arena_alloc(&r->arena, OPERATION_BYTES);
	rng_fill(&t->gw->rng, id, OPERATION_BYTES);
	op->left = op->shards_count;
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++) {
		op->shards[i].set.operation_id = slice_of(id, OPERATION_BYTES);
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = op->shards[i].set.shard,
					 .type = MSG_checkpoint_set,
					 .answer = MSG_checkpoint_set_ack,
					 .message = &op->shards[i].set,
					 .repeatable = true,
					 .index = i,
					 .done = part_set};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
}

/* The number of this shard in a position; false: it does not name it. */
static bool number_in(struct slice bytes, uint64_t shard, uint64_t *number)
{
	for (size_t at = 1; at + POSITION_BYTES <= bytes.len; at += POSITION_BYTES)
		if (be64_read(bytes.data + at) == shard) {
			*number = be64_read(bytes.data + at + 8);
			return true;
		}
	return false;
}

static bool take_numbers(struct checkpoints_op *op)
{
	struct buf bytes = {0};
	bool fine = op->position.len > 0 &&
		    op->position.len <= 2 * NOTIFY_ID_SHARDS_MAX * POSITION_BYTES &&
		    base64url_decode(op->position, &bytes) && bytes.len > 0 &&
		    bytes.data[0] == '1' && (bytes.len - 1) % POSITION_BYTES == 0;
	for (uint32_t i = 0; i < op->shards_count && fine; i++)
		fine = number_in(buf_slice(&bytes), op->shards[i].set.shard,
				 &op->shards[i].set.checkpoint.number);
	buf_close(&bytes);
	return fine;
}

static void set_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct problem problem;
	if (!begin_collection(t, r, c))
		return;
	if (take_numbers(r->op)) {
		set_all(t, r);
		return;
	}
	problem_detail(&problem, STATUS_BAD_PARAMETER, "/position",
		       "Send the id of an event that tells of this collection.");
	answer_problem(t, r, &problem);
}

void native_checkpoint_set(struct turn *t, struct request *r)
{
	struct checkpoints_op *op = op_named(t, r);
	struct problem problem;
	struct slice body;
	if (!op)
		return;
	if (!native_body(t, r, &body, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text("position")));
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_STR)
		op->position = token.bytes;
	collection_find(t, r, false, set_go);
}

static void drop_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct checkpoints_op *op = r->op;
	if (!begin_collection(t, r, c))
		return;
	for (uint32_t i = 0; i < op->shards_count; i++)
		op->shards[i].set.drop = true;
	set_all(t, r);
}

void native_checkpoint_drop(struct turn *t, struct request *r)
{
	if (op_named(t, r))
		collection_find(t, r, false, drop_go);
}
