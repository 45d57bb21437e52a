#include "common/run/script_pool.h"

#include <stdlib.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/run/clock.h"
#include "common/run/script_pool_private.h"

enum { PATH_BYTES = 4096 };

/* ---- life ---- */

static char *program_beside(void)
{
	static const char name[] = "parley-script-worker";
	char path[PATH_BYTES];
	struct buf text = {0};
	ssize_t len = readlink("/proc/self/exe", path, sizeof path);
	for (len = len < 0 ? 0 : len; len > 0 && path[len - 1] != '/';)
		len--;
	buf_append(&text, path, (size_t)len);
	buf_append_text(&text, name);
	char *copy = mem_strdup(buf_cstr(&text));
	buf_close(&text);
	return copy;
}

struct script_pool *script_pool_new(const struct script_pool_setup *setup)
{
	struct script_pool *p = mem_alloc_zero(sizeof *p);
	CHECK(setup->workers >= 1 && setup->workers <= SCRIPT_WORKERS_MAX);
	p->setup = *setup;
	p->program = setup->program[0] ? mem_strdup(setup->program) : program_beside();
	for (uint32_t i = 0; i < SCRIPT_WORKERS_MAX; i++) {
		p->workers[i].pool = p;
		p->workers[i].fd = -1;
	}
	return p;
}

void script_pool_free(struct script_pool *p)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->setup.workers; i++)
		script_process_stop(&p->workers[i]);
	script_queue_clear(&p->queue);
	for (uint32_t i = 0; i < p->results_count; i++)
		buf_close(&p->results[i].output);
	free(p->results);
	free(p->program);
	free(p);
}

/* ---- results ---- */

void script_pool_result(struct script_pool *p, uint64_t id, enum script_status status,
			struct slice output)
{
	if (p->results_count == p->results_cap) {
		p->results_cap = p->results_cap ? 2 * p->results_cap : 16;
		p->results = mem_realloc(p->results, p->results_cap * sizeof *p->results);
	}
	struct script_result *r = &p->results[p->results_count++];
	*r = (struct script_result){.id = id, .status = status};
	buf_append_slice(&r->output, output);
	p->ended[status]++;
}

static void deliver_results(struct script_pool *p,
			    void (*deliver)(void *context, struct event *event), void *context)
{
	for (uint32_t i = 0; i < p->results_count; i++) {
		struct script_result *r = &p->results[i];
		struct event event = {.kind = EVENT_SCRIPT};
		event.script.id = r->id;
		event.script.status = r->status;
		event.script.output = buf_slice(&r->output);
		deliver(context, &event);
		buf_close(&r->output);
	}
	p->results_count = 0;
}

/* ---- the queue ---- */

void script_pool_submit(struct script_pool *p, const struct script_request *request)
{
	struct script_job job = {
	    .id = request->id, .group = request->group, .time_ms = request->time_ms};
	if (!script_request_write(request, &job.frame))
		script_pool_result(p, request->id, SCRIPT_TOO_LARGE,
				   slice_text("the arguments are too large"));
	else if (!script_queue_put(&p->queue, &job))
		script_pool_result(p, request->id, SCRIPT_BUSY, slice_text("too many wait"));
	buf_close(&job.frame);
}

void script_pool_drop(struct script_pool *p, uint64_t id)
{
	script_queue_drop(&p->queue, id);
}

void script_pool_refuse_all(struct script_pool *p)
{
	for (uint32_t i = 0; i < p->queue.count; i++)
		script_pool_result(p, p->queue.jobs[i].id, SCRIPT_UNAVAILABLE,
				   slice_text("the script worker can't be started"));
	script_queue_clear(&p->queue);
}

/* ---- turns ---- */

/* Those that will be there for what waits. */
static uint32_t starting(const struct script_pool *p)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < p->setup.workers; i++)
		count += p->workers[i].state == PROCESS_STARTING && p->workers[i].job.id == 0;
	return count;
}

static void start_work(struct script_pool *p)
{
	uint32_t coming = starting(p);
	for (uint32_t i = 0; i < p->setup.workers; i++) {
		struct script_process *w = &p->workers[i];
		struct script_job job;
		if (w->state == PROCESS_IDLE &&
		    script_queue_take(&p->queue, p->setup.workers, &job))
			script_process_run(w, &job);
	}
	for (uint32_t i = 0; i < p->setup.workers && coming < p->queue.count; i++) {
		struct script_process *w = &p->workers[i];
		if (w->state != PROCESS_DOWN || w->due_ms > clock_boot_ms())
			continue;
		script_process_start(w);
		coming++;
	}
}

void script_pool_turn(struct script_pool *p, void (*deliver)(void *context, struct event *event),
		      void *context)
{
	for (uint32_t i = 0; i < p->setup.workers; i++)
		script_process_look(&p->workers[i]);
	deliver_results(p, deliver, context);
	start_work(p);
}

int64_t script_pool_deadline(struct script_pool *p)
{
	int64_t at = NO_DEADLINE;
	uint32_t coming = starting(p);
	bool ready = script_queue_ready(&p->queue, p->setup.workers);
	if (p->results_count > 0)
		return 0;
	for (uint32_t i = 0; i < p->setup.workers; i++) {
		const struct script_process *w = &p->workers[i];
		bool waits = w->state != PROCESS_IDLE && w->state != PROCESS_DOWN;
		if (w->state == PROCESS_IDLE && ready)
			return 0;
		if ((waits || (w->state == PROCESS_DOWN && coming < p->queue.count)) &&
		    w->due_ms < at)
			at = w->due_ms;
	}
	return at;
}

bool script_pool_idle(const struct script_pool *p)
{
	bool idle = p->queue.count == 0 && p->results_count == 0;
	for (uint32_t i = 0; i < p->setup.workers; i++)
		idle = idle && p->workers[i].job.id == 0;
	return idle;
}

void script_pool_metrics(const struct script_pool *p, struct buf *out)
{
	uint32_t running = 0;
	for (uint32_t i = 0; i < p->setup.workers; i++)
		running += p->workers[i].job.id != 0;
	buf_append_text(out, "# TYPE parley_script_runs_total counter\n");
	for (int i = 0; i <= SCRIPT_STATUS_MAX; i++)
		buf_printf(out, "parley_script_runs_total{result=\"%s\"} %llu\n",
			   script_status_name((enum script_status)i),
			   (unsigned long long)p->ended[i]);
	buf_printf(out,
		   "# TYPE parley_script_seconds_total counter\n"
		   "parley_script_seconds_total %.6f\n"
		   "# TYPE parley_script_worker_starts_total counter\n"
		   "parley_script_worker_starts_total %llu\n"
		   "# TYPE parley_script_running gauge\nparley_script_running %u\n"
		   "# TYPE parley_script_waiting gauge\nparley_script_waiting %u\n",
		   (double)p->run_us / 1e6, (unsigned long long)p->starts, running, p->queue.count);
}
