#include "common/doc/script_decide.h"

#include "common/doc/script_answer.h"
#include "common/doc/value.h"

/* The script could have decided, and did not. */
static bool instead(const struct msg_conflict_read_ack *graph, struct slice id, struct slice text,
		    struct arena *arena, struct decision *d)
{
	/* of `external`, the script was the fallback already */
	if (d->policy.strategy == POLICY_EXTERNAL)
		decide_open(graph, id, "script_failed", text, arena, d);
	else
		decide_fallback(graph, id, "script_failed", text, arena, d);
	return true;
}

static bool failed(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct script_end *end, struct arena *arena, struct decision *d)
{
	struct buf text = {0};
	buf_append_text(&text, script_status_name(end->status));
	buf_append_text(&text, ": ");
	buf_append_slice(&text, script_text(end->output));
	struct slice copy = arena_copy(arena, buf_slice(&text));
	buf_close(&text);
	return instead(graph, id, copy, arena, d);
}

/* In the form in which a client's document would be stored, without the id: a worker may have been
 * taken over, and nobody else looks at what it made. */
static bool clean_body(struct json_parser *json, struct arena *arena, struct answer *answer)
{
	struct buf text = {0}, body = {0}, own = {0};
	struct json_error error;
	bool ok = json_from_msgpack(answer->body, &text) &&
		  json_to_msgpack(json, buf_slice(&text), &body, &error);
	if (ok)
		value_without_member(buf_slice(&body), slice_text("id"), &own);
	answer->body = arena_copy(arena, buf_slice(&own));
	buf_close(&own);
	buf_close(&text);
	buf_close(&body);
	return ok;
}

static bool answered(const struct msg_conflict_read_ack *graph, struct slice id,
		     const struct script_end *end, struct json_parser *json, struct arena *arena,
		     struct decision *d)
{
	struct answer answer;
	struct slice text;
	const struct decision asked = *d;
	switch (script_answer_read(end->output, &answer, &text)) {
	case SCRIPT_ANSWERS:
		if (answer.kind != ANSWER_BODY || clean_body(json, arena, &answer))
			decide_answer(graph, id, &answer, arena, d);
		if (d->kind != DECISION_NOTE && d->kind != DECISION_SCRIPT)
			return false;
		*d = asked;
		return instead(graph, id, slice_text("no document, no leaf, or too large"), arena,
			       d);
	case SCRIPT_LEAVES_OPEN:
		decide_open(graph, id, "script_open", text, arena, d);
		return false;
	case SCRIPT_SAYS_NOTHING:
		break;
	}
	return instead(graph, id, text, arena, d);
}

bool script_decide(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct script_end *end, struct json_parser *json, struct arena *arena,
		   struct decision *d)
{
	if (end->status == SCRIPT_OK)
		return answered(graph, id, end, json, arena, d);
	if (end->status != SCRIPT_UNAVAILABLE)
		return failed(graph, id, end, arena, d);
	decide_open(graph, id, "script_unavailable", script_text(end->output), arena, d);
	return false;
}
