/* Rows of the collection that gateways share jobs out by, written and read. */
#include <inttypes.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/replicate/schedule_internal.h"

#define ROWS_PATH "/" COUCH_REPLICATIONS "/"

static void set_text(struct buf *to, struct slice text)
{
	buf_clear(to);
	buf_append_slice(to, text);
}

static uint64_t generation_of(struct slice text)
{
	struct revision revision;
	return revision_parse(text, &revision) ? revision.generation : 0;
}

static void print_text(const char *name, struct slice value, struct buf *out)
{
	buf_printf(out, "\"%s\":", name);
	json_string(value, out);
	buf_append_byte(out, ',');
}

static void send_row(struct turn *t, enum note_kind kind, const char *key, struct slice body)
{
	struct buf path = {0};
	buf_printf(&path, ROWS_PATH "%s", key);
	struct http_request http = {.method = HTTP_PUT, .path = buf_slice(&path), .body = body};
	schedule_ask(t, kind, key, &http);
	buf_close(&path);
}

static void send_removal(struct turn *t, enum note_kind kind, const char *key,
			 const struct buf *revision)
{
	struct buf path = {0};
	struct buf query = {0};
	buf_printf(&path, ROWS_PATH "%s", key);
	buf_append_text(&query, "rev=");
	buf_append_slice(&query, buf_slice(revision));
	struct http_request http = {
	    .method = HTTP_DELETE, .path = buf_slice(&path), .query = buf_slice(&query)};
	schedule_ask(t, kind, key, &http);
	buf_close(&path);
	buf_close(&query);
}

/* ---- signs of life ---- */

void runner_free(struct runner *runner)
{
	if (!runner)
		return;
	buf_close(&runner->revision);
	buf_close(&runner->node);
	free(runner);
}

static struct runner *runner_want(struct schedule *s, struct slice id)
{
	struct runner *runner = map_get(&s->runners, id);
	if (runner || id.len != RUNNER_ID_BYTES)
		return runner;
	runner = mem_alloc_zero(sizeof *runner);
	memcpy(runner->id, id.data, id.len);
	map_put(&s->runners, id, runner);
	return runner;
}

void beat_send(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	const struct gateway_limits *limits = &t->gw->options.limits;
	const struct runner *self = map_get(&s->runners, slice_text(s->self));
	struct buf body = {0};
	buf_append_byte(&body, '{');
	if (self)
		print_text("_rev", buf_slice(&self->revision), &body);
	print_text("node", schedule_node(t->gw), &body);
	buf_printf(&body, "\"lease\":%" PRIu32 ",\"load\":%" PRIu64 ",\"room\":%" PRIu64 "}",
		   limits->replication_lease_ms, self ? self->load : 0,
		   self ? self->room : limits->replications_max);
	s->beating = true;
	s->beat_sent_ms = t->now_ms;
	s->beat_due_ms = t->now_ms + limits->replication_lease_ms / 4;
	send_row(t, NOTE_BEAT, s->self, buf_slice(&body));
	buf_close(&body);
}

static void revision_set(struct buf *revision, uint64_t *generation, struct slice text)
{
	set_text(revision, text);
	*generation = generation_of(text);
}

void beat_answered(struct turn *t, const struct note *note)
{
	struct schedule *s = t->gw->schedule;
	const struct gateway_limits *limits = &t->gw->options.limits;
	s->beating = false;
	if (strcmp(note->key, s->self) != 0)
		return;
	if (note->status != 201) { /* the next round shows what stands there */
		s->unsure = true;
		return;
	}
	struct runner *self = runner_want(s, slice_text(s->self));
	if (self->node.len == 0) {
		set_text(&self->node, schedule_node(t->gw));
		self->lease_ms = limits->replication_lease_ms;
		self->room = limits->replications_max;
		schedule_hint(t->gw);
	}
	revision_set(&self->revision, &self->generation, value_text_member(note->value, "rev"));
	self->seen_ms = t->now_ms;
	s->lease_until_ms = s->beat_sent_ms + limits->replication_lease_ms;
}

void runner_remove(struct turn *t, struct runner *runner)
{
	runner->ending = true;
	send_removal(t, NOTE_RUNNER_GONE, runner->id, &runner->revision);
}

static void runner_seen(struct turn *t, struct slice id, struct slice revision, struct slice body)
{
	struct schedule *s = t->gw->schedule;
	bool self = slice_is(id, s->self);
	if (body.len == 0) {
		runner_free(map_remove(&s->runners, id));
		if (self)
			schedule_lost(t);
		return;
	}
	struct runner *runner = runner_want(s, id);
	if (!runner || generation_of(revision) <= runner->generation)
		return;
	revision_set(&runner->revision, &runner->generation, revision);
	runner->seen_ms = t->now_ms;
	runner->lease_ms = (int64_t)value_number_member(body, "lease");
	set_text(&runner->node, value_text_member(body, "node"));
	if (self) /* it knows better */
		return;
	runner->load = value_number_member(body, "load");
	runner->room = value_number_member(body, "room");
}

/* ---- jobs ---- */

void plan_row_copy(struct plan_row *to, const struct plan_row *from)
{
	set_text(&to->holder, buf_slice(&from->holder));
	set_text(&to->runs, buf_slice(&from->runs));
	set_text(&to->info, buf_slice(&from->info));
	to->state = from->state;
	to->errors = from->errors;
	to->started_wall_ms = from->started_wall_ms;
	to->updated_wall_ms = from->updated_wall_ms;
}

void plan_row_close(struct plan_row *row)
{
	buf_close(&row->holder);
	buf_close(&row->runs);
	buf_close(&row->info);
}

void row_write(struct turn *t, struct plan *plan)
{
	const struct plan_row *row = &plan->asked;
	struct buf body = {0};
	buf_append_byte(&body, '{');
	if (plan->row_revision.len > 0)
		print_text("_rev", buf_slice(&plan->row_revision), &body);
	print_text("document", buf_slice(&plan->id), &body);
	print_text("runs", buf_slice(&row->runs), &body);
	print_text("holder", buf_slice(&row->holder), &body);
	print_text("state", slice_text(plan_state_names[row->state]), &body);
	if (row->info.len > 0) {
		buf_append_text(&body, "\"info\":");
		buf_append_slice(&body, buf_slice(&row->info));
		buf_append_byte(&body, ',');
	}
	buf_printf(&body, "\"errors\":%" PRIu64 ",\"started\":%" PRId64 ",\"updated\":%" PRId64 "}",
		   row->errors, row->started_wall_ms, row->updated_wall_ms);
	plan->busy = true;
	send_row(t, NOTE_ROW, plan->key, buf_slice(&body));
	buf_close(&body);
}

void row_answered(struct turn *t, struct plan *plan, const struct note *note)
{
	struct slice revision = value_text_member(note->value, "rev");
	(void)t;
	if (note->status != 201)
		return;
	if (plan->asked.state == PLAN_CRASHING) /* once, although the feed may have shown it */
		plan->outcome = PLAN_INITIALIZING;
	if (generation_of(revision) <= plan->row_generation)
		return;
	revision_set(&plan->row_revision, &plan->row_generation, revision);
	plan_row_copy(&plan->row, &plan->asked);
}

void row_remove(struct turn *t, struct plan *plan)
{
	plan->busy = true;
	send_removal(t, NOTE_ROW_GONE, plan->key, &plan->row_revision);
}

static void row_forget(struct plan *plan)
{
	buf_clear(&plan->row_revision);
	buf_clear(&plan->row.holder);
	buf_clear(&plan->row.runs);
	buf_clear(&plan->row.info);
	plan->row.state = PLAN_INITIALIZING;
	plan->row.errors = 0;
}

void row_removed(struct plan *plan, const struct note *note)
{
	if (note->status != 200)
		return;
	row_forget(plan);
	plan->row_generation = generation_of(value_text_member(note->value, "rev"));
}

static enum plan_state state_of(struct slice name)
{
	for (int i = 0; i < PLAN_STATES; i++)
		if (slice_is(name, plan_state_names[i]))
			return (enum plan_state)i;
	return PLAN_PENDING;
}

static void take_row(struct plan *plan, struct slice body)
{
	struct plan_row *row = &plan->row;
	struct slice info = value_member(body, slice_text("info"));
	set_text(&row->holder, value_text_member(body, "holder"));
	set_text(&row->runs, value_text_member(body, "runs"));
	row->state = state_of(value_text_member(body, "state"));
	row->errors = value_number_member(body, "errors");
	row->started_wall_ms = (int64_t)value_number_member(body, "started");
	row->updated_wall_ms = (int64_t)value_number_member(body, "updated");
	buf_clear(&row->info);
	if (info.len > 0 && !json_from_msgpack(info, &row->info))
		buf_clear(&row->info);
}

static void plan_row_seen(struct turn *t, struct slice key, struct slice revision,
			  struct slice body)
{
	struct plan *plan = map_get(&t->gw->schedule->plans, key);
	uint64_t generation = generation_of(revision);
	if (!plan && body.len > 0)
		plan = plan_want(t, value_text_member(body, "document"));
	if (!plan || generation <= plan->row_generation)
		return;
	revision_set(&plan->row_revision, &plan->row_generation, revision);
	if (body.len > 0) {
		take_row(plan, body);
		return;
	}
	row_forget(plan);
	/* what stands there later may be counted from 1 again, as deletions are purged */
	plan->row_generation = 0;
}

void row_seen(struct turn *t, struct slice id, struct slice revision, struct slice document)
{
	if (id.len == RUNNER_ID_BYTES)
		runner_seen(t, id, revision, document);
	else if (id.len == PLAN_KEY_BYTES)
		plan_row_seen(t, id, revision, document);
}
