/* _all_docs. A range is one list over all shards, merged as any other; keys are read one by one, so
 * that deletions are told of, too. Ids compare as bytes. */
#include <inttypes.h>
#include <stdio.h>

#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/couch/attachments.h"
#include "gateway/couch/conflicts.h"
#include "gateway/list.h"
#include "gateway/routes.h"

struct all_docs {
	struct list_view view; /* first: the list's hooks lead back here */
	struct list_params params;
	struct couch_counts counts;
	struct slice first; /* of the range, in the order of the list; empty: open */
	struct slice last;
	bool inclusive;
	bool descending;
	bool include_docs;
	bool conflicts;
	bool data; /* attachments with theirs */
	bool update_seq;
	bool limited;
	bool ranged;
	bool none;    /* no id lies in the range */
	bool single;  /* of one key */
	bool designs; /* _design_docs */
	uint64_t taken;
	uint64_t conflicted; /* of the rows */
	uint64_t limit;
	uint64_t skip;
	struct arena *arena; /* the request's */
	/* keys */
	struct slice *keys;
	uint32_t keys_count;
	struct msg_doc_read *reads;
	struct slice *rows; /* printed */
	uint64_t bytes;     /* of them */
	uint32_t left;
};

/* ---- printing ---- */

static void print_row(const struct couch_document *d, bool include_docs, struct buf *out)
{
	buf_append_text(out, "{\"id\":");
	json_string(d->id, out);
	buf_append_text(out, ",\"key\":");
	json_string(d->id, out);
	buf_append_text(out, ",\"value\":{\"rev\":");
	json_revision(&d->revision, out);
	buf_append_text(out, d->deleted ? ",\"deleted\":true}" : "}");
	if (include_docs) {
		buf_append_text(out, ",\"doc\":");
		if (d->deleted || !couch_document_print(d, out))
			buf_append_text(out, "null");
	}
	buf_append_byte(out, '}');
}

static void answer_rows(struct turn *t, struct request *r, const struct all_docs *op,
			struct slice rows)
{
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	reply_conflicts(r, reply, op->conflicted);
	buf_append_text(out, "{\"total_rows\":");
	/* how many stand before a key is known to nobody without counting them; nor how many design
	 * documents there are that are not listed */
	if (op->designs && (op->keys || op->ranged || op->limited || op->skip > 0))
		buf_append_text(out, "null");
	else
		buf_printf(out, "%" PRIu64, op->designs ? op->taken : op->counts.documents);
	buf_append_text(out, ",\"offset\":");
	if (op->keys || (op->first.len > 0 && !op->designs) || (op->designs && op->ranged))
		buf_append_text(out, "null");
	else
		buf_printf(out, "%" PRIu64, op->skip);
	if (op->update_seq) {
		buf_append_text(out, ",\"update_seq\":");
		json_string(op->counts.sequence, out);
	}
	buf_append_text(out, ",\"rows\":[");
	buf_append_slice(out, rows);
	buf_append_text(out, "]}");
	couch_reply_send(t, r, reply);
}

/* ---- a range ---- */

static enum list_taken take_row(struct list_view *view, const struct row *row, struct buf *out)
{
	struct all_docs *op = (struct all_docs *)view;
	int sign = op->descending ? -1 : 1;
	if (!couch_is_shown(row->id))
		return LIST_PASSED;
	if (op->first.len > 0 && sign * slice_compare(row->id, op->first) < 0)
		return LIST_PASSED;
	int end = op->last.len > 0 ? sign * slice_compare(row->id, op->last) : -1;
	if (end > 0 || (end == 0 && !op->inclusive))
		return LIST_ENDED;
	if (!out)
		return LIST_TAKEN;
	struct couch_document d = {
	    .id = row->id, .revision = row->revision, .body = row->body, .data = op->data};
	if (op->conflicts && row->others.len > 0)
		couch_conflicts_take(op->arena, row->others, &d);
	op->taken++;
	op->conflicted += row->conflicts > 0;
	print_row(&d, op->include_docs, out);
	return LIST_TAKEN;
}

static void range_answer(struct turn *t, struct request *r, struct list_view *view,
			 struct slice rows)
{
	answer_rows(t, r, (const struct all_docs *)view, rows);
}

/* A list goes on behind an id: here behind the greatest text before this one, which is no id, as no
 * UTF-8 has a byte 0xff. */
static struct slice before_key(struct request *r, struct slice key)
{
	size_t len = key.len < LIMIT_ID_BYTES - 1 ? key.len : LIMIT_ID_BYTES - 1;
	uint8_t *text = arena_alloc(&r->arena, len + 1);
	memcpy(text, key.data, len);
	if (text[len - 1] == 0)
		return slice_of(text, len - 1);
	text[len - 1]--;
	text[len] = 0xff;
	return slice_of(text, len + 1);
}

/* Of a list that begins with the greatest: none that is greater than the first. */
static struct slice up_to(struct turn *t, struct request *r, struct slice first)
{
	struct buf *out = &t->gw->scratch;
	buf_clear(out);
	mp_write_map(out, 1);
	mp_write_text(out, "id");
	mp_write_map(out, 1);
	mp_write_text(out, "$lte");
	mp_write_str(out, first);
	return arena_copy(&r->arena, buf_slice(out));
}

static void range_go(struct turn *t, struct request *r, struct all_docs *op)
{
	struct list_params *p = &op->params;
	p->skip = op->skip;
	p->limit = op->single && !op->limited ? 1 : op->limit;
	p->want_others = op->conflicts;
	p->view = &op->view;
	op->view = (struct list_view){.row = take_row, .answer = range_answer};
	if (!op->include_docs) {
		p->fields.texts = arena_alloc(&r->arena, sizeof *p->fields.texts);
		p->fields.texts[0] = slice_text("id");
		p->fields.count = 1;
	}
	if (op->first.len > 0 && op->descending)
		p->filter = up_to(t, r, op->first);
	else if (op->first.len > 0)
		p->after.id = before_key(r, op->first);
	if (op->none || (op->limited && op->limit == 0))
		answer_rows(t, r, op, slice_of(NULL, 0));
	else
		list_start(t, r, p);
}

/* ---- keys ---- */

static void keys_answer(struct turn *t, struct request *r, const struct all_docs *op)
{
	struct buf rows = {0};
	uint64_t end = op->limited && op->limit < op->keys_count ? op->limit : op->keys_count;
	for (uint64_t i = 0; i < end && op->skip + i < op->keys_count; i++) {
		uint64_t k = op->skip + i;
		if (rows.len > 0)
			buf_append_byte(&rows, ',');
		buf_append_slice(&rows, op->rows[op->descending ? op->keys_count - 1 - k : k]);
	}
	answer_rows(t, r, op, buf_slice(&rows));
	buf_close(&rows);
}

/* It is not left out by `skip` and `limit`. */
static bool key_is_listed(const struct all_docs *op, uint32_t index)
{
	uint64_t place = op->descending ? op->keys_count - 1 - index : index;
	return place >= op->skip && (!op->limited || place - op->skip < op->limit);
}

/* The printed row. False: the request is answered. */
static bool keep_row(struct turn *t, struct request *r, struct all_docs *op, uint32_t index,
		     struct slice row)
{
	uint32_t most = t->gw->options.limits.list_bytes_max;
	struct problem problem;
	if (!key_is_listed(op, index))
		return true;
	op->bytes += row.len;
	if (op->bytes > most) {
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", most, op->bytes);
		answer_problem(t, r, &problem);
		return false;
	}
	op->rows[index] = arena_copy(&r->arena, row);
	return true;
}

static void key_read(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct all_docs *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct buf *out = &t->gw->scratch;
	if (!ack || (status != STATUS_NOT_FOUND && !status_is_success(status))) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	buf_clear(out);
	if (ack->revision.generation > 0 && couch_is_shown(op->keys[index])) {
		struct couch_document d = {.id = op->keys[index],
					   .revision = ack->revision,
					   .deleted = ack->deleted,
					   .body = ack->body,
					   .conflicts = ack->leaves,
					   .conflicts_count = ack->leaves_count,
					   .data = op->data};
		print_row(&d, op->include_docs, out);
		op->conflicted += ack->conflicts > 0 && key_is_listed(op, index);
	} else {
		buf_append_text(out, "{\"key\":");
		json_string(op->keys[index], out);
		buf_append_text(out, ",\"error\":\"not_found\"}");
	}
	if (keep_row(t, r, op, index, buf_slice(out)) && --op->left == 0)
		keys_answer(t, r, op);
}

static void keys_go(struct turn *t, struct request *r, struct all_docs *op,
		    const struct map_collection *c)
{
	op->reads = arena_alloc(&r->arena, (op->keys_count + 1) * sizeof *op->reads);
	op->rows = arena_alloc(&r->arena, (op->keys_count + 1) * sizeof *op->rows);
	op->left = op->keys_count + 1;
	for (uint32_t i = 0; i < op->keys_count && !r->finished; i++) {
		const struct map_shard *s = map_collection_shard(c, op->keys[i]);
		op->reads[i].id = op->keys[i];
		op->reads[i].want_deleted = op->conflicts; /* `leaves` are the other live ones */
		op->reads[i].shard = s->shard.id;
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = s->shard.id,
					 .type = MSG_doc_read,
					 .answer = MSG_doc_read_ack,
					 .message = &op->reads[i],
					 .repeatable = true,
					 .index = i,
					 .done = key_read};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
	if (!r->finished && --op->left == 0)
		keys_answer(t, r, op);
}

/* ---- parameters ---- */

/* JSON text of the query string, or a member of the body. */
bool couch_take_value(struct turn *t, struct request *r, struct slice body, const char *name,
		      struct slice *value, struct problem *p)
{
	*value = value_member(body, slice_text(name));
	return value->len > 0 || native_json_parameter(t, r, name, value, p);
}

bool couch_take_any_key(struct turn *t, struct request *r, struct slice body, const char *name,
			struct slice *value, struct problem *p)
{
	struct slice text;
	if (!couch_take_value(t, r, body, name, value, p))
		return false;
	if (value->len == 0 && request_parameter(r, name, &text) && slice_is(text, "null"))
		*value = slice_text("\xc0");
	return true;
}

/* Ids are strings. null comes before them all, as the empty one does. */
bool couch_take_key(struct turn *t, struct request *r, struct slice body, const char *name,
		    struct slice *key, struct problem *p)
{
	struct slice value;
	if (!couch_take_any_key(t, r, body, name, &value, p))
		return false;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (value.len == 0)
		return true;
	if (token.type != MP_STR && token.type != MP_NIL)
		return couch_problem(p, COUCH_BAD_PARAMETER, "Keys of documents are strings.");
	*key = token.type == MP_STR ? token.bytes : slice_text("");
	return true;
}

static bool refuse_flag(struct slice given, struct problem *p)
{
	char text[PLACE_BYTES];
	snprintf(text, sizeof text, "Invalid boolean parameter: \"%.*s\"",
		 (int)(given.len < 40 ? given.len : 40), given.len ? (const char *)given.data : "");
	return couch_problem(p, COUCH_BAD_PARAMETER, text);
}

bool couch_take_flag(struct request *r, struct slice body, const char *name, bool *value,
		     struct problem *p)
{
	struct slice text;
	struct slice member = value_member(body, slice_text(name));
	struct mp_reader reader = mp_reader_of(member);
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_BOOL) {
		*value = token.flag;
		return true;
	}
	if (member.len > 0 && token.type != MP_STR)
		return couch_problem(p, COUCH_BAD_PARAMETER, "Invalid boolean parameter");
	if (member.len > 0)
		text = token.bytes;
	else if (!request_parameter(r, name, &text))
		return true;
	*value = slice_is(text, "true");
	return *value || slice_is(text, "false") || refuse_flag(text, p);
}

bool couch_take_count(struct request *r, struct slice body, const char *name, uint64_t *value,
		      struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value_member(body, slice_text(name)));
	struct mp_token token = mp_read(&reader);
	if (token.type == MP_UINT)
		*value = token.u64;
	return token.type == MP_UINT || couch_number(r, name, value, p);
}

/* Whatever range was asked for. */
static void keep_to_designs(struct all_docs *op)
{
	const struct slice low = slice_text("_design/");
	const struct slice high = slice_text("_design0");
	struct slice *least = op->descending ? &op->last : &op->first;
	struct slice *greatest = op->descending ? &op->first : &op->last;
	op->designs = true;
	if (!least->data || slice_compare(*least, low) < 0)
		*least = low;
	if (!greatest->data || slice_compare(*greatest, high) > 0)
		*greatest = high;
}

static bool take_range(struct turn *t, struct request *r, struct slice body, struct all_docs *op,
		       struct problem *p)
{
	struct slice key = {0};
	if (!couch_take_key(t, r, body, "startkey", &op->first, p) ||
	    !couch_take_key(t, r, body, "start_key", &op->first, p) ||
	    !couch_take_key(t, r, body, "endkey", &op->last, p) ||
	    !couch_take_key(t, r, body, "end_key", &op->last, p) ||
	    !couch_take_key(t, r, body, "key", &key, p))
		return false;
	op->inclusive = true;
	if (!couch_take_flag(r, body, "inclusive_end", &op->inclusive, p))
		return false;
	/* what was left out has no place; no id is as small as "" */
	struct slice greatest = key.data ? key : op->descending ? op->first : op->last;
	op->none = greatest.data && greatest.len == 0;
	op->ranged = op->first.data || op->last.data || key.data;
	if (key.len > 0) {
		op->first = op->last = key;
		op->inclusive = true;
		op->single = true;
	}
	if (strcmp(r->route->pattern, "/{db}/_design_docs") == 0)
		keep_to_designs(op);
	return true;
}

static bool take_keys(struct turn *t, struct request *r, struct slice body, struct all_docs *op,
		      struct problem *p)
{
	struct slice value;
	uint32_t max = t->gw->options.limits.batch_items_max;
	if (!couch_take_value(t, r, body, "keys", &value, p))
		return false;
	if (value.len == 0)
		return true;
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY)
		return couch_problem(p, COUCH_KEYS_NOT_LIST, "");
	if (op->ranged)
		return couch_problem(p, COUCH_KEYS_AND_RANGE, "");
	if (head.count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
	op->keys = arena_alloc(&r->arena, (head.count + 1) * sizeof *op->keys);
	for (uint32_t i = 0; i < head.count; i++) {
		struct mp_token key = mp_read(&reader);
		if (key.type != MP_STR || !document_id_valid(key.bytes))
			return couch_problem(p, COUCH_BAD_PARAMETER,
					     "Keys of documents are strings.");
		op->keys[op->keys_count++] = key.bytes;
	}
	return true;
}

static bool take_flags(struct request *r, struct slice body, struct all_docs *op, struct problem *p)
{
	if (!couch_take_flag(r, body, "descending", &op->descending, p) ||
	    !couch_take_flag(r, body, "include_docs", &op->include_docs, p) ||
	    !couch_take_flag(r, body, "conflicts", &op->conflicts, p) ||
	    !couch_take_flag(r, body, "attachments", &op->data, p) ||
	    !couch_take_flag(r, body, "update_seq", &op->update_seq, p))
		return false;
	op->conflicts &= op->include_docs;
	op->data &= op->include_docs;
	return true;
}

static bool take_all(struct turn *t, struct request *r, struct all_docs *op, struct problem *p)
{
	struct slice body = {0};
	struct slice text;
	if (r->method == HTTP_POST && r->http->body.len > 0 && !native_body(t, r, &body, p))
		return false;
	if (!take_flags(r, body, op, p))
		return false;
	op->limited =
	    request_parameter(r, "limit", &text) || value_member(body, slice_text("limit")).len > 0;
	if (!couch_take_count(r, body, "limit", &op->limit, p) ||
	    !couch_take_count(r, body, "skip", &op->skip, p) || !take_range(t, r, body, op, p) ||
	    !take_keys(t, r, body, op, p))
		return false;
	if (op->skip > LIST_SKIP_MAX)
		return couch_problem(p, COUCH_BAD_PARAMETER, "skip is larger than the limit.");
	return !op->descending || op->keys || list_order_descending(r, &op->params);
}

static void have_counts(struct turn *t, struct request *r, const struct couch_counts *counts)
{
	struct all_docs *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	op->counts = *counts;
	if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (op->keys)
		keys_go(t, r, op, c);
	else
		range_go(t, r, op);
}

static void all_docs_go(struct turn *t, struct request *r, struct map_collection *c)
{
	couch_count(t, r, c, have_counts);
}

void couch_all_docs(struct turn *t, struct request *r)
{
	struct all_docs *op = arena_alloc(&r->arena, sizeof *op);
	struct problem problem;
	op->arena = &r->arena;
	r->op = op;
	if (take_all(t, r, op, &problem))
		couch_find(t, r, all_docs_go);
	else
		answer_problem(t, r, &problem);
}
