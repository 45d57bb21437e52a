/* Resolutions and notes in the form in which leads take them. */
#include "common/doc/decide_internal.h"
#include "common/doc/detail.h"
#include "common/doc/graph.h"
#include "proto/msgpack.h"

/* The map with who decided in front, and, of a fallback, instead of what. */
static struct slice signed_detail(struct decide *w, struct slice map)
{
	struct buf out = {0};
	struct mp_reader r = mp_reader_of(map);
	struct mp_token head = mp_read(&r);
	bool instead = w->reason && w->policy.strategy != POLICY_NONE;
	mp_write_map(&out, head.count + 1 + instead);
	mp_write_text(&out, "by");
	if (w->by.len > 0)
		mp_write_str(&out, w->by);
	else
		mp_write_text(&out, "arbiter");
	if (instead) {
		mp_write_text(&out, "fallbackFor");
		mp_write_text(&out, w->reason);
	}
	buf_append(&out, r.at, (size_t)(r.end - r.at));
	struct slice copy = arena_copy(w->arena, buf_slice(&out));
	buf_close(&out);
	return copy;
}

static struct slice detail_within(struct decide *w, struct slice detail, size_t room)
{
	struct buf cut = {0};
	detail_cut(signed_detail(w, detail), room, &cut);
	struct slice copy = arena_copy(w->arena, buf_slice(&cut));
	buf_close(&cut);
	return copy;
}

void decide_notes(struct decide *w, struct slice detail, struct decision *out)
{
	out->kind = DECISION_NOTE;
	out->note.detail = detail_within(w, detail, LIMIT_NOTE_BYTES);
}

void decide_stays_open(struct decide *w, const char *reason, const char *place, struct slice text,
		       struct decision *out)
{
	struct buf map = {0};
	mp_write_map(&map, 1 + (place != NULL) + (text.len > 0));
	mp_write_text(&map, "reason");
	mp_write_text(&map, reason);
	if (place) {
		mp_write_text(&map, "place");
		mp_write_text(&map, place);
	}
	if (text.len > 0) {
		mp_write_text(&map, "text");
		mp_write_str(&map, text);
	}
	decide_notes(w, buf_slice(&map), out);
	buf_close(&map);
}

/* H(document, inputs, policy version) */
void decide_name_resolution(struct decision *out)
{
	struct buf form = {0};
	mp_write_array(&form, 3);
	mp_write_bin(&form, out->resolve.id);
	mp_write_array(&form, out->resolve.parents_count);
	for (uint32_t i = 0; i < out->resolve.parents_count; i++) {
		struct buf text = {0};
		revision_print(&out->resolve.parents[i], &text);
		mp_write_str(&form, buf_slice(&text));
		buf_close(&text);
	}
	mp_write_u64(&form, out->resolve.policy_version);
	digest16(buf_slice(&form), out->resolution_id);
	buf_close(&form);
	out->resolve.resolution_id = slice_of(out->resolution_id, sizeof out->resolution_id);
}

void decide_becomes(struct decide *w, bool deleted, struct slice body, struct slice detail,
		    struct decision *out)
{
	struct msg_conflict_resolve *m = &out->resolve;
	m->parents = arena_alloc(w->arena, w->inputs_count * sizeof *m->parents);
	for (uint32_t i = 0; i < w->inputs_count; i++)
		m->parents[i] = graph_name(&w->doc, w->inputs[i]);
	m->parents_count = w->inputs_count;
	revision_sort(m->parents, m->parents_count);
	m->deleted = deleted;
	m->body = deleted ? (struct slice){0} : arena_copy(w->arena, body);
	m->detail = detail_within(w, detail, LIMIT_POLICY_BYTES);
	struct revision_content content = {.parents = m->parents,
					   .parents_count = m->parents_count,
					   .deleted = deleted,
					   .body = m->body,
					   .policy = m->policy_version};
	revision_name(&content, out->hash, &m->revision);
	decide_name_resolution(out);
	out->kind = DECISION_RESOLVE;
}

bool decide_becomes_node(struct decide *w, uint32_t node, struct slice detail, struct decision *out)
{
	struct slice body;
	if (!decide_body(w, node, &body))
		return false;
	decide_becomes(w, decide_is_deleted(w, node), body, detail, out);
	out->resolve.split = w->graph->nodes[node].flags & REVISION_SPLIT;
	return true;
}

void decision_leave_open(struct decision *d, const char *reason, struct slice text,
			 struct arena *arena)
{
	struct decide w = {.arena = arena};
	decide_stays_open(&w, reason, NULL, text, d);
}

void decision_heed_held(struct decision *d, bool held, struct arena *arena)
{
	if (held && d->kind != DECISION_NOTHING && d->kind != DECISION_BROKEN)
		decision_leave_open(d, "held", (struct slice){0}, arena);
}
