/* Questions to scripts and clients, and what becomes of their answers. */
#include "common/doc/decide_internal.h"
#include "common/doc/graph.h"
#include "common/doc/value.h"
#include "proto/msgpack.h"

/* ---- questions ---- */

static void write_document(struct slice id, struct slice body, struct buf *out)
{
	struct mp_reader r = mp_reader_of(body);
	mp_write_map(out, mp_read(&r).count + 1);
	mp_write_text(out, "id");
	mp_write_str(out, id);
	buf_append(out, r.at, (size_t)(r.end - r.at));
}

/* rev: empty for a base that is itself a merge. What is known of the version stands beside its
 * document, so that no member of that is hidden. */
static void write_version(struct slice id, struct slice rev, bool deleted, struct slice body,
			  struct buf *out)
{
	mp_write_map(out, (rev.len > 0) + 1);
	if (rev.len > 0) {
		mp_write_text(out, "rev");
		mp_write_str(out, rev);
	}
	mp_write_text(out, deleted ? "deleted" : "document");
	if (deleted)
		mp_write_bool(out, true);
	else
		write_document(id, body, out);
}

static void write_base(struct decide *w, struct slice id, struct buf *out)
{
	struct slice body;
	int ancestor;
	if (!decide_base(w, &body, &ancestor)) {
		mp_write_nil(out);
		return;
	}
	struct slice rev = {0};
	if (ancestor != GRAPH_NONE)
		rev = decide_revision_text(w, (uint32_t)ancestor);
	write_version(id, rev, ancestor != GRAPH_NONE && decide_is_deleted(w, (uint32_t)ancestor),
		      body, out);
}

/* Their indexes in order of winning. */
static uint32_t *by_winning(struct decide *w)
{
	uint32_t *order = arena_alloc(w->arena, w->inputs_count * sizeof *order);
	memcpy(order, w->inputs, w->inputs_count * sizeof *order);
	graph_sort_by_winning(&w->doc, order, w->inputs_count, w->arena);
	return order;
}

void decide_asks(struct decide *w, enum decision_kind kind, struct slice id, struct decision *out)
{
	struct buf input = {0};
	const uint32_t *order = by_winning(w);
	mp_write_array(&input, 2);
	write_base(w, id, &input);
	mp_write_array(&input, w->inputs_count);
	for (uint32_t i = 0; i < w->inputs_count; i++) {
		struct slice body;
		CHECK(decide_body(w, order[i], &body));
		write_version(id, decide_revision_text(w, order[i]), decide_is_deleted(w, order[i]),
			      body, &input);
	}
	out->kind = kind;
	out->instead_of = w->reason;
	out->input = arena_copy(w->arena, buf_slice(&input));
	buf_close(&input);
}

/* ---- answers ---- */

static void take_body(struct decide *w, struct slice body, struct slice detail,
		      struct decision *out)
{
	if (body.len > LIMIT_BODY_BYTES)
		decide_stays_open(w, "too_large", NULL, (struct slice){0}, out);
	else
		decide_becomes(w, false, body, detail, out);
}

static int find_pick(const struct decide *w, const struct revision *pick)
{
	for (uint32_t i = 0; i < w->inputs_count; i++) {
		struct revision name = graph_name(&w->doc, w->inputs[i]);
		if (revision_equal(&name, pick))
			return (int)w->inputs[i];
	}
	/* an arbiter's result among the leaves is none, but may be meant */
	int leaf = graph_find(&w->doc, pick);
	return leaf != GRAPH_NONE && graph_is_side(&w->doc, (uint32_t)leaf) ? leaf : GRAPH_NONE;
}

/* False: it is not one that can be followed. */
static bool follow(struct decide *w, const struct answer *answer, struct slice detail,
		   struct decision *out)
{
	int picked;
	switch (answer->kind) {
	case ANSWER_BODY:
		if (!value_is_document(answer->body))
			return false;
		take_body(w, answer->body, detail, out);
		return true;
	case ANSWER_PICK:
		picked = find_pick(w, &answer->pick);
		return picked != GRAPH_NONE &&
		       decide_becomes_node(w, (uint32_t)picked, detail, out);
	case ANSWER_DELETE:
		decide_becomes(w, true, (struct slice){0}, detail, out);
		return true;
	case ANSWER_SPLIT:
		return decide_split(w, detail, out);
	}
	return false;
}

/* ---- paths that are for people ---- */

/* What the answer makes of the document; empty: nothing, it is deleted. False: it can't be
 * followed.
 */
static bool said_body(struct decide *w, const struct answer *answer, struct slice *out)
{
	*out = answer->kind == ANSWER_BODY ? answer->body : slice_of(NULL, 0);
	if (answer->kind != ANSWER_PICK)
		return answer->kind == ANSWER_DELETE || value_is_document(answer->body);
	int picked = find_pick(w, &answer->pick);
	if (picked == GRAPH_NONE)
		return false;
	return decide_is_deleted(w, (uint32_t)picked) || decide_body(w, (uint32_t)picked, out);
}

/* Where the rules for paths are in force, a script decides about all but those declared `manual`:
 * there stays what the one side that changed it says. *kept: these paths, if it said something
 * else. False: it removes or replaces what holds one. */
static bool heed_people(struct decide *w, struct answer *answer, struct slice *kept)
{
	struct merge_result merged;
	struct slice said;
	struct buf body = {0};
	struct buf paths = {0};
	if (answer->how != HOW_SCRIPT || answer->kind == ANSWER_SPLIT ||
	    w->policy.strategy != POLICY_MERGE ||
	    !policy_has_below(&w->policy, (struct slice){0}, RULE_MANUAL) ||
	    !said_body(w, answer, &said))
		return true;
	decide_merge_for_people(w, &merged);
	bool heeded = merged.outcome == MERGE_DONE;
	if (heeded && !merged.deleted)
		heeded = merge_keep_manual(&w->policy, said, buf_slice(&merged.body), w->arena,
					   &body, &paths);
	if (heeded && paths.len > 0 && !slice_equal(buf_slice(&paths), slice_of("\x90", 1))) {
		*kept = arena_copy(w->arena, buf_slice(&paths));
		answer->kind = ANSWER_BODY;
		answer->body = arena_copy(w->arena, buf_slice(&body));
	}
	buf_close(&merged.body);
	buf_close(&merged.detail);
	buf_close(&body);
	buf_close(&paths);
	return heeded;
}

/* ---- the record ---- */

static struct slice detail_of(struct decide *w, const struct answer *answer, struct slice kept)
{
	static const char *const kinds[] = {[ANSWER_BODY] = "document",
					    [ANSWER_PICK] = "pick",
					    [ANSWER_DELETE] = "delete",
					    [ANSWER_SPLIT] = "split"};
	struct buf detail = {0};
	mp_write_map(&detail, 2 + (answer->kind == ANSWER_PICK) + (kept.len > 0));
	mp_write_text(&detail, "strategy");
	mp_write_text(&detail, answer->how == HOW_SCRIPT   ? "script"
			       : answer->how == HOW_PERSON ? "person"
							   : "external");
	mp_write_text(&detail, "answer");
	mp_write_text(&detail, kinds[answer->kind]);
	if (answer->kind == ANSWER_PICK) {
		mp_write_text(&detail, "winner");
		struct buf text = {0};
		revision_print(&answer->pick, &text);
		mp_write_str(&detail, buf_slice(&text));
		buf_close(&text);
	}
	if (kept.len > 0) {
		mp_write_text(&detail, "manual");
		buf_append_slice(&detail, kept);
	}
	struct slice copy = arena_copy(w->arena, buf_slice(&detail));
	buf_close(&detail);
	return copy;
}

void decide_answer(const struct msg_conflict_read_ack *graph, struct slice id,
		   const struct answer *answer, struct arena *arena, struct decision *out)
{
	struct decide w = {.graph = graph,
			   .arena = arena,
			   .by = answer->by,
			   .reason = answer->instead_of,
			   /* what a script was asked about is all there */
			   .answered = answer->kind != ANSWER_SPLIT && answer->how != HOW_SCRIPT};
	struct answer heeded = *answer;
	struct slice kept = {0};
	if (!decide_prepare(&w, id, out))
		return;
	out->how = answer->how;
	if (!heed_people(&w, &heeded, &kept))
		decide_stays_open(&w, "manual", NULL, (struct slice){0}, out);
	else if (!follow(&w, &heeded, detail_of(&w, answer, kept), out))
		decide_stays_open(&w, "invalid_answer", NULL, (struct slice){0}, out);
}

/* What to do about a reason for which an answer can't be followed; NULL: it is none of these. */
static const char *advice_on(struct slice reason)
{
	static const struct {
		const char *reason;
		const char *text;
	} rows[] = {
	    {"paths",
	     "two versions of one of the documents differ where no rule decides: delete one "
	     "of these, by DELETE with its revision in If-Match, or give a document"},
	    {"too_large",
	     "a result has at most 16 MiB, and is made of at most 256 MiB of versions"},
	    {"too_many_leaves", "these are more versions than can be merged: give a document"},
	    {"too_many_roots",
	     "one split makes at most 64 documents: give a document, or pick one"},
	    {"manual",
	     "it removes or replaces what holds a path declared manual, which waits for people"},
	    {"id_too_long", "an id of a new document would be longer than 512 bytes"},
	    {"roots_alike", "two of the documents would get the same id"},
	    {"body_missing", "the content of a version that is needed is not kept any more"},
	};
	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		if (slice_is(reason, rows[i].reason))
			return rows[i].text;
	return NULL;
}

struct slice decision_wrong(const struct decision *d, enum answer_kind kind, struct arena *arena)
{
	static const char *const texts[] = {[ANSWER_BODY] = "the document is none",
					    [ANSWER_PICK] =
						"no version that is kept has this revision",
					    [ANSWER_DELETE] = "it can't be deleted",
					    [ANSWER_SPLIT] = "there is only one document"};
	struct slice reason = value_member(d->note.detail, slice_text("reason"));
	struct mp_reader reader = mp_reader_of(reason);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR || slice_is(token.bytes, "invalid_answer"))
		return slice_text(texts[kind]);
	const char *advice = advice_on(token.bytes);
	return advice ? slice_text(advice) : arena_copy(arena, token.bytes);
}
