#include "gateway/couch/validate.h"

#include "common/doc/function_script.h"
#include "common/doc/script_document.h"
#include "common/doc/value.h"
#include "gateway/contents.h"
#include "gateway/couch/auth.h"
#include "gateway/couch/function.h"
#include "gateway/couch/import.h"
#include "gateway/couch/rules.h"

enum {
	VALIDATE_RUN_BYTES = 1024 * 1024, /* of documents in one run, if there are several */
	VALIDATE_RUN_ITEMS = 100,
	VALIDATE_RUN_STEP = 4,        /* a run that failed is tried with so many times fewer */
	VALIDATE_STOPPED_MAX = 2,     /* documents that took too much, each by itself */
	VALIDATE_PATIENCE_MS = 30000, /* for all runs of a request */
	REASON_BYTES_MAX = 4096
};

struct validation {
	void *op; /* the caller's */
	request_step *done;
	struct validated *items;
	uint32_t count;
	struct slice texts;    /* of the functions */
	bool foreign;          /* one of them can't be run */
	struct slice security; /* empty: none */
	uint64_t old_bytes;
	uint32_t left; /* old documents without an answer yet */
	/* runs */
	uint32_t at;  /* the first item that is not judged */
	uint32_t run; /* items of the run under way, exempt ones between them not counted */
	uint32_t end; /* behind its last item */
	uint32_t most;
	uint32_t stopped; /* documents by themselves that took too much */
	int64_t until_ms;
};

static void finish(struct turn *t, struct request *r)
{
	struct validation *v = r->op;
	r->op = v->op;
	if (v->until_ms > 0)
		timers_set(&t->gw->timers, &r->deadline,
			   t->now_ms + t->gw->options.limits.deadline_ms);
	v->done(t, r);
}

/* ---- what a function sees ---- */

/* How many bytes a text of Base64 stands for. */
static uint64_t data_bytes(struct slice text)
{
	size_t padding = 0;
	while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=')
		padding++;
	return text.len / 4 * 3 - (text.len >= 4 ? padding : 0);
}

/* An attachment as it came: data is left out, its length told. */
static void write_attachment(struct slice value, struct buf *out)
{
	struct mp_reader data = mp_reader_of(value_member(value, slice_text("data")));
	struct mp_token text = mp_read(&data);
	if (text.type != MP_STR) {
		buf_append_slice(out, value);
		return;
	}
	struct slice type = value_member(value, slice_text("content_type"));
	mp_write_map(out, 2 + (type.len > 0));
	if (type.len > 0) {
		mp_write_text(out, "content_type");
		buf_append_slice(out, type);
	}
	mp_write_text(out, "length");
	mp_write_u64(out, data_bytes(text.bytes));
	mp_write_text(out, "stub");
	mp_write_bool(out, true);
}

static uint32_t write_attachments(struct slice attachments, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(attachments);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP || head.count == 0)
		return 0;
	mp_write_text(out, ATTACHMENTS_MEMBER);
	mp_write_map(out, head.count);
	for (uint32_t i = 0; i < head.count; i++) {
		mp_write_str(out, mp_read(&reader).bytes);
		write_attachment(mp_value(&reader), out);
	}
	return 1;
}

static uint32_t write_revisions(const struct validated *item, struct buf *out)
{
	const struct revision *revision = &item->document->revision;
	const struct import_item *history = &item->history;
	bool imported = item->document->imported;
	uint32_t count = imported ? history->hashes_count : 1;
	if (!imported && revision->generation == 0)
		return 0;
	mp_write_text(out, "_revisions");
	mp_write_map(out, 2);
	mp_write_text(out, "start");
	mp_write_u64(out, imported ? history->generation : revision->generation);
	mp_write_text(out, "ids");
	mp_write_array(out, count);
	for (uint32_t i = 0; i < count; i++)
		mp_write_str(out, imported ? history->hashes[i] : revision->hash);
	return 1;
}

static void write_new(const struct validated *item, struct buf *out)
{
	const struct couch_document *d = item->document;
	struct buf more = {0};
	uint32_t count = d->deleted ? 0 : write_attachments(d->attachments, &more);
	count += write_revisions(item, &more);
	struct script_document document = {.id = item->id,
					   .revision = d->imported ? couch_newest(d) : d->revision,
					   .deleted = d->deleted,
					   .body = d->deleted ? slice_of(NULL, 0) : d->body,
					   .more = buf_slice(&more),
					   .more_count = count};
	if (item->patch.len > 0) {
		struct buf plain = {0};
		document.body = slice_of(NULL, 0);
		script_document_write(&document, &plain);
		value_merge_patch(item->old.len > 0 ? item->old : buf_slice(&plain), item->patch,
				  out);
		buf_close(&plain);
	} else {
		script_document_write(&document, out);
	}
	buf_close(&more);
}

struct slice couch_validate_attachment(struct request *r, const struct content *c,
				       struct slice type, uint64_t revpos)
{
	struct buf out = {0};
	struct buf digest = {0};
	mp_write_map(&out, 1);
	mp_write_text(&out, ATTACHMENTS_MEMBER);
	mp_write_map(&out, 1);
	mp_write_str(&out, r->part);
	if (c) {
		attachment_digest(c->md5, &digest);
		mp_write_map(&out, 5);
		mp_write_text(&out, "content_type");
		mp_write_str(&out, type);
		mp_write_text(&out, "revpos");
		mp_write_u64(&out, revpos);
		mp_write_text(&out, "digest");
		mp_write_str(&out, buf_slice(&digest));
		mp_write_text(&out, "length");
		mp_write_u64(&out, c->length);
		mp_write_text(&out, "stub");
		mp_write_bool(&out, true);
	} else {
		mp_write_nil(&out);
	}
	struct slice copy = arena_copy(&r->arena, buf_slice(&out));
	buf_close(&digest);
	buf_close(&out);
	return copy;
}

/* ---- what it says ---- */

static void refuse(struct validated *item, const struct problem *problem)
{
	item->refused = true;
	item->problem = *problem;
}

static void refuse_as(struct request *r, struct validated *item, struct slice kind,
		      struct slice reason)
{
	enum couch_error error = slice_is(kind, "forbidden")      ? COUCH_FORBIDDEN
				 : slice_is(kind, "unauthorized") ? COUCH_UNAUTHORIZED
								  : COUCH_FUNCTION_THREW;
	item->refused = true;
	couch_problem(&item->problem, error, "");
	if (reason.len <= REASON_BYTES_MAX)
		item->problem.reason = arena_copy(&r->arena, reason);
}

/* Of each item null, or [kind, reason]. False: it is no such list. */
static bool take_verdicts(struct request *r, struct validation *v, struct slice output)
{
	struct mp_reader reader = mp_reader_of(output);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_ARRAY || head.count != v->run)
		return false;
	for (uint32_t i = v->at; i < v->end; i++) {
		if (v->items[i].exempt)
			continue;
		struct slice verdict = mp_value(&reader);
		struct mp_reader inside = mp_reader_of(verdict);
		struct mp_token pair = mp_read(&inside);
		if (pair.type == MP_NIL)
			continue;
		struct mp_token kind = mp_read(&inside);
		if (pair.type != MP_ARRAY || pair.count != 2 || kind.type != MP_STR)
			return false;
		refuse_as(r, &v->items[i], kind.bytes, mp_value(&inside));
	}
	return true;
}

/* ---- runs ---- */

static void run_next(struct turn *t, struct request *r);

static void refuse_run(struct validation *v, const struct problem *problem)
{
	for (uint32_t i = v->at; i < v->end; i++)
		if (!v->items[i].exempt)
			refuse(&v->items[i], problem);
}

static void refuse_foreign(struct turn *t, struct request *r, struct validation *v)
{
	struct problem problem;
	couch_problem(&problem, COUCH_UNKNOWN_LANGUAGE, "");
	refuse_run(v, &problem);
	v->at = v->end;
	run_next(t, r);
}

static void ran(struct turn *t, struct request *r, const void *context,
		const struct script_end *end)
{
	struct validation *v = r->op;
	struct problem problem;
	bool exhausted = function_exhausted(end->status);
	(void)context;
	if (exhausted && v->run > 1) {
		v->most = v->run > VALIDATE_RUN_STEP ? v->run / VALIDATE_RUN_STEP : 1;
		run_next(t, r);
		return;
	}
	bool returned = function_returned(end, &problem);
	v->stopped += exhausted;
	/* there is no worker: later; or each of the others may take as long */
	if (!returned && (problem.couch == COUCH_NONE || v->stopped > VALIDATE_STOPPED_MAX)) {
		answer_problem(t, r, &problem);
		return;
	}
	if (!returned) {
		refuse_run(v, &problem);
	} else if (!take_verdicts(r, v, end->output)) {
		couch_problem(&problem, COUCH_FUNCTION_THREW, "");
		refuse_run(v, &problem);
	}
	v->at = v->end;
	run_next(t, r);
}

/* The items of the next run, as [[new, old], ...]. */
static void collect(struct validation *v, struct buf *items)
{
	v->run = 0;
	for (v->end = v->at; v->end < v->count && v->run < v->most; v->end++) {
		const struct validated *item = &v->items[v->end];
		size_t before = items->len;
		if (item->exempt)
			continue;
		mp_write_array(items, 2);
		write_new(item, items);
		if (item->old.len > 0)
			buf_append_slice(items, item->old);
		else
			mp_write_nil(items);
		if (v->run > 0 && items->len > VALIDATE_RUN_BYTES) {
			items->len = before;
			return;
		}
		v->run++;
	}
}

/* Nothing is sent yet: what takes the functions' time does not count as the request's. */
static int64_t patience_ms(struct turn *t, struct request *r, struct validation *v)
{
	if (v->until_ms == 0)
		v->until_ms = t->now_ms + VALIDATE_PATIENCE_MS;
	timers_set(&t->gw->timers, &r->deadline, v->until_ms + t->gw->options.limits.deadline_ms);
	return v->until_ms > t->now_ms ? v->until_ms - t->now_ms : 1;
}

static void run_next(struct turn *t, struct request *r)
{
	struct validation *v = r->op;
	struct buf items = {0};
	struct buf arguments = {0};
	collect(v, &items);
	if (v->run == 0) {
		buf_close(&items);
		finish(t, r);
		return;
	}
	if (v->foreign) {
		buf_close(&items);
		refuse_foreign(t, r, v);
		return;
	}
	mp_write_array(&arguments, 4);
	buf_append_slice(&arguments, v->texts);
	mp_write_array(&arguments, v->run);
	buf_append_slice(&arguments, buf_slice(&items));
	function_user_write(r, &arguments);
	function_security_write(v->security, &arguments);
	struct script_asked asked = {.source = slice_text(function_validate_source),
				     .arguments = buf_slice(&arguments),
				     .done = ran,
				     .patience_ms = patience_ms(t, r, v)};
	if (!script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&items);
	buf_close(&arguments);
}

static void have_security(struct turn *t, struct request *r, const struct couch_known *known)
{
	struct validation *v = r->op;
	if (known->there)
		v->security = arena_copy(&r->arena, known->body);
	run_next(t, r);
}

static void documents_there(struct turn *t, struct request *r)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (c)
		couch_known_want(t, r, slice_text(COLLECTION_LOCAL), couch_security_id(r, c),
				 have_security);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

/* ---- what is replaced ---- */

static void take_old(struct turn *t, struct request *r, struct validation *v,
		     struct validated *item, const struct msg_doc_read_ack *ack)
{
	struct buf *out = &t->gw->scratch;
	bool there = ack->deleted || ack->body.len > 0;
	if (item->document->imported && revision_equal(&ack->revision, &item->read.revision)) {
		item->exempt = true; /* it is known already: nothing will be written */
		return;
	}
	if (!there && !item->document->imported) {
		/* it is no leaf any more */
		item->exempt = item->refused = true;
		couch_problem(&item->problem, COUCH_CONFLICT, "");
		return;
	}
	if (!there)
		return;
	struct script_document d = {.id = item->id,
				    .revision = ack->revision,
				    .deleted = ack->deleted,
				    .body = ack->deleted ? slice_of(NULL, 0) : ack->body};
	buf_clear(out);
	script_document_write(&d, out);
	item->old = arena_copy(&r->arena, buf_slice(out));
	v->old_bytes += item->old.len;
}

static void have_old(struct turn *t, struct request *r, uint32_t index, enum status status,
		     const void *body)
{
	struct validation *v = r->op;
	const struct msg_doc_read_ack *ack = body;
	uint64_t most = t->gw->options.limits.list_bytes_max;
	struct problem problem;
	if (!ack || (!status_is_success(status) && status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	take_old(t, r, v, &v->items[index], ack);
	if (v->old_bytes > most) {
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", most,
			      v->old_bytes);
		answer_problem(t, r, &problem);
	} else if (--v->left == 0) {
		documents_there(t, r);
	}
}

/* False: nothing is replaced. */
static bool fill_read(struct validated *item)
{
	struct msg_doc_read *m = &item->read;
	*m = (struct msg_doc_read){.id = item->id, .revision = item->document->revision};
	if (item->document->imported) {
		const struct import_item *history = &item->history;
		m->revision = (struct revision){history->generation, history->hashes[0]};
		m->older = history->hashes + 1;
		m->older_count = history->hashes_count - 1;
	}
	return m->revision.generation > 0;
}

static void read_old(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct validation *v = r->op;
	v->left = v->count + 1;
	for (uint32_t i = 0; i < v->count && !r->finished; i++) {
		struct validated *item = &v->items[i];
		if (item->exempt || !fill_read(item)) {
			v->left--;
			continue;
		}
		item->read.shard = map_collection_shard(c, item->id)->shard.id;
		struct call_spec spec = {.reach = REACH_LEAD,
					 .shard = item->read.shard,
					 .type = MSG_doc_read,
					 .answer = MSG_doc_read_ack,
					 .message = &item->read,
					 .repeatable = true,
					 .index = i,
					 .done = have_old};
		if (!call_open(t, r, &spec))
			answer_status(t, r, STATUS_OVERLOADED, "");
	}
	if (!r->finished && --v->left == 0)
		documents_there(t, r);
}

/* ---- beginning ---- */

static bool begins(struct slice text, const char *with)
{
	size_t len = strlen(with);
	return text.len >= len && memcmp(text.data, with, len) == 0;
}

/* False with *p: a history that contradicts itself. */
static bool look_through(struct request *r, struct validation *v, struct problem *p)
{
	for (uint32_t i = 0; i < v->count; i++) {
		struct validated *item = &v->items[i];
		item->exempt =
		    item->refused || begins(item->id, "_design/") || begins(item->id, "_local/");
		if (item->document->imported && !item->exempt &&
		    !couch_import_item(r, item->document, &item->history, p))
			return false;
	}
	return true;
}

static void have_rules(struct turn *t, struct request *r, const struct couch_rules *rules)
{
	struct validation *v = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem;
	if (rules->count == 0) {
		finish(t, r);
		return;
	}
	if (!couch_rules_hold(t->gw, r, rules->texts.len)) {
		answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	v->texts = arena_copy(&r->arena, rules->texts);
	v->foreign = rules->foreign;
	if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (look_through(r, v, &problem))
		read_old(t, r, c);
	else
		answer_problem(t, r, &problem);
}

static void compiled(struct turn *t, struct request *r)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (c)
		couch_rules_want(t, r, c, have_rules);
	else
		couch_answer_error(t, r, COUCH_DB_MISSING);
}

void couch_validate(struct turn *t, struct request *r, struct validated *items, uint32_t count,
		    request_step *done)
{
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct validation *v = arena_alloc(&r->arena, sizeof *v);
	if (!c) {
		couch_answer_error(t, r, COUCH_DB_MISSING);
		return;
	}
	*v = (struct validation){
	    .op = r->op, .done = done, .items = items, .count = count, .most = VALIDATE_RUN_ITEMS};
	r->op = v;
	couch_compile(t, r, items, count, compiled);
}
