/* Several queries in one request: each is a request of its own in the gateway's table, made when
 * the one before has been answered. The first that is refused is the answer. */
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "gateway/couch/inner.h"
#include "gateway/couch/view.h"
#include "gateway/routes.h"

struct queries {
	struct couch_inner inner; /* the query string counts for all */
	struct mp_reader rest;
	uint32_t count;
	uint32_t asked;
	struct buf results;
	bool flying;
	bool going; /* further up the stack */
	bool refused;
};

static void queries_close(struct request *r)
{
	struct queries *op = r->op;
	buf_close(&op->results);
}

static void query_answered(struct turn *t, struct request *inner, const struct reply *reply);

static void ask(struct turn *t, struct request *r)
{
	struct queries *op = r->op;
	struct buf body = {0};
	op->asked++;
	op->flying = true;
	if (!json_from_msgpack(mp_value(&op->rest), &body))
		buf_clear(&body); /* refused as empty */
	op->inner.body = buf_slice(&body);
	couch_inner_ask(t, r, &op->inner, query_answered);
	buf_close(&body);
}

static void go_on(struct turn *t, struct request *r)
{
	struct queries *op = r->op;
	if (op->going)
		return;
	op->going = true;
	while (!op->flying && !op->refused && op->asked < op->count)
		ask(t, r);
	op->going = false;
	if (op->flying || op->refused)
		return;
	struct reply *reply = reply_begin(t, 200);
	buf_append_text(&reply->body, "{\"results\":[");
	buf_append_slice(&reply->body, buf_slice(&op->results));
	buf_append_text(&reply->body, "]}");
	reply_send(t, r, reply);
}

static void query_answered(struct turn *t, struct request *inner, const struct reply *reply)
{
	struct request *r = couch_inner_around(t, inner);
	struct queries *op = r ? r->op : NULL;
	struct problem problem;
	if (!op)
		return;
	op->flying = false;
	uint64_t max = t->gw->options.limits.list_bytes_max;
	if (reply->status != 200) {
		op->refused = true;
		couch_inner_refused(t, r, reply);
		return;
	}
	if (op->asked > 1)
		buf_append_byte(&op->results, ',');
	buf_append_slice(&op->results, buf_slice(&reply->body));
	if (op->results.len > max) {
		op->refused = true;
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_list_bytes", max,
			      op->results.len);
		answer_problem(t, r, &problem);
		return;
	}
	go_on(t, r);
}

void couch_queries_begin(struct turn *t, struct request *r, struct slice path, struct slice body)
{
	struct queries *op = arena_alloc(&r->arena, sizeof *op);
	uint32_t max = t->gw->options.limits.batch_items_max;
	struct problem problem;
	*op = (struct queries){.rest = mp_reader_of(value_member(body, slice_text("queries")))};
	couch_inner_of(r, &op->inner);
	op->inner.path = arena_copy(&r->arena, path);
	struct mp_token head = mp_read(&op->rest);
	r->op = op;
	r->close = queries_close;
	op->count = head.count;
	if (head.type != MP_ARRAY) {
		couch_answer_error(t, r, COUCH_QUERIES_NOT_LIST);
	} else if (head.count > max) {
		problem_limit(&problem, STATUS_BODY_TOO_LARGE, "max_batch_items", max, head.count);
		answer_problem(t, r, &problem);
	} else {
		go_on(t, r);
	}
}

void couch_queries(struct turn *t, struct request *r)
{
	struct problem problem;
	struct slice body = {0};
	struct slice path = r->http->path;
	path.len -= path.data[path.len - 1] == '/';
	path.len -= sizeof "/queries" - 1;
	if (native_body(t, r, &body, &problem))
		couch_queries_begin(t, r, path, body);
	else
		answer_problem(t, r, &problem);
}
