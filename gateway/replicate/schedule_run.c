/* From a document to a job, and from the job's end back to the document. */
#include <inttypes.h>

#include "common/doc/value.h"
#include "common/probe.h"
#include "gateway/replicate/schedule_internal.h"

static void set_text(struct buf *to, struct slice text)
{
	buf_clear(to);
	buf_append_slice(to, text);
}

static bool begins(struct slice text, const char *with)
{
	size_t len = strlen(with);
	return text.len >= len && memcmp(text.data, with, len) == 0;
}

/* ---- documents as the feed shows them ---- */

static enum plan_state ended_as(struct slice document)
{
	struct slice state = value_text_member(document, "_replication_state");
	if (slice_is(state, "completed"))
		return PLAN_COMPLETED;
	return slice_is(state, "failed") ? PLAN_FAILED : PLAN_INITIALIZING;
}

static void take_result(struct plan *plan, struct slice document)
{
	struct slice stats = value_member(document, slice_text("_replication_stats"));
	buf_clear(&plan->result);
	set_text(&plan->result_time, value_text_member(document, "_replication_state_time"));
	if (plan->ended == PLAN_COMPLETED && stats.len > 0) {
		if (!json_from_msgpack(stats, &plan->result))
			buf_clear(&plan->result);
	} else if (plan->ended == PLAN_FAILED) {
		buf_append_text(&plan->result, "{\"error\":");
		json_string(value_text_member(document, "_replication_state_reason"),
			    &plan->result);
		buf_append_byte(&plan->result, '}');
	}
}

static void take_job(const struct gateway *gw, struct plan *plan, struct slice document)
{
	struct arena arena = {0};
	struct replication what;
	struct problem problem;
	bool fine = replication_parse(gw, document, &arena, &what, &problem);
	buf_clear(&plan->job_id);
	set_text(&plan->source, fine ? what.sides[SIDE_SOURCE].shown : slice_of(NULL, 0));
	set_text(&plan->target, fine ? what.sides[SIDE_TARGET].shown : slice_of(NULL, 0));
	if (fine)
		replicator_key(&what, &plan->job_id);
	plan->continuous = fine && what.continuous;
	arena_close(&arena);
}

void document_seen(struct turn *t, struct slice id, struct slice revision, struct slice document)
{
	if (begins(id, "_design/"))
		return;
	struct plan *plan = document.len > 0 ? plan_want(t, id) : plan_get(t->gw->schedule, id);
	if (!plan)
		return;
	plan->there = document.len > 0;
	if (!plan->there || slice_equal(buf_slice(&plan->revision), revision))
		return;
	set_text(&plan->revision, revision);
	set_text(&plan->owner, value_text_member(document, "owner"));
	plan->ended = ended_as(document);
	take_result(plan, document);
	take_job(t->gw, plan, document);
}

/* ---- the job ---- */

void plan_stop(struct turn *t, struct plan *plan)
{
	plan->outcome = PLAN_INITIALIZING;
	if (!plan->job)
		return;
	plan->stopping = true;
	job_end(t, plan->job, 500, "stopped", "It runs elsewhere, or not at all.");
	plan->stopping = false;
}

void plan_start(struct turn *t, struct plan *plan)
{
	struct buf path = {0};
	buf_append_text(&path, "/_replicator/");
	url_encode(buf_slice(&plan->id), &path);
	struct http_request http = {.method = HTTP_GET, .path = buf_slice(&path)};
	plan->busy = true;
	schedule_ask(t, NOTE_DOCUMENT, plan->key, &http);
	buf_close(&path);
}

static void set_error(struct plan *plan, enum plan_state outcome, const char *error,
		      const char *reason)
{
	struct buf text = {0};
	buf_printf(&text, "%s%s%s", error, *error && *reason ? ": " : "", reason);
	plan->outcome = outcome;
	buf_clear(&plan->outcome_info);
	buf_append_text(&plan->outcome_info, "{\"error\":");
	json_string(buf_slice(&text), &plan->outcome_info);
	buf_append_byte(&plan->outcome_info, '}');
	buf_close(&text);
}

static void start_job(struct turn *t, struct plan *plan, struct replication *what,
		      struct arena *arena)
{
	if (replicator_find(t->gw, what)) {
		set_error(plan, PLAN_CRASHING, "already_running",
			  "Another job of this gateway does the same.");
		return;
	}
	struct job *job = replicator_add(t, what, arena, buf_slice(&plan->owner));
	if (!job) {
		set_error(plan, PLAN_CRASHING, "too_many", "This gateway runs as many as it may.");
		return;
	}
	job->plan = plan;
	plan->job = job;
	plan->told_ms = t->now_ms;
	job_start(t, job);
}

/* What another configuration would allow is tried again. */
static void refuse_job(struct plan *plan, const struct problem *p)
{
	bool host = p->couch == COUCH_REPLICATE_HOST;
	const char *reason = p->detail[0] ? p->detail : "replicate_hosts does not name it";
	set_error(plan, host ? PLAN_CRASHING : PLAN_FAILED, host ? "forbidden" : "", reason);
}

void plan_document_came(struct turn *t, struct plan *plan, const struct note *note)
{
	struct arena arena = {0};
	struct replication what;
	struct problem problem = {0};
	bool current =
	    slice_equal(value_text_member(note->value, "_rev"), buf_slice(&plan->row.runs)) &&
	    slice_equal(buf_slice(&plan->revision), buf_slice(&plan->row.runs));
	if (note->status != 200 || !current || !plan_is_mine(t->gw->schedule, plan) || plan->job ||
	    !schedule_has_lease(t->gw, t->now_ms))
		return;
	set_text(&plan->document, note->value);
	plan->started_ms = t->now_ms;
	if (replication_parse(t->gw, note->value, &arena, &what, &problem))
		start_job(t, plan, &what, &arena);
	else
		refuse_job(plan, &problem);
	arena_close(&arena);
}

static void print_value(const char *name, const struct buf *value, struct buf *out)
{
	buf_printf(out, ",\"%s\":", name);
	if (!json_from_msgpack(buf_slice(value), out))
		buf_append_text(out, "null");
}

void job_info_print(const struct job *job, struct buf *out)
{
	const struct counts *c = &job->counts;
	buf_printf(out,
		   "{\"revisions_checked\":%" PRIu64 ",\"missing_revisions_found\":%" PRIu64
		   ",\"docs_read\":%" PRIu64 ",\"docs_written\":%" PRIu64
		   ",\"changes_pending\":%" PRIu64 ",\"doc_write_failures\":%" PRIu64,
		   c->checked, c->missing, c->read, c->written, job->pending, c->refused);
	print_value("checkpointed_source_seq", &job->recorded, out);
	print_value("source_seq", &job->asked, out);
	print_value("through_seq", &job->recorded, out);
	buf_append_byte(out, '}');
}

void schedule_ended(struct turn *t, struct job *job, const char *error, const char *reason)
{
	struct plan *plan = job->plan;
	job->plan = NULL;
	plan->job = NULL;
	if (plan->stopping || t->gw->draining)
		return;
	if (error) {
		set_error(plan, PLAN_CRASHING, error, reason);
	} else {
		plan->outcome = PLAN_COMPLETED;
		buf_clear(&plan->outcome_info);
		job_info_print(job, &plan->outcome_info);
	}
	plan_consider(t, plan);
}

/* ---- its end, in the document ---- */

static void print_document(const struct plan *plan, int64_t wall_ms, struct buf *out)
{
	struct mp_reader reader = mp_reader_of(buf_slice(&plan->document));
	uint32_t count = mp_read(&reader).count;
	buf_printf(out, "{\"_replication_state\":\"%s\",\"_replication_state_time\":\"",
		   plan_state_names[plan->outcome]);
	time_print(wall_ms, out);
	buf_append_text(out, "\",\"_replication_id\":");
	json_string(buf_slice(&plan->job_id), out);
	if (plan->outcome == PLAN_COMPLETED) {
		buf_append_text(out, ",\"_replication_stats\":");
		buf_append_slice(out, buf_slice(&plan->outcome_info));
	} else { /* {"error":"..."} */
		buf_append_text(out, ",\"_replication_state_reason\":");
		buf_append(out, plan->outcome_info.data + 9, plan->outcome_info.len - 10);
	}
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token name = mp_read(&reader);
		struct slice value = mp_value(&reader);
		if (begins(name.bytes, "_replication_"))
			continue;
		buf_append_byte(out, ',');
		json_string(name.bytes, out);
		buf_append_byte(out, ':');
		if (!json_from_msgpack(value, out))
			buf_append_text(out, "null");
	}
	buf_append_byte(out, '}');
}

void outcome_write(struct turn *t, struct plan *plan)
{
	struct buf path = {0};
	struct buf body = {0};
	buf_append_text(&path, "/_replicator/");
	url_encode(buf_slice(&plan->id), &path);
	print_document(plan, t->event->wall_ms, &body);
	struct http_request http = {
	    .method = HTTP_PUT, .path = buf_slice(&path), .body = buf_slice(&body)};
	plan->busy = true;
	schedule_ask(t, NOTE_OUTCOME, plan->key, &http);
	buf_close(&path);
	buf_close(&body);
}

/* Refused: the document has changed, so it is another job now, or none. Taken, but the feed was
 * faster: it has shown this end, or even what was written after it; or the job is another's now. */
void outcome_answered(struct turn *t, struct plan *plan, const struct note *note)
{
	struct slice written_on = value_text_member(buf_slice(&plan->document), "_rev");
	bool overtaken = plan->outcome == PLAN_INITIALIZING ||
			 !slice_equal(buf_slice(&plan->revision), written_on);
	if (note->status == 409 || note->status == 404)
		plan->outcome = PLAN_INITIALIZING;
	if (note->status != 201)
		return;
	if (overtaken) {
		REACHED(job_end_overtaken);
		plan->outcome = PLAN_INITIALIZING;
		return;
	}
	fx_log(t->fx, LOG_LEVEL_INFO, "replication_of_document state=%s id=%.*s",
	       plan_state_names[plan->outcome], (int)plan->job_id.len,
	       plan->job_id.len ? (const char *)plan->job_id.data : "");
	plan->ended = plan->outcome;
	plan->outcome = PLAN_INITIALIZING;
	set_text(&plan->result, buf_slice(&plan->outcome_info));
	buf_clear(&plan->result_time);
	time_print(t->event->wall_ms, &plan->result_time);
	set_text(&plan->revision, value_text_member(note->value, "rev"));
	buf_clear(&plan->document);
}
