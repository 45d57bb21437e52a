/* Any answers of another server to replications that the gateway runs. Input:
 * after a byte that the cluster's answers are drawn from, texts separated by a
 * byte 0. Of each the first line says what happens, the rest is its body: J s t
 * o   a client asks for a job: which source, which target, with which options
 *   A n q f   question q is answered with status n; f: n nobody is there, l too
 * large P q       a piece of the answer to q R q n     so much of q's body has
 * left W n       so many milliseconds pass G         the client goes anything
 * else, or nothing: the first question gets a usual answer Checked: nobody is
 * asked but the job's sides, in whole lines and with JSON; no body is longer
 * than was said or than there is room for; what goes to the cluster is
 * well-formed; every job that a client waits for ends. */
#include <stdlib.h>
#include <string.h>

#include "common/doc/json.h"
#include "tests/fuzz/gateway_world.h"
#include "tests/fuzz/texts.h"

enum {
	QUESTIONS_MAX = 16,
	TEXTS_MAX = 64,
	USUAL_ROUNDS = 100, /* at the end; then nobody is there any more */
	ROUNDS_MAX = 4000,
	STEP_MS_MAX = 100000,
	ROOM_MAX = 1 << 20
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SOURCE "https://a.example/src"
#define TARGET "https://b.example/dst"

static const char *const sources[] = {"\"" SOURCE "\"", "\"c\"", "\"https://u:p@a.example/src\""};
static const char *const targets[] = {"\"" TARGET "\"", "\"c\"",
				      "{\"url\":\"" TARGET "\",\"headers\":{\"X-A\":\"b\"}}"};
static const char *const options[] = {"",
				      ",\"continuous\":true",
				      ",\"doc_ids\":[\"x\",\"y\"]",
				      ",\"since_seq\":\"2-b\"",
				      ",\"selector\":{\"n\":1}",
				      ",\"filter\":\"d/f\"",
				      ",\"create_target\":true",
				      ",\"winning_revs_only\":true",
				      ",\"use_checkpoints\":false",
				      ",\"use_bulk_get\":false"};

struct question {
	uint64_t id;
	const char *usual; /* answer */
	int status;
	bool pieces;
	bool begun; /* a piece has come */
	bool held;  /* the next one was not asked for yet */
	uint64_t answer_bytes_max;
	uint64_t length; /* of its body in pieces */
	uint64_t given;
	uint64_t room;
};

struct replay {
	struct world world; /* first: its look is given this one */
	struct question questions[QUESTIONS_MAX];
	uint32_t count;
};

/* ---- questions ---- */

struct usual {
	enum http_method method; /* HTTP_OTHER: any */
	const char *part;        /* of the URL */
	int status;
	const char *body;
};

static const struct usual usuals[] = {
    {HTTP_OTHER, "/_session", 404, "{\"error\":\"not_found\"}"},
    {HTTP_OTHER, "/_changes", 200,
     "{\"results\":[{\"seq\":\"1-a\",\"id\":\"x\",\"changes\":[{\"rev\":\"1-"
     "x\"}]},"
     "{\"seq\":\"2-b\",\"id\":\"y\",\"changes\":[{\"rev\":\"1-y\"},{\"rev\":"
     "\"2-z\"}]}],"
     "\"last_seq\":\"2-b\",\"pending\":0}"},
    {HTTP_OTHER, "/_revs_diff", 200,
     "{\"x\":{\"missing\":[\"1-x\"]},\"y\":{\"missing\":[\"1-y\",\"2-z\"],"
     "\"possible_ancestors\":[\"1-a\"]}}"},
    {HTTP_OTHER, "/_bulk_get", 200,
     "{\"results\":[{\"id\":\"x\",\"docs\":[{\"ok\":{\"_id\":\"x\",\"_rev\":"
     "\"1-x\","
     "\"_revisions\":{\"start\":1,\"ids\":[\"x\"]},\"n\":1}}]},{\"id\":\"y\","
     "\"docs\":[{\"ok\":"
     "{\"_id\":\"y\",\"_rev\":\"1-y\",\"_revisions\":{\"start\":1,\"ids\":["
     "\"y\"]}}},{\"ok\":"
     "{\"_id\":\"y\",\"_rev\":\"2-z\",\"_revisions\":{\"start\":2,\"ids\":["
     "\"z\",\"a\"]}}}]}]}"},
    {HTTP_OTHER, "/_bulk_docs", 201, "[]"},
    {HTTP_PUT, "/_local/", 201, "{\"ok\":true,\"rev\":\"0-1\"}"},
    {HTTP_OTHER, "/_local/", 404, "{\"error\":\"not_found\",\"reason\":\"missing\"}"},
    {HTTP_OTHER, "/_design/", 200, "{\"filters\":{\"f\":\"function () { return true; }\"}}"},
    {HTTP_GET, "revs=true", 200,
     "[{\"ok\":{\"_id\":\"x\",\"_rev\":\"1-x\",\"_revisions\":{\"start\":1,"
     "\"ids\":[\"x\"]},"
     "\"_attachments\":{\"a/b\":{\"content_type\":\"t/"
     "x\",\"digest\":\"md5-x\",\"length\":5,"
     "\"revpos\":1,\"stub\":true}}}}]"},
    {HTTP_GET, "rev=", 206, "hello"},
    {HTTP_PUT, "new_edits=false", 201, "{\"ok\":true,\"id\":\"x\",\"rev\":\"1-x\"}"},
    {HTTP_OTHER, "", 200,
     "{\"db_name\":\"src\",\"update_seq\":\"2-b\",\"instance_start_time\":"
     "\"0\"}"},
};

static bool has(struct slice text, const char *part)
{
	return memmem(text.data, text.len, part, strlen(part)) != NULL;
}

static const struct usual *usual_of(const struct http_fetch *f)
{
	const struct usual *u = usuals;
	while (!has(f->url, u->part) || (u->method != HTTP_OTHER && u->method != f->method))
		u++;
	return u;
}

static bool below(struct slice url, const char *base)
{
	size_t n = strlen(base);
	return url.len >= n && memcmp(url.data, base, n) == 0 &&
	       (url.len == n || url.data[n] == '/' || url.data[n] == '?');
}

static void check_line(struct slice text, uint8_t least)
{
	for (size_t i = 0; i < text.len; i++)
		CHECK(text.data[i] >= least && text.data[i] < 0x7f);
}

static void check_question(const struct http_fetch *f)
{
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	struct buf packed = {0};
	CHECK(below(f->url, SOURCE) || below(f->url, TARGET) ||
	      slice_is(f->url, "https://a.example/_session"));
	check_line(f->url, '!');
	for (uint32_t i = 0; i < f->headers_count; i++) {
		check_line(f->headers[i].name, '!');
		check_line(f->headers[i].value, ' ');
	}
	CHECK(f->answer_bytes_max > 0);
	CHECK(f->body.len == 0 || json_to_msgpack(parser, f->body, &packed, &error));
	buf_close(&packed);
	json_parser_free(parser);
}

static struct question *find(struct replay *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->count; i++)
		if (r->questions[i].id == id)
			return &r->questions[i];
	return NULL;
}

static void forget(struct replay *r, struct question *q)
{
	*q = r->questions[--r->count];
}

static void asked(struct replay *r, const struct http_fetch *f)
{
	const struct usual *u = usual_of(f);
	check_question(f);
	CHECK(r->count < QUESTIONS_MAX && !find(r, f->id));
	r->questions[r->count++] = (struct question){.id = f->id,
						     .usual = u->body,
						     .status = u->status,
						     .pieces = f->answer_in_pieces,
						     .answer_bytes_max = f->answer_bytes_max,
						     .length = f->length,
						     .room = HTTP_FETCH_WINDOW};
}

static void body_given(struct question *q, struct slice bytes)
{
	CHECK(q && bytes.len <= q->room && bytes.len <= q->length - q->given);
	q->room -= bytes.len;
	q->given += bytes.len;
}

static void look(struct world *w, const struct effect *e)
{
	struct replay *r = (struct replay *)w;
	if (e->kind == EFFECT_FETCH)
		asked(r, &e->fetch);
	if (e->kind != EFFECT_FETCH_BODY && e->kind != EFFECT_FETCH_MORE &&
	    e->kind != EFFECT_FETCH_END)
		return;
	struct question *q = find(r, e->fetch.id);
	CHECK(q);
	if (e->kind == EFFECT_FETCH_BODY)
		body_given(q, e->fetch.body);
	else if (e->kind == EFFECT_FETCH_END)
		forget(r, q);
	else {
		CHECK(q->held);
		q->held = false;
	}
}

/* ---- answers ---- */

static void answer(struct replay *r, struct question *q, struct http_fetched fetched)
{
	struct event event = {.kind = EVENT_FETCHED, .fetched = fetched};
	if (fetched.body.len > q->answer_bytes_max)
		event.fetched = (struct http_fetched){.too_large = true};
	event.fetched.id = q->id;
	event.fetched.error = slice_text(event.fetched.status ? "" : "no route");
	forget(r, q);
	world_step(&r->world, &event);
}

static void answer_usual(struct replay *r)
{
	if (r->count > 0)
		answer(r, r->questions,
		       (struct http_fetched){.status = r->questions[0].status,
					     .body = slice_text(r->questions[0].usual)});
}

static void answer_as(struct replay *r, struct question *q, uint64_t status, struct slice flags,
		      struct slice body)
{
	struct http_fetched fetched = {.too_large = has(flags, "l"), .body = body};
	fetched.status = status >= 100 && status < 600 && !q->begun ? (int)status : 0;
	if (q->begun && status == 200)
		fetched.status = 200;
	fetched.nobody = fetched.status == 0 && has(flags, "n");
	answer(r, q, fetched);
}

static void piece(struct replay *r, struct question *q, struct slice bytes)
{
	struct event event = {.kind = EVENT_FETCH_PIECE,
			      .http_body = {.request = q->id, .bytes = bytes}};
	if (!q->pieces || q->held)
		return;
	q->begun = q->held = true;
	world_step(&r->world, &event);
}

static void room(struct replay *r, struct question *q, uint64_t bytes)
{
	struct event event = {.kind = EVENT_FETCH_ROOM,
			      .fetch_room = {q->id, (uint32_t)(bytes % ROOM_MAX)}};
	q->room += event.fetch_room.bytes;
	world_step(&r->world, &event);
}

/* ---- the client ---- */

static void begin(struct replay *r, uint64_t source, uint64_t target, uint64_t option)
{
	struct buf body = {0};
	struct http_request request = {
	    .dialect = DIALECT_COUCH, .method = HTTP_POST, .path = slice_text("/_replicate")};
	if (r->world.asked == WORLD_REQUESTS_MAX)
		return;
	buf_printf(&body, "{\"source\":%s,\"target\":%s%s}", sources[source % ARRAY_LEN(sources)],
		   targets[target % ARRAY_LEN(targets)], options[option % ARRAY_LEN(options)]);
	request.body = buf_slice(&body);
	world_request(&r->world, &request);
	buf_close(&body);
}

static void pass(struct replay *r, uint64_t ms)
{
	struct event timer = {.kind = EVENT_TIMER};
	r->world.now_ms += (int64_t)(ms % STEP_MS_MAX);
	world_step(&r->world, &timer);
}

/* ---- texts ---- */

static uint64_t take_number(struct slice *line)
{
	struct slice digits = take_until(line, ' ');
	uint64_t n = 0;
	for (size_t i = 0; i < digits.len && i < 9; i++)
		n = n * 10 + (digits.data[i] - (uint64_t)'0') % 10;
	return n;
}

/* Of the question that the line names. False: it is none of these. */
static bool take_answer(struct replay *r, struct slice line, struct slice body)
{
	struct slice what = take_until(&line, ' ');
	uint64_t status = slice_is(what, "A") ? take_number(&line) : 0;
	if (r->count == 0)
		return false;
	struct question *q = &r->questions[take_number(&line) % r->count];
	if (slice_is(what, "A"))
		answer_as(r, q, status, line, body);
	else if (slice_is(what, "P"))
		piece(r, q, body);
	else if (slice_is(what, "R"))
		room(r, q, take_number(&line));
	else
		return false;
	return true;
}

static void happen(struct replay *r, struct slice text)
{
	struct slice line = take_until(&text, '\n');
	struct slice rest = line;
	struct slice what = take_until(&rest, ' ');
	if (slice_is(what, "J")) {
		uint64_t source = take_number(&rest);
		uint64_t target = take_number(&rest);
		begin(r, source, target, take_number(&rest));
	} else if (slice_is(what, "W"))
		pass(r, take_number(&rest));
	else if (slice_is(what, "G"))
		world_gone(&r->world);
	else if (!take_answer(r, line, text))
		answer_usual(r);
	if (r->world.sent_count > 0)
		world_answer(&r->world);
}

/* Who waits is answered, whatever the other side says or does not say. */
static void run_out(struct replay *r)
{
	for (int i = 0; r->world.left > 0; i++) {
		CHECK(i < ROUNDS_MAX);
		if (r->world.sent_count > 0)
			world_answer(&r->world);
		else if (r->count == 0)
			world_tick(&r->world);
		else if (i < USUAL_ROUNDS)
			answer_usual(r);
		else
			answer(r, r->questions, (struct http_fetched){.nobody = true});
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gateway_options allowed = {.replicate_hosts = "*.example"};
	struct replay r = {.world = {.look = look, .success_ppm = 980000}};
	struct slice rest = slice_of(data, size);
	uint8_t seed = size ? data[0] : 0;
	take_until(&rest, seed);
	world_open(&r.world, &allowed, seed);
	for (int i = 0; i < TEXTS_MAX && rest.len > 0; i++)
		happen(&r, take_until(&rest, 0));
	run_out(&r);
	world_close(&r.world);
	return 0;
}
