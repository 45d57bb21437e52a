/* In place of workers that run scripts: answers that come late, in another order, as failures, or
 * not at all. What is answered depends on the arguments alone, as with real ones. Draws from the
 * seed and the request, so that nothing else is disturbed. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/memory.h"
#include "common/doc/json.h"
#include "common/doc/value.h"
#include "common/doc/view_script.h"
#include "proto/msgpack.h"
#include "tests/sim/sim.h"

enum {
	QUICK_US = 20000,
	SLOW_US = 3000000,
	ONE_IN_SLOW = 8,
	ONE_IN_LOST = 16,
	ONE_IN_FAILED = 6,
	SCRIPT_STREAM = 0x5c71
};

/* {"pick": the revision of the first leaf} */
static void pick_first(struct slice arguments, struct buf *out)
{
	struct slice leaf = value_element(value_element(arguments, 1), 0);
	mp_write_map(out, 1);
	mp_write_text(out, "pick");
	buf_append_slice(out, value_member(leaf, slice_text("rev")));
}

/* Of views: a row {v: nothing} of each document that has one. Texts of JSON both ways. */
static void map_values(struct slice documents, struct buf *out)
{
	struct mp_reader r = mp_reader_of(documents);
	uint32_t count = mp_read(&r).count;
	struct buf text = {0};
	buf_append_byte(&text, '[');
	for (uint32_t i = 0; i < count; i++) {
		struct slice value = value_member(mp_value(&r), slice_text("v"));
		buf_append_text(&text, i > 0 ? ",[" : "[");
		if (value.len > 0 && json_from_msgpack(value, &text))
			buf_append_text(&text, ",null");
		buf_append_byte(&text, ']');
	}
	buf_append_byte(&text, ']');
	mp_write_str(out, buf_slice(&text));
	buf_close(&text);
}

static void read_documents(struct slice arguments, struct buf *out)
{
	struct mp_reader r = mp_reader_of(value_element(arguments, 2));
	struct json_parser *parser = json_parser_new();
	struct json_error error;
	CHECK(json_to_msgpack(parser, mp_read(&r).bytes, out, &error));
	json_parser_free(parser);
}

/* A worker that fails for what it was given fails each time; so this one fails for many documents
 * at once, or is not there. */
static void decide_map(const struct sim *sim, struct rng *r, const struct script_request *request,
		       struct sim_script *s)
{
	static const enum script_status failures[] = {SCRIPT_BUSY, SCRIPT_UNAVAILABLE, SCRIPT_TIME};
	struct buf documents = {0};
	read_documents(request->arguments, &documents);
	struct mp_reader list = mp_reader_of(buf_slice(&documents));
	bool many = mp_read(&list).count > 1;
	if (!sim->healed && rng_below(r, ONE_IN_FAILED) == 0)
		s->status = failures[rng_below(r, many ? 3 : 2)];
	else
		map_values(buf_slice(&documents), &s->output);
	buf_close(&documents);
}

static void decide(const struct sim *sim, struct rng *r, const struct script_request *request,
		   struct sim_script *s)
{
	static const enum script_status failures[] = {
	    SCRIPT_THREW,   SCRIPT_BAD_RESULT, SCRIPT_TIME,       SCRIPT_MEMORY,
	    SCRIPT_CRASHED, SCRIPT_BUSY,       SCRIPT_UNAVAILABLE};
	s->id = request->id;
	if (slice_is(request->source, view_map_source))
		decide_map(sim, r, request, s);
	else if (slice_is(request->source, view_compile_source))
		mp_write_text(&s->output, ""); /* all do */
	else if (!sim->healed && rng_below(r, ONE_IN_FAILED) == 0) {
		s->status = failures[rng_below(r, ARRAY_LEN(failures))];
		buf_append_text(&s->output, "drawn");
	} else {
		pick_first(request->arguments, &s->output);
	}
}

void script_submit(struct sim *sim, int index, const struct script_request *request)
{
	struct rng r;
	rng_init(&r, sim->settings.seed ^ request->id ^ SCRIPT_STREAM);
	if (!sim->healed && rng_below(&r, ONE_IN_LOST) == 0)
		return;
	int64_t longest_us = rng_below(&r, ONE_IN_SLOW) == 0 ? SLOW_US : QUICK_US;
	struct sim_script *s = mem_alloc_zero(sizeof *s);
	decide(sim, &r, request, s);
	sim_schedule(sim, sim->now_us + rng_between(&r, 100, longest_us), SIM_SCRIPT, index,
		     sim->nodes[index].life, s);
}

void script_free(struct sim_script *s)
{
	buf_close(&s->output);
	free(s);
}

void script_arrive(struct sim *sim, const struct sim_event *event)
{
	struct sim_node *node = &sim->nodes[event->index];
	struct sim_script *s = event->payload;
	if (!node->core || node->life != event->life) {
		script_free(s);
		return;
	}
	s->next = node->scripts;
	node->scripts = s;
	node_wake(sim, event->index, sim->now_us);
}
