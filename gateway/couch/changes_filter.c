/* Filters of _changes that are functions of a design document. A page of rows is shown to the
 * function in one run, or in several if it is long; until then its shard counts as asked. A feed
 * has one run under way: so feeds whose filters never end leave room for others. */
#include "common/doc/function_script.h"
#include "common/doc/script_document.h"
#include "common/doc/value.h"
#include "gateway/couch/changes.h"
#include "gateway/couch/function.h"

enum {
	FILTER_RUN_STEP = 4, /* a run that failed is tried with so many times fewer rows */
	FILTER_RUN_BYTES = 1024 * 1024, /* of documents in one run, if there are several */
	FILTER_PATIENCE_MS = CHANGES_GIVE_UP_MS / 2
};

struct changes_function {
	struct function_design design;
	struct function_request request;
	struct slice name;
	bool view;
	struct slice source;
	bool loaded;
	request_step *next; /* then */
	struct slice req;
	uint32_t most; /* rows of a run */
	bool running;
	bool judged; /* a run has succeeded */
};

/* ---- which one ---- */

bool changes_function_take(struct turn *t, struct request *r, struct slice name, bool view,
			   struct problem *p)
{
	struct changes *op = r->op;
	struct changes_function *f = arena_alloc(&r->arena, sizeof *f);
	const uint8_t *slash = memchr(name.data, '/', name.len);
	size_t before = slash ? (size_t)(slash - name.data) : 0;
	if (before == 0 || before + 1 == name.len)
		return couch_problem(p, COUCH_BAD_REQUEST,
				     view ? "`view` must be of the form `designname/viewname`"
					  : "`filter` must be of the form "
					    "`designname/filtername`");
	struct buf id = {0};
	buf_append_text(&id, "_design/");
	buf_append(&id, name.data, before);
	f->design.id = arena_copy(&r->arena, buf_slice(&id));
	buf_close(&id);
	f->name = slice_of(slash + 1, name.len - before - 1);
	f->view = view;
	f->most = CHANGES_PAGE_ROWS;
	function_request_take(t, r, false, &f->request);
	op->function = f;
	op->filter = FILTER_FUNCTION;
	return couch_id_check(f->design.id, p);
}

bool changes_function_loaded(const struct changes *op)
{
	return op->function->loaded;
}

bool changes_function_judged(const struct changes *op)
{
	return op->function->judged;
}

bool changes_function_works(const struct changes *op)
{
	return op->function->judged && op->function->most == CHANGES_PAGE_ROWS;
}

static void have_design(struct turn *t, struct request *r)
{
	struct changes_function *f = ((struct changes *)r->op)->function;
	struct problem problem;
	f->loaded = true;
	if (function_find(f->design.body, f->view ? "views" : "filters", f->name, &f->source,
			  &problem))
		f->next(t, r);
	else
		answer_problem(t, r, &problem);
}

void changes_function_load(struct turn *t, struct request *r, const struct map_collection *c,
			   request_step *next)
{
	struct changes_function *f = ((struct changes *)r->op)->function;
	f->next = next;
	function_load(t, r, c, &f->design, have_design);
}

/* ---- what it sees ---- */

bool changes_version(const struct change_row *row, uint32_t index, struct script_document *out)
{
	*out = (struct script_document){.id = row->id};
	if (index == 0) {
		out->revision = row->revision;
		out->deleted = row->deleted;
		out->body = row->body;
		return true;
	}
	out->revision = row->leaves[index - 1];
	out->deleted = index > row->live;
	if (index <= row->leaf_bodies_count)
		out->body = row->leaf_bodies[index - 1];
	return out->deleted || out->body.len > 0;
}

/* A body that is not there is shown as if there were no members. */
void changes_function_add(const struct change_row *row, struct changes_page *page,
			  struct changes_row *out)
{
	struct script_document d;
	for (uint32_t i = 0; i < out->revisions; i++) {
		changes_version(row, i, &d);
		script_document_write(&d, &page->documents);
	}
	out->document_end = page->documents.len;
}

static struct changes_row *row_at(struct changes_page *page, uint32_t index)
{
	return (struct changes_row *)(void *)page->rows.data + index;
}

static size_t document_at(struct changes_page *page, uint32_t index)
{
	return index > 0 ? row_at(page, index - 1)->document_end : 0;
}

static uint32_t rows_of(const struct changes_page *page)
{
	return (uint32_t)(page->rows.len / sizeof(struct changes_row));
}

/* How many rows are shown next. */
static uint32_t run_rows(struct changes_page *page, uint32_t most)
{
	uint32_t left = rows_of(page) - page->judged;
	uint32_t count = left < most ? left : most;
	size_t start = document_at(page, page->judged);
	while (count > 1 && document_at(page, page->judged + count) - start > FILTER_RUN_BYTES)
		count--;
	return count;
}

static void judge_next(struct turn *t, struct request *r, struct changes_shard *s);
static void judge_queued(struct turn *t, struct request *r);

/* ---- what it says ---- */

/* The list is {"rev":"..."},{"rev":"..."}, and no revision has a quote in it. */
void changes_strike(struct changes_page *page, struct changes_row *row, const uint8_t *passes)
{
	static const char end[] = "\"}";
	uint8_t *text = page->text.data + row->text_at;
	uint8_t *to = text + row->list_at;
	const uint8_t *at = to;
	uint32_t kept = 0;
	for (uint32_t i = 0; i < row->revisions; i++) {
		const uint8_t *from = at + (i > 0); /* behind the comma */
		size_t left = row->text_len - (size_t)(from - text);
		const uint8_t *found = memmem(from, left, end, sizeof end - 1);
		CHECK(found != NULL && passes != NULL);
		at = found + sizeof end - 1;
		if (!passes[i])
			continue;
		if (kept++ > 0)
			*to++ = ',';
		memmove(to, from, (size_t)(at - from));
		to += at - from;
	}
	size_t rest = row->text_len - (size_t)(at - text);
	memmove(to, at, rest);
	row->text_len = kept > 0 ? (size_t)(to - text) + rest : 0;
}

static uint32_t documents_in(struct changes_page *page, uint32_t rows)
{
	uint32_t count = 0;
	for (uint32_t i = 0; i < rows; i++)
		count += row_at(page, page->judged + i)->revisions;
	return count;
}

/* False: it is no list of as many booleans as documents were shown. */
static bool take_verdicts(struct changes_page *page, uint32_t rows, struct slice output)
{
	struct mp_reader reader = mp_reader_of(output);
	struct mp_token head = mp_read(&reader);
	struct buf passes = {0};
	bool fine = head.type == MP_ARRAY && head.count == documents_in(page, rows);
	for (uint32_t i = 0; fine && i < rows; i++) {
		struct changes_row *row = row_at(page, page->judged + i);
		buf_clear(&passes);
		for (uint32_t k = 0; fine && k < row->revisions; k++) {
			struct mp_token verdict = mp_read(&reader);
			fine = verdict.type == MP_BOOL;
			buf_append_byte(&passes, fine && verdict.flag);
		}
		if (fine)
			changes_strike(page, row, passes.data);
	}
	if (fine)
		page->judged += rows;
	buf_close(&passes);
	return fine;
}

static void judged(struct turn *t, struct request *r, const void *context,
		   const struct script_end *end)
{
	struct changes *op = r->op;
	struct changes_shard *s = &op->shards[(const struct changes_shard *)context - op->shards];
	struct changes_function *f = op->function;
	uint32_t count = s->judging;
	struct problem problem;
	f->running = false;
	op->heard_ms = t->now_ms;
	s->asked = false;
	s->judging = 0;
	if (function_exhausted(end->status) && count > 1) {
		uint32_t fewer = count > FILTER_RUN_STEP ? count / FILTER_RUN_STEP : 1;
		f->most = fewer < f->most ? fewer : f->most;
		judge_next(t, r, s);
	} else if (!function_returned(end, &problem)) {
		changes_refuse(t, r, &problem);
	} else if (take_verdicts(&s->page, count, end->output)) {
		f->judged = true;
		judge_next(t, r, s);
	} else {
		couch_problem(&problem, COUCH_FUNCTION_THREW, "");
		changes_refuse(t, r, &problem);
	}
	judge_queued(t, r);
}

/* Until the first verdict nothing is sent, and that takes no longer than this. */
static int64_t patience_ms(const struct turn *t, const struct changes *op)
{
	int64_t until_ms = op->told_ms + FILTER_PATIENCE_MS;
	if (op->function->judged || op->live)
		return FILTER_PATIENCE_MS;
	return until_ms > t->now_ms ? until_ms - t->now_ms : 1;
}

static void run(struct turn *t, struct request *r, struct changes_shard *s, uint32_t count)
{
	const struct changes *op = r->op;
	struct changes_function *f = op->function;
	struct changes_page *page = &s->page;
	size_t start = document_at(page, page->judged);
	size_t end = document_at(page, page->judged + count);
	struct buf arguments = {0};
	mp_write_array(&arguments, f->view ? 3 : 4);
	mp_write_str(&arguments, f->source);
	buf_append_slice(&arguments, f->design.body);
	mp_write_array(&arguments, documents_in(page, count));
	buf_append(&arguments, page->documents.data + start, end - start);
	if (!f->view)
		buf_append_slice(&arguments, f->req);
	struct script_asked asked = {
	    .source = slice_text(f->view ? function_view_filter_source : function_filter_source),
	    .arguments = buf_slice(&arguments),
	    .done = judged,
	    .context = s,
	    .patience_ms = patience_ms(t, op)};
	f->running = s->asked = script_run(t, r, &asked);
	s->judging = s->asked ? count : 0;
	buf_close(&arguments);
	if (!s->asked)
		changes_fail(t, r, STATUS_OVERLOADED);
}

static void judge_next(struct turn *t, struct request *r, struct changes_shard *s)
{
	const struct changes *op = r->op;
	uint32_t count = run_rows(&s->page, op->function->most);
	if (count == 0) {
		buf_close(&s->page.documents);
		changes_pump(t, r);
	} else if (op->function->running) {
		s->asked = s->queued = true;
	} else {
		run(t, r, s, count);
	}
}

/* The pages that have come meanwhile. */
static void judge_queued(struct turn *t, struct request *r)
{
	const struct changes *op = r->op;
	for (uint32_t i = 0; i < op->shards_count && !r->finished && !op->function->running; i++) {
		struct changes_shard *s = &op->shards[i];
		if (!s->queued)
			continue;
		s->asked = s->queued = false;
		judge_next(t, r, s);
	}
}

void changes_function_judge(struct turn *t, struct request *r, struct changes_shard *s)
{
	struct changes_function *f = ((struct changes *)r->op)->function;
	struct buf req = {0};
	if (f->req.len == 0 && !f->view) {
		function_request_write(t, r, &f->request, slice_of(NULL, 0), f->design.security,
				       &req);
		f->req = arena_copy(&r->arena, buf_slice(&req));
		buf_close(&req);
	}
	judge_next(t, r, s);
}
