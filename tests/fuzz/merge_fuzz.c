/* Any bytes as the leaves of a conflict. Input: texts separated by a byte 0: a policy, the common
 * ancestor ("-": none is kept), then leaves, each a byte of flags (the lowest bit: a deletion, the
 * others its stamp) and a body. Texts are JSON; what is none is taken as the body's bytes, as a
 * disk or a peer might have them. Whatever the bodies: the leaves in any order give the same bytes.
 */
#include <stdlib.h>

#include "common/doc/diff.h"
#include "common/doc/json.h"
#include "common/doc/merge.h"
#include "common/doc/value.h"
#include "proto/enums.h"
#include "tests/fuzz/texts.h"

enum { LEAVES_MAX = 6, ROWS_MAX = 100 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t take_leaves(struct slice *rest, struct arena *arena, struct merge_leaf *leaves)
{
	static const char *const names[LEAVES_MAX] = {"1-a", "2-a", "2-b", "10-a", "3-c", "3-d"};
	uint32_t count = 0;
	while (rest->len > 0 && count < LEAVES_MAX) {
		struct slice text = take_until(rest, 0);
		uint8_t flags = text.len > 0 ? text.data[0] : 0;
		size_t skip = text.len > 0;
		struct merge_leaf *leaf = &leaves[count];
		*leaf = (struct merge_leaf){.revision = slice_text(names[count]),
					    .stamp = flags >> 1,
					    .deleted = flags & 1};
		if (!leaf->deleted)
			leaf->body = value_of(slice_of(text.data + skip, text.len - skip), arena);
		count++;
	}
	return count;
}

static void check_result(const struct merge_input *input, const struct merge_result *r)
{
	bool documents = !input->has_base || value_is_document(input->base);
	for (uint32_t i = 0; i < input->leaves_count; i++)
		documents &= input->leaves[i].deleted || value_is_document(input->leaves[i].body);
	CHECK(mp_valid(buf_slice(&r->detail)) && r->detail.len <= LIMIT_POLICY_BYTES);
	if (r->outcome != MERGE_DONE)
		return;
	if (r->deleted)
		CHECK(r->body.len == 0);
	else if (documents)
		CHECK(value_is_document(buf_slice(&r->body)));
}

static void run(const struct merge_input *input, struct arena *arena, struct merge_result *out)
{
	*out = (struct merge_result){0};
	merge_run(input, arena, out);
	check_result(input, out);
}

/* The same leaves, those from `by` on first, and then perhaps backwards. */
static void check_order(const struct merge_input *input, const struct merge_result *first,
			uint32_t by, bool backwards, struct arena *arena)
{
	struct merge_leaf leaves[LEAVES_MAX];
	struct merge_input other = *input;
	struct merge_result r;
	uint32_t count = input->leaves_count;
	for (uint32_t i = 0; i < count; i++)
		leaves[backwards ? count - 1 - i : i] = input->leaves[(i + by) % count];
	other.leaves = leaves;
	run(&other, arena, &r);
	CHECK(r.outcome == first->outcome && r.deleted == first->deleted);
	CHECK(slice_equal(buf_slice(&r.body), buf_slice(&first->body)));
	CHECK(slice_equal(buf_slice(&r.detail), buf_slice(&first->detail)));
	buf_close(&r.body);
	buf_close(&r.detail);
}

/* Each body as if a script had made it: what is kept of the merge stays kept. */
static void keep_manual(const struct merge_input *input, const struct merge_result *merged,
			struct arena *arena)
{
	for (uint32_t i = 0; i < input->leaves_count; i++) {
		struct buf body[2] = {{0}, {0}};
		struct buf paths[2] = {{0}, {0}};
		bool kept = value_is_document(input->leaves[i].body) &&
			    merge_keep_manual(input->policy, input->leaves[i].body,
					      buf_slice(&merged->body), arena, &body[0], &paths[0]);
		if (kept) {
			CHECK(value_is_document(buf_slice(&body[0])));
			CHECK(merge_keep_manual(input->policy, buf_slice(&body[0]),
						buf_slice(&merged->body), arena, &body[1],
						&paths[1]));
			CHECK(slice_equal(buf_slice(&body[0]), buf_slice(&body[1])));
			CHECK(slice_equal(buf_slice(&paths[1]), slice_of("\x90", 1)));
		}
		for (int k = 0; k < 2; k++) {
			buf_close(&body[k]);
			buf_close(&paths[k]);
		}
	}
}

static void merge_all(const struct merge_input *input, struct arena *arena)
{
	struct merge_result first;
	run(input, arena, &first);
	if (first.outcome == MERGE_DONE && value_is_document(buf_slice(&first.body)))
		keep_manual(input, &first, arena);
	for (uint32_t by = 0; by < input->leaves_count; by++) {
		check_order(input, &first, by, false, arena);
		check_order(input, &first, by, true, arena);
	}
	buf_close(&first.body);
	buf_close(&first.detail);
}

/* The same bodies as versions to compare for people. */
static void compare(const struct merge_input *input, struct arena *arena)
{
	struct slice versions[LEAVES_MAX];
	struct diff_row *rows;
	bool cut = false;
	for (uint32_t i = 0; i < input->leaves_count; i++)
		versions[i] = input->leaves[i].body;
	uint32_t count = diff_rows(versions, input->leaves_count, ROWS_MAX, arena, &rows, &cut);
	CHECK(count <= ROWS_MAX);
	for (uint32_t i = 1; i < count; i++)
		CHECK(slice_compare(rows[i - 1].pointer, rows[i].pointer) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = {0};
	struct policy policy;
	struct policy_error error;
	struct merge_leaf leaves[LEAVES_MAX];
	struct slice rest = slice_of(data, size);
	struct slice rules = value_of(take_until(&rest, 0), &arena);
	struct slice base = take_until(&rest, 0);
	struct merge_input input = {
	    .leaves = leaves, .policy = &policy, .has_base = !slice_is(base, "-")};
	if (input.has_base)
		input.base = value_of(base, &arena);
	input.leaves_count = take_leaves(&rest, &arena, leaves);
	compare(&input, &arena);
	if (input.leaves_count > 0 && policy_parse(rules, &arena, &policy, &error))
		merge_all(&input, &arena);
	arena_close(&arena);
	return 0;
}
