#include "gateway/intake.h"

#include "gateway/http_answer.h"
#include "gateway/multipart.h"
#include "gateway/replicate/replicate.h"
#include "gateway/routes.h"

static struct slice header_of(const struct http_request *head, const char *name)
{
	for (uint32_t i = 0; i < head->headers_count; i++)
		if (slice_is(head->headers[i].name, name))
			return head->headers[i].value;
	return slice_of(NULL, 0);
}

/* What fits a chunk is as well taken whole. */
static bool is_short(const struct http_request *head)
{
	struct slice length = header_of(head, "content-length");
	uint64_t bytes = 0;
	for (size_t i = 0; i < length.len && bytes <= LIMIT_CHUNK_BYTES; i++)
		bytes = bytes * 10 + (uint64_t)(length.data[i] - '0');
	return length.len > 0 && bytes <= LIMIT_CHUNK_BYTES;
}

bool gateway_wants_pieces(const struct http_request *head)
{
	bool multipart = header_type_is(header_of(head, "content-type"), "multipart/related");
	return !is_short(head) && route_takes_pieces(head, multipart);
}

bool transfer_begin(struct turn *t, struct request *r)
{
	uint32_t most = t->gw->options.limits.transfers_max;
	struct problem problem;
	if (t->gw->transfers < most) {
		t->gw->transfers++;
		r->transfers = true;
		return true;
	}
	problem_limit(&problem, STATUS_TOO_MANY_REQUESTS, "max_transfers", most, most + 1ull);
	answer_problem(t, r, &problem);
	return false;
}

static void intake_close(struct request *r)
{
	buf_close(&r->intake->in);
	upload_close(&r->intake->upload);
	if (r->intake->close)
		r->intake->close(r);
}

bool intake_begin(struct turn *t, struct request *r, struct contents *work)
{
	if (r->http->in_pieces && !transfer_begin(t, r))
		return false;
	struct intake *in = arena_alloc(&r->arena, sizeof *in);
	*in = (struct intake){.work = work, .pieces = r->http->in_pieces};
	in->ended = !in->pieces;
	buf_append_slice(&in->in, r->http->body);
	r->intake = in;
	r->close = intake_close;
	return true;
}

void intake_body(struct turn *t, const struct http_body *body)
{
	struct request *r = map_get_u64(&t->gw->requests, body->request);
	struct intake *in = r ? r->intake : NULL;
	if (!in || !in->take)
		return;
	buf_append_slice(&in->in, body->bytes);
	in->ended = body->last;
	intake_pump(t, r);
}

/* Of those made inside only jobs' bodies come in pieces. */
static void tell_room(struct turn *t, const struct request *r, uint32_t bytes)
{
	if (r->reply)
		replicator_room(t, &(struct http_credit){.request = r->id, .bytes = bytes});
	else
		fx_body_credit(t->fx, r->id, bytes);
}

void intake_start(struct turn *t, struct request *r, intake_take *take, request_step *end)
{
	struct intake *in = r->intake;
	in->take = take;
	in->end = end;
	if (in->pieces) {
		tell_room(t, r, INTAKE_WINDOW);
		timers_set(&t->gw->timers, &r->deadline, t->now_ms + INTAKE_WAIT_MS);
	}
	intake_pump(t, r);
}

static void give_credit(struct turn *t, struct request *r, size_t taken)
{
	struct intake *in = r->intake;
	in->owed += (uint32_t)taken;
	if (!in->pieces || in->ended || in->owed < INTAKE_CREDIT_MIN)
		return;
	tell_room(t, r, in->owed);
	in->owed = 0;
}

void intake_pump(struct turn *t, struct request *r)
{
	struct intake *in = r->intake;
	size_t from = in->at;
	size_t taken = 1;
	while (taken > 0 && in->at < in->in.len) {
		taken = in->take(t, r, slice_of(in->in.data + in->at, in->in.len - in->at));
		if (r->finished)
			return;
		in->at += taken;
	}
	give_credit(t, r, in->at - from);
	if (in->at > in->in.len / 2) {
		memmove(in->in.data, in->in.data + in->at, in->in.len - in->at);
		in->in.len -= in->at;
		in->at = 0;
	}
	if (in->ended && in->in.len == 0 && !in->told) {
		in->told = true;
		in->end(t, r);
	}
}

void intake_named(struct request *r)
{
	if (r->intake)
		r->intake->named = true;
}

void intake_end(struct turn *t, struct request *r)
{
	struct intake *in = r->intake;
	if (!in || !in->work || in->named || !t->fx)
		return;
	for (uint32_t i = 0; i < in->work->count; i++)
		upload_forget(t, &in->work->list[i]);
}
