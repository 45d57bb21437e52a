/* _scheduler and _active_tasks: jobs of all gateways, as their rows say; those of this one as they
 * are. */
#include <inttypes.h>
#include <stdlib.h>

#include "gateway/replicate/schedule_internal.h"
#include "gateway/routes.h"

/* ---- what is known of a document's job ---- */

static enum plan_state state_of(const struct schedule *s, const struct plan *plan)
{
	if (plan->ended != PLAN_INITIALIZING)
		return plan->ended;
	if (plan->row_revision.len == 0 ||
	    !slice_equal(buf_slice(&plan->row.runs), buf_slice(&plan->revision)))
		return PLAN_INITIALIZING;
	bool held = map_get(&s->runners, buf_slice(&plan->row.holder)) != NULL;
	return held ? plan->row.state : PLAN_PENDING;
}

static struct slice node_of(const struct gateway *gw, const struct plan *plan)
{
	const struct runner *runner = NULL;
	if (plan)
		runner = map_get(&gw->schedule->runners, buf_slice(&plan->row.holder));
	return runner ? buf_slice(&runner->node) : schedule_node(gw);
}

static void print_text(const char *name, struct slice value, struct buf *out)
{
	buf_printf(out, "\"%s\":", name);
	if (value.len > 0)
		json_string(value, out);
	else
		buf_append_text(out, "null");
	buf_append_byte(out, ',');
}

static void print_time(const char *name, int64_t wall_ms, struct buf *out)
{
	buf_printf(out, "\"%s\":\"", name);
	time_print(wall_ms, out);
	buf_append_text(out, "\",");
}

static void print_info(const struct plan *plan, struct buf *out)
{
	const struct buf *known =
	    plan->ended != PLAN_INITIALIZING ? &plan->result : &plan->row.info;
	buf_append_text(out, "\"info\":");
	if (plan->job)
		job_info_print(plan->job, out);
	else if (known->len > 0)
		buf_append_slice(out, buf_slice(known));
	else
		buf_append_text(out, "null");
}

/* ---- lists ---- */

struct page {
	uint64_t skip;
	uint64_t limit;
	uint64_t total;
	uint64_t printed;
	struct slice states; /* only these, with commas between; empty: all */
};

static bool take_page(const struct request *r, struct page *page, struct problem *p)
{
	*page = (struct page){.limit = UINT64_MAX};
	if (!request_parameter(r, "states", &page->states))
		page->states = slice_of(NULL, 0);
	return couch_number(r, "skip", &page->skip, p) && couch_number(r, "limit", &page->limit, p);
}

/* Counts it; true: it is to be printed. */
static bool page_next(struct page *page, struct buf *out)
{
	bool prints = page->total++ >= page->skip && page->printed < page->limit;
	if (prints && page->printed++ > 0)
		buf_append_byte(out, ',');
	return prints;
}

static bool has_state(const struct page *page, enum plan_state state)
{
	const char *name = plan_state_names[state];
	struct slice rest = page->states;
	while (rest.len > 0) {
		const uint8_t *comma = memchr(rest.data, ',', rest.len);
		size_t len = comma ? (size_t)(comma - rest.data) : rest.len;
		if (slice_is(slice_of(rest.data, len), name))
			return true;
		len += comma != NULL;
		rest = slice_of(rest.data + len, rest.len - len);
	}
	return page->states.len == 0;
}

static int compare_plans(const void *a, const void *b)
{
	const struct plan *one = *(const struct plan *const *)a;
	const struct plan *other = *(const struct plan *const *)b;
	return slice_compare(buf_slice(&one->id), buf_slice(&other->id));
}

/* In order of their ids, in the request's arena. */
static uint32_t plans_sorted(struct turn *t, struct request *r, const struct plan ***list)
{
	const struct schedule *s = t->gw->schedule;
	const struct plan **plans = arena_alloc(&r->arena, (s->plans.count + 1) * sizeof *plans);
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		const struct plan *plan = e->value;
		if (plan->there)
			plans[count++] = plan;
	}
	qsort(plans, count, sizeof *plans, compare_plans);
	*list = plans;
	return count;
}

static void answer_list(struct turn *t, struct request *r, const char *name,
			const struct page *page, const struct buf *rows)
{
	struct reply *reply = reply_begin(t, 200);
	buf_printf(&reply->body, "{\"total_rows\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"%s\":[",
		   page->total, page->skip, name);
	buf_append_slice(&reply->body, buf_slice(rows));
	buf_append_text(&reply->body, "]}");
	reply_send(t, r, reply);
}

static void await(struct turn *t, struct request *r, request_step *step)
{
	if (!schedule_await(t, r, step))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

/* ---- _scheduler/docs ---- */

static void print_plan(const struct gateway *gw, const struct plan *plan, struct buf *out)
{
	bool ended = plan->ended != PLAN_INITIALIZING;
	buf_append_text(out, "{\"database\":\"_replicator\",");
	print_text("doc_id", buf_slice(&plan->id), out);
	print_text("id", buf_slice(&plan->job_id), out);
	print_text("node", node_of(gw, plan), out);
	print_text("source", buf_slice(&plan->source), out);
	print_text("target", buf_slice(&plan->target), out);
	print_text("state", slice_text(plan_state_names[state_of(gw->schedule, plan)]), out);
	print_info(plan, out);
	buf_printf(out, ",\"error_count\":%" PRIu64 ",", ended ? 0 : plan->row.errors);
	if (ended || plan->row_revision.len == 0) {
		print_text("last_updated", buf_slice(&plan->result_time), out);
		print_text("start_time", buf_slice(&plan->result_time), out);
	} else {
		print_time("last_updated", plan->row.updated_wall_ms, out);
		print_time("start_time", plan->row.started_wall_ms, out);
	}
	buf_append_text(out, "\"source_proxy\":null,\"target_proxy\":null}");
}

static void docs_known(struct turn *t, struct request *r)
{
	const struct plan **plans;
	struct problem problem;
	struct page page;
	struct buf rows = {0};
	uint32_t count = plans_sorted(t, r, &plans);
	if (!take_page(r, &page, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		if (has_state(&page, state_of(t->gw->schedule, plans[i])) &&
		    page_next(&page, &rows))
			print_plan(t->gw, plans[i], &rows);
	answer_list(t, r, "docs", &page, &rows);
	buf_close(&rows);
}

static bool is_replicator(const struct request *r)
{
	return r->collection.len == 0 || slice_is(r->collection, COLLECTION_REPLICATOR);
}

void couch_scheduler_docs(struct turn *t, struct request *r)
{
	if (is_replicator(r))
		await(t, r, docs_known);
	else
		couch_answer_error(t, r, COUCH_MISSING);
}

static void doc_known(struct turn *t, struct request *r)
{
	const struct plan *plan = plan_get(t->gw->schedule, r->resource);
	if (!plan || !plan->there) {
		couch_answer_error(t, r, COUCH_MISSING);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	print_plan(t->gw, plan, &reply->body);
	reply_send(t, r, reply);
}

void couch_scheduler_doc(struct turn *t, struct request *r)
{
	if (is_replicator(r))
		await(t, r, doc_known);
	else
		couch_answer_error(t, r, COUCH_MISSING);
}

/* ---- _scheduler/jobs ---- */

static const char *event_of(enum plan_state state)
{
	if (state == PLAN_RUNNING)
		return "started";
	return state == PLAN_CRASHING ? "crashed" : "added";
}

static void print_sides(const struct slice *source, const struct slice *target, struct slice user,
			struct buf *out)
{
	print_text("source", *source, out);
	print_text("target", *target, out);
	print_text("user", user, out);
}

static void print_plan_job(const struct gateway *gw, const struct plan *plan, struct buf *out)
{
	const struct slice source = buf_slice(&plan->source);
	const struct slice target = buf_slice(&plan->target);
	buf_append_text(out, "{\"database\":\"_replicator\",");
	print_text("doc_id", buf_slice(&plan->id), out);
	print_text("id", buf_slice(&plan->job_id), out);
	print_text("node", node_of(gw, plan), out);
	print_sides(&source, &target, buf_slice(&plan->owner), out);
	print_time("start_time", plan->row.started_wall_ms, out);
	print_info(plan, out);
	buf_append_text(out, ",\"pid\":null,\"history\":[{\"timestamp\":\"");
	time_print(plan->row.updated_wall_ms, out);
	buf_printf(out, "\",\"type\":\"%s\"},{\"timestamp\":\"",
		   event_of(state_of(gw->schedule, plan)));
	time_print(plan->row.started_wall_ms, out);
	buf_append_text(out, "\",\"type\":\"added\"}]}");
}

static void print_job(const struct gateway *gw, const struct job *job, struct buf *out)
{
	const struct endpoint *sides = job->what.sides;
	buf_append_text(out, "{\"database\":null,\"doc_id\":null,\"id\":\"");
	replicator_key(&job->what, out);
	buf_append_text(out, "\",");
	print_text("node", node_of(gw, NULL), out);
	print_sides(&sides[SIDE_SOURCE].shown, &sides[SIDE_TARGET].shown, job->principal, out);
	print_time("start_time", job->started_wall_ms, out);
	buf_append_text(out, "\"info\":");
	job_info_print(job, out);
	buf_append_text(out, ",\"pid\":null,\"history\":[{\"timestamp\":\"");
	time_print(job->started_wall_ms, out);
	buf_append_text(out, "\",\"type\":\"started\"}]}");
}

/* Has it been begun, and does it go on? */
static bool is_job(const struct schedule *s, const struct plan *plan)
{
	enum plan_state state = state_of(s, plan);
	return plan->there &&
	       (state == PLAN_RUNNING || state == PLAN_CRASHING || state == PLAN_PENDING);
}

static void jobs_known(struct turn *t, struct request *r)
{
	const struct plan **plans;
	struct problem problem;
	struct page page;
	struct buf rows = {0};
	size_t at = 0;
	uint32_t count = plans_sorted(t, r, &plans);
	if (!take_page(r, &page, &problem)) {
		answer_problem(t, r, &problem);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		if (is_job(t->gw->schedule, plans[i]) && page_next(&page, &rows))
			print_plan_job(t->gw, plans[i], &rows);
	for (struct map_entry *e; (e = map_next(&t->gw->replicator->jobs, &at)) != NULL;) {
		const struct job *job = e->value;
		if (!job->plan && page_next(&page, &rows))
			print_job(t->gw, job, &rows);
	}
	answer_list(t, r, "jobs", &page, &rows);
	buf_close(&rows);
}

void couch_scheduler_jobs(struct turn *t, struct request *r)
{
	await(t, r, jobs_known);
}

static void job_known(struct turn *t, struct request *r)
{
	const struct schedule *s = t->gw->schedule;
	const struct job *job = map_get(&t->gw->replicator->jobs, r->part);
	const struct plan *found = NULL;
	size_t at = 0;
	for (struct map_entry *e; !found && (e = map_next(&s->plans, &at)) != NULL;) {
		const struct plan *plan = e->value;
		if (is_job(s, plan) && slice_equal(buf_slice(&plan->job_id), r->part))
			found = plan;
	}
	if (!found && !job) {
		couch_answer_error(t, r, COUCH_MISSING);
		return;
	}
	struct reply *reply = reply_begin(t, 200);
	if (found)
		print_plan_job(t->gw, found, &reply->body);
	else
		print_job(t->gw, job, &reply->body);
	reply_send(t, r, reply);
}

void couch_scheduler_job(struct turn *t, struct request *r)
{
	await(t, r, job_known);
}

/* ---- _active_tasks ---- */

/* {"a":1} as "a":1} */
static void append_members(struct slice object, struct buf *out)
{
	buf_append_slice(out, slice_of(object.data + 1, object.len - 1));
}

static void print_task(const struct gateway *gw, const struct job *job, struct buf *out)
{
	const struct endpoint *sides = job->what.sides;
	struct buf info = {0};
	buf_append_text(out, "{\"type\":\"replication\",\"replication_id\":\"");
	replicator_key(&job->what, out);
	buf_append_text(out, "\",");
	print_text("doc_id", job->plan ? buf_slice(&job->plan->id) : slice_of(NULL, 0), out);
	print_text("database", slice_text(job->plan ? "_replicator" : ""), out);
	print_text("node", node_of(gw, NULL), out);
	print_sides(&sides[SIDE_SOURCE].shown, &sides[SIDE_TARGET].shown, job->principal, out);
	buf_printf(out, "\"continuous\":%s,\"started_on\":%" PRId64 ",\"updated_on\":%" PRId64 ",",
		   job->what.continuous ? "true" : "false", job->started_wall_ms / 1000,
		   job->updated_wall_ms / 1000);
	job_info_print(job, &info);
	append_members(buf_slice(&info), out);
	buf_close(&info);
}

/* Of another gateway: as it was told of last. */
static void print_plan_task(const struct gateway *gw, const struct plan *plan, struct buf *out)
{
	const struct slice source = buf_slice(&plan->source);
	const struct slice target = buf_slice(&plan->target);
	buf_append_text(out, "{\"type\":\"replication\",");
	print_text("replication_id", buf_slice(&plan->job_id), out);
	print_text("doc_id", buf_slice(&plan->id), out);
	buf_append_text(out, "\"database\":\"_replicator\",");
	print_text("node", node_of(gw, plan), out);
	print_sides(&source, &target, buf_slice(&plan->owner), out);
	buf_printf(out, "\"continuous\":%s,\"started_on\":%" PRId64 ",\"updated_on\":%" PRId64,
		   plan->continuous ? "true" : "false", plan->row.started_wall_ms / 1000,
		   plan->row.updated_wall_ms / 1000);
	if (plan->row.info.len > 2) {
		buf_append_byte(out, ',');
		append_members(buf_slice(&plan->row.info), out);
	} else {
		buf_append_byte(out, '}');
	}
}

static void tasks_known(struct turn *t, struct request *r)
{
	const struct schedule *s = t->gw->schedule;
	struct buf rows = {0};
	struct page page = {.limit = UINT64_MAX};
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&t->gw->replicator->jobs, &at)) != NULL;)
		if (page_next(&page, &rows))
			print_task(t->gw, e->value, &rows);
	at = 0;
	for (struct map_entry *e; (e = map_next(&s->plans, &at)) != NULL;) {
		const struct plan *plan = e->value;
		bool runs = plan->there && state_of(s, plan) == PLAN_RUNNING;
		if (runs && !plan_is_mine(s, plan) && page_next(&page, &rows))
			print_plan_task(t->gw, plan, &rows);
	}
	struct reply *reply = reply_begin(t, 200);
	buf_append_byte(&reply->body, '[');
	buf_append_slice(&reply->body, buf_slice(&rows));
	buf_append_byte(&reply->body, ']');
	reply_send(t, r, reply);
	buf_close(&rows);
}

void couch_active_tasks(struct turn *t, struct request *r)
{
	await(t, r, tasks_known);
}
