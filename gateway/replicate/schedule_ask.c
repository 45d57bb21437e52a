/* Requests of the schedule, made inside, and what the two feeds bring. Answers are put aside until
 * the end of the step, as one may bring the next at once. */
#include "common/base/memory.h"
#include "common/doc/value.h"
#include "gateway/replicate/schedule_internal.h"

struct origin {
	enum note_kind kind;
	char key[RUNNER_ID_BYTES + 1];
};

static void answered(struct turn *t, struct request *r, const struct reply *reply)
{
	struct schedule *s = t->gw->schedule;
	struct origin origin;
	struct note *note = mem_alloc_zero(sizeof *note);
	memcpy(&origin, r->origin.data, sizeof origin);
	note->kind = origin.kind;
	memcpy(note->key, origin.key, sizeof note->key);
	note->status = reply->status;
	buf_append_slice(&note->text, buf_slice(&reply->body));
	if (s->notes)
		s->notes_last->next = note;
	else
		s->notes = note;
	s->notes_last = note;
}

void schedule_ask(struct turn *t, enum note_kind kind, const char *key,
		  const struct http_request *http)
{
	struct origin origin = {.kind = kind};
	struct http_request inside = *http;
	memcpy(origin.key, key, strlen(key));
	inside.id = ++t->gw->replicator->next_ask;
	inside.dialect = DIALECT_COUCH;
	if (kind >= NOTE_ROW)
		t->gw->schedule->requests++;
	request_internal(t, &inside, answered, slice_of(&origin, sizeof origin));
}

/* ---- rounds ---- */

static const char *const feed_paths[FEEDS] = {"/_replicator/_changes",
					      "/" COUCH_REPLICATIONS "/_changes"};

static void ask_page(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	struct buf query = {0};
	buf_printf(&query, "include_docs=true&limit=%d&since=", SCHEDULE_PAGE);
	url_encode(buf_slice(&s->since[s->feed]), &query);
	struct http_request http = {.method = HTTP_GET,
				    .path = slice_text(feed_paths[s->feed]),
				    .query = buf_slice(&query)};
	schedule_ask(t, NOTE_PAGE, "", &http);
	buf_close(&query);
}

void round_begin(struct turn *t)
{
	struct schedule *s = t->gw->schedule;
	s->reading = true;
	s->more = false;
	s->feed = FEED_DOCUMENTS;
	s->round_began_ms = t->now_ms;
	ask_page(t);
}

/* With include_docs the document of a deletion says that it is one. */
static void take_row(struct turn *t, struct slice row)
{
	struct slice id = value_text_member(row, "id");
	struct slice document = value_member(row, slice_text("doc"));
	struct slice revision = value_text_member(document, "_rev");
	struct mp_reader reader = mp_reader_of(value_member(row, slice_text("deleted")));
	struct mp_token deleted = mp_read(&reader);
	if (revision.len == 0)
		revision = value_text_member(
		    value_element(value_member(row, slice_text("changes")), 0), "rev");
	if (deleted.type == MP_BOOL && deleted.flag)
		document = slice_of(NULL, 0);
	if (t->gw->schedule->feed == FEED_DOCUMENTS)
		document_seen(t, id, revision, document);
	else
		row_seen(t, id, revision, document);
}

static uint32_t take_rows(struct turn *t, struct slice results)
{
	struct mp_reader reader = mp_reader_of(results);
	struct mp_token head = mp_read(&reader);
	uint32_t count = head.type == MP_ARRAY ? head.count : 0;
	for (uint32_t i = 0; i < count; i++)
		take_row(t, mp_value(&reader));
	return count;
}

void round_page(struct turn *t, const struct note *note)
{
	struct schedule *s = t->gw->schedule;
	struct slice last = value_text_member(note->value, "last_seq");
	if (note->status != 200 || last.len == 0) {
		s->reading = false;
		/* a place that is none any more: the collection was made anew */
		if (note->status == 400)
			buf_clear(&s->since[s->feed]);
		return;
	}
	uint32_t count = take_rows(t, value_member(note->value, slice_text("results")));
	buf_clear(&s->since[s->feed]);
	buf_append_slice(&s->since[s->feed], last);
	if (count < SCHEDULE_PAGE)
		s->feed++;
	if (s->feed < FEEDS) {
		ask_page(t);
		return;
	}
	s->reading = false;
	s->rounds++;
	schedule_decide(t);
}
