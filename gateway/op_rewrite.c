/* POST /{collection}/{id}/_references/_rewrite: references to an id that was split are turned to
 * the one document that they can mean. Each is a write of its own on the revision that was read, so
 * what changes meanwhile is left alone; who repeats it finds what is left. */
#include <inttypes.h>

#include "common/doc/reference.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"
#include "gateway/references.h"
#include "gateway/routes.h"

/* A document that the stub names; without body: it is not there any more. */
struct target {
	struct slice id;
	struct slice body;
};

/* A reference whose document is being written. */
struct rewrite {
	struct msg_doc_write write;
	struct row row;
};

struct rewriting {
	bool split;
	bool dry_run;
	struct answer answer;
	struct decision decision; /* what `resolve` borrows from */
	struct msg_conflict_resolve resolve;
	struct policy policy;
	struct msg_doc_read read;
	struct target targets[SPLIT_PARTS_MAX];
	uint32_t targets_count;
	bool targets_cut; /* the stub names more */
	uint32_t target;  /* that is read */
	struct native_operation operation;
	struct arena_mark mark;   /* before the page in work */
	struct rewrite *rewrites; /* of it */
	uint32_t rewrites_count;
	uint32_t pending;
	uint64_t rewritten;
	uint64_t left;
};

static struct rewriting *state_of(const struct request *r)
{
	return ((struct references_op *)r->op)->rewriting;
}

static void rewrite_close(struct request *r)
{
	struct references_op *op = r->op;
	buf_close(&op->json);
}

static void refuse(struct turn *t, struct request *r, enum status status, const char *place)
{
	answer_status(t, r, status >= STATUS_NOT_LEAD ? STATUS_NO_LEAD : status, place);
}

/* ---- the answer ---- */

static void rewrite_ended(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	const struct rewriting *w = op->rewriting;
	struct reply *reply = reply_begin(t, 200);
	struct buf *out = &reply->body;
	buf_append_text(out, "{\"documents\":[");
	for (uint32_t i = 0; i < w->targets_count; i++) {
		buf_append_text(out, i > 0 ? "," : "");
		json_string(w->targets[i].id, out);
	}
	buf_printf(out, "],\"%s\":%" PRIu64 ",\"leftCount\":%" PRIu64 ",\"left\":[",
		   w->dry_run ? "wouldRewrite" : "rewritten", w->rewritten, w->left);
	buf_append_slice(out, buf_slice(&op->json));
	buf_append_byte(out, ']');
	if (references_has_more(op)) {
		struct buf cursor = {0};
		references_cursor(t, r, &cursor);
		buf_append_text(out, ",\"cursor\":");
		json_string(buf_slice(&cursor), out);
		buf_close(&cursor);
	}
	buf_append_byte(out, '}');
	references_headers(r, reply);
	reply_send(t, r, reply);
}

static void leave(struct request *r, const struct row *row, const char *reason)
{
	struct references_op *op = r->op;
	buf_append_text(&op->json, op->rewriting->left++ > 0 ? ",{" : "{");
	references_print(op, row, &op->json);
	buf_printf(&op->json, ",\"reason\":\"%s\"}", reason);
}

/* ---- one reference ---- */

static void page_done(struct turn *t, struct request *r)
{
	struct rewriting *w = state_of(r);
	if (--w->pending > 0)
		return;
	arena_rewind(&r->arena, w->mark);
	references_next(t, r);
}

static void written(struct turn *t, struct request *r, uint32_t index, enum status status,
		    const void *body)
{
	struct rewriting *w = state_of(r);
	const struct row *row = &w->rewrites[index].row;
	bool moved = status == STATUS_CONFLICT || status == STATUS_NOT_FOUND;
	bool unknown = status == STATUS_OUTCOME_UNKNOWN || status == STATUS_TIMED_OUT;
	if (body && status_is_success(status))
		w->rewritten++;
	else
		leave(r, row,
		      moved                     ? "changed"
		      : unknown                 ? "unknown"
		      : status == STATUS_LOCKED ? "locked"
						: "failed");
	page_done(t, r);
}

/* The only document that the reference can mean; NULL: *why says why not. */
static const struct target *meant(const struct request *r, const struct row *row, const char **why)
{
	const struct references_op *op = r->op;
	const struct rewriting *w = op->rewriting;
	const struct reference_place *place = &op->places[op->place];
	struct slice kind = place->kind;
	const struct target *found = NULL;
	bool undecided = place->undecided || w->targets_cut;
	*why = kind.len == 0 ? "no_kind" : undecided ? "ambiguous" : NULL;
	if (!*why && row->conflicts > 0)
		*why = "in_conflict";
	for (uint32_t i = 0; i < w->targets_count && !*why; i++) {
		if (w->targets[i].body.len == 0 ||
		    !reference_kind_is(&w->policy.roots, w->targets[i].body, kind))
			continue;
		if (found)
			*why = "ambiguous";
		found = &w->targets[i];
	}
	if (!*why && !found)
		*why = "no_such_kind";
	return *why ? NULL : found;
}

/* The same for the same change of the same revision, so that a repetition finds it done. */
static void name_operation(struct request *r, struct msg_doc_write *write)
{
	uint8_t *id = arena_alloc(&r->arena, 16);
	uint8_t *digest = arena_alloc(&r->arena, 16);
	struct buf form = {0};
	digest16(write->body, digest);
	buf_append_text(&form, "rewrite");
	buf_append_be64(&form, write->shard);
	buf_append_slice(&form, write->id);
	revision_print(&write->expected[0], &form);
	buf_append(&form, digest, 16);
	digest16(buf_slice(&form), id);
	buf_close(&form);
	write->operation_id = slice_of(id, 16);
	write->operation_digest = slice_of(digest, 16);
}

/* NULL, or why it is not done. */
static const char *send_rewrite(struct turn *t, struct request *r, const struct row *row,
				struct slice to)
{
	struct references_op *op = r->op;
	struct rewriting *w = op->rewriting;
	struct rewrite *one = &w->rewrites[w->rewrites_count];
	struct buf *scratch = &t->gw->scratch;
	buf_clear(scratch);
	if (reference_replace(row->body, op->places[op->place].path, r->resource, to, scratch) == 0)
		return "no_such_path";
	if (scratch->len > LIMIT_BODY_BYTES)
		return "too_large";
	*one = (struct rewrite){.row = *row};
	one->row.id = arena_copy(&r->arena, row->id);
	one->row.revision.hash = arena_copy(&r->arena, row->revision.hash);
	one->write = (struct msg_doc_write){.shard = op->query.shard,
					    .op = WRITE_PUT,
					    .id = one->row.id,
					    .body = arena_copy(&r->arena, buf_slice(scratch)),
					    .expect = EXPECT_REVISION,
					    .expected = &one->row.revision,
					    .expected_count = 1,
					    .lock_ids = r->lock_ids,
					    .lock_ids_count = r->lock_ids_count};
	name_operation(r, &one->write);
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = one->write.shard,
				 .type = MSG_doc_write,
				 .answer = MSG_doc_write_ack,
				 .message = &one->write,
				 .repeatable = true,
				 .write = true,
				 .index = w->rewrites_count,
				 .done = written};
	w->rewrites_count++;
	w->pending++;
	if (!call_open(t, r, &spec))
		written(t, r, spec.index, STATUS_OVERLOADED, NULL);
	return NULL;
}

static void rewrite_page(struct turn *t, struct request *r, const struct msg_shard_query_ack *page)
{
	struct rewriting *w = state_of(r);
	w->mark = arena_mark(&r->arena);
	w->rewrites = arena_alloc(&r->arena, (page->rows_count + 1) * sizeof *w->rewrites);
	w->rewrites_count = 0;
	w->pending = 1; /* one more than there are */
	for (uint32_t i = 0; i < page->rows_count; i++) {
		const char *why;
		const struct row *row = &page->rows[i];
		const struct target *target = meant(r, row, &why);
		if (target && w->dry_run)
			w->rewritten++;
		else if (target)
			why = send_rewrite(t, r, row, target->id);
		if (why)
			leave(r, row, why);
	}
	page_done(t, r);
}

/* ---- the documents that it was split into ---- */

static void walk(struct turn *t, struct request *r)
{
	struct problem problem;
	if (references_begin(t, r, &problem))
		references_next(t, r);
	else
		answer_problem(t, r, &problem);
}

static void read_target(struct turn *t, struct request *r);

static void have_target(struct turn *t, struct request *r, uint32_t index, enum status status,
			const void *body)
{
	struct rewriting *w = state_of(r);
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || (status != STATUS_OK && status != STATUS_NOT_FOUND)) {
		refuse(t, r, status, "");
		return;
	}
	if (status == STATUS_OK && !ack->deleted)
		w->targets[w->target].body = arena_copy(&r->arena, ack->body);
	w->target++;
	read_target(t, r);
}

static void read_document(struct turn *t, struct request *r, struct slice id, call_done *done)
{
	struct rewriting *w = state_of(r);
	const struct map_collection *c = cluster_map_collection(&t->gw->map, r->collection);
	const struct map_shard *shard = c ? map_collection_shard(c, id) : NULL;
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = shard ? shard->shard.id : 0,
				 .type = MSG_doc_read,
				 .answer = MSG_doc_read_ack,
				 .message = &w->read,
				 .repeatable = true,
				 .done = done};
	w->read = (struct msg_doc_read){.shard = spec.shard, .id = id};
	if (!shard || !call_open(t, r, &spec))
		answer_status(t, r, STATUS_OVERLOADED, "");
}

static void read_target(struct turn *t, struct request *r)
{
	struct rewriting *w = state_of(r);
	while (w->target < w->targets_count && w->targets[w->target].body.len > 0)
		w->target++; /* foreseen */
	if (w->target < w->targets_count)
		read_document(t, r, w->targets[w->target].id, have_target);
	else
		walk(t, r);
}

static void have_stub(struct turn *t, struct request *r, uint32_t index, enum status status,
		      const void *body)
{
	struct rewriting *w = state_of(r);
	const struct msg_doc_read_ack *ack = body;
	(void)index;
	if (!ack || status != STATUS_OK || ack->deleted) {
		refuse(t, r, ack && status == STATUS_OK ? STATUS_NOT_FOUND : status, "");
		return;
	}
	if (!ack->split) {
		refuse(t, r, STATUS_NOT_SPLIT, "");
		return;
	}
	struct slice list = arena_copy(&r->arena, value_member(ack->body, slice_text("_split")));
	struct mp_reader reader = mp_reader_of(list);
	uint32_t count = mp_read(&reader).count;
	w->targets_cut = count > SPLIT_PARTS_MAX;
	for (uint32_t i = 0; i < count && w->targets_count < SPLIT_PARTS_MAX; i++)
		w->targets[w->targets_count++].id = mp_read(&reader).bytes;
	read_target(t, r);
}

static void read_stub(struct turn *t, struct request *r)
{
	read_document(t, r, r->resource, have_stub);
}

/* ---- splitting first ---- */

static void have_resolved(struct turn *t, struct request *r, uint32_t index, enum status status,
			  const void *body)
{
	(void)index;
	if (body && status_is_success(status))
		read_stub(t, r);
	else
		refuse(t, r, status, "/split");
}

static void resolve_send(struct turn *t, struct request *r, enum status status, struct slice taken)
{
	struct call_spec spec = {.type = MSG_conflict_resolve,
				 .answer = MSG_conflict_resolve_ack,
				 .message = &state_of(r)->resolve,
				 .done = have_resolved};
	if (status == STATUS_OK)
		conflict_call(t, r, &spec);
	else
		conflict_split_refused(t, r, status, taken);
}

/* The stub that would be there, and the documents that it would name, as far as the split brings
 * them; others are there already. */
static void foresee(struct request *r, const struct split_writes *split)
{
	struct rewriting *w = state_of(r);
	struct slice stub = arena_copy(&r->arena, w->decision.resolve.body);
	struct mp_reader reader = mp_reader_of(value_member(stub, slice_text("_split")));
	uint32_t count = mp_read(&reader).count;
	w->targets_cut = count > SPLIT_PARTS_MAX;
	for (uint32_t i = 0; i < count && w->targets_count < SPLIT_PARTS_MAX; i++) {
		struct target *target = &w->targets[w->targets_count++];
		target->id = mp_read(&reader).bytes;
		for (uint32_t k = 0; k < split->count; k++)
			if (slice_equal(split->documents[k].part.id, target->id))
				target->body = split->documents[k].part.body;
	}
}

static void foreseen(struct turn *t, struct request *r, enum status status, struct slice taken)
{
	if (status == STATUS_OK)
		read_target(t, r);
	else
		conflict_split_refused(t, r, status, taken);
}

static void split_dry(struct turn *t, struct request *r)
{
	struct references_op *op = r->op;
	struct split_writes *split = arena_alloc(&r->arena, sizeof *split);
	split_prepare(r, op->ask.read.message.shard, &op->rewriting->decision, split);
	foresee(r, split);
	split_check(t, r, split, foreseen);
}

static void have_graph(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct references_op *op = r->op;
	struct rewriting *w = op->rewriting;
	const struct msg_conflict_read_ack *graph = conflict_graph(t, r, status, body);
	(void)index;
	if (!graph)
		return;
	decide_answer(graph, r->resource, &w->answer, &r->arena, &w->decision);
	if (w->decision.kind == DECISION_NOTHING) {
		read_stub(t, r);
	} else if (w->decision.kind != DECISION_RESOLVE || !w->decision.resolve.split) {
		refuse(t, r, STATUS_NOT_SPLIT, "/split");
	} else if (w->dry_run) {
		split_dry(t, r);
	} else {
		conflict_keep(r, &w->decision, &w->resolve);
		split_write(t, r, op->ask.read.message.shard, &w->decision, resolve_send);
	}
}

/* ---- the request ---- */

static void rewrite_go(struct turn *t, struct request *r, struct map_collection *c)
{
	struct rewriting *w = state_of(r);
	struct policy_error error;
	struct slice policy = arena_copy(&r->arena, c->settings.policy);
	r->close = rewrite_close;
	if (!policy_parse(policy, &r->arena, &w->policy, &error))
		w->policy = (struct policy){0};
	if (w->split)
		conflict_ask_graph(t, r, have_graph);
	else
		read_stub(t, r);
}

static bool take_member(struct references_op *op, struct slice name, struct slice value,
			struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	bool is_split = slice_is(name, "split");
	if (is_split || slice_is(name, "dryRun")) {
		*(is_split ? &op->rewriting->split : &op->rewriting->dry_run) = token.flag;
		return token.type == MP_BOOL ||
		       problem_detail(p, STATUS_BAD_PARAMETER, is_split ? "/split" : "/dryRun",
				      "true or false.");
	}
	if (slice_is(name, "limit")) {
		op->limit = token.u64;
		return (token.type == MP_UINT && token.u64 >= 1 && token.u64 <= REFERENCES_MAX) ||
		       problem_detail(p, STATUS_BAD_PARAMETER, "/limit",
				      "A whole number from 1 to 1000.");
	}
	op->cursor = token.bytes;
	return token.type == MP_STR ||
	       problem_detail(p, STATUS_BAD_PARAMETER, "/cursor", "As the last answer gave it.");
}

static bool take_body(struct turn *t, struct request *r, struct problem *p)
{
	struct slice body;
	static const char *const members[] = {"split", "dryRun", "limit", "cursor", NULL};
	if (!native_body(t, r, &body, p) || !native_members(body, members, p))
		return false;
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice name = mp_read(&reader).bytes;
		if (!take_member(r->op, name, mp_value(&reader), p))
			return false;
	}
	return true;
}

void native_references_rewrite(struct turn *t, struct request *r)
{
	struct references_op *op = arena_alloc(&r->arena, sizeof *op);
	struct rewriting *w = arena_alloc(&r->arena, sizeof *w);
	struct problem problem;
	r->op = op;
	op->rewriting = w;
	op->page = rewrite_page;
	op->ended = rewrite_ended;
	op->limit = REFERENCES_DEFAULT;
	w->answer = (struct answer){.kind = ANSWER_SPLIT,
				    .how = HOW_PERSON,
				    .by = arena_copy(&r->arena, r->http->principal)};
	bool fine = native_operation(t, r, &w->operation, &problem) &&
		    (r->http->body.len == 0 || take_body(t, r, &problem));
	if (!fine)
		answer_problem(t, r, &problem);
	else
		conflict_begin(t, r, rewrite_go);
}
