/* The record's map:
 *   strategy  "none", "newest", "oldest", "merge"
 *   reason    why it stays open
 *   winner    revision chosen whole; losers: the others
 *   deletes   "edit-wins" or "delete-wins": deletions met edits; deleted: the deletions
 *   open      [{path, values: [{revision, value}]}]; deleted: true in place of a value: removed it
 *   dropped   [{path, rule, kept, values}]: what a rule, or "delete-wins", did not choose
 *   kept      [{path, deletedBy}]: members changed by some, removed by others
 *   cut       true: there was more
 * A long value is replaced by cut: true; the bodies themselves stay with their revisions until
 * cleanup. */
#include "common/doc/merge_internal.h"
#include "proto/msgpack.h"

enum { DETAIL_VALUE_BYTES = 1024, DETAIL_REVISIONS_MAX = 256 };

struct detail {
	struct merge *m;
	struct buf members; /* name and value, one after the other */
	uint32_t members_count;
	bool cut;
};

static void member(struct detail *d, const char *name)
{
	mp_write_text(&d->members, name);
	d->members_count++;
}

static void revisions(struct detail *d, const char *name, const uint32_t *ranks, uint32_t count)
{
	if (count == 0)
		return;
	uint32_t shown = count < DETAIL_REVISIONS_MAX ? count : DETAIL_REVISIONS_MAX;
	d->cut |= shown < count;
	member(d, name);
	mp_write_array(&d->members, shown);
	for (uint32_t i = 0; i < shown; i++)
		mp_write_str(&d->members, d->m->leaves[ranks[i]].revision);
}

/* ---- notes ---- */

static void write_side(struct detail *d, const struct merge_side *side, bool with_value,
		       struct buf *out)
{
	struct slice revision = d->m->leaves[side->rank].revision;
	if (!with_value) {
		mp_write_str(out, revision);
		return;
	}
	mp_write_map(out, 2);
	mp_write_text(out, "revision");
	mp_write_str(out, revision);
	if (side->value.len > 0 && side->value.len <= DETAIL_VALUE_BYTES) {
		mp_write_text(out, "value");
		buf_append_slice(out, side->value);
	} else {
		mp_write_text(out, side->value.len > 0 ? "cut" : "deleted");
		mp_write_bool(out, true);
	}
}

static void write_note(struct detail *d, const struct merge_note *note, struct buf *out)
{
	bool with_value = note->kind != NOTE_KEPT;
	uint32_t shown =
	    note->sides_count < MERGE_SIDES_NOTED ? note->sides_count : MERGE_SIDES_NOTED;
	d->cut |= shown < note->sides_count;
	mp_write_map(out, note->kind == NOTE_DROPPED ? 4 : 2);
	mp_write_text(out, "path");
	mp_write_str(out, note->path);
	if (note->kind == NOTE_DROPPED) {
		mp_write_text(out, "rule");
		mp_write_text(out, note->rule);
		mp_write_text(out, "kept");
		mp_write_str(out, d->m->leaves[note->kept].revision);
	}
	mp_write_text(out, with_value ? "values" : "deletedBy");
	mp_write_array(out, shown);
	for (uint32_t i = 0; i < shown; i++)
		write_side(d, &note->sides[i], with_value, out);
}

/* Those that still fit. */
static void write_notes(struct detail *d, enum merge_note_kind kind, const char *name)
{
	struct buf list = {0};
	struct buf one = {0};
	uint32_t count = 0;
	for (const struct merge_note *n = d->m->notes; n; n = n->next) {
		if (n->kind != kind)
			continue;
		buf_clear(&one);
		write_note(d, n, &one);
		if (d->members.len + list.len + one.len > MERGE_DETAIL_BYTES) {
			d->cut = true;
			continue;
		}
		buf_append_slice(&list, buf_slice(&one));
		count++;
	}
	if (count > 0) {
		member(d, name);
		mp_write_array(&d->members, count);
		buf_append_slice(&d->members, buf_slice(&list));
	}
	buf_close(&one);
	buf_close(&list);
}

void merge_detail(struct merge *m, const struct merge_outline *outline, struct buf *out)
{
	struct detail d = {.m = m, .cut = m->notes_count > MERGE_NOTES_MAX};
	member(&d, "strategy");
	mp_write_text(&d.members, policy_strategy_name(m->policy->strategy));
	if (outline->reason) {
		member(&d, "reason");
		mp_write_text(&d.members, outline->reason);
	}
	if (outline->winner >= 0) {
		member(&d, "winner");
		mp_write_str(&d.members, m->leaves[outline->winner].revision);
	}
	revisions(&d, "losers", outline->losers, outline->losers_count);
	if (outline->deleted_count > 0) {
		member(&d, "deletes");
		mp_write_text(&d.members, m->policy->delete_wins ? "delete-wins" : "edit-wins");
		revisions(&d, "deleted", outline->deleted, outline->deleted_count);
	}
	write_notes(&d, NOTE_OPEN, "open");
	write_notes(&d, NOTE_DROPPED, "dropped");
	write_notes(&d, NOTE_KEPT, "kept");
	if (d.cut) {
		member(&d, "cut");
		mp_write_bool(&d.members, true);
	}
	mp_write_map(out, d.members_count);
	buf_append_slice(out, buf_slice(&d.members));
	buf_close(&d.members);
}
