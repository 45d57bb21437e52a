/* Two documents of one id, a person and a record: what is decided, and what it comes to. */
#ifndef PARLEY_TESTS_UNIT_SPLIT_CASE_H
#define PARLEY_TESTS_UNIT_SPLIT_CASE_H

#include "tests/unit/graph_case.h"

#define KINDS "{\"roots\":{\"kind\":[\"type\"]}}"
#define STUB  "{\"_split\":[\"x~ce40d1dc470643e2\",\"x~e4da228c29dc4ebc\"]}"

static inline void run_as(struct fixture *f, const char *id)
{
	decide_conflict(&f->graph, slice_text(id), &f->arena, &f->decision);
}

static inline void run(struct fixture *f)
{
	run_as(f, "x");
}

static inline void noted(struct fixture *f, const char *detail)
{
	assert_int_equal(f->decision.kind, DECISION_NOTE);
	assert_string_equal(to_json(f, f->decision.note.detail), detail);
}

static inline void becomes(struct fixture *f, const char *json)
{
	if (f->decision.kind == DECISION_NOTE)
		fail_msg("open: %s", to_json(f, f->decision.note.detail));
	assert_int_equal(f->decision.kind, DECISION_RESOLVE);
	assert_string_equal(to_json(f, f->decision.resolve.body), json);
}

static inline void part_is(struct fixture *f, uint32_t index, const char *id, const char *json)
{
	assert_true(index < f->decision.parts_count);
	assert_true(slice_is(f->decision.parts[index].id, id));
	assert_string_equal(to_json(f, f->decision.parts[index].body), json);
}

static inline void person_and_record(struct fixture *f, const char *policy)
{
	start(f, policy);
	node(f, "1-e4da228c29dc4ebc8b156967bbf48bd1", ROOT, "{\"type\":\"person\",\"n\":1}");
	node(f, "1-ce40d1dc470643e2b9be9368ea9ff240", ROOT, "{\"type\":\"record\",\"n\":2}");
}

static inline void answered(struct fixture *f, const char *json)
{
	struct answer answer;
	struct slice text;
	assert_int_equal(script_answer_read(from_json(f, json), &answer, &text), SCRIPT_ANSWERS);
	decide_answer(&f->graph, slice_text("x"), &answer, &f->arena, &f->decision);
}

static inline void person_and_record_split(struct fixture *f, const char *policy)
{
	person_and_record(f, policy);
	node(f, "2-s", P(0, 1), STUB)->flags |= REVISION_RESOLVED | REVISION_SPLIT;
}

#endif
