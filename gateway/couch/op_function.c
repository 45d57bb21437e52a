/* Functions that make answers: _update, which makes a document, too; _show; and _list, which is
 * given the rows of a view. */
#include "common/doc/function_script.h"
#include "common/doc/script_document.h"
#include "common/doc/value.h"
#include "gateway/couch/function.h"
#include "gateway/couch/inner.h"
#include "gateway/routes.h"
#include "gateway/url.h"

struct calling_kind {
	const char *group;
	const char *source;
};
static const struct calling_kind updates = {"updates", function_update_source};
static const struct calling_kind shows = {"shows", function_show_source};
static const struct calling_kind lists = {"lists", function_list_source};

struct calling {
	const struct calling_kind *kind;
	struct function_design design;
	struct function_request request;
	struct msg_doc_read read;
	struct couch_inner view; /* of a list function: whose rows it wants */
	struct slice given;      /* MessagePack: a document, or such rows; empty: nothing */
	struct slice source;
	struct slice response; /* MessagePack */
};

/* ---- the run ---- */

static void written(struct turn *t, struct request *r, const struct couch_write *w)
{
	const struct calling *op = r->op;
	function_answer(t, r, op->response, w);
}

static void ran(struct turn *t, struct request *r, const void *context,
		const struct script_end *end)
{
	struct calling *op = r->op;
	struct problem problem;
	(void)context;
	if (!function_returned(end, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	struct slice output = arena_copy(&r->arena, end->output);
	struct slice made = value_element(output, 0);
	struct mp_reader reader = mp_reader_of(made);
	op->response = value_element(output, 1);
	if (op->response.len == 0)
		couch_answer_error(t, r, COUCH_BAD_RESPONSE);
	else if (op->kind == &updates && mp_peek(&reader) == MP_MAP)
		couch_write_value(t, r, made, written);
	else
		function_answer(t, r, op->response, NULL);
}

static void run(struct turn *t, struct request *r)
{
	const struct calling *op = r->op;
	struct buf arguments = {0};
	mp_write_array(&arguments, 4);
	mp_write_str(&arguments, op->source);
	buf_append_slice(&arguments, op->design.body);
	if (op->given.len > 0)
		buf_append_slice(&arguments, op->given);
	else
		mp_write_nil(&arguments);
	function_request_write(t, r, &op->request, r->couch.target, op->design.security,
			       &arguments);
	struct script_asked asked = {.source = slice_text(op->kind->source),
				     .arguments = buf_slice(&arguments),
				     .done = ran,
				     .patience_ms = t->gw->options.limits.deadline_ms};
	if (!script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&arguments);
}

/* ---- what it is given ---- */

static void have_document(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	struct calling *op = r->op;
	const struct msg_doc_read_ack *ack = body;
	struct buf *out = &t->gw->scratch;
	(void)index;
	if (!ack || (!status_is_success(status) && status != STATUS_NOT_FOUND)) {
		answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, "");
		return;
	}
	if (status_is_success(status) && !ack->deleted) {
		struct script_document d = {
		    .id = r->couch.target, .revision = ack->revision, .body = ack->body};
		buf_clear(out);
		script_document_write(&d, out);
		op->given = arena_copy(&r->arena, buf_slice(out));
	}
	run(t, r);
}

static void have_rows(struct turn *t, struct request *inner, const struct reply *reply)
{
	struct request *r = couch_inner_around(t, inner);
	struct calling *op = r ? r->op : NULL;
	struct buf text = {0};
	if (!op)
		return;
	if (reply->status != 200) {
		couch_inner_refused(t, r, reply);
		return;
	}
	mp_write_str(&text, buf_slice(&reply->body));
	op->given = buf_slice(&text);
	run(t, r);
	op->given = slice_of(NULL, 0);
	buf_close(&text);
}

static void have_design(struct turn *t, struct request *r)
{
	struct calling *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	struct problem problem;
	op->read.id = r->couch.target;
	if (!function_find_named(&op->design, op->kind->group, r->part, &op->source, &problem))
		answer_problem(t, r, &problem);
	else if (op->kind == &lists)
		couch_inner_ask(t, r, &op->view, have_rows);
	else if (op->read.id.len == 0)
		run(t, r);
	else if (!c)
		couch_answer_error(t, r, COUCH_DB_MISSING);
	else if (!couch_read_send(t, r, c, &op->read, have_document))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void call_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct calling *op = r->op;
	function_load(t, r, c, &op->design, have_design);
}

static struct calling *calling_new(struct turn *t, struct request *r,
				   const struct calling_kind *kind)
{
	struct calling *op = arena_alloc(&r->arena, sizeof *op);
	op->kind = kind;
	op->design.id = r->resource;
	function_request_take(t, r, true, &op->request);
	r->op = op;
	return op;
}

void couch_function_call(struct turn *t, struct request *r)
{
	calling_new(t, r, r->route->method == HTTP_GET ? &shows : &updates);
	couch_find(t, r, call_go);
}

/* /{db}/_design/{name}/_list/{list}/{view}, or .../{name of another one}/{view} */
static struct slice view_path(struct request *r)
{
	struct slice parts[URL_SEGMENTS_MAX];
	int count = couch_segments(parts, url_segments(r->http->path, parts));
	struct slice view = parts[count - 1];
	struct buf path = {0};
	buf_append_byte(&path, '/');
	buf_append_slice(&path, parts[0]);
	if (!slice_is(view, "_all_docs")) {
		buf_append_text(&path, "/_design/");
		buf_append_slice(&path, count == URL_SEGMENTS_MAX ? parts[count - 2] : parts[2]);
		buf_append_text(&path, "/_view");
	}
	buf_append_byte(&path, '/');
	buf_append_slice(&path, view);
	struct slice copy = arena_copy(&r->arena, buf_slice(&path));
	buf_close(&path);
	return copy;
}

void couch_function_list(struct turn *t, struct request *r)
{
	struct calling *op = calling_new(t, r, &lists);
	couch_inner_of(r, &op->view);
	op->view.path = view_path(r);
	op->view.body = arena_copy(&r->arena, r->http->body);
	couch_find(t, r, call_go);
}
