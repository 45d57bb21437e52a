#include "common/doc/script_decide.h"

#include "common/doc/attachment.h"
#include "common/doc/script_answer.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

static void stays_open(const struct msg_conflict_read_ack *graph, struct slice id,
		       const char *reason, struct slice text, struct arena *arena,
		       struct decision *d)
{
	struct decide_why why = {.reason = reason, .text = text, .instead_of = d->instead_of};
	decide_open(graph, id, &why, arena, d);
}

bool script_instead(const struct msg_conflict_read_ack *graph, struct slice id, struct slice text,
		    struct arena *arena, struct decision *d)
{
	if (d->instead_of) /* the script was the fallback already */
		stays_open(graph, id, "script_failed", text, arena, d);
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
	return script_instead(graph, id, copy, arena, d);
}

/* A lead takes no content that none of the document's versions names. */
static bool contents_are_known(const struct msg_conflict_read_ack *graph, struct slice body,
			       struct arena *arena)
{
	struct attachments_wanted wanted;
	if (!attachments_want(body, arena, &wanted))
		return false;
	for (uint32_t i = 0; i < graph->nodes_count; i++)
		attachments_look(&wanted, graph->nodes[i].body);
	return attachments_all_found(&wanted);
}

static bool is_id(struct slice value, struct slice id)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	return token.type == MP_STR && slice_equal(token.bytes, id);
}

/* In the form in which a client's document would be stored, without the id: a worker may have been
 * taken over, and nobody else looks at what it made. NULL, or what is wrong with it. */
static const char *take_document(const struct msg_conflict_read_ack *graph, struct slice id,
				 struct json_parser *json, struct arena *arena,
				 struct slice *document)
{
	struct buf text = {0}, body = {0}, own = {0};
	struct json_error error;
	const char *wrong = NULL;
	bool ok = json_from_msgpack(*document, &text) &&
		  json_to_msgpack(json, buf_slice(&text), &body, &error);
	struct slice given =
	    ok ? value_member(buf_slice(&body), slice_text("id")) : slice_of(NULL, 0);
	if (!ok)
		wrong = "resolve is no document";
	else if (given.len > 0 && !is_id(given, id))
		wrong = "resolve has another id";
	if (!wrong)
		value_without_member(buf_slice(&body), slice_text("id"), &own);
	*document = arena_copy(arena, buf_slice(&own));
	if (!wrong && !contents_are_known(graph, *document, arena))
		wrong = "resolve has an attachment that no version has";
	buf_close(&own);
	buf_close(&text);
	buf_close(&body);
	return wrong;
}

static bool answered(const struct msg_conflict_read_ack *graph, struct slice id,
		     const struct script_end *end, struct json_parser *json, struct arena *arena,
		     struct decision *d)
{
	struct answer answer;
	struct slice text;
	const char *wrong = NULL;
	struct slice why;
	const struct decision asked = *d;
	switch (script_answer_read(end->output, &answer, &text)) {
	case SCRIPT_ANSWERS:
		if (answer.kind == ANSWER_BODY)
			wrong = take_document(graph, id, json, arena, &answer.body);
		answer.instead_of = asked.instead_of;
		if (!wrong)
			decide_answer(graph, id, &answer, arena, d);
		if (d->kind != DECISION_NOTE && d->kind != DECISION_SCRIPT)
			return false;
		why = wrong ? slice_text(wrong) : decision_wrong(d, answer.kind, arena);
		*d = asked;
		return script_instead(graph, id, why, arena, d);
	case SCRIPT_LEAVES_OPEN:
		stays_open(graph, id, "script_open", text, arena, d);
		return false;
	case SCRIPT_SAYS_NOTHING:
		break;
	}
	return script_instead(graph, id, text, arena, d);
}

bool script_decide(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct script_end *end, struct json_parser *json, struct arena *arena,
		   struct decision *d)
{
	if (end->status == SCRIPT_OK)
		return answered(graph, id, end, json, arena, d);
	if (end->status != SCRIPT_UNAVAILABLE)
		return failed(graph, id, end, arena, d);
	stays_open(graph, id, "script_unavailable", script_text(end->output), arena, d);
	return false;
}
