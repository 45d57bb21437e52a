/* What is decided of a graph that was drawn (graph_case.h). */
#ifndef PARLEY_TESTS_UNIT_DECIDE_CASE_H
#define PARLEY_TESTS_UNIT_DECIDE_CASE_H

#include "tests/unit/graph_case.h"

static inline void run(struct fixture *f)
{
	decide_conflict(&f->graph, slice_text("doc"), &f->arena, &f->decision);
}

static inline const char *names(struct fixture *f, const struct revision *list, uint32_t count)
{
	buf_clear(&f->scratch);
	for (uint32_t i = 0; i < count; i++) {
		buf_append_text(&f->scratch, i ? " " : "");
		revision_print(&list[i], &f->scratch);
	}
	return buf_cstr(&f->scratch);
}

static inline void becomes(struct fixture *f, const char *leaves, const char *parents,
			   const char *json)
{
	run(f);
	const struct msg_conflict_resolve *m = &f->decision.resolve;
	if (f->decision.kind == DECISION_NOTE)
		fail_msg("open: %s", to_json(f, f->decision.note.detail));
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(names(f, m->leaves, m->leaves_count), leaves);
	assert_string_equal(names(f, m->parents, m->parents_count), parents);
	assert_false(m->deleted);
	assert_string_equal(to_json(f, m->body), json);
}

#endif
