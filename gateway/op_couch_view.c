/* Views. The leads of all shards are asked for their rows, which are merged in their order; reduce
 * functions see the rows as they come, so that nothing is kept but the group at hand. A reduce
 * function of the design document's own runs once, over all groups. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/collation.h"
#include "common/doc/script_answer.h"
#include "common/doc/value.h"
#include "common/doc/view_script.h"
#include "gateway/couch_view.h"
#include "gateway/policy_script.h"
#include "gateway/routes.h"

enum { VIEW_ROWS_ASKED = 1000 };

struct view_shard {
	struct msg_view_query query;
	struct view_range *ranges; /* those left; the first may begin later */
	struct arena page;         /* the rows below */
	struct view_row *rows;
	uint32_t rows_count;
	uint32_t at;
	uint32_t passed; /* ranges before the first of those left */
	uint64_t total;
	bool more;
	bool asked;
};

struct view_op {
	struct view_params params;
	struct msg_doc_read read; /* of the design document */
	struct slice map;
	struct slice reduce_text;
	enum reduce_kind kind;
	struct slice sequence;
	struct view_shard *shards;
	uint32_t shards_count;
	uint64_t skip; /* still */
	struct view_lines lines;
	/* the group at hand */
	struct reduce reduce;
	struct buf group; /* MessagePack of its key */
	uint32_t range;
	bool in_group;
	struct buf keys; /* SCRIPT: of its rows */
	struct buf values;
	uint32_t grouped;  /* SCRIPT: rows in it */
	struct buf groups; /* SCRIPT: all before */
	struct msg_doc_read *reads;
	uint32_t left;
};

static void view_close(struct request *r)
{
	struct view_op *op = r->op;
	for (uint32_t i = 0; i < op->shards_count; i++)
		arena_close(&op->shards[i].page);
	reduce_close(&op->reduce);
	buf_close(&op->group);
	buf_close(&op->keys);
	buf_close(&op->values);
	buf_close(&op->groups);
}

/* ---- the answer ---- */

static void print_line(const struct view_op *op, const struct view_line *line, struct buf *out)
{
	bool reduces = op->kind != REDUCE_NONE;
	buf_append_byte(out, '{');
	if (!reduces) {
		buf_append_text(out, "\"id\":");
		json_string(line->id, out);
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"key\":");
	if (!json_from_msgpack(line->key, out))
		buf_append_text(out, "null");
	buf_append_text(out, ",\"value\":");
	if (reduces && op->kind != REDUCE_SCRIPT)
		buf_append_slice(out, line->value);
	else if (!json_from_msgpack(line->value, out))
		buf_append_text(out, "null");
	if (line->doc.len > 0) {
		buf_append_text(out, ",\"doc\":");
		buf_append_slice(out, line->doc);
	}
	buf_append_byte(out, '}');
}

static void view_answer(struct turn *t, struct request *r)
{
	const struct view_op *op = r->op;
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	uint64_t total = 0;
	for (uint32_t i = 0; i < op->shards_count; i++)
		total += op->shards[i].total;
	buf_append_byte(out, '{');
	if (op->kind == REDUCE_NONE && op->params.ranged)
		buf_printf(out, "\"total_rows\":%" PRIu64 ",\"offset\":null,", total);
	else if (op->kind == REDUCE_NONE)
		buf_printf(out, "\"total_rows\":%" PRIu64 ",\"offset\":%" PRIu64 ",", total,
			   op->params.skip < total ? op->params.skip : total);
	if (op->params.update_seq) {
		buf_append_text(out, "\"update_seq\":");
		json_string(op->sequence, out);
		buf_append_byte(out, ',');
	}
	buf_append_text(out, "\"rows\":[");
	for (uint32_t i = 0; i < op->lines.count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		print_line(op, &op->lines.list[i], out);
	}
	buf_append_text(out, "]}");
	reply_send(t, r, reply);
}

static void too_large(struct turn *t, struct request *r, size_t bytes)
{
	struct problem problem;
	problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes",
		      t->gw->options.limits.list_bytes_max, bytes);
	answer_problem(t, r, &problem);
}

/* ---- documents of the rows ---- */

static void doc_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct view_op *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct view_line *line = &op->lines.list[index];
	struct buf *out = &t->gw->scratch;
	if (!ack || (status != STATUS_NOT_FOUND && !status_is_success(status))) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	buf_clear(out);
	struct couch_document d = {
	    .id = op->reads[index].id, .revision = ack->revision, .body = ack->body};
	if (op->params.conflicts && ack->leaves_count > 1) {
		d.conflicts = ack->leaves + 1;
		d.conflicts_count = ack->leaves_count - 1;
	}
	if (status == STATUS_NOT_FOUND || !couch_document_print(&d, out)) {
		buf_clear(out);
		buf_append_text(out, "null");
	}
	line->doc = arena_copy(&r->arena, buf_slice(out));
	op->lines.bytes += line->doc.len;
	if (op->lines.bytes > t->gw->options.limits.list_bytes_max)
		too_large(t, r, op->lines.bytes);
	else if (--op->left == 0)
		view_answer(t, r);
}

/* {"_id": another document's}, and {"_rev": a revision} */
static void fill_read(struct request *r, const struct view_op *op, const struct view_line *line,
		      struct msg_doc_read *read)
{
	struct mp_reader id = mp_reader_of(value_member(line->value, slice_text("_id")));
	struct mp_reader rev = mp_reader_of(value_member(line->value, slice_text("_rev")));
	struct mp_token id_token = mp_read(&id);
	struct mp_token rev_token = mp_read(&rev);
	struct problem ignored;
	read->id = line->id;
	read->want_leaves = op->params.conflicts;
	if (id_token.type == MP_STR && couch_id_check(id_token.bytes, &ignored))
		read->id = id_token.bytes;
	if (rev_token.type == MP_STR &&
	    !couch_revision(r, rev_token.bytes, &read->revision, &ignored))
		read->revision = (struct revision){0};
}

static void documents_go(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	op->left = op->lines.count + 1;
	op->reads = arena_alloc(&r->arena, (op->lines.count + 1) * sizeof *op->reads);
	for (uint32_t i = 0; i < op->lines.count && !r->finished; i++) {
		struct msg_doc_read *read = &op->reads[i];
		fill_read(r, op, &op->lines.list[i], read);
		read->shard = map_collection_shard(c, read->id)->shard.id;
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = read->shard,
					 .type = MSG_doc_read,
					 .answer = MSG_doc_read_ack,
					 .message = read,
					 .repeatable = true,
					 .index = i,
					 .done = doc_came};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
	if (!r->finished && --op->left == 0)
		view_answer(t, r);
}

/* ---- reduce functions of the design document's own ---- */

static void reduced(struct turn *t, struct request *r, const void *context,
		    const struct script_end *end)
{
	struct view_op *op = r->op;
	struct mp_reader reader = mp_reader_of(end->output);
	struct mp_token head = mp_read(&reader);
	struct problem problem;
	char text[PLACE_BYTES];
	(void)context;
	if (end->status == SCRIPT_OK && head.type == MP_ARRAY && head.count == op->lines.count) {
		for (uint32_t i = 0; i < op->lines.count; i++)
			op->lines.list[i].value = arena_copy(&r->arena, mp_value(&reader));
		view_answer(t, r);
		return;
	}
	bool said = end->status != SCRIPT_OK || head.type == MP_STR;
	struct slice why = head.type == MP_STR ? head.bytes
			   : said              ? script_text(end->output)
					       : slice_of(NULL, 0);
	snprintf(text, sizeof text, "%.*s", (int)(why.len < 120 ? why.len : 120),
		 why.len ? (const char *)why.data : "");
	couch_problem(&problem, COUCH_REDUCE_FAILED, text);
	answer_problem(t, r, &problem);
}

static void run_reduce(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	struct buf arguments = {0};
	if (op->lines.count == 0) {
		view_answer(t, r);
		return;
	}
	mp_write_array(&arguments, 2);
	mp_write_str(&arguments, op->reduce_text);
	mp_write_array(&arguments, op->lines.count);
	buf_append_slice(&arguments, buf_slice(&op->groups));
	struct script_asked asked = {.source = slice_text(view_reduce_source),
				     .arguments = buf_slice(&arguments),
				     .done = reduced};
	if (!script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&arguments);
}

static void add_to_script(struct view_op *op, const struct view_row *row)
{
	mp_write_array(&op->keys, 2);
	buf_append_slice(&op->keys, row->key);
	mp_write_str(&op->keys, row->id);
	buf_append_slice(&op->values, row->value);
	op->grouped++;
	op->lines.bytes += row->key.len + row->id.len + row->value.len;
}

static void end_script_group(struct view_op *op)
{
	mp_write_array(&op->groups, 2);
	mp_write_array(&op->groups, op->grouped);
	buf_append_slice(&op->groups, buf_slice(&op->keys));
	mp_write_array(&op->groups, op->grouped);
	buf_append_slice(&op->groups, buf_slice(&op->values));
}

/* ---- rows ---- */

static bool is_full(const struct view_op *op)
{
	return op->lines.count >= op->params.limit;
}

static void add_line(struct request *r, struct view_op *op, const struct view_line *from)
{
	if (op->skip > 0) {
		op->skip--;
		return;
	}
	struct view_line *line = view_lines_add(r, &op->lines);
	line->id = arena_copy(&r->arena, from->id);
	line->key = arena_copy(&r->arena, from->key);
	line->value = arena_copy(&r->arena, from->value);
	op->lines.bytes += line->id.len + line->key.len + line->value.len + sizeof *line;
}

static void end_group(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	struct view_line line = {.key = buf_slice(&op->group)};
	struct buf *out = &t->gw->scratch;
	if (!op->in_group)
		return;
	buf_clear(out);
	if (op->kind == REDUCE_SCRIPT && op->skip == 0)
		end_script_group(op);
	else if (op->kind != REDUCE_SCRIPT)
		reduce_print(&op->reduce, out);
	line.value = buf_slice(out);
	add_line(r, op, &line);
	op->in_group = false;
}

/* The key, or the first elements of one that is an array; without groups nothing. */
static void write_group(const struct view_op *op, struct slice key, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(key);
	struct mp_token head = mp_read(&reader);
	if (!op->params.grouped) {
		mp_write_nil(out);
	} else if (head.type == MP_ARRAY && head.count > op->params.group_level) {
		mp_write_array(out, (uint32_t)op->params.group_level);
		for (uint64_t i = 0; i < op->params.group_level; i++)
			buf_append_slice(out, mp_value(&reader));
	} else {
		buf_append_slice(out, key);
	}
}

static bool reduce_row(struct turn *t, struct request *r, const struct view_row *row,
		       uint32_t range)
{
	struct view_op *op = r->op;
	struct buf group = {0};
	write_group(op, row->key, &group);
	bool same = op->in_group && (range == op->range || !op->params.grouped) &&
		    collation_compare(buf_slice(&group), buf_slice(&op->group)) == 0;
	if (!same) {
		end_group(t, r);
		reduce_begin(&op->reduce, op->kind);
		buf_clear(&op->group);
		buf_append_slice(&op->group, buf_slice(&group));
		buf_clear(&op->keys);
		buf_clear(&op->values);
		op->grouped = 0;
		op->in_group = !is_full(op);
		op->range = range;
	}
	buf_close(&group);
	if (op->kind != REDUCE_SCRIPT)
		return reduce_add(&op->reduce, row->key, row->value);
	add_to_script(op, row);
	return true;
}

/* Which comes first? */
static int compare_rows(const struct view_op *op, const struct view_shard *a,
			const struct view_shard *b)
{
	const struct view_row *x = &a->rows[a->at];
	const struct view_row *y = &b->rows[b->at];
	uint64_t x_range = a->passed + x->range;
	uint64_t y_range = b->passed + y->range;
	if (x_range != y_range)
		return x_range < y_range ? -1 : 1;
	int order = slice_compare(x->place, y->place);
	return op->params.descending ? -order : order;
}

static struct view_shard *first_shard(const struct view_op *op)
{
	struct view_shard *best = NULL;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct view_shard *s = &op->shards[i];
		if (s->at < s->rows_count && (!best || compare_rows(op, s, best) < 0))
			best = s;
	}
	return best;
}

/* ---- pages ---- */

static call_done page_came;

static bool ask_page(struct turn *t, struct request *r, uint32_t index)
{
	struct view_op *op = r->op;
	struct view_shard *s = &op->shards[index];
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = s->query.shard,
				 .type = MSG_view_query,
				 .answer = MSG_view_query_ack,
				 .message = &s->query,
				 .repeatable = true,
				 .index = index,
				 .done = page_came};
	uint64_t left = op->params.limit - op->lines.count;
	bool all = op->kind != REDUCE_NONE || op->params.limit > LIMIT_ROWS ||
		   left + op->skip > VIEW_ROWS_ASKED;
	s->query.limit = all ? VIEW_ROWS_ASKED : left + op->skip;
	s->asked = true;
	return call_open(t, r, &spec);
}

/* True if rows must come before the merge can go on. */
static bool blocked(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	bool waits = false;
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct view_shard *s = &op->shards[i];
		if (!s->asked && (s->at < s->rows_count || !s->more))
			continue;
		waits = true;
		if (!s->asked && !ask_page(t, r, i)) {
			answer_status(t, r, STATUS_OVERLOADED, "");
			return true;
		}
	}
	return waits;
}

static void view_end(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	if (!is_full(op))
		end_group(t, r);
	if (op->kind == REDUCE_SCRIPT)
		run_reduce(t, r);
	else if (op->params.include_docs)
		documents_go(t, r);
	else
		view_answer(t, r);
}

static bool waits(const struct view_op *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (op->shards[i].asked)
			return true;
	return false;
}

static void view_advance(struct turn *t, struct request *r)
{
	struct view_op *op = r->op;
	if (waits(op))
		return;
	while (!is_full(op)) {
		if (blocked(t, r))
			return;
		struct view_shard *s = first_shard(op);
		if (!s)
			break;
		const struct view_row *row = &s->rows[s->at++];
		struct view_line line = {.id = row->id, .key = row->key, .value = row->value};
		if (op->kind == REDUCE_NONE) {
			add_line(r, op, &line);
		} else if (!reduce_row(t, r, row, (uint32_t)(s->passed + row->range))) {
			couch_answer_error(t, r, COUCH_BAD_VALUE);
			return;
		}
		if (op->lines.bytes > t->gw->options.limits.list_bytes_max) {
			too_large(t, r, op->lines.bytes);
			return;
		}
	}
	view_end(t, r);
}

/* The next page begins behind the last row of this one. */
static void move_ranges(struct request *r, struct view_op *op, struct view_shard *s)
{
	const struct view_row *last = &s->rows[s->rows_count - 1];
	uint32_t done = (uint32_t)last->range;
	s->query.ranges += done;
	s->query.ranges_count -= done;
	struct view_range *range = &s->query.ranges[0];
	if (op->params.descending) {
		range->end = arena_copy(&r->arena, last->place);
		return;
	}
	uint8_t *behind = arena_alloc(&r->arena, last->place.len + 1);
	memcpy(behind, last->place.data, last->place.len);
	behind[last->place.len] = 0;
	range->first = slice_of(behind, last->place.len + 1);
}

static void take_page(struct request *r, struct view_op *op, struct view_shard *s,
		      const struct msg_view_query_ack *ack)
{
	arena_reset(&s->page);
	s->passed = (uint32_t)(s->query.ranges - s->ranges);
	s->at = 0;
	s->rows_count = ack->rows_count;
	s->rows = arena_alloc(&s->page, (ack->rows_count + 1) * sizeof *s->rows);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		const struct view_row *from = &ack->rows[i];
		s->rows[i] = (struct view_row){
		    from->range, arena_copy(&s->page, from->place), arena_copy(&s->page, from->id),
		    arena_copy(&s->page, from->key), arena_copy(&s->page, from->value)};
	}
	s->total = ack->total;
	s->more = ack->more && ack->rows_count > 0 &&
		  ack->rows[ack->rows_count - 1].range < s->query.ranges_count;
	if (s->more)
		move_ranges(r, op, s);
}

static void view_refused(struct turn *t, struct request *r, enum status status,
			 const struct msg_view_query_ack *ack)
{
	struct problem problem;
	char text[PLACE_BYTES];
	if (status != STATUS_BAD_FUNCTION || !ack) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	snprintf(text, sizeof text, "%.*s", (int)(ack->text.len < 120 ? ack->text.len : 120),
		 ack->text.len ? (const char *)ack->text.data : "");
	couch_problem(&problem, COUCH_COMPILATION, text);
	answer_problem(t, r, &problem);
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct view_op *op = r->op;
	struct view_shard *s = &op->shards[index];
	const struct msg_view_query_ack *ack = body;
	s->asked = false;
	if (!ack || status != STATUS_OK) {
		view_refused(t, r, status, ack);
		return;
	}
	take_page(r, op, s, ack);
	view_advance(t, r);
}

/* ---- beginning ---- */

static void fill_shard(struct request *r, struct view_op *op, struct view_shard *s, uint64_t shard,
		       struct slice signature)
{
	const struct view_params *p = &op->params;
	s->ranges = arena_alloc(&r->arena, (p->ranges_count + 1) * sizeof *s->ranges);
	memcpy(s->ranges, p->ranges, p->ranges_count * sizeof *s->ranges);
	s->more = true;
	s->query = (struct msg_view_query){
	    .shard = shard,
	    .signature = signature,
	    .map = op->map,
	    .update = p->update,
	    .ranges = s->ranges,
	    .ranges_count = p->ranges_count,
	    .descending = p->descending,
	    .no_values = op->kind == REDUCE_COUNT || op->kind == REDUCE_DISTINCT,
	};
}

static void view_begin(struct turn *t, struct request *r, struct view_op *op)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	uint8_t digest[16];
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	design_signature(op->map, digest);
	struct slice signature = arena_copy(&r->arena, slice_of(digest, sizeof digest));
	op->shards = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->shards);
	op->shards_count = c->shards_count;
	r->close = view_close;
	for (uint32_t i = 0; i < c->shards_count; i++)
		fill_shard(r, op, &op->shards[i], c->shards[i]->shard.id, signature);
	op->skip = op->params.skip;
	/* also for a limit of 0, which wants to know how many there are */
	if (!blocked(t, r))
		view_advance(t, r);
}

static void have_sequence(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	struct view_op *op = r->op;
	op->sequence = counts->sequence;
	view_begin(t, r, op);
}

static void design_came(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct view_op *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem = {0};
	(void)index;
	if (ack && ack->deleted) {
		couch_answer_error(t, r, COUCH_DELETED);
		return;
	}
	if (!ack || !status_is_success(status)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	struct slice design = arena_copy(&r->arena, ack->body);
	bool fine = design_view(design, r->part, &op->map, &op->reduce_text) ||
		    couch_problem(&problem, COUCH_NO_VIEW, "");
	if (fine && !reduce_kind(op->reduce_text, &op->kind))
		fine = couch_problem(&problem, COUCH_BAD_DESIGN, "");
	if (fine && !op->params.reduce)
		op->kind = REDUCE_NONE;
	if (!fine || !view_params_check(&op->params, op->kind != REDUCE_NONE, &problem))
		answer_problem(t, r, &problem);
	else if (op->params.update_seq && c)
		couch_count(t, r, c, have_sequence);
	else
		view_begin(t, r, op);
}

static void view_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct view_op *op = r->op;
	op->read.id = r->resource;
	if (!couch_read_send(t, r, c, &op->read, design_came))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

void couch_view(struct turn *t, struct request *r)
{
	struct view_op *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	r->op = op;
	if (view_params_take(t, r, &op->params, &problem))
		couch_find(t, r, view_go);
	else
		answer_problem(t, r, &problem);
}

struct view_line *view_lines_add(struct request *r, struct view_lines *lines)
{
	if (lines->count == lines->cap) {
		uint32_t cap = lines->cap ? 2 * lines->cap : 64;
		struct view_line *list = arena_alloc(&r->arena, cap * sizeof *list);
		if (lines->cap > 0)
			memcpy(list, lines->list, lines->cap * sizeof *list);
		lines->list = list;
		lines->cap = cap;
	}
	return &lines->list[lines->count++];
}
