/* Design documents are tried before they are written: a function that is none would fail each time
 * it is used, and one that looks at all writes would refuse them all. */
#include "common/doc/view_script.h"
#include "gateway/couch/function.h"
#include "gateway/couch/validate.h"
#include "gateway/couch/view.h"
#include "proto/msgpack.h"

struct compiling {
	void *op; /* the caller's */
	request_step *done;
	struct validated *items;
	uint32_t count;
	uint32_t at; /* the one that is tried, or the next */
};

static void compile_next(struct turn *t, struct request *r);

static void tried(struct turn *t, struct request *r, const void *context,
		  const struct script_end *end)
{
	struct compiling *op = r->op;
	struct validated *item = &op->items[op->at++];
	struct mp_reader reader = mp_reader_of(end->output);
	struct mp_token text = mp_read(&reader);
	(void)context;
	bool unknown = end->status == SCRIPT_UNAVAILABLE;
	bool fine = end->status == SCRIPT_OK && text.type == MP_STR && text.bytes.len == 0;
	if (end->status == SCRIPT_BUSY) {
		answer_status(t, r, STATUS_OVERLOADED, "");
		return;
	}
	/* where no worker can be started, whoever uses it finds out */
	if (!unknown && !fine) {
		item->refused = true;
		if (function_returned(end, &item->problem))
			couch_problem(&item->problem, COUCH_COMPILATION, "");
	}
	compile_next(t, r);
}

static bool is_tried(const struct validated *item)
{
	const struct couch_document *d = item->document;
	return !item->refused && !d->deleted && !d->imported && item->patch.len == 0 &&
	       item->id.len > 8 && memcmp(item->id.data, "_design/", 8) == 0;
}

/* False: it has no functions. */
static bool try_functions(struct turn *t, struct request *r, const struct validated *item)
{
	struct buf arguments = {0};
	struct script_asked asked = {.source = slice_text(view_compile_source),
				     .done = tried,
				     .patience_ms = t->gw->options.limits.deadline_ms};
	bool any = design_functions(item->document->body, &arguments);
	asked.arguments = buf_slice(&arguments);
	if (any && !script_run(t, r, &asked))
		answer_status(t, r, STATUS_OVERLOADED, "");
	buf_close(&arguments);
	return any;
}

static void compile_next(struct turn *t, struct request *r)
{
	struct compiling *op = r->op;
	for (; op->at < op->count; op->at++)
		if (is_tried(&op->items[op->at]) && try_functions(t, r, &op->items[op->at]))
			return;
	r->op = op->op;
	op->done(t, r);
}

void couch_compile(struct turn *t, struct request *r, struct validated *items, uint32_t count,
		   request_step *done)
{
	struct compiling *op = arena_alloc(&r->arena, sizeof *op);
	*op = (struct compiling){r->op, done, items, count, 0};
	r->op = op;
	compile_next(t, r);
}
