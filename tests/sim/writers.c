#include "tests/sim/writers.h"

#include <stdlib.h>

enum { TIMEOUT_US = 12 * 1000 * 1000, PAUSE_MS = 200 };

void writers_init(struct writers *s, const struct writers_plan *plan)
{
	s->plan = plan;
	for (int i = 0; i < WRITERS; i++)
		s->under_way[i] = -1;
}

static void write_any(struct writers *s, struct workload *w, int actor)
{
	s->under_way[actor] = s->count;
	struct write *op = &s->writes[s->count++];
	op->document = workload_below(w, s->plan->documents);
	op->start_us = w->sim->now_us;
	enum http_method method = s->plan->methods[workload_below(w, WRITERS_METHODS)];
	struct sim_http *r = workload_request(w, actor, method, "");
	buf_printf(&r->path, "/%s/d%d", s->plan->collection, op->document);
	if (method != HTTP_DELETE)
		buf_printf(&r->body, "{\"v\":%d}", s->count);
	workload_ask(w, actor, r, TIMEOUT_US);
}

void writers_step(struct writers *s, struct workload *w, int actor)
{
	int write = s->under_way[actor];
	if (write >= 0) /* no answer: it may have been done, or may yet be */
		s->writes[write].unknown = true;
	s->under_way[actor] = -1;
	workload_forget(w, actor);
	if (!w->sim->healed && s->count < WRITERS_WRITES_MAX)
		write_any(s, w, actor);
}

void writers_answered(struct writers *s, struct workload *w, int actor,
		      const struct sim_answer *answer)
{
	CHECK(s->under_way[actor] >= 0);
	struct write *op = &s->writes[s->under_way[actor]];
	op->end_us = w->sim->now_us;
	op->unknown = answer->status >= 500;
	if (answer->status >= 200 && answer->status < 300)
		op->generation = strtoull(answer->etag, NULL, 10);
	s->under_way[actor] = -1;
	workload_rest(w, actor, PAUSE_MS);
}

bool writers_are_done(const struct writers *s, const struct workload *w, struct buf *why)
{
	for (int i = 0; i < WRITERS; i++)
		if (s->under_way[i] >= 0) {
			buf_printf(why, "%s: writer %d waits", w->ops->name, i);
			return false;
		}
	return true;
}

uint64_t writers_acknowledged(const struct writers *s, int document)
{
	uint64_t greatest = 0;
	for (int i = 0; i < s->count; i++)
		if (s->writes[i].document == document && s->writes[i].generation > greatest)
			greatest = s->writes[i].generation;
	return greatest;
}
