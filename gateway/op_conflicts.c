/* The conflicts of one collection or of all, from the leads of all shards: GET /_/conflicts, and
 * the rows of system.conflicts, which are queried like documents. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/list.h"
#include "gateway/routes.h"
#include "gateway/url.h"

enum { CONFLICTS_PAGE = 500, CONFLICTS_MAX = 10000 };

struct conflict_shard {
	struct msg_conflict_list list;
	struct slice collection; /* name */
};

/* One row, printed as it came. */
struct conflict_line {
	struct slice collection;
	struct slice id;
	struct slice json;
};

struct conflicts_op {
	struct conflict_shard *shards;
	uint32_t shards_count;
	uint32_t left;
	uint64_t state; /* 0: any */
	uint64_t limit;
	struct conflict_line *lines; /* on the heap */
	uint32_t lines_count;
	uint32_t lines_cap;
	bool cut;
	bool is_system; /* answered as rows of system.conflicts */
	struct list_params params;
};

static void conflicts_close(struct request *r)
{
	struct conflicts_op *op = r->op;
	free(op->lines);
}

static const char *kind_name(uint64_t kind)
{
	static const char *const names[] = {"edits", "roots", "delete"};
	return kind < ARRAY_LEN(names) ? names[kind] : "edits";
}

static void print_leaves(const struct conflict *c, struct buf *out)
{
	buf_append_text(out, ",\"leaves\":[");
	for (uint32_t i = 0; i < c->leaves_count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_revision(&c->leaves[i], out);
	}
	buf_append_byte(out, ']');
}

static void print_row(struct slice collection, const struct conflict_row *row, struct buf *out)
{
	const struct conflict *c = &row->conflict;
	buf_append_text(out, "{\"collection\":");
	json_string(collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(row->id, out);
	buf_printf(out, ",\"state\":\"%s\",\"kind\":\"%s\",\"since\":%" PRIu64,
		   c->state == CONFLICT_RESOLVED ? "resolved" : "open", kind_name(c->kind),
		   c->since_ms);
	print_leaves(c, out);
	if (c->result.generation > 0) {
		buf_append_text(out, ",\"result\":");
		json_revision(&c->result, out);
		buf_printf(out, ",\"resolvedAt\":%" PRIu64 ",\"policyVersion\":%" PRIu64,
			   c->resolved_ms, c->policy);
	}
	if (c->resolution_id.len > 0) {
		buf_append_text(out, ",\"resolutionId\":\"");
		buf_append_hex(out, c->resolution_id.data, c->resolution_id.len);
		buf_append_byte(out, '"');
	}
	if (c->detail.len > 0) {
		buf_append_text(out, ",\"detail\":");
		if (!json_from_msgpack(c->detail, out))
			buf_append_text(out, "null");
	}
	buf_append_byte(out, '}');
}

static int line_order(const void *a, const void *b)
{
	const struct conflict_line *x = a;
	const struct conflict_line *y = b;
	int order = slice_compare(x->collection, y->collection);
	if (order == 0)
		order = slice_compare(x->id, y->id);
	return order ? order : slice_compare(x->json, y->json);
}

/* collection/id: ids of documents are unique within their collection only. */
static struct slice row_id(struct turn *t, struct request *r, const struct conflict_line *line)
{
	struct buf *id = &t->gw->scratch;
	buf_clear(id);
	buf_append_slice(id, line->collection);
	buf_append_byte(id, '/');
	buf_append_slice(id, line->id);
	return arena_copy(&r->arena, buf_slice(id));
}

/* The line's members but for its id, which is called documentId there. */
static struct slice row_body(struct turn *t, struct request *r, const struct conflict_line *line)
{
	struct json_error error = {0};
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	if (!json_to_msgpack(t->gw->json, line->json, out, &error))
		return slice_of(NULL, 0);
	struct slice whole = arena_copy(&r->arena, buf_slice(out));
	struct mp_reader reader = mp_reader_of(whole);
	struct mp_token head = mp_read(&reader);
	buf_clear(out);
	mp_write_map(out, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		mp_write_str(out, slice_is(name, "id") ? slice_text("documentId") : name);
		buf_append_slice(out, mp_value(&reader));
	}
	return arena_copy(&r->arena, buf_slice(out));
}

static void system_answer(struct turn *t, struct request *r)
{
	struct conflicts_op *op = r->op;
	struct system_row *rows = arena_alloc(&r->arena, (op->lines_count + 1) * sizeof *rows);
	for (uint32_t i = 0; i < op->lines_count; i++) {
		rows[i].id = row_id(t, r, &op->lines[i]);
		rows[i].body = row_body(t, r, &op->lines[i]);
	}
	system_rows_answer(t, r, rows, op->lines_count, op->cut, &op->params);
}

static void conflicts_answer(struct turn *t, struct request *r)
{
	struct conflicts_op *op = r->op;
	if (op->is_system) {
		system_answer(t, r);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	if (op->lines_count > 0)
		qsort(op->lines, op->lines_count, sizeof *op->lines, line_order);
	uint64_t count = op->lines_count < op->limit ? op->lines_count : op->limit;
	buf_append_byte(&reply->body, '[');
	for (uint64_t i = 0; i < count; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		buf_append_slice(&reply->body, op->lines[i].json);
	}
	buf_append_byte(&reply->body, ']');
	if (op->cut || count < op->lines_count)
		reply_header(r, reply, "X-Parley-More", slice_text("true"));
	reply_send(t, r, reply);
}

static void take_row(struct turn *t, struct request *r, const struct conflict_shard *s,
		     const struct conflict_row *row)
{
	struct conflicts_op *op = r->op;
	if (op->state != 0 && row->conflict.state != op->state)
		return;
	if (op->lines_count == CONFLICTS_MAX) {
		op->cut = true;
		return;
	}
	if (op->lines_count == op->lines_cap) {
		op->lines_cap = op->lines_cap ? op->lines_cap * 2 : 64;
		op->lines = mem_realloc(op->lines, op->lines_cap * sizeof *op->lines);
	}
	buf_clear(&t->gw->scratch);
	print_row(s->collection, row, &t->gw->scratch);
	struct conflict_line *line = &op->lines[op->lines_count++];
	line->collection = s->collection;
	line->id = arena_copy(&r->arena, row->id);
	line->json = arena_copy(&r->arena, buf_slice(&t->gw->scratch));
}

static call_done page_came;

static bool ask_page(struct turn *t, struct request *r, uint32_t index)
{
	struct conflicts_op *op = r->op;
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = op->shards[index].list.shard,
	    .type = MSG_conflict_list,
	    .answer = MSG_conflict_list_ack,
	    .message = &op->shards[index].list,
	    .repeatable = true,
	    .index = index,
	    .done = page_came,
	};
	return call_open(t, r, &spec);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct conflicts_op *op = r->op;
	struct conflict_shard *s = &op->shards[index];
	const struct msg_conflict_list_ack *ack = body;
	if (!ack || status != STATUS_OK) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	for (uint32_t i = 0; i < ack->rows_count; i++)
		take_row(t, r, s, &ack->rows[i]);
	op->left--;
	if (ack->more && ack->rows_count > 0 && !op->cut) {
		s->list.after = arena_copy(&r->arena, ack->rows[ack->rows_count - 1].id);
		op->left++;
		if (!ask_page(t, r, index))
			answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	if (op->left == 0)
		conflicts_answer(t, r);
}

static void add_collection(struct request *r, const struct map_collection *c)
{
	struct conflicts_op *op = r->op;
	struct slice name = arena_copy(&r->arena, c->settings.name);
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct conflict_shard *s = &op->shards[op->shards_count++];
		s->list.shard = c->shards[i]->shard.id;
		s->list.limit = CONFLICTS_PAGE;
		s->collection = name;
	}
}

static void conflicts_go(struct turn *t, struct request *r, struct map_collection *only)
{
	struct conflicts_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	r->close = conflicts_close;
	op->shards = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->shards);
	if (only)
		add_collection(r, only);
	else if (r->collection.len == 0)
		for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;)
			add_collection(r, e->value);
	op->left = op->shards_count;
	if (op->left == 0)
		conflicts_answer(t, r);
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++)
		if (!ask_page(t, r, i))
			answer_status(t, r, STATUS_OVERLOADED, "");
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	(void)index;
	(void)status;
	r->unconfirmed = body == NULL;
	if (t->gw->map.version == 0)
		answer_status(t, r, STATUS_STARTING, "");
	else
		conflicts_go(t, r, NULL);
}

static bool take_parameters(struct turn *t, struct request *r, struct conflicts_op *op,
			    struct problem *p)
{
	struct slice value;
	if (!native_json_parameter(t, r, "limit", &value, p))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len > 0 && (token.type != MP_UINT || token.u64 == 0))
		return problem_detail(p, STATUS_BAD_PARAMETER, "limit", "A whole number from 1.");
	op->limit = value.len > 0 && token.u64 < CONFLICTS_MAX ? token.u64 : CONFLICTS_MAX;
	if (request_parameter(r, "state", &value) && value.len > 0) {
		bool open = slice_is(value, "open");
		if (!open && !slice_is(value, "resolved"))
			return problem_detail(p, STATUS_BAD_PARAMETER, "state",
					      "open or resolved.");
		op->state = open ? CONFLICT_OPEN : CONFLICT_RESOLVED;
	}
	if (request_parameter(r, "collection", &r->collection) && r->collection.len > 0 &&
	    !collection_name_valid(r->collection))
		return problem_set(p, STATUS_BAD_NAME, "collection");
	return true;
}

void native_conflicts(struct turn *t, struct request *r)
{
	struct conflicts_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (!take_parameters(t, r, op, &problem))
		answer_problem(t, r, &problem);
	else if (r->collection.len > 0)
		collection_find(t, r, false, conflicts_go);
	else
		map_refresh(t, r, map_came);
}

void native_system_conflicts(struct turn *t, struct request *r)
{
	struct conflicts_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	op->is_system = true;
	op->limit = CONFLICTS_MAX;
	if (list_params(t, r, &op->params, &problem))
		map_refresh(t, r, map_came);
	else
		answer_problem(t, r, &problem);
}
