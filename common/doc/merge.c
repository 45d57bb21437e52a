#include "common/doc/merge.h"

#include <stdlib.h>

#include "common/doc/merge_internal.h"
#include "common/doc/revision.h"
#include "common/doc/value.h"

/* ---- pieces and notes ---- */

struct merge_piece *merge_raw(struct merge *m, struct slice value)
{
	struct merge_piece *piece = arena_alloc(m->arena, sizeof *piece);
	piece->kind = PIECE_RAW;
	piece->raw = value;
	return piece;
}

struct merge_piece *merge_container(struct merge *m, enum merge_piece_kind kind)
{
	struct merge_piece *piece = arena_alloc(m->arena, sizeof *piece);
	piece->kind = kind;
	return piece;
}

void merge_attach(struct merge_piece *container, struct merge_piece *part, struct slice name)
{
	if (!part)
		return;
	part->name = name;
	if (container->last)
		container->last->next = part;
	else
		container->first = part;
	container->last = part;
	container->count++;
}

/* As deep as the documents, whose depth is bounded. */
void merge_emit(const struct merge_piece *piece, struct buf *out)
{
	if (piece->kind == PIECE_RAW) {
		buf_append_slice(out, piece->raw);
		return;
	}
	if (piece->kind == PIECE_MAP)
		mp_write_map(out, piece->count);
	else
		mp_write_array(out, piece->count);
	for (const struct merge_piece *part = piece->first; part; part = part->next) {
		if (piece->kind == PIECE_MAP)
			mp_write_str(out, part->name);
		merge_emit(part, out);
	}
}

static struct slice path_shown(struct merge *m)
{
	struct slice path = buf_slice(&m->shown);
	if (path.len > LIMIT_PATH_BYTES) {
		path.len = LIMIT_PATH_BYTES;
		while (path.len > 0 && (path.data[path.len] & 0xc0) == 0x80)
			path.len--;
	}
	return arena_copy(m->arena, path);
}

struct merge_note *merge_note(struct merge *m, enum merge_note_kind kind,
			      const struct merge_side *sides, uint32_t count)
{
	m->open_count += kind == NOTE_OPEN;
	if (m->notes_count++ >= MERGE_NOTES_MAX)
		return NULL;
	struct merge_note *note = arena_alloc(m->arena, sizeof *note);
	*note = (struct merge_note){
	    .kind = kind, .path = path_shown(m), .sides = sides, .sides_count = count};
	if (m->notes_last)
		m->notes_last->next = note;
	else
		m->notes = note;
	m->notes_last = note;
	return note;
}

static bool has_sums(const struct policy *policy)
{
	return policy_has_below(policy, (struct slice){0}, RULE_COUNTER) ||
	       policy_has_below(policy, (struct slice){0}, RULE_APPEND);
}

/* ---- leaves ---- */

static struct revision name_of(const struct merge_leaf *leaf)
{
	struct revision name;
	if (!revision_parse(leaf->revision, &name))
		name = (struct revision){.hash = leaf->revision};
	return name;
}

/* Descending: the winner first. The body decides nothing unless one name stands for two contents.
 */
static int compare_leaves(const void *a, const void *b)
{
	const struct merge_leaf *x = a;
	const struct merge_leaf *y = b;
	struct revision x_name = name_of(x);
	struct revision y_name = name_of(y);
	int order = revision_compare(&y_name, &x_name);
	return order ? order : slice_compare(x->body, y->body);
}

static void rank_leaves(struct merge *m, const struct merge_input *input)
{
	struct merge_leaf *leaves = arena_alloc(m->arena, input->leaves_count * sizeof *leaves);
	memcpy(leaves, input->leaves, input->leaves_count * sizeof *leaves);
	qsort(leaves, input->leaves_count, sizeof *leaves, compare_leaves);
	for (uint32_t i = 0; i < input->leaves_count; i++)
		if (i == 0 ||
		    !slice_equal(leaves[m->leaves_count - 1].revision, leaves[i].revision))
			leaves[m->leaves_count++] = leaves[i];
	m->leaves = leaves;
}

/* Ranks of the leaves that are, or are not, deletions. */
static uint32_t ranks_of(struct merge *m, bool deleted, uint32_t **out)
{
	uint32_t count = 0;
	*out = arena_alloc(m->arena, m->leaves_count * sizeof **out);
	for (uint32_t i = 0; i < m->leaves_count; i++)
		if (m->leaves[i].deleted == deleted)
			(*out)[count++] = i;
	return count;
}

/* ---- strategies ---- */

static void finish(struct merge *m, const struct merge_outline *outline, struct merge_result *out)
{
	if (outline->reason)
		out->outcome = m->policy->strategy == POLICY_NONE ? MERGE_SKIPPED : MERGE_OPEN;
	merge_detail(m, outline, &out->detail);
}

static void take_whole(struct merge *m, struct merge_result *out)
{
	bool newest = m->policy->strategy == POLICY_NEWEST;
	uint32_t best = 0;
	for (uint32_t i = 1; i < m->leaves_count; i++)
		if (merge_is_newer(m, i, best) == newest)
			best = i;
	uint32_t *losers = arena_alloc(m->arena, m->leaves_count * sizeof *losers);
	struct merge_outline outline = {.winner = (int)best, .losers = losers};
	for (uint32_t i = 0; i < m->leaves_count; i++)
		if (i != best)
			losers[outline.losers_count++] = i;
	out->deleted = m->leaves[best].deleted;
	if (!out->deleted)
		buf_append_slice(&out->body, m->leaves[best].body);
	finish(m, &outline, out);
}

static const char *unfit(const struct merge *m, const uint32_t *live, uint32_t live_count)
{
	if (live_count > MERGE_LEAVES_MAX)
		return "too_many_leaves";
	for (uint32_t i = 0; i < live_count; i++)
		if (!value_is_document(m->leaves[live[i]].body))
			return "invalid_body";
	return NULL;
}

static void merge_bodies(struct merge *m, const uint32_t *live, uint32_t live_count,
			 struct slice base, struct buf *out)
{
	struct merge_side *sides = arena_alloc(m->arena, live_count * sizeof *sides);
	for (uint32_t i = 0; i < live_count; i++)
		sides[i] = (struct merge_side){live[i], m->leaves[live[i]].body};
	struct merge_place root = {.base = base, .sides = sides, .sides_count = live_count};
	root.scope = sides;
	root.scope_count = live_count;
	merge_emit(merge_value(m, &root), out);
}

static void merge_paths(struct merge *m, const struct merge_input *input, struct merge_result *out)
{
	static const uint8_t empty_map = 0x80;
	uint32_t *live;
	uint32_t *deleted;
	uint32_t live_count = ranks_of(m, false, &live);
	struct merge_outline outline = {.winner = -1};
	outline.deleted_count = ranks_of(m, true, &deleted);
	outline.deleted = deleted;
	if (live_count == 0 || (outline.deleted_count > 0 && m->policy->delete_wins)) {
		outline.losers = live;
		outline.losers_count = live_count;
		out->deleted = true;
		finish(m, &outline, out);
		return;
	}
	outline.reason = unfit(m, live, live_count);
	if (!outline.reason) {
		m->has_base = input->has_base && value_is_document(input->base);
		merge_bodies(m, live, live_count,
			     m->has_base ? input->base : slice_of(&empty_map, 1), &out->body);
		outline.reason = m->open_count > 0 ? "paths" : NULL;
	}
	finish(m, &outline, out);
}

void merge_run(const struct merge_input *input, struct arena *arena, struct merge_result *out)
{
	CHECK(input->leaves_count > 0);
	struct merge m = {
	    .policy = input->policy, .arena = arena, .has_sums = has_sums(input->policy)};
	*out = (struct merge_result){.outcome = MERGE_DONE};
	rank_leaves(&m, input);
	switch (input->policy->strategy) {
	case POLICY_NONE:
		finish(&m, &(struct merge_outline){.reason = "policy", .winner = -1}, out);
		break;
	case POLICY_NEWEST:
	case POLICY_OLDEST:
		take_whole(&m, out);
		break;
	case POLICY_MERGE:
		merge_paths(&m, input, out);
		break;
	case POLICY_SCRIPT:
	case POLICY_EXTERNAL:
	case POLICY_STRATEGIES:
		CHECK(false);
	}
	buf_close(&m.path);
	buf_close(&m.shown);
	buf_close(&m.form_a);
	buf_close(&m.form_b);
}
