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
	for (uint32_t i = 0; i < SCRIPT_QUEUE_MAX; i++)
		buf_close(&p->queue[i].frame);
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
	size_t bytes = request->source.len + request->arguments.len;
	if (p->queue_count == SCRIPT_QUEUE_MAX || p->queue_bytes + bytes > SCRIPT_QUEUE_BYTES_MAX) {
		script_pool_result(p, request->id, SCRIPT_BUSY, slice_text("too many wait"));
		return;
	}
	struct script_job *job = &p->queue[(p->queue_first + p->queue_count) % SCRIPT_QUEUE_MAX];
	*job = (struct script_job){.id = request->id, .time_ms = request->time_ms};
	if (!script_request_write(request, &job->frame)) {
		buf_close(&job->frame);
		script_pool_result(p, request->id, SCRIPT_TOO_LARGE,
				   slice_text("the arguments are too large"));
		return;
	}
	p->queue_count++;
	p->queue_bytes += job->frame.len;
}

static struct script_job queue_take(struct script_pool *p)
{
	struct script_job job = p->queue[p->queue_first];
	p->queue[p->queue_first] = (struct script_job){0};
	p->queue_first = (p->queue_first + 1) % SCRIPT_QUEUE_MAX;
	p->queue_count--;
	p->queue_bytes -= job.frame.len;
	return job;
}

void script_pool_refuse_all(struct script_pool *p)
{
	while (p->queue_count > 0) {
		struct script_job job = queue_take(p);
		script_pool_result(p, job.id, SCRIPT_UNAVAILABLE,
				   slice_text("the script worker can't be started"));
		buf_close(&job.frame);
	}
}

/* ---- turns ---- */

static uint32_t starting(const struct script_pool *p)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < p->setup.workers; i++)
		count += p->workers[i].state == PROCESS_STARTING;
	return count;
}

static void start_work(struct script_pool *p)
{
	uint32_t coming = starting(p);
	for (uint32_t i = 0; i < p->setup.workers; i++) {
		struct script_process *w = &p->workers[i];
		if (w->state == PROCESS_IDLE && p->queue_count > 0) {
			struct script_job job = queue_take(p);
			script_process_run(w, &job);
		}
	}
	for (uint32_t i = 0; i < p->setup.workers && coming < p->queue_count; i++) {
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

int64_t script_pool_deadline(const struct script_pool *p)
{
	int64_t at = NO_DEADLINE;
	uint32_t coming = starting(p);
	if (p->results_count > 0)
		return 0;
	for (uint32_t i = 0; i < p->setup.workers; i++) {
		const struct script_process *w = &p->workers[i];
		bool waits = w->state != PROCESS_IDLE && w->state != PROCESS_DOWN;
		if (w->state == PROCESS_IDLE && p->queue_count > 0)
			return 0;
		if ((waits || (w->state == PROCESS_DOWN && coming < p->queue_count)) &&
		    w->due_ms < at)
			at = w->due_ms;
	}
	return at;
}

bool script_pool_idle(const struct script_pool *p)
{
	bool idle = p->queue_count == 0 && p->results_count == 0;
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
		   (double)p->run_us / 1e6, (unsigned long long)p->starts, running, p->queue_count);
}
