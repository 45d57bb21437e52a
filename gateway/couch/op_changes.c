/* _changes: what is asked for, and where it begins. */
#include <stdio.h>

#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/changes.h"
#include "gateway/couch/mango.h"
#include "gateway/routes.h"

/* ---- where it begins ---- */

static int shard_index(const struct map_collection *c, uint64_t shard)
{
	for (uint32_t i = 0; i < c->shards_count; i++)
		if (c->shards[i]->shard.id == shard)
			return (int)i;
	return -1;
}

static void begin_at_zero(struct request *r, struct changes *op, const struct map_collection *c)
{
	op->positions = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->positions);
	for (uint32_t i = 0; i < c->shards_count; i++)
		op->positions[i].shard = c->shards[i]->shard.id;
}

/* False: it is a place in another database. */
static bool begin_at_place(struct request *r, struct changes *op, const struct map_collection *c)
{
	begin_at_zero(r, op, c);
	for (uint32_t i = 0; i < op->since_count; i++) {
		int index = shard_index(c, op->since[i].shard);
		if (index < 0)
			return false;
		op->positions[index].number = op->since[i].number;
	}
	return true;
}

static void have_counts(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	struct changes *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	op->positions = counts->positions;
	if (c)
		changes_start(t, r, c);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

/* This map is the newest that can be had. */
static void map_looked(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct changes *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	(void)index;
	(void)status;
	(void)body;
	if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (begin_at_place(r, op, c))
		changes_start(t, r, c);
	else
		couch_answer_error(t, r, COUCH_BAD_SEQUENCE);
}

static void have_function(struct turn *t, struct request *r);

static void changes_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct changes *op = r->op;
	if (op->function && !changes_function_loaded(op))
		changes_function_load(t, r, c, have_function);
	else if (r->method == HTTP_HEAD)
		reply_send(t, r, reply_begin(t, 200));
	else if (op->since_now || op->descending)
		couch_count(t, r, c, have_counts);
	else if (begin_at_place(r, op, c))
		changes_start(t, r, c);
	else /* the database may have been made anew, and this gateway not have heard of it */
		map_refresh(t, r, map_looked);
}

static void have_function(struct turn *t, struct request *r)
{
	struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (c)
		changes_go(t, r, c);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

/* ---- parameters ---- */

static bool take_since(struct request *r, struct changes *op, struct problem *p)
{
	struct slice text = request_header(r, "last-event-id");
	if (text.len == 0 && !request_parameter(r, "last-event-id", &text) &&
	    !request_parameter(r, "since", &text))
		return true;
	op->since_now = slice_is(text, "now");
	if (op->since_now || text.len == 0 || slice_is(text, "0"))
		return true;
	struct buf list = {0};
	bool fine = sequence_parse(text, &list);
	op->since_count = position_count(&list);
	op->since = arena_alloc(&r->arena, list.len + 1);
	if (list.len > 0)
		memcpy(op->since, list.data, list.len);
	buf_close(&list);
	return fine || couch_problem(p, COUCH_BAD_SEQUENCE, "");
}

static bool take_feed(struct request *r, struct changes *op, struct problem *p)
{
	static const char *const names[] = {"normal", "longpoll", "continuous", "eventsource"};
	struct slice text;
	if (!request_parameter(r, "feed", &text))
		return true;
	if (slice_is(text, "live"))
		text = slice_text("continuous");
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		if (!slice_is(text, names[i]))
			continue;
		op->feed = (enum changes_feed)i;
		return true;
	}
	return couch_problem(p, COUCH_BAD_REQUEST,
			     "Supported `feed` types: normal, continuous, live, longpoll, "
			     "eventsource");
}

static bool take_times(struct request *r, struct changes *op, struct problem *p)
{
	struct slice text;
	uint64_t heartbeat = 0;
	uint64_t timeout = CHANGES_TIMEOUT_MS;
	bool beats = request_parameter(r, "heartbeat", &text) && !slice_is(text, "false");
	if (beats && slice_is(text, "true"))
		heartbeat = CHANGES_TIMEOUT_MS;
	else if (beats && !couch_number(r, "heartbeat", &heartbeat, p))
		return false;
	if (beats && heartbeat == 0)
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "The heartbeat value should be a positive integer (in "
				     "milliseconds).");
	if (!couch_number(r, "timeout", &timeout, p))
		return false;
	if (beats && heartbeat < CHANGES_HEARTBEAT_MIN_MS)
		heartbeat = CHANGES_HEARTBEAT_MIN_MS;
	op->heartbeat_ms = (int64_t)heartbeat;
	op->timeout_ms =
	    (int64_t)(timeout < CHANGES_TIMEOUT_MS ? timeout : (uint64_t)CHANGES_TIMEOUT_MS);
	return true;
}

bool changes_take_place(struct request *r, struct changes *op, struct problem *p)
{
	return take_since(r, op, p) && take_feed(r, op, p) && take_times(r, op, p);
}

static bool take_ids(struct turn *t, struct request *r, struct slice body, struct changes *op,
		     struct problem *p)
{
	struct slice value = value_member(body, slice_text("doc_ids"));
	uint32_t max = t->gw->options.limits.batch_items_max;
	if (value.len == 0 && !native_json_parameter(t, r, "doc_ids", &value, p))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (value.len == 0 || head.type != MP_ARRAY)
		return couch_problem(p, COUCH_IDS_NOT_LIST, "");
	max = max < LIMIT_CHANGES ? max : LIMIT_CHANGES;
	if (head.count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
	op->ids = arena_alloc(&r->arena, (head.count + 1) * sizeof *op->ids);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token id = mp_read(&reader);
		if (id.type != MP_STR)
			return couch_problem(p, COUCH_ID_NOT_STRING, "");
		if (document_id_valid(id.bytes)) /* else there is no such document */
			op->ids[op->ids_count++] = id.bytes;
	}
	op->filter = FILTER_DOC_IDS;
	return true;
}

static bool take_selector(struct turn *t, struct request *r, struct slice body, struct changes *op,
			  struct problem *p)
{
	struct slice value = value_member(body, slice_text("selector"));
	struct mp_reader reader = mp_reader_of(value);
	struct query_error error = {0};
	struct buf *filter = &t->gw->scratch;
	if (value.len == 0 || mp_read(&reader).type != MP_MAP)
		return couch_problem(p, COUCH_SELECTOR_NOT_OBJECT, "");
	buf_clear(filter);
	mp_write_map(filter, 1);
	mp_write_text(filter, "$mango");
	buf_append_slice(filter, value);
	op->selector = query_compile(arena_copy(&r->arena, buf_slice(filter)), &r->arena, &error);
	op->filter = FILTER_SELECTOR;
	return op->selector || mango_refuse(&error, p);
}

static bool take_filter(struct turn *t, struct request *r, struct changes *op, struct problem *p)
{
	struct slice body = {0};
	struct slice name;
	if (r->method == HTTP_POST && r->http->body.len > 0 && !native_body(t, r, &body, p))
		return false;
	if (!request_parameter(r, "filter", &name) || name.len == 0)
		return true;
	if (slice_is(name, "_doc_ids"))
		return take_ids(t, r, body, op, p);
	if (slice_is(name, "_selector"))
		return take_selector(t, r, body, op, p);
	if (slice_is(name, "_design")) {
		op->filter = FILTER_DESIGN;
		return true;
	}
	struct slice view;
	if (!slice_is(name, "_view"))
		return changes_function_take(t, r, name, false, p);
	if (!request_parameter(r, "view", &view) || view.len == 0)
		return couch_problem(p, COUCH_BAD_REQUEST,
				     "`view` filter parameter is not provided.");
	return changes_function_take(t, r, view, true, p);
}

static bool take_form(struct request *r, struct changes *op, struct problem *p)
{
	struct slice style;
	op->descending = request_flag(r, "descending");
	op->include_docs = request_flag(r, "include_docs");
	op->conflicts = request_flag(r, "conflicts");
	op->seq_interval = 1;
	op->limited = request_parameter(r, "limit", &style);
	if (!couch_number(r, "limit", &op->left, p) ||
	    !couch_number(r, "seq_interval", &op->seq_interval, p))
		return false;
	if (op->limited && op->left == 0) /* as CouchDB has it */
		op->left = 1;
	op->all_leaves = request_parameter(r, "style", &style) && slice_is(style, "all_docs");
	return true;
}

void couch_changes(struct turn *t, struct request *r)
{
	struct changes *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem = {0};
	op->gw = t->gw;
	r->op = op;
	if (take_form(r, op, &problem) && changes_take_place(r, op, &problem) &&
	    take_filter(t, r, op, &problem)) {
		op->data = op->include_docs && request_flag(r, "attachments");
		couch_find(t, r, changes_go);
	} else {
		answer_problem(t, r, &problem);
	}
}
