#include "gateway/conflict_print.h"

#include <inttypes.h>
#include <stdlib.h>

#include "gateway/http_answer.h"

enum { EARLIER_SHOWN = 16 };

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

uint64_t conflict_state(const struct conflict *c)
{
	return c->state == CONFLICT_RESOLVED && c->undone ? CONFLICT_UNDONE : c->state;
}

static int newest_first(const void *a, const void *b)
{
	const struct conflict *x = &((const struct conflict_row *)a)->conflict;
	const struct conflict *y = &((const struct conflict_row *)b)->conflict;
	if (x->state != y->state)
		return x->state == CONFLICT_OPEN ? -1 : 1;
	return (x->number < y->number) - (x->number > y->number);
}

void conflict_newest(struct conflict_row *rows, uint32_t count)
{
	if (count > 1)
		qsort(rows, count, sizeof *rows, newest_first);
}

static void print_state(const struct conflict *c, struct buf *out)
{
	static const char *const names[] = {
	    "open", [CONFLICT_OPEN] = "open", [CONFLICT_RESOLVED] = "resolved",
	    [CONFLICT_UNDONE] = "undone"};
	buf_printf(out, "\"state\":\"%s\"", names[conflict_state(c)]);
}

static void print_beginning(const struct conflict *c, bool history, struct buf *out)
{
	buf_append_byte(out, ',');
	if (history)
		buf_printf(out, "\"action\":\"%s\"", c->undone ? "undone" : "resolved");
	else
		print_state(c, out);
	if (!history || !c->undone)
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

static void print_detail(const struct conflict *c, struct buf *out)
{
	if (c->detail.len == 0)
		return;
	buf_append_text(out, ",\"detail\":");
	if (!json_from_msgpack(c->detail, out))
		buf_append_text(out, "null");
}

/* From its leaves on. */
static void print_outcome(const struct conflict_about *about, const struct conflict *c,
			  struct buf *out)
{
	bool history = about->history;
	buf_append_text(out, ",\"leaves\":");
	conflict_print_revisions(c->leaves, c->leaves_count, out);
	buf_printf(out, ",\"leavesCount\":%" PRIu64,
		   c->leaves_all > 0 ? c->leaves_all : c->leaves_count);
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
	print_detail(c, out);
}

static void print_earlier(const struct conflict_about *about, const struct conflict_row *rows,
			  uint32_t count, struct buf *out)
{
	buf_append_text(out, ",\"earlier\":[");
	for (uint32_t i = 0; i < count && i < EARLIER_SHOWN; i++) {
		buf_append_text(out, i > 0 ? ",{" : "{");
		print_state(&rows[i].conflict, out);
		print_outcome(about, &rows[i].conflict, out);
		buf_append_byte(out, '}');
	}
	buf_append_byte(out, ']');
	if (count > EARLIER_SHOWN)
		buf_printf(out, ",\"earlierCount\":%" PRIu32, count);
}

void conflict_print(const struct conflict_about *about, const struct conflict_row *rows,
		    uint32_t count, struct buf *out)
{
	buf_append_text(out, "{\"collection\":");
	json_string(about->collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(rows[0].id, out);
	print_beginning(&rows[0].conflict, about->history, out);
	print_outcome(about, &rows[0].conflict, out);
	if (count > 1)
		print_earlier(about, rows + 1, count - 1, out);
	buf_append_byte(out, '}');
}
