#include "gateway/couch/changes.h"

#include "common/base/memory.h"
#include "common/probe.h"

static void look_again(struct turn *t, struct request *r);

/* ---- pages ---- */

static struct changes_row row_at(const struct changes_page *page, uint32_t index)
{
	struct changes_row row;
	CHECK(page->rows.data != NULL);
	memcpy(&row, page->rows.data + (size_t)index * sizeof row, sizeof row);
	return row;
}

static uint32_t rows_left(const struct changes_page *page)
{
	return (uint32_t)(page->rows.len / sizeof(struct changes_row)) - page->at;
}

static void page_count(struct changes *op, struct changes_page *page)
{
	page->held = page->text.cap + page->rows.cap + page->documents.cap;
	op->gw->feeds_bytes += page->held;
}

static void page_close(struct changes *op, struct changes_page *page)
{
	op->gw->feeds_bytes -= page->held;
	buf_close(&page->text);
	buf_close(&page->rows);
	buf_close(&page->documents);
	*page =
	    (struct changes_page){.last = page->last, .pending = page->pending, .more = page->more};
}

void changes_close(struct request *r)
{
	struct changes *op = r->op;
	struct effects fx = {0};
	struct turn t = {.gw = op->gw, .fx = &fx};
	watch_end(&t, &op->watcher);
	op->gw->feeds_open -= op->streaming;
	effects_close(&fx);
	for (uint32_t i = 0; i < op->shards_count; i++)
		page_close(op, &op->shards[i].page);
	buf_close(&op->out);
	changes_data_close(op);
}

static bool is_design(struct slice id)
{
	static const char prefix[] = "_design/";
	size_t len = sizeof prefix - 1;
	return id.len > len && memcmp(id.data, prefix, len) == 0;
}

/* "id":..., and the rest of the row: true if it could be printed. */
static bool print_row(const struct changes *op, const struct change_row *row,
		      struct changes_row *place, struct buf *out)
{
	buf_append_text(out, "\"id\":");
	json_string(row->id, out);
	buf_append_text(out, ",\"changes\":[");
	place->list_at = out->len - place->text_at;
	buf_append_text(out, "{\"rev\":");
	json_revision(&row->revision, out);
	for (uint32_t i = 0; op->all_leaves && i < row->leaves_count; i++) {
		buf_append_text(out, "},{\"rev\":");
		json_revision(&row->leaves[i], out);
	}
	buf_append_text(out, row->deleted ? "}],\"deleted\":true" : "}]");
	if (!op->include_docs)
		return true;
	struct couch_document d = {.id = row->id,
				   .revision = row->revision,
				   .deleted = row->deleted,
				   .body = row->body,
				   .data = op->data};
	if (op->conflicts) {
		d.conflicts = row->leaves;
		d.conflicts_count = (uint32_t)row->live;
	}
	buf_append_text(out, ",\"doc\":");
	return couch_document_print(&d, out);
}

/* A deletion has none of its own. */
static const uint8_t no_members = 0x80;

static bool selected(const struct changes *op, const struct change_row *row, uint32_t index)
{
	struct script_document d;
	if (!changes_version(row, index, &d))
		return true;
	struct query_version version = {.revision = &d.revision, .deleted = d.deleted};
	struct slice body = d.deleted ? slice_of(&no_members, 1) : d.body;
	return query_matches_version(op->selector, row->id, body, &version);
}

static void select_revisions(const struct changes *op, const struct change_row *row,
			     struct changes_page *page, struct changes_row *out)
{
	struct buf passes = {0};
	for (uint32_t i = 0; i < out->revisions; i++)
		buf_append_byte(&passes, selected(op, row, i));
	changes_strike(page, out, passes.data);
	buf_close(&passes);
}

/* The row as it is told, or shown to the function first. */
static bool take_row(const struct changes *op, const struct change_row *from,
		     struct changes_page *page, struct changes_row *row)
{
	row->document_end = page->documents.len;
	/* shards know which ids are asked for */
	if (!couch_is_shown(from->id) || (op->filter == FILTER_DESIGN && !is_design(from->id)))
		return true;
	if (from->live > from->leaves_count || !print_row(op, from, row, &page->text))
		return false;
	row->text_len = page->text.len - row->text_at;
	row->revisions = 1 + (op->all_leaves ? from->leaves_count : 0);
	if (op->selector)
		select_revisions(op, from, page, row);
	else if (op->function)
		changes_function_add(from, page, row);
	return true;
}

static bool take_page(struct changes *op, struct changes_shard *s,
		      const struct msg_shard_changes_ack *ack)
{
	struct changes_page *page = &s->page;
	page_close(op, page);
	for (uint32_t i = 0; i < ack->rows_count; i++) {
		const struct change_row *from = &ack->rows[i];
		struct changes_row row = {
		    .number = from->number, .stamp = from->stamp, .text_at = page->text.len};
		if (!take_row(op, from, page, &row))
			return false;
		buf_append(&page->rows, &row, sizeof row);
	}
	page->last = ack->last;
	page->pending = ack->pending;
	page->more = ack->pending > 0;
	return true;
}

static void page_came(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct changes *op = r->op;
	struct changes_shard *s = &op->shards[index];
	s->asked = false;
	if (!body || status != STATUS_OK) {
		changes_fail(t, r, status);
		return;
	}
	op->heard_ms = t->now_ms;
	bool fine = take_page(op, s, body);
	page_count(op, &s->page);
	if (!fine)
		changes_fail(t, r, STATUS_INTERNAL);
	else if (op->function)
		changes_function_judge(t, r, s);
	else if (op->selector && query_too_costly(op->selector))
		changes_fail(t, r, STATUS_PATTERN_TOO_COSTLY);
	else
		changes_pump(t, r);
}

/* A shard that has none of the documents asked for. */
static bool is_idle(const struct changes *op, uint32_t index)
{
	return op->filter == FILTER_DOC_IDS && op->shards[index].ask.ids_count == 0;
}

/* What follows its place. */
static void ask(struct turn *t, struct request *r, uint32_t index)
{
	struct changes *op = r->op;
	struct changes_shard *s = &op->shards[index];
	struct call_spec spec = {
	    .reach = REACH_LEAD,
	    .shard = op->positions[index].shard,
	    .type = MSG_shard_changes,
	    .answer = MSG_shard_changes_ack,
	    .message = &s->ask,
	    .repeatable = true,
	    .index = index,
	    .done = page_came,
	};
	if (is_idle(op, index)) {
		s->ended = true;
		return;
	}
	s->ask.shard = spec.shard;
	s->ask.limit = BOUND(changes_page, CHANGES_PAGE_ROWS);
	/* rows of all shards are merged: of each a little more than its share */
	bool filtered = op->filter != FILTER_NONE && op->filter != FILTER_DOC_IDS;
	if (op->limited && !filtered && op->left < CHANGES_PAGE_ROWS)
		s->ask.limit = op->left / op->shards_count * 2 + 10;
	if (op->descending)
		s->ask.until = op->positions[index].number;
	else
		s->ask.after = op->positions[index].number;
	s->asked = true;
	s->ended = s->dropped = false;
	op->heard_ms = t->now_ms; /* its time begins now, however long the client took */
	if (!call_open(t, r, &spec))
		changes_fail(t, r, STATUS_OVERLOADED);
}

static void ask_all(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	op->heard_ms = t->now_ms;
	op->covered = watch_ready(t, &op->watcher);
	op->waiting = false;
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++)
		if (!op->shards[i].asked)
			ask(t, r, i);
}

/* ---- merging ---- */

/* All that is left of a page was told: the shard's place is behind it. */
static void page_told(struct turn *t, struct request *r, uint32_t index)
{
	struct changes *op = r->op;
	struct changes_shard *s = &op->shards[index];
	struct changes_page *page = &s->page;
	bool more = page->more;
	op->positions[index].number = page->last;
	if (op->descending && more)
		op->positions[index].number--;
	page_close(op, page);
	if (more)
		ask(t, r, index);
	else
		s->ended = true;
}

/* Who takes little at a time would hold a page of each shard all the while, and so would each of
 * very many like him. */
static void drop_pages(struct changes *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++) {
		struct changes_shard *s = &op->shards[i];
		uint32_t left = rows_left(&s->page);
		if (s->asked)
			continue;
		/* of these the place is the last row that was told */
		if (op->descending && left > 0 && s->page.at > 0)
			op->positions[i].number--;
		s->page.pending += left;
		s->dropped |= left > 0;
		page_close(op, &s->page);
	}
}

/* The shard whose next row comes first; -1: there is none, or a page has to come before that is
 * known. */
static int next_shard(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	int best = -1;
	uint64_t best_stamp = 0;
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++) {
		struct changes_shard *s = &op->shards[i];
		if (s->dropped)
			ask(t, r, i);
		else if (!s->asked && !s->ended && rows_left(&s->page) == 0)
			page_told(t, r, i);
		/* of a feed that waits nobody waits for the others */
		if (s->asked && !op->live)
			return -1;
		if (r->finished || s->asked || s->ended)
			continue;
		uint64_t stamp = row_at(&s->page, s->page.at).stamp;
		if (best < 0 || (op->descending ? stamp > best_stamp : stamp < best_stamp)) {
			best = (int)i;
			best_stamp = stamp;
		}
	}
	return r->finished ? -1 : best;
}

static void tell_row(struct turn *t, struct request *r, uint32_t index)
{
	struct changes *op = r->op;
	struct changes_page *page = &op->shards[index].page;
	struct changes_row row = row_at(page, page->at++);
	op->positions[index].number = row.number;
	if (row.text_len == 0)
		return;
	changes_emit(t, r, slice_of(page->text.data + row.text_at, row.text_len));
	if (op->limited)
		op->left--;
}

/* ---- waiting ---- */

/* Another page may follow one that is told: it is asked for when there is room. */
static bool is_under_way(const struct changes *op)
{
	for (uint32_t i = 0; i < op->shards_count; i++)
		if (!op->shards[i].ended)
			return true;
	return false;
}

/* Asks those that have been told of something new. */
static void ask_those_told(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	for (uint32_t i = 0; i < op->shards_count && !r->finished; i++) {
		if (!op->shards[i].ended || is_idle(op, i) ||
		    watch_told(t->gw, op->positions[i].shard) <= op->positions[i].number)
			continue;
		op->waiting = false;
		ask(t, r, i);
	}
}

static void wait(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	if (!op->waiting)
		op->told_ms = t->now_ms;
	op->live = true;
	op->waiting = true;
	if (!op->watcher.interest)
		watch_begin(t, &op->watcher, r, look_again);
	if (op->covered)
		ask_those_told(t, r);
	else if (watch_ready(t, &op->watcher))
		ask_all(t, r);
	if (!r->finished)
		changes_flush(t, r, true);
}

/* Nothing more is known of any shard. */
static void all_told(struct turn *t, struct request *r)
{
	const struct changes *op = r->op;
	bool waits = op->feed != FEED_NORMAL && !op->descending && !t->gw->draining;
	if (!waits || (op->feed == FEED_LONGPOLL && op->rows > 0))
		changes_finish(t, r);
	else
		wait(t, r);
}

/* The map has changed, or a feed tells of something. */
static void look_again(struct turn *t, struct request *r)
{
	const struct changes *op = r->op;
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	if (op->ending)
		return;
	if (!c || c->settings.id != op->collection) {
		if (op->live)
			changes_finish(t, r); /* the database was dropped */
		else
			changes_fail(t, r, STATUS_NOT_FOUND);
	} else if (op->live && (op->waiting || !is_under_way(op))) {
		wait(t, r);
	} else if (op->live && op->covered) {
		ask_those_told(t, r);
	}
}

void changes_pump(struct turn *t, struct request *r)
{
	struct changes *op = r->op;
	while (!r->finished && !op->ending && !changes_full(op) && (!op->limited || op->left > 0)) {
		int next = next_shard(t, r);
		if (next < 0)
			break;
		tell_row(t, r, (uint32_t)next);
		if (changes_full(op) && !op->flying)
			changes_flush(t, r, false);
	}
	if (r->finished || op->ending)
		return;
	bool enough = op->limited && op->left == 0;
	if (enough || (op->live && op->feed == FEED_LONGPOLL && op->rows > 0))
		changes_finish(t, r);
	else if (!is_under_way(op))
		all_told(t, r);
	else
		changes_flush(t, r, false);
	if (!r->finished && changes_full(op) && changes_crowded(op))
		drop_pages(op);
}

void changes_start(struct turn *t, struct request *r, const struct map_collection *c)
{
	struct changes *op = r->op;
	op->collection = c->settings.id;
	op->held = r->reply != NULL;
	op->shards_count = c->shards_count;
	op->shards = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *op->shards);
	for (uint32_t i = 0; i < c->shards_count; i++) {
		struct msg_shard_changes *m = &op->shards[i].ask;
		m->bodies = op->include_docs || op->selector || op->function;
		m->leaves = op->all_leaves || (op->conflicts && op->include_docs);
		m->leaf_bodies = op->all_leaves && (op->selector || op->function);
		m->descending = op->descending;
		m->ids = arena_alloc(&r->arena, (op->ids_count + 1) * sizeof *m->ids);
		for (uint32_t k = 0; k < op->ids_count; k++)
			if (map_collection_shard(c, op->ids[k]) == c->shards[i])
				m->ids[m->ids_count++] = op->ids[k];
	}
	op->pump = changes_pump;
	r->close = changes_close;
	r->gone = changes_gone;
	r->due = changes_due;
	r->taken = changes_taken;
	op->beat_ms = t->now_ms + op->heartbeat_ms;
	op->told_ms = t->now_ms;
	request_wait(t, r, look_again);
	if (op->feed != FEED_NORMAL && watch_is_live(t->gw, r->collection))
		watch_begin(t, &op->watcher, r, look_again);
	ask_all(t, r);
	if (!r->finished)
		changes_pump(t, r); /* there may be nobody to ask */
}
