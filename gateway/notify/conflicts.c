/* GET /_/conflicts with Accept: text/event-stream: what happens to conflicts, as it happens. The
 * same subscribers and feeds as those of changes; what is matched is the conflict's kind and
 * collection. */
#include "gateway/conflict_print.h"
#include "gateway/http_answer.h"
#include "gateway/native.h"
#include "gateway/notify/events.h"
#include "gateway/routes.h"
#include "gateway/url.h"

static const char *const event_names[CONFLICT_EVENT_MAX + 1] = {
    [CONFLICT_OPENED] = "opened",    [CONFLICT_CHANGED] = "changed",
    [CONFLICT_DECIDED] = "resolved", [CONFLICT_REOPENED] = "reopened",
    [CONFLICT_ENDED] = "ended",      [CONFLICT_CLEANED] = "cleaned",
};

void conflict_path(const struct feed_event *event, struct slice collection, struct buf *out)
{
	buf_append_text(out, conflict_kind_name(event->kind));
	buf_append_text(out, ":/");
	buf_append_slice(out, collection);
	buf_append_byte(out, '/');
	buf_append_slice(out, event->id);
}

void conflict_event_print(const struct feed_event *event, struct slice collection, struct buf *out)
{
	CHECK(event->conflict > 0 && event->conflict <= CONFLICT_EVENT_MAX);
	buf_printf(out, "data: {\"event\":\"%s\",\"kind\":\"%s\",\"collection\":",
		   event_names[event->conflict], conflict_kind_name(event->kind));
	json_string(collection, out);
	buf_append_text(out, ",\"id\":");
	json_string(event->id, out);
	if (event->revision.generation > 0) {
		buf_append_text(out, ",\"revision\":");
		json_revision(&event->revision, out);
	}
	if (event->resolution_id.len > 0) {
		buf_append_text(out, ",\"resolutionId\":\"");
		buf_append_hex(out, event->resolution_id.data, event->resolution_id.len);
		buf_append_byte(out, '"');
	}
	buf_append_text(out, "}\n\n");
}

/* The pattern that stands for them: KIND:/collection/. */
static bool take_conflicts(struct turn *t, struct request *r, struct subscriber *sub,
			   struct problem *p)
{
	static const char *const names[] = {"collection", "kind", "since", NULL};
	struct buf text = {0};
	struct slice kind;
	uint64_t number;
	if (!native_parameters(r, names, p))
		return false;
	if (!request_parameter(r, "kind", &kind) || kind.len == 0)
		kind = slice_text("\\w+");
	else if (!conflict_kind_of(kind, &number))
		return problem_detail(p, STATUS_BAD_PARAMETER, "kind", "edits, roots or delete.");
	if (!request_parameter(r, "collection", &r->collection))
		r->collection = slice_of(NULL, 0);
	if (r->collection.len > 0 && !collection_name_valid(r->collection))
		return problem_set(p, STATUS_BAD_NAME, "collection");
	buf_append_byte(&text, '^');
	buf_append_slice(&text, kind);
	buf_append_text(&text, ":/");
	for (size_t i = 0; i < r->collection.len; i++) {
		if (r->collection.data[i] == '.')
			buf_append_byte(&text, '\\');
		buf_append_byte(&text, r->collection.data[i]);
	}
	buf_append_text(&text, r->collection.len > 0 ? "/" : "");
	bool fine = events_take_path(t, sub, buf_slice(&text), p);
	buf_close(&text);
	return fine;
}

void conflict_events(struct turn *t, struct request *r)
{
	events_listen(t, r, SUBSCRIBER_CONFLICTS, take_conflicts);
}
