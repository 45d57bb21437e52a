/* Questions to either side of a job. What fails for a reason that may pass is asked again, after a
 * pause that doubles; it does no harm to ask twice. */
#include <stdio.h>

#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/intake.h"
#include "gateway/replicate/internal.h"
#include "gateway/replicate/schedule.h"
#include "gateway/routes.h"

enum {
	/* longer than any shell takes, or is silent */
	ANSWER_DUE_MS = REPLICATE_POLL_MS + 2 * REPLICATE_PATIENCE_MS,
	/* an answer that keeps coming, or of which its side says that it is being made */
	ANSWER_LONGEST_MS = 6 * 3600 * 1000
};

struct slice answer_text(struct slice value)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	return token.type == MP_STR ? token.bytes : slice_of(NULL, 0);
}

uint32_t answer_array(struct slice value, struct mp_reader *reader)
{
	*reader = mp_reader_of(value);
	struct mp_token head = mp_read(reader);
	return head.type == MP_ARRAY ? head.count : 0;
}

bool answer_is_verdict(const struct answer *a)
{
	struct slice error = answer_text(value_member(a->value, slice_text("error")));
	return a->status == 500 && slice_is(error, "doc_validation");
}

static bool may_pass(int status)
{
	return status == 0 || status == 408 || status == 429 || status == 500 ||
	       (status >= 502 && status <= 504);
}

/* Its answer is to be taken at the end of the step. */
static void make_ready(struct ask *ask)
{
	struct replicator *rep = ask->job->owner;
	ask->flying = false;
	ask->answered = true;
	ask->ready_next = NULL;
	if (rep->ready)
		rep->ready_last->ready_next = ask;
	else
		rep->ready = ask;
	rep->ready_last = ask;
}

static void set_answer(struct ask *ask, int status, struct slice body)
{
	ask->status = status;
	ask->nobody = false;
	ask->too_large = status == 413;
	ask->error[0] = 0;
	buf_clear(&ask->text);
	buf_append_slice(&ask->text, body);
}

static void local_answered(struct turn *t, struct request *r, const struct reply *reply)
{
	struct replicator *rep = t->gw->replicator;
	struct ask *ask = map_get_u64(&rep->asks, be64_read(r->origin.data));
	if (!ask || !ask->flying)
		return;
	set_answer(ask, reply->status, buf_slice(&reply->body));
	make_ready(ask);
}

static void fetched(struct turn *t)
{
	const struct http_fetched *f = &t->event->fetched;
	struct ask *ask = map_get_u64(&t->gw->replicator->asks, f->id);
	if (!ask || !ask->flying)
		return;
	struct session *session = &ask->job->sessions[ask->side];
	set_answer(ask, f->status, f->body);
	ask->too_large |= f->too_large;
	ask->nobody = f->nobody;
	snprintf(ask->error, sizeof ask->error, "%.*s", (int)f->error.len,
		 f->error.len ? (const char *)f->error.data : "");
	if (f->session.len > 0 && ask->job->what.sides[ask->side].login.len > 0) {
		buf_clear(&session->cookie);
		buf_append_slice(&session->cookie, f->session);
	}
	make_ready(ask);
}

void replicator_room(struct turn *t, const struct http_credit *room)
{
	struct replicator *rep = t->gw->replicator;
	struct ask *ask = map_get_u64(&rep->asks, room->request);
	if (!ask || !ask->flying || ask->length == 0)
		return;
	ask->space += room->bytes;
	ask->due_ms = t->now_ms + ANSWER_DUE_MS;
	if (ask->has_room)
		return;
	ask->has_room = true;
	ask->room_next = rep->rooms;
	rep->rooms = ask;
}

void ask_give(struct turn *t, struct ask *ask, struct slice bytes)
{
	struct http_body body = {.request = ask->id, .bytes = bytes};
	ask->given += bytes.len;
	ask->space -= bytes.len;
	body.last = ask->given == ask->length;
	if (ask->job->what.sides[ask->side].remote)
		fx_fetch_body(t->fx, ask->id, bytes);
	else
		intake_body(t, &body);
}

static void piece_came(struct turn *t, const struct http_body *piece)
{
	struct ask *ask = map_get_u64(&t->gw->replicator->asks, piece->request);
	if (!ask || !ask->flying || !ask->piece || ask->job->ended)
		return;
	ask->begun = ask->held = true;
	ask->due_ms = NO_DEADLINE; /* its asker is the one who waits */
	ask->piece(t, ask->job, piece->bytes);
}

void replicator_event(struct turn *t)
{
	if (t->event->kind == EVENT_FETCH_ROOM)
		replicator_room(t, &t->event->fetch_room);
	else if (t->event->kind == EVENT_FETCH_PIECE)
		piece_came(t, &t->event->http_body);
	else
		fetched(t);
}

void ask_more(struct turn *t, struct ask *ask)
{
	if (!ask->held || !ask->flying)
		return;
	ask->held = false;
	ask->due_ms = t->now_ms + ANSWER_DUE_MS;
	fx_fetch_more(t->fx, ask->id);
}

/* A checkpoint of a job that is shared out is written within the lease, or not at all. */
static int64_t time_left(const struct turn *t, const struct ask *ask, int64_t usual_ms)
{
	bool bound = ask->job->plan && ask->method == HTTP_PUT && ask->length == 0 &&
		     !MUTATION(job_lease_ignored);
	int64_t left_ms = bound ? schedule_lease_left(t->gw, t->now_ms) : usual_ms;
	return left_ms < usual_ms ? left_ms : usual_ms;
}

static void fly_home(struct turn *t, struct ask *ask)
{
	uint8_t origin[8];
	struct http_field header = {slice_text("range"), buf_slice(&ask->range)};
	if (ask->length > 0)
		header = (struct http_field){slice_text("content-type"), buf_slice(&ask->type)};
	struct http_request http = {
	    .id = ask->id,
	    .dialect = DIALECT_COUCH,
	    .method = ask->method,
	    .path = buf_slice(&ask->path),
	    .query = buf_slice(&ask->query),
	    .body = buf_slice(&ask->body),
	    .in_pieces = ask->length > 0,
	    .headers = &header,
	    .headers_count = header.value.len > 0,
	    .principal = ask->job->principal,
	};
	be64_write(origin, ask->id);
	request_internal_as(t, &http, ask->job->what.user, local_answered,
			    slice_of(origin, sizeof origin));
	struct request *r = map_get_u64(&t->gw->requests, ask->id);
	int64_t usual_ms = t->gw->options.limits.deadline_ms;
	if (r && time_left(t, ask, usual_ms) < usual_ms)
		timers_set(&t->gw->timers, &r->deadline, t->now_ms + time_left(t, ask, usual_ms));
}

static struct session *session_of(const struct ask *ask)
{
	return &ask->job->sessions[ask->side];
}

/* Before a side has answered anything nobody knows whether it is there at all. */
static int64_t patience_ms(const struct turn *t, const struct ask *ask)
{
	int64_t usual_ms = REPLICATE_POLL_MS + REPLICATE_PATIENCE_MS;
	if (ask->job->heard[ask->side])
		return usual_ms;
	int64_t left_ms = ask->since_ms + REPLICATE_FIRST_MS - t->now_ms;
	return left_ms > REPLICATE_LAST_MS ? left_ms : REPLICATE_LAST_MS;
}

/* A page may take long that is looked for among very many changes, and so may documents on a slow
 * line: whoever has answered before may go on for as long as something comes. */
static bool may_take_long(const struct ask *ask)
{
	return ask->job->heard[ask->side] && ask->length == 0 && !ask->piece;
}

static void set_patience(const struct turn *t, const struct ask *ask, struct http_fetch *fetch)
{
	int64_t usual_ms = patience_ms(t, ask);
	int64_t left_ms = time_left(t, ask, usual_ms);
	if (ask->length > 0 || ask->piece)
		return; /* who sends and takes the pieces looks after it */
	if (may_take_long(ask))
		fetch->silence_ms = usual_ms;
	if (!may_take_long(ask) || left_ms < usual_ms)
		fetch->timeout_ms = left_ms;
}

/* With the session's cookie in place of the credentials. */
static void set_headers(const struct ask *ask, struct http_field *headers, struct http_fetch *fetch)
{
	const struct endpoint *e = &ask->job->what.sides[ask->side];
	struct slice cookie = buf_slice(&session_of(ask)->cookie);
	for (uint32_t i = 0; i < e->headers_count; i++)
		if (cookie.len == 0 || !slice_is(e->headers[i].name, "Authorization"))
			headers[fetch->headers_count++] = e->headers[i];
	if (cookie.len > 0)
		headers[fetch->headers_count++] = (struct http_field){slice_text("Cookie"), cookie};
	if (ask->range.len > 0)
		headers[fetch->headers_count++] =
		    (struct http_field){slice_text("Range"), buf_slice(&ask->range)};
	if (ask->length > 0)
		headers[fetch->headers_count++] =
		    (struct http_field){slice_text("Content-Type"), buf_slice(&ask->type)};
	fetch->headers = headers;
}

static void fly_out(struct turn *t, struct ask *ask)
{
	struct http_field headers[REPLICATE_HEADERS + 3];
	struct buf url = {0};
	buf_append_slice(&url, buf_slice(&ask->path));
	if (ask->query.len > 0) {
		buf_append_byte(&url, '?');
		buf_append_slice(&url, buf_slice(&ask->query));
	}
	struct http_fetch fetch = {
	    .id = ask->id,
	    .method = ask->method,
	    .url = buf_slice(&url),
	    .body = buf_slice(&ask->body),
	    .answer_bytes_max = ask->answer_bytes_max,
	    .length = ask->length,
	    .answer_in_pieces = ask->piece != NULL,
	    .plain = ask->job->what.user != NULL,
	};
	set_patience(t, ask, &fetch);
	set_headers(ask, headers, &fetch);
	fx_fetch(t->fx, &fetch);
	replicator_room(t, &(struct http_credit){.request = ask->id, .bytes = HTTP_FETCH_WINDOW});
	buf_close(&url);
}

/* A session is asked for once, as some servers take no other credentials; most give none. */
static void log_in(struct turn *t, struct ask *ask)
{
	const struct endpoint *e = &ask->job->what.sides[ask->side];
	struct buf url = {0};
	buf_append_slice(&url, e->server);
	buf_append_text(&url, "/_session");
	struct http_fetch fetch = {
	    .id = ask->id,
	    .method = HTTP_POST,
	    .url = buf_slice(&url),
	    .body = e->login,
	    .answer_bytes_max = REPLICATE_ANSWER_BYTES,
	    .timeout_ms = patience_ms(t, ask),
	    .plain = ask->job->what.user != NULL,
	};
	ask->logs_in = true;
	fx_fetch(t->fx, &fetch);
	buf_close(&url);
}

/* Each try has a number of its own, so that a late answer to an earlier one is known as such. */
static void wait(const struct turn *t, struct ask *ask, int64_t pause_ms)
{
	struct replicator *rep = ask->job->owner;
	if (ask->id != 0)
		map_remove_u64(&rep->asks, ask->id);
	ask->id = ++rep->next_ask;
	map_put_u64(&rep->asks, ask->id, ask);
	ask->flying = ask->answered = false;
	ask->due_ms = t->now_ms + pause_ms;
}

static void fly(struct turn *t, struct ask *ask)
{
	wait(t, ask, REPLICATE_BACKOFF_MS);
	if (!schedule_allows(t->gw, ask->job, t->now_ms)) {
		REACHED(job_waits_for_lease);
		return;
	}
	ask->flying = true;
	/* the shell's timeouts come first */
	ask->due_ms = t->now_ms + (may_take_long(ask) ? ANSWER_LONGEST_MS : ANSWER_DUE_MS);
	ask->given = ask->space = 0;
	ask->begun = ask->held = false;
	const struct endpoint *e = &ask->job->what.sides[ask->side];
	ask->logs_in = false;
	if (!e->remote)
		fly_home(t, ask);
	else if (e->login.len > 0 && !session_of(ask)->tried)
		log_in(t, ask);
	else
		fly_out(t, ask);
}

void ask_send(struct turn *t, struct ask *ask, const struct question *q)
{
	const struct endpoint *e = &ask->job->what.sides[q->side];
	ask->side = q->side;
	ask->method = q->method;
	buf_clear(&ask->path);
	buf_append_slice(&ask->path, e->base);
	buf_append_text(&ask->path, q->path);
	buf_clear(&ask->query);
	buf_append_slice(&ask->query, q->query);
	buf_clear(&ask->body);
	buf_append_slice(&ask->body, q->body);
	buf_clear(&ask->range);
	buf_append_slice(&ask->range, q->range);
	buf_clear(&ask->type);
	buf_append_slice(&ask->type, q->type);
	ask->answer_bytes_max = q->answer_bytes_max ? q->answer_bytes_max : REPLICATE_ANSWER_BYTES;
	ask->length = q->length;
	ask->room = q->room;
	ask->piece = q->piece;
	ask->less = q->less;
	ask->done = q->done;
	ask->tries = 0;
	ask->renewed = false;
	ask->since_ms = t->now_ms + q->pause_ms;
	if (q->pause_ms > 0)
		wait(t, ask, q->pause_ms);
	else
		fly(t, ask);
}

static void again_later(struct turn *t, struct ask *ask)
{
	int64_t pause_ms = REPLICATE_BACKOFF_MAX_MS;
	int64_t left_ms = ask->since_ms + REPLICATE_GIVE_UP_MS - t->now_ms;
	REACHED(job_asks_again);
	if (ask->tries < 8)
		pause_ms = (int64_t)REPLICATE_BACKOFF_MS << ask->tries;
	if (pause_ms > REPLICATE_BACKOFF_MAX_MS)
		pause_ms = REPLICATE_BACKOFF_MAX_MS;
	if (!ask->job->what.continuous && pause_ms > left_ms)
		pause_ms = left_ms;
	ask->tries++;
	ask->due_ms = t->now_ms + pause_ms;
}

/* Whoever has answered before may only have been started anew. */
static bool gives_up(const struct turn *t, const struct ask *ask)
{
	if (ask->job->what.continuous)
		return false;
	if (ask->nobody && !ask->job->heard[ask->side])
		return ask->tries + 1 >= REPLICATE_QUICK_TRIES;
	return t->now_ms - ask->since_ms >= REPLICATE_GIVE_UP_MS;
}

/* What is to be asked again, now or later. False: it is an answer. */
static bool asks_again(struct turn *t, struct ask *ask, const struct answer *a)
{
	struct session *session = session_of(ask);
	bool asked = !ask->logs_in || ask->status == 0;
	bool fails = asked && may_pass(ask->status) && !ask->too_large && !ask->begun &&
		     !answer_is_verdict(a);
	if (ask->tries == 0 && ask->job->heard[ask->side])
		ask->since_ms = t->now_ms;
	ask->job->heard[ask->side] |= ask->status != 0;
	if (fails && !gives_up(t, ask)) {
		again_later(t, ask);
		return true;
	}
	if (ask->logs_in && ask->status != 0) {
		session->tried = true;
		fly(t, ask);
		return true;
	}
	if (ask->status == 401 && session->cookie.len > 0 && !ask->renewed) {
		ask->renewed = true;
		session->tried = false;
		buf_clear(&session->cookie);
		fly(t, ask);
		return true;
	}
	return false;
}

static void end_unanswered(struct turn *t, struct ask *ask)
{
	struct job *job = ask->job;
	struct slice base = job->what.sides[ask->side].base;
	char reason[2 * REPLICATE_REASON_BYTES];
	snprintf(reason, sizeof reason, "%s %.*s: %s", http_method_name(ask->method),
		 base.len < 200 ? (int)base.len : 200, (const char *)base.data, ask->error);
	job_end(t, job, 500, "http_request_failed", reason);
}

static void halt(struct turn *t, const struct ask *ask)
{
	if (ask->job->what.sides[ask->side].remote)
		fx_fetch_end(t->fx, ask->id);
	else
		request_gone(t, ask->id); /* what it has not sent yet it never does */
}

void ask_break(struct turn *t, struct ask *ask, const char *error)
{
	if (!ask->flying)
		return;
	if (ask->length > 0 || ask->piece)
		halt(t, ask);
	set_answer(ask, 0, slice_of(NULL, 0));
	snprintf(ask->error, sizeof ask->error, "%s", error);
	make_ready(ask);
}

void ask_tick(struct turn *t, struct ask *ask)
{
	if (ask->id == 0 || ask->answered || t->now_ms < ask->due_ms)
		return;
	if (!ask->flying) {
		/* it may have been too much for the time, or for whoever stands in between */
		if (ask->tries == 0 || ask->nobody || !ask->less || !ask->less(t, ask->job))
			fly(t, ask);
		return;
	}
	ask_break(t, ask, "no answer");
}

void ask_settle(struct turn *t, struct ask *ask)
{
	struct job *job = ask->job;
	ask->answered = false;
	struct buf value = {0};
	struct json_error error;
	struct answer a = {.side = ask->side,
			   .status = ask->status,
			   .too_large = ask->too_large,
			   .text = buf_slice(&ask->text)};
	bool bytes =
	    (ask->range.len > 0 || ask->piece) && (ask->status == 200 || ask->status == 206);
	if (ask->text.len > 0 && !bytes && json_to_msgpack(t->gw->json, a.text, &value, &error))
		a.value = buf_slice(&value);
	if (asks_again(t, ask, &a)) {
		buf_close(&value);
		return;
	}
	map_remove_u64(&job->owner->asks, ask->id);
	ask->id = 0;
	if (ask->status == 0 && !ask->too_large && !ask->begun)
		end_unanswered(t, ask);
	else
		ask->done(t, job, &a);
	buf_close(&value);
	if (!ask->answered && ask->text.cap > REPLICATE_KEPT_BYTES)
		buf_close(&ask->text);
}

void ask_end(struct turn *t, struct ask *ask)
{
	if (ask->id == 0)
		return;
	map_remove_u64(&ask->job->owner->asks, ask->id);
	if (ask->flying)
		halt(t, ask);
	ask->id = 0;
	ask->flying = false;
}

void ask_close(struct ask *ask)
{
	buf_close(&ask->path);
	buf_close(&ask->query);
	buf_close(&ask->body);
	buf_close(&ask->range);
	buf_close(&ask->type);
	buf_close(&ask->text);
}
