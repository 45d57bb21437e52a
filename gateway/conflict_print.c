#include "gateway/conflict_print.h"

#include <inttypes.h>

#include "gateway/http_answer.h"

static const char *const kind_names[] = {"edits", "roots", "delete"};

const char *conflict_kind_name(uint64_t kind)
{
	return kind_names[kind < ARRAY_LEN(kind_names) ? kind : 0];
}

bool conflict_kind_of(struct slice name, uint64_t *kind)
{
	for (*kind = 0; *kind < ARRAY_LEN(kind_names); (*kind)++)
		if (slice_is(name, kind_names[*kind]))
			return true;
	return false;
}

void conflict_print_revisions(const struct revision *revisions, uint32_t count, struct buf *out)
{
	buf_append_byte(out, '[');
	for (uint32_t i = 0; i < count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_revision(&revisions[i], out);
	}
	buf_append_byte(out, ']');
}

/* {"id":...} becomes {"id":...,"name": */
static void reopen_object(const char *name, struct buf *out)
{
	CHECK(out->len > 0 && out->data[out->len - 1] == '}');
	out->len--;
	buf_printf(out, ",\"%s\":", name);
}

void conflict_append_revisions(const char *name, const struct revision *revisions, uint32_t count,
			       struct buf *out)
{
	reopen_object(name, out);
	conflict_print_revisions(revisions, count, out);
	buf_append_byte(out, '}');
}

void conflict_append_names(struct slice names, struct buf *out)
{
	reopen_object(CONFLICTS_MEMBER, out);
	for (size_t at = 0, end; at < names.len; at = end + 1) {
		for (end = at; end < names.len && names.data[end] != ',';)
			end++;
		buf_append_byte(out, at == 0 ? '[' : ',');
		json_string(slice_of(names.data + at, end - at), out);
	}
	buf_append_text(out, "]}");
}

static void print_state(const struct conflict *c, bool history, struct buf *out)
{
	if (history)
		buf_printf(out, ",\"action\":\"%s\"", c->undone ? "undone" : "resolved");
	else
		buf_printf(out, ",\"state\":\"%s\"",
			   c->state == CONFLICT_RESOLVED ? "resolved" : "open");
	if (!c->undone)
		buf_printf(out, ",\"kind\":\"%s\",\"since\":%" PRIu64, conflict_kind_name(c->kind),
			   c->since_ms);
	if (c->held)
		buf_append_text(out, ",\"held\":true");
}

/* What becomes of the losers. */
static void print_cleanup(const struct conflict_about *about, const struct conflict *c,
			  struct buf *out)
{
	const struct msg_conflict_list_ack *ack = about->ack;
	uint64_t due_ms = c->resolved_ms + about->retain_ms;
	buf_append_text(out, ",\"cleanup\":{\"state\":");
	if (due_ms > about->wall_ms) {
		buf_printf(out, "\"retained\",\"until\":%" PRIu64 "}", due_ms);
		return;
	}
	if (ack->waiting_count == 0) {
		buf_append_text(out, "\"due\"}");
		return;
	}
	buf_append_text(out, "\"waiting\",\"for\":[");
	for (uint32_t i = 0; i < ack->waiting_count; i++) {
		if (i > 0)
			buf_append_byte(out, ',');
		json_string(ack->waiting[i], out);
	}
	buf_printf(out, "],\"since\":%" PRIu64 "}", ack->waiting_since);
}

void conflict_print(const struct conflict_about *about, const struct conflict_row *row,
		    struct buf *out)
{
	const struct conflict *c = &row->conflict;
	bool history = about->history;
	buf_append_text(out, "{\"collection\":");
	json_string(about->collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(row->id, out);
	print_state(c, history, out);
	buf_append_text(out, ",\"leaves\":");
	conflict_print_revisions(c->leaves, c->leaves_count, out);
	if (c->result.generation > 0) {
		buf_append_text(out, ",\"result\":");
		json_revision(&c->result, out);
		buf_printf(out, ",\"%s\":%" PRIu64 ",\"policyVersion\":%" PRIu64,
			   history ? "at" : "resolvedAt", c->resolved_ms, c->policy);
	}
	if (c->resolution_id.len > 0) {
		buf_append_text(out, ",\"resolutionId\":\"");
		buf_append_hex(out, c->resolution_id.data, c->resolution_id.len);
		buf_append_byte(out, '"');
	}
	if (!history && c->state == CONFLICT_RESOLVED)
		print_cleanup(about, c, out);
	if (c->detail.len > 0) {
		buf_append_text(out, ",\"detail\":");
		if (!json_from_msgpack(c->detail, out))
			buf_append_text(out, "null");
	}
	buf_append_byte(out, '}');
}
