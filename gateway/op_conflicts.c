/* The conflicts of one collection or of all, from the leads of all shards: GET /_/conflicts, and
 * the rows of system.conflicts and system.resolutions, which are queried like documents.
 *
 * Each shard gives its rows in order, so of each no more are needed than the answer may hold; of
 * all together the first ones are kept, and who can't give better ones is not asked further. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/conflict_print.h"
#include "gateway/list.h"
#include "gateway/notify/notify.h"
#include "gateway/routes.h"
#include "gateway/url.h"

enum { CONFLICTS_PAGE = 500, CONFLICTS_DEFAULT = 1000, CONFLICTS_MAX = 10000, ASKED_MAX = 32 };

struct conflict_shard {
	struct msg_conflict_list list;
	struct slice collection; /* name */
	uint64_t retain_ms;
};

/* One row, printed as it came. Most are left out again, so its memory is its own. */
struct conflict_line {
	struct slice collection;
	struct slice id;
	uint64_t at_ms;    /* history */
	uint64_t sequence; /* history: within its shard */
	uint64_t shard;
	struct slice json;
	struct buf memory; /* of id and json */
};

struct conflicts_op {
	struct conflict_shard *shards;
	uint32_t shards_count;
	uint32_t next;                 /* to be asked */
	uint32_t left;                 /* asked */
	uint64_t state;                /* 0: any */
	uint64_t kind;                 /* UINT64_MAX: any */
	uint64_t until_ms;             /* since then at the latest; 0: any */
	uint64_t limit;                /* less where so many are too long for an answer */
	uint64_t bytes_max;            /* of an answer */
	uint64_t bytes;                /* of the lines */
	struct slice after_collection; /* from the cursor */
	struct slice after_id;
	struct conflict_line *lines; /* on the heap */
	uint32_t lines_count;
	uint32_t lines_cap;
	bool cut;       /* some were left out */
	bool is_system; /* answered as rows of a system collection */
	bool history;
	struct list_params params;
};

static void drop_lines(struct conflicts_op *op, uint32_t from)
{
	for (uint32_t i = from; i < op->lines_count; i++) {
		op->bytes -= op->lines[i].memory.len;
		buf_close(&op->lines[i].memory);
	}
	op->lines_count = from;
}

static void conflicts_close(struct request *r)
{
	struct conflicts_op *op = r->op;
	drop_lines(op, 0);
	free(op->lines);
}

/* ---- order ---- */

static int line_order(const void *a, const void *b)
{
	const struct conflict_line *x = a;
	const struct conflict_line *y = b;
	int order = slice_compare(x->collection, y->collection);
	return order ? order : slice_compare(x->id, y->id);
}

/* The newest first. */
static int history_order(const void *a, const void *b)
{
	const struct conflict_line *x = a;
	const struct conflict_line *y = b;
	if (x->at_ms != y->at_ms)
		return x->at_ms > y->at_ms ? -1 : 1;
	if (x->shard != y->shard)
		return x->shard < y->shard ? -1 : 1;
	return (x->sequence < y->sequence) - (x->sequence > y->sequence);
}

static void sort_lines(struct conflicts_op *op)
{
	if (op->lines_count > 1)
		qsort(op->lines, op->lines_count, sizeof *op->lines,
		      op->history ? history_order : line_order);
}

/* The first one at least. */
static void keep_first(struct conflicts_op *op)
{
	uint64_t bytes = 0;
	sort_lines(op);
	for (uint32_t i = 0; i < op->lines_count && i < op->limit; i++) {
		bytes += op->lines[i].memory.len;
		if (i > 0 && bytes > op->bytes_max)
			op->limit = i;
	}
	if (op->lines_count <= op->limit)
		return;
	op->cut = true;
	drop_lines(op, (uint32_t)op->limit);
}

/* ---- answers ---- */

/* collection/id: ids of documents are unique within their collection only. Of the history:
 * collection/shard-number. */
static struct slice row_id(struct turn *t, struct request *r, const struct conflict_line *line)
{
	const struct conflicts_op *op = r->op;
	struct buf *id = &t->gw->scratch;
	buf_clear(id);
	buf_append_slice(id, line->collection);
	buf_append_byte(id, '/');
	if (op->history)
		buf_printf(id, "%016" PRIx64 "-%" PRIu64, line->shard, line->sequence);
	else
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

static void cursor_header(struct turn *t, struct request *r, struct reply *reply)
{
	const struct conflicts_op *op = r->op;
	const struct conflict_line *last = &op->lines[op->lines_count - 1];
	struct buf *text = &t->gw->scratch;
	struct buf cursor = {0};
	buf_clear(text);
	buf_append_slice(text, last->collection);
	buf_append_byte(text, '/');
	buf_append_slice(text, last->id);
	base64url_encode(buf_slice(text), &cursor);
	reply_header(r, reply, "X-Parley-Cursor", buf_slice(&cursor));
	buf_close(&cursor);
}

static void conflicts_answer(struct turn *t, struct request *r)
{
	struct conflicts_op *op = r->op;
	keep_first(op);
	if (op->is_system) {
		system_answer(t, r);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	for (uint32_t i = 0; i < op->lines_count; i++) {
		if (i > 0)
			buf_append_byte(&reply->body, ',');
		buf_append_slice(&reply->body, op->lines[i].json);
	}
	buf_append_byte(&reply->body, ']');
	if (op->cut) {
		reply_header(r, reply, "X-Parley-More", slice_text("true"));
		cursor_header(t, r, reply);
	}
	reply_send(t, r, reply);
}

static bool is_wanted(const struct conflicts_op *op, const struct conflict *c)
{
	return (op->state == 0 || conflict_state(c) == op->state) &&
	       (op->kind == UINT64_MAX || c->kind == op->kind) &&
	       (op->until_ms == 0 || c->since_ms <= op->until_ms);
}

/* One line for them all: of a record of the history, or of the entries of one document. */
static void take_rows(struct turn *t, struct request *r, struct conflict_shard *s,
		      const struct msg_conflict_list_ack *ack, struct conflict_row *rows,
		      uint32_t count)
{
	struct conflicts_op *op = r->op;
	conflict_newest(rows, count);
	if (!is_wanted(op, &rows[0].conflict))
		return;
	if (op->lines_count == op->lines_cap) {
		op->lines_cap = op->lines_cap ? op->lines_cap * 2 : 64;
		op->lines = mem_realloc(op->lines, op->lines_cap * sizeof *op->lines);
	}
	const struct conflict_about about = {.collection = s->collection,
					     .history = op->history,
					     .retain_ms = s->retain_ms,
					     .wall_ms = (uint64_t)t->event->wall_ms,
					     .ack = ack};
	struct conflict_line *line = &op->lines[op->lines_count++];
	*line = (struct conflict_line){.collection = s->collection,
				       .at_ms = rows[0].conflict.resolved_ms,
				       .sequence = rows[0].conflict.sequence,
				       .shard = s->list.shard};
	buf_append_slice(&line->memory, rows[0].id);
	conflict_print(&about, rows, count, &line->memory);
	line->id = slice_of(line->memory.data, rows[0].id.len);
	line->json = slice_of(line->memory.data + line->id.len, line->memory.len - line->id.len);
	op->bytes += line->memory.len;
	if (op->lines_count > 2 * op->limit + CONFLICTS_PAGE || op->bytes > 2 * op->bytes_max)
		keep_first(op);
}

/* A page has all entries of a document. */
static void take_page(struct turn *t, struct request *r, struct conflict_shard *s,
		      const struct msg_conflict_list_ack *ack)
{
	const struct conflicts_op *op = r->op;
	uint32_t end;
	for (uint32_t i = 0; i < ack->rows_count; i = end) {
		end = i + 1;
		while (!op->history && end < ack->rows_count &&
		       slice_equal(ack->rows[end].id, ack->rows[i].id))
			end++;
		take_rows(t, r, s, ack, ack->rows + i, end - i);
	}
}

/* ---- asking the leads ---- */

static call_done page_came;

static void ask_page(struct turn *t, struct request *r, uint32_t index)
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
	op->left++;
	if (!call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* What the shard gives behind this row comes after all that is kept. */
static bool is_behind(struct conflicts_op *op, const struct conflict_shard *s,
		      const struct conflict_row *row)
{
	if (op->lines_count < op->limit)
		return false;
	sort_lines(op);
	const struct conflict_line *last = &op->lines[op->limit - 1];
	struct conflict_line line = {.collection = s->collection,
				     .id = row->id,
				     .at_ms = row->conflict.resolved_ms,
				     .sequence = row->conflict.sequence,
				     .shard = s->list.shard};
	return (op->history ? history_order(&line, last) : line_order(&line, last)) > 0;
}

/* What was dropped meanwhile has no conflicts. */
static bool is_there(const struct turn *t, const struct conflict_shard *s)
{
	return cluster_map_has_shard(&t->gw->map, s->list.shard);
}

static void ask_more(struct turn *t, struct request *r)
{
	struct conflicts_op *op = r->op;
	for (; op->left < ASKED_MAX && op->next < op->shards_count && !r->finished; op->next++)
		if (is_there(t, &op->shards[op->next]))
			ask_page(t, r, op->next);
	if (op->left == 0 && !r->finished)
		conflicts_answer(t, r);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct conflicts_op *op = r->op;
	struct conflict_shard *s = &op->shards[index];
	const struct msg_conflict_list_ack *ack = status == STATUS_OK ? body : NULL;
	const struct conflict_row *last = NULL;
	if (!ack && is_there(t, s)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	op->left--;
	if (ack) {
		take_page(t, r, s, ack);
		last = ack->more && ack->rows_count > 0 ? &ack->rows[ack->rows_count - 1] : NULL;
	}
	if (last && is_behind(op, s, last)) {
		op->cut = true;
	} else if (last && is_there(t, s)) {
		s->list.after = arena_copy(&r->arena, last->id);
		s->list.before = last->conflict.sequence;
		ask_page(t, r, index);
	}
	if (!r->finished)
		ask_more(t, r);
}

static void add_collection(struct request *r, const struct map_collection *c)
{
	struct conflicts_op *op = r->op;
	struct slice name = arena_copy(&r->arena, c->settings.name);
	int order = slice_compare(name, op->after_collection);
	if (order < 0)
		return;
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct conflict_shard *s = &op->shards[op->shards_count++];
		s->list.shard = c->shards[i]->shard.id;
		s->list.limit = BOUND(conflicts_page, CONFLICTS_PAGE);
		s->list.history = op->history;
		if (order == 0)
			s->list.after = op->after_id;
		s->collection = name;
		s->retain_ms = c->settings.retain_ms;
	}
}

static void conflicts_go(struct turn *t, struct request *r, struct map_collection *only)
{
	struct conflicts_op *op = r->op;
	const struct cluster_map *map = &t->gw->map;
	size_t at = 0;
	r->close = conflicts_close;
	op->bytes_max = t->gw->options.limits.list_bytes_max;
	op->shards = arena_alloc(&r->arena, (map->shards.count + 1) * sizeof *op->shards);
	if (only)
		add_collection(r, only);
	else if (r->collection.len == 0)
		for (struct map_entry *e; (e = map_next(&map->collections_by_id, &at)) != NULL;)
			add_collection(r, e->value);
	ask_more(t, r);
}

static void map_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	(void)index;
	(void)status;
	if (map_refreshed(t, r, body))
		conflicts_go(t, r, NULL);
}

static bool take_cursor(struct request *r, struct conflicts_op *op, struct slice text)
{
	struct buf bytes = {0};
	bool fine = base64url_decode(text, &bytes);
	struct slice all = fine ? arena_copy(&r->arena, buf_slice(&bytes)) : slice_of(NULL, 0);
	buf_close(&bytes);
	const uint8_t *slash = all.len > 0 ? memchr(all.data, '/', all.len) : NULL;
	if (!slash)
		return false;
	op->after_collection = slice_of(all.data, (size_t)(slash - all.data));
	op->after_id = slice_of(slash + 1, all.len - op->after_collection.len - 1);
	return collection_name_valid(op->after_collection) && document_id_valid(op->after_id);
}

/* A whole number from 1; *number stays as it is if the parameter is absent. */
static bool take_number(struct turn *t, struct request *r, const char *name, uint64_t *number,
			struct problem *p)
{
	struct slice value;
	if (!native_json_parameter(t, r, name, &value, p))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len > 0 && (token.type != MP_UINT || token.u64 == 0))
		return problem_detail(p, STATUS_BAD_PARAMETER, name, "A whole number from 1.");
	if (value.len > 0)
		*number = token.u64;
	return true;
}

static bool take_words(struct request *r, struct conflicts_op *op, struct problem *p)
{
	struct slice value;
	if (request_parameter(r, "state", &value) && value.len > 0) {
		op->state = slice_is(value, "open")       ? CONFLICT_OPEN
			    : slice_is(value, "resolved") ? CONFLICT_RESOLVED
			    : slice_is(value, "undone")   ? CONFLICT_UNDONE
							  : 0;
		if (op->state == 0)
			return problem_detail(p, STATUS_BAD_PARAMETER, "state",
					      "open, resolved or undone.");
	}
	if (request_parameter(r, "kind", &value) && value.len > 0 &&
	    !conflict_kind_of(value, &op->kind))
		return problem_detail(p, STATUS_BAD_PARAMETER, "kind", "edits, roots or delete.");
	if (request_parameter(r, "cursor", &value) && value.len > 0 && !take_cursor(r, op, value))
		return problem_detail(p, STATUS_BAD_PARAMETER, "cursor",
				      "Send the value of X-Parley-Cursor unchanged.");
	return true;
}

static bool take_parameters(struct turn *t, struct request *r, struct conflicts_op *op,
			    struct problem *p)
{
	static const char *const names[] = {"collection", "state",  "kind", "olderThanMs",
					    "limit",      "cursor", NULL};
	uint64_t age_ms = 0;
	op->kind = UINT64_MAX;
	op->limit = CONFLICTS_DEFAULT;
	if (!native_parameters(r, names, p) || !take_number(t, r, "limit", &op->limit, p) ||
	    !take_number(t, r, "olderThanMs", &age_ms, p) || !take_words(r, op, p))
		return false;
	if (op->limit > CONFLICTS_MAX)
		return problem_limit(p, STATUS_BAD_PARAMETER, "limit", CONFLICTS_MAX, op->limit);
	uint64_t now_ms = (uint64_t)t->event->wall_ms;
	if (age_ms > 0)
		op->until_ms = age_ms < now_ms ? now_ms - age_ms : 1;
	if (request_parameter(r, "collection", &r->collection) && r->collection.len > 0 &&
	    !collection_name_valid(r->collection))
		return problem_set(p, STATUS_BAD_NAME, "collection");
	return true;
}

static bool wants_events(const struct request *r)
{
	struct slice type = slice_text("text/event-stream");
	struct slice accept = request_header(r, "accept");
	for (; accept.len >= type.len; accept.data++, accept.len--)
		if (slice_equal(slice_of(accept.data, type.len), type))
			return true;
	return false;
}

void native_conflicts(struct turn *t, struct request *r)
{
	struct conflicts_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	if (wants_events(r)) {
		conflict_events(t, r);
		return;
	}
	r->op = op;
	if (!take_parameters(t, r, op, &problem))
		answer_problem(t, r, &problem);
	else if (r->collection.len > 0)
		collection_find(t, r, false, conflicts_go);
	else
		map_refresh(t, r, map_came);
}

static void list_as_system(struct turn *t, struct request *r, bool history)
{
	struct conflicts_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	op->is_system = true;
	op->history = history;
	op->kind = UINT64_MAX;
	op->limit = CONFLICTS_MAX;
	if (list_params(t, r, &op->params, &problem))
		map_refresh(t, r, map_came);
	else
		answer_problem(t, r, &problem);
}

void native_system_conflicts(struct turn *t, struct request *r)
{
	list_as_system(t, r, false);
}

void native_system_resolutions(struct turn *t, struct request *r)
{
	list_as_system(t, r, true);
}
