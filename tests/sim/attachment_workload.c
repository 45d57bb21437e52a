/* Clients with attachments, each the only writer of one document, with contents that several of
 * them share: alone, inside documents and as parts behind them, kept by stubs, taken away again.
 *
 * Checked:
 * - what is acknowledged is what is shown, byte for byte, and a stub of it is taken
 * - on every disk at the end: each content is there as often counted as bodies name it, its bytes
 *   are those that its name stands for, and no bytes are there for nothing */
#include <stdio.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/attachment.h"
#include "common/doc/base64.h"
#include "common/doc/revision.h"
#include "storage-node/keys.h"
#include "tests/sim/records.h"
#include "tests/sim/workload.h"

#define BOUNDARY "between"

enum {
	ACTORS = 4,
	CONTENTS = 7,
	LARGE = 6, /* the content of two chunks */
	NAMES = 2,
	MAYBE_MAX = 8,
	WRITES = 30,   /* of an actor */
	COPY_EACH = 8, /* writes */
	REV_BYTES = 128,
	TIMEOUT_US = 9000000,
	RETRY_US = 250000
};

/* A document: which content each attachment has. */
struct file {
	int content[NAMES]; /* -1: none */
};

enum attachment_step { STEP_WRITE, STEP_READ, STEP_LOOK, STEP_COPY };

struct owner {
	enum attachment_step step;
	struct file known; /* of the revision below */
	char rev[REV_BYTES];
	bool exists;
	/* what may have been made of it since; only one of them can */
	struct file maybe[MAYBE_MAX];
	int maybe_count;
	struct file attempt;
	bool stubs; /* it kept some by stubs */
	int name;   /* STEP_READ */
	bool unsure;
	int writes;
	int copies;          /* of its document, under ids that nobody else writes */
	bool streams;        /* the answer to STEP_READ comes in pieces */
	struct buf streamed; /* so far */
	uint64_t length;     /* it shall be */
};

struct attachment_state {
	struct owner owners[ACTORS];
	struct buf contents[CONTENTS];
	struct buf digests[CONTENTS];
	bool ready;
};

static struct attachment_state *state_of(struct workload *w)
{
	return w->state;
}

static const char *const names[NAMES] = {"a", "b/c"};

static struct sim_http *file_request(struct workload *w, int actor, enum http_method method)
{
	struct sim_http *r = workload_couch_request(w, actor, method, "/files/");
	buf_printf(&r->path, "f%d", actor);
	return r;
}

/* ---- asking ---- */

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_append_text(&r->body, "{\"name\":\"files\",\"shards\":2,\"retainMs\":0}");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_look(struct workload *w, int actor)
{
	state_of(w)->owners[actor].step = STEP_LOOK;
	workload_ask(w, actor, file_request(w, actor, HTTP_GET), TIMEOUT_US);
}

static void ask_read(struct workload *w, int actor)
{
	struct owner *o = &state_of(w)->owners[actor];
	struct sim_http *r = file_request(w, actor, HTTP_GET);
	o->step = STEP_READ;
	o->name = (int)rng_below(&w->rng, NAMES);
	buf_printf(&r->path, "/%s", names[o->name]);
	buf_printf(&r->query, "rev=%s", o->rev);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static int choose_content(struct workload *w)
{
	int content = (int)rng_below(&w->rng, CONTENTS);
	return content == LARGE && rng_below(&w->rng, 4) > 0 ? 0 : content;
}

static bool is_kept(const struct owner *o, int name)
{
	return o->exists && o->known.content[name] == o->attempt.content[name];
}

static void print_attachment(struct workload *w, const struct owner *o, int name, bool follows,
			     struct buf *out)
{
	int content = o->attempt.content[name];
	const struct buf *bytes = &state_of(w)->contents[content];
	buf_printf(out, "\"%s\":{", names[name]);
	if (is_kept(o, name)) {
		buf_append_text(out, "\"stub\":true}");
		return;
	}
	if (follows) {
		buf_printf(out, "\"content_type\":\"a/b\",\"follows\":true,\"length\":%zu}",
			   bytes->len);
		return;
	}
	buf_append_text(out, "\"content_type\":\"a/b\",\"data\":\"");
	base64_encode(buf_slice(&state_of(w)->contents[content]), out);
	buf_append_text(out, "\"}");
}

static void print_parts(struct workload *w, const struct owner *o, struct buf *out)
{
	for (int i = 0; i < NAMES; i++) {
		if (o->attempt.content[i] < 0 || is_kept(o, i))
			continue;
		buf_append_text(out, "\r\n--" BOUNDARY "\r\n\r\n");
		buf_append_slice(out, buf_slice(&state_of(w)->contents[o->attempt.content[i]]));
	}
	buf_append_text(out, "\r\n--" BOUNDARY "--");
}

/* The whole document; attachments that stay are named by stubs, the others are in it or follow. */
static struct sim_http *print_document(struct workload *w, int actor)
{
	struct owner *o = &state_of(w)->owners[actor];
	struct sim_http *r = file_request(w, actor, HTTP_PUT);
	bool follows = o->writes % 2 == 0;
	bool any = false;
	if (follows) {
		workload_header(r, "content-type", "multipart/related; boundary=" BOUNDARY);
		buf_append_text(&r->body, "--" BOUNDARY "\r\n\r\n");
	}
	buf_printf(&r->body, "{\"n\":%d", o->writes);
	if (o->exists)
		buf_printf(&r->body, ",\"_rev\":\"%s\"", o->rev);
	buf_append_text(&r->body, ",\"_attachments\":{");
	for (int i = 0; i < NAMES; i++) {
		if (o->attempt.content[i] < 0)
			continue;
		if (any)
			buf_append_byte(&r->body, ',');
		print_attachment(w, o, i, follows, &r->body);
		o->stubs = o->stubs || is_kept(o, i);
		any = true;
	}
	buf_append_text(&r->body, "}}");
	if (follows)
		print_parts(w, o, &r->body);
	return r;
}

/* One attachment by itself. */
static struct sim_http *print_single(struct workload *w, int actor, int name)
{
	struct owner *o = &state_of(w)->owners[actor];
	int content = o->attempt.content[name];
	struct sim_http *r = file_request(w, actor, content < 0 ? HTTP_DELETE : HTTP_PUT);
	buf_printf(&r->path, "/%s", names[name]);
	if (o->exists)
		buf_printf(&r->query, "rev=%s", o->rev);
	if (content >= 0) {
		buf_append_slice(&r->body, buf_slice(&state_of(w)->contents[content]));
		workload_header(r, "content-type", "application/octet-stream");
	}
	return r;
}

static void ask_write(struct workload *w, int actor)
{
	struct owner *o = &state_of(w)->owners[actor];
	int name = (int)rng_below(&w->rng, NAMES);
	bool single = rng_below(&w->rng, 2) == 0;
	bool removes = o->exists && rng_below(&w->rng, 4) == 0;
	o->step = STEP_WRITE;
	o->writes++;
	o->stubs = false;
	o->attempt = o->known;
	o->attempt.content[name] = removes ? -1 : choose_content(w);
	o->maybe[o->maybe_count++] = o->attempt;
	struct sim_http *r = single ? print_single(w, actor, name) : print_document(w, actor);
	workload_ask(w, actor, r, TIMEOUT_US);
}

/* What comes of it shows on the disks. */
static void ask_copy(struct workload *w, int actor)
{
	struct owner *o = &state_of(w)->owners[actor];
	char to[32];
	struct sim_http *r = file_request(w, actor, HTTP_COPY);
	o->step = STEP_COPY;
	snprintf(to, sizeof to, "f%d-%d", actor, o->copies++);
	workload_header(r, "destination", to);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void go_on(struct workload *w, int actor)
{
	struct owner *o = &state_of(w)->owners[actor];
	bool ends = w->sim->healed || o->writes >= WRITES;
	if (o->unsure)
		ask_look(w, actor);
	else if (w->sim->healed && o->step != STEP_READ && o->exists)
		ask_read(w, actor);
	else if (w->sim->healed)
		w->actors[actor].done = true;
	else if (ends || o->maybe_count == MAYBE_MAX)
		workload_sleep(w, actor, RETRY_US);
	else if (o->exists && o->copies < o->writes / COPY_EACH)
		ask_copy(w, actor);
	else if (o->exists && rng_below(&w->rng, 3) == 0)
		ask_read(w, actor);
	else
		ask_write(w, actor);
}

static void attachment_step(struct workload *w, int actor)
{
	struct attachment_state *s = state_of(w);
	if (workload_give_up(w, actor)) {
		s->owners[actor].unsure = true;
		s->owners[actor].streams = false;
	}
	if (workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		go_on(w, actor);
}

/* ---- answers ---- */

/* 412: a stub of what the revision named has. */
static void wrote(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct owner *o = &state_of(w)->owners[actor];
	struct revision made;
	if (answer->status == 412 && o->stubs)
		sim_violation(w->sim, "attachments: a stub of f%d is refused: %.*s", actor,
			      (int)answer->body.len, (const char *)answer->body.data);
	if (answer->status == 400)
		sim_violation(w->sim, "attachments: a write to f%d is refused: %.*s", actor,
			      (int)answer->body.len, (const char *)answer->body.data);
	o->unsure = true;
	if ((answer->status != 201 && answer->status != 200) ||
	    !revision_parse(slice_text(answer->etag), &made))
		return;
	snprintf(o->rev, sizeof o->rev, "%s", answer->etag);
	o->known = o->attempt;
	o->exists = true;
	o->maybe_count = 0;
	o->unsure = false;
}

static bool same_file(const struct file *a, const struct file *b)
{
	for (int i = 0; i < NAMES; i++)
		if (a->content[i] != b->content[i])
			return false;
	return true;
}

/* By their digests, as the document shows them. */
static struct file file_of(struct workload *w, const char *text)
{
	struct attachment_state *s = state_of(w);
	struct file file;
	struct buf part = {0};
	for (int i = 0; i < NAMES; i++) {
		buf_clear(&part);
		buf_printf(&part, "\"%s\":{\"content_type\"", names[i]);
		const char *at = strstr(text, buf_cstr(&part));
		const char *digest = at ? strstr(at, "\"digest\":\"") : NULL;
		file.content[i] = digest ? CONTENTS : -1;
		for (int k = 0; digest && k < CONTENTS; k++)
			if (strncmp(digest + 10, buf_cstr(&s->digests[k]), s->digests[k].len) == 0)
				file.content[i] = k;
	}
	buf_close(&part);
	return file;
}

/* What is there must be what is known, or one of what may have been made of it. */
static void looked(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct owner *o = &state_of(w)->owners[actor];
	struct revision rev;
	struct buf text = {0};
	if (answer->status != 200 && answer->status != 404)
		return;
	o->unsure = false;
	if (answer->status == 404) {
		if (o->exists)
			sim_violation(w->sim, "attachments: f%d is gone", actor);
		return;
	}
	if (!revision_parse(slice_text(answer->etag), &rev))
		return;
	buf_append_slice(&text, buf_slice(&answer->body));
	struct file file = file_of(w, buf_cstr(&text));
	bool same = o->exists && strcmp(o->rev, answer->etag) == 0;
	bool fits = same && same_file(&file, &o->known);
	for (int i = 0; !same && i < o->maybe_count; i++)
		fits = fits || same_file(&file, &o->maybe[i]);
	if (!fits)
		sim_violation(w->sim, "attachments: f%d was never so: %s", actor, buf_cstr(&text));
	buf_close(&text);
	if (same || !fits)
		return; /* what may be made of it may be made yet */
	o->known = file;
	o->exists = true;
	o->maybe_count = 0;
	snprintf(o->rev, sizeof o->rev, "%s", answer->etag);
}

static void have_read(struct workload *w, int actor, int status, struct slice bytes)
{
	struct owner *o = &state_of(w)->owners[actor];
	int content = o->known.content[o->name];
	if (status == 404 && content >= 0 && o->maybe_count == 0)
		sim_violation(w->sim, "attachments: %s of f%d is not there", names[o->name], actor);
	if (status != 200)
		return;
	if (content < 0 || !slice_equal(bytes, buf_slice(&state_of(w)->contents[content])))
		sim_violation(w->sim, "attachments: %s of f%d has other bytes", names[o->name],
			      actor);
}

/* True: more of it follows. One that breaks off says nothing. */
static bool take_stream(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct owner *o = &state_of(w)->owners[actor];
	if (answer->kind == SIM_ANSWER_WHOLE) {
		buf_clear(&o->streamed);
		o->streams = true;
		o->length = answer->length;
	}
	buf_append_slice(&o->streamed, buf_slice(&answer->body));
	if (answer->kind != SIM_ANSWER_END)
		return true;
	o->streams = false;
	if (o->streamed.len > o->length)
		sim_violation(w->sim, "attachments: of f%d comes more than was said", actor);
	if (o->streamed.len == o->length)
		have_read(w, actor, 200, buf_slice(&o->streamed));
	return false;
}

static void attachment_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct attachment_state *s = state_of(w);
	struct owner *o = &s->owners[actor];
	if (!workload_answered(w, actor, answer))
		return;
	bool streams = answer->streaming || o->streams;
	if (streams && take_stream(w, actor, answer))
		return;
	if (!s->ready)
		s->ready = answer->status < 300;
	else if (o->step == STEP_WRITE)
		wrote(w, actor, answer);
	else if (o->step == STEP_LOOK)
		looked(w, actor, answer);
	else if (!streams && o->step == STEP_READ)
		have_read(w, actor, answer->status, buf_slice(&answer->body));
	if (s->ready && w->sim->healed && answer->status == 503)
		o->unsure = true; /* once more */
	int64_t pause_ms = rng_between(&w->rng, 1, 1 + w->sim->settings.think_max_ms);
	workload_sleep(w, actor, pause_ms * 1000);
}

/* ---- what lies on the disks ---- */

/* A content on one disk: what is counted, and what should be. */
struct counted {
	uint8_t content[CONTENT_BYTES];
	int64_t named;
	int64_t references;
	uint64_t holds, held;
	uint64_t source, length;
};

struct disk_look {
	struct workload *w;
	const struct sim_node *node;
	uint64_t shard;
	struct map contents; /* content -> struct counted* */
	struct map sources;  /* number -> anything: bytes that are there for something */
};

static struct counted *counted_of(struct disk_look *look, struct slice content)
{
	struct counted *c = map_get(&look->contents, content);
	if (c || content.len != CONTENT_BYTES)
		return c;
	c = mem_alloc_zero(sizeof *c);
	memcpy(c->content, content.data, CONTENT_BYTES);
	map_put(&look->contents, content, c);
	return c;
}

static void count_body(struct disk_look *look, struct slice body)
{
	struct attachment_stub stub;
	struct attachments walk = attachments_begin(attachments_of(body));
	while (attachments_next(&walk, &stub))
		counted_of(look, slice_of(stub.content, CONTENT_BYTES))->named++;
}

static void look_at_document(void *context, struct slice key, struct slice value)
{
	struct disk_look *look = context;
	struct document doc;
	struct slice id;
	struct slice rest;
	if (!key_split(key, &id, &rest))
		return;
	if (key_part_of(rest) == KEY_PART_BODY)
		count_body(look, value);
	if (rest.len == 0 && schema_decode(&schema_document, value, &look->w->sim->arena, &doc))
		count_body(look, doc.body);
}

static void look_at_record(void *context, struct slice key, struct slice value)
{
	struct disk_look *look = context;
	struct arena *arena = &look->w->sim->arena;
	struct attachment a;
	struct upload u;
	bool known;
	const struct schema *schema = key_attachments_schema(key, &known);
	struct slice name = slice_of(key.data + KEY_SHARD_BYTES + 1, key.len - KEY_SHARD_BYTES - 1);
	if (schema == &schema_attachment && schema_decode(schema, value, arena, &a)) {
		struct counted *c = counted_of(look, name);
		c->references = (int64_t)a.references;
		c->holds = a.holds;
		c->source = a.source;
		c->length = a.length;
		map_put_u64(&look->sources, a.source, look);
	} else if (schema == &schema_upload && schema_decode(schema, value, arena, &u)) {
		if (u.content.len > 0)
			counted_of(look, u.content)->held++;
		else
			map_put_u64(&look->sources, u.source, look);
	}
}

static void look_at_chunk(void *context, struct slice key, struct slice value)
{
	struct disk_look *look = context;
	(void)value;
	if (key.data[KEY_SHARD_BYTES] == 'k' &&
	    !map_get_u64(&look->sources, be64_read(key.data + KEY_SHARD_BYTES + 1)))
		sim_violation(look->w->sim, "%s keeps bytes that no attachment has",
			      look->node->name);
}

static bool bytes_fit(struct disk_look *look, const struct counted *c)
{
	uint8_t chain[CONTENT_BYTES] = {0};
	uint8_t name[CONTENT_BYTES];
	struct buf key = {0};
	struct buf value = {0};
	bool there = c->source > 0;
	for (uint64_t i = 0; there && i < content_chunks(c->length, LIMIT_CHUNK_BYTES); i++) {
		buf_clear(&value);
		there = disk_value(look->node->disk, STORE_ATTACHMENTS,
				   key_chunk(&key, look->shard, c->source, (uint32_t)i), &value);
		content_chain(chain, c->length > 0 ? buf_slice(&value) : slice_of(NULL, 0));
	}
	content_name(chain, c->length, name);
	buf_close(&key);
	buf_close(&value);
	return there && memcmp(name, c->content, sizeof name) == 0;
}

static void judge(struct disk_look *look)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&look->contents, &at));) {
		struct counted *c = e->value;
		if (c->named != c->references || c->held != c->holds)
			sim_violation(look->w->sim,
				      "%s counts %lld for an attachment that %lld bodies name, "
				      "holds %llu for %llu",
				      look->node->name, (long long)c->references,
				      (long long)c->named, (unsigned long long)c->holds,
				      (unsigned long long)c->held);
		else if (!bytes_fit(look, c))
			sim_violation(look->w->sim,
				      "%s lacks the %llu bytes of an attachment of shard %016llx, "
				      "named %lld times, held %llu, source %llu",
				      look->node->name, (unsigned long long)c->length,
				      (unsigned long long)look->shard, (long long)c->named,
				      (unsigned long long)c->held, (unsigned long long)c->source);
		free(c);
	}
	map_close(&look->contents);
	map_close(&look->sources);
}

static void look_at_copy(void *context, const struct shard *shard, struct sim_node *node)
{
	struct workload *w = context;
	struct disk_look look = {.w = w, .node = node, .shard = shard->id};
	struct buf key = {0};
	struct shard_position p;
	if (flip_stands(w->sim, node) ||
	    (position_of(w->sim, node->member, shard->id, &p) && p.copying))
		return;
	key_shard(&key, 'd', shard->id);
	disk_walk(node->disk, STORE_DOCUMENTS, buf_slice(&key), look_at_document, &look);
	disk_walk(node->disk, STORE_ATTACHMENTS, buf_slice(&key), look_at_record, &look);
	disk_walk(node->disk, STORE_ATTACHMENTS, buf_slice(&key), look_at_chunk, &look);
	judge(&look);
	buf_close(&key);
}

void attachments_check_disks(struct workload *w, uint64_t collection)
{
	each_copy(w->sim, collection, look_at_copy, w);
}

static void attachment_check(struct workload *w)
{
	attachments_check_disks(w, 0);
}

/* ---- life ---- */

static void make_content(struct attachment_state *s, int content)
{
	static const size_t lengths[CONTENTS] = {10, 0, 100, 1000, 33, 300, LIMIT_CHUNK_BYTES + 9};
	uint8_t md5[MD5_BYTES];
	for (size_t i = 0; i < lengths[content]; i++)
		buf_append_byte(&s->contents[content], (uint8_t)(i * 7 + (size_t)content));
	attachment_md5(buf_slice(&s->contents[content]), md5);
	attachment_digest(md5, &s->digests[content]);
}

static void attachment_start(struct workload *w)
{
	struct attachment_state *s = state_of(w);
	for (int i = 0; i < CONTENTS; i++)
		make_content(s, i);
	for (int i = 0; i < ACTORS; i++) {
		for (int k = 0; k < NAMES; k++)
			s->owners[i].known.content[k] = -1;
	}
}

static void attachment_free(struct workload *w)
{
	struct attachment_state *s = state_of(w);
	for (int i = 0; i < CONTENTS; i++) {
		buf_close(&s->contents[i]);
		buf_close(&s->digests[i]);
	}
	for (int i = 0; i < ACTORS; i++)
		buf_close(&s->owners[i].streamed);
}

const struct workload_ops attachment_workload = {
    .name = "attachments",
    .actors = ACTORS,
    .state_bytes = sizeof(struct attachment_state),
    .one_in = 5,
    .drawn = 1,
    .start = attachment_start,
    .start_ms = 300,
    .step = attachment_step,
    .on_answer = attachment_on_answer,
    .check = attachment_check,
    .free = attachment_free,
};
