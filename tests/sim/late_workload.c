/* Clients that overwrite one document of an available collection again and again, without a
 * condition, each write after the answer to the one before.
 *
 * Checked, as entries are sent: no write is ordered on top of one that was asked for later. A write
 * that the network delivers late, after its client has been told something else, would be. */
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "tests/sim/workload.h"

enum { ACTORS = 2, OPERATIONS = 60, TIMEOUT_US = 9000000, RETRY_US = 250000 };

struct actor {
	int document; /* given up for the next one when a request has no answer */
	int value;
};

struct late_state {
	struct actor actors[ACTORS];
	bool ready;
	struct map newest; /* document id, revision -> the greatest value in it and its ancestors,
			      + 1 */
	struct arena arena;
};

static struct late_state *state_of(struct workload *w)
{
	return w->state;
}

/* ---- asking ---- */

static void ask_collection(struct workload *w)
{
	struct sim_http *r = workload_request(w, 0, HTTP_POST, "/_/collections");
	buf_append_text(&r->body, "{\"name\":\"late\",\"mode\":\"available\",\"retainMs\":0,"
				  "\"policy\":{\"strategy\":\"newest\"}}");
	workload_ask(w, 0, r, TIMEOUT_US);
}

static void ask_write(struct workload *w, int actor)
{
	struct actor *a = &state_of(w)->actors[actor];
	struct sim_http *r = workload_request(w, actor, HTTP_PUT, "");
	buf_printf(&r->path, "/late/late-%d-%d", actor, a->document);
	buf_printf(&r->body, "{\"late\":%d}", ++a->value);
	workload_ask(w, actor, r, TIMEOUT_US);
}

static void late_step(struct workload *w, int actor)
{
	struct late_state *s = state_of(w);
	struct actor *a = &s->actors[actor];
	if (workload_give_up(w, actor)) /* its gateway may have it still, and means no harm */
		a->document++;
	if (!workload_is_opened(w, actor, s->ready, ask_collection, RETRY_US))
		return;
	if (w->sim->healed || a->value >= OPERATIONS)
		w->actors[actor].done = true;
	else
		ask_write(w, actor);
}

static void late_on_answer(struct workload *w, int actor, const struct sim_answer *answer)
{
	struct late_state *s = state_of(w);
	if (!workload_answered(w, actor, answer))
		return;
	if (!s->ready) {
		s->ready = answer->status < 300;
		workload_sleep(w, actor, RETRY_US);
		return;
	}
	workload_rest(w, actor, 1 + w->sim->settings.think_max_ms / 4);
}

/* ---- what is ordered ---- */

static struct slice name_of(struct late_state *s, struct slice id, const struct revision *revision)
{
	struct buf text = {0};
	buf_append_slice(&text, id);
	buf_append_byte(&text, 0);
	revision_print(revision, &text);
	struct slice kept = arena_copy(&s->arena, buf_slice(&text));
	buf_close(&text);
	return kept;
}

static uint64_t value_of(struct slice body)
{
	struct mp_reader r = mp_reader_of(value_member(body, slice_text("late")));
	struct mp_token t = mp_read(&r);
	return t.type == MP_UINT ? t.u64 : 0;
}

static void note(struct workload *w, const struct change *change)
{
	struct late_state *s = state_of(w);
	uint64_t newest = 0;
	uint64_t value = value_of(change->body);
	for (uint32_t i = 0; i < change->parents_count; i++) {
		void *known = map_get(&s->newest, name_of(s, change->id, &change->parents[i]));
		if ((uintptr_t)known > newest)
			newest = (uintptr_t)known;
	}
	if (change->kind != CHANGE_RESOLVE && value + 1 < newest)
		sim_violation(w->sim, "%.*s: write %llu was ordered on top of write %llu",
			      (int)change->id.len, (const char *)change->id.data,
			      (unsigned long long)value, (unsigned long long)newest - 1);
	if (value + 1 > newest)
		newest = value + 1;
	map_put(&s->newest, name_of(s, change->id, &change->revision), (void *)(uintptr_t)newest);
}

static void late_on_send(struct workload *w, int from, const struct effect *effect)
{
	struct msg_stream_append m;
	struct arena arena = {0};
	(void)from;
	if (effect->send.envelope.type != MSG_stream_append)
		return;
	CHECK(schema_decode(&schema_msg_stream_append, effect->send.body, &arena, &m));
	for (uint32_t i = 0; i < m.entries_count; i++) {
		struct change change;
		CHECK(schema_decode(&schema_change, m.entries[i].change, &arena, &change));
		if (change.id.len > 5 && memcmp(change.id.data, "late-", 5) == 0 &&
		    change.revision.generation > 0 &&
		    !map_get(&state_of(w)->newest,
			     name_of(state_of(w), change.id, &change.revision)))
			note(w, &change);
	}
	arena_close(&arena);
}

/* ---- life ---- */

static void late_free(struct workload *w)
{
	struct late_state *s = state_of(w);
	map_close(&s->newest);
	arena_close(&s->arena);
}

const struct workload_ops late_workload = {
    .name = "late",
    .actors = ACTORS,
    .state_bytes = sizeof(struct late_state),
    .one_in = 2,
    .start_ms = 300,
    .step = late_step,
    .on_answer = late_on_answer,
    .on_send = late_on_send,
    .free = late_free,
};
