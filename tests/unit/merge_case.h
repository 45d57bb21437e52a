/* One merge: a base, leaves, a policy, and what comes of them. */
#ifndef PARLEY_TESTS_UNIT_MERGE_CASE_H
#define PARLEY_TESTS_UNIT_MERGE_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/json.h"
#include "common/doc/merge.h"
#include "common/doc/value.h"
#include "proto/enums.h"

enum { LEAVES_MAX = 64 };

struct fixture {
	struct json_parser *parser;
	struct arena arena;
	struct buf bytes;
	struct policy policy;
	struct slice base;
	bool has_base;
	struct merge_leaf leaves[LEAVES_MAX];
	uint32_t leaves_count;
	struct merge_result result;
	struct buf text;
};

static inline void start(struct fixture *f, const char *policy, const char *base);

static inline int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.parser = json_parser_new()};
	start(&f, "{}", "{}");
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	arena_close(&f->arena);
	buf_close(&f->bytes);
	buf_close(&f->text);
	buf_close(&f->result.body);
	buf_close(&f->result.detail);
	return 0;
}

static inline struct slice from_json(struct fixture *f, const char *json)
{
	struct json_error error;
	buf_clear(&f->bytes);
	if (!json_to_msgpack(f->parser, slice_text(json), &f->bytes, &error))
		fail_msg("test data: %s", json);
	return arena_copy(&f->arena, buf_slice(&f->bytes));
}

static inline const char *to_json(struct fixture *f, struct slice value)
{
	buf_clear(&f->text);
	assert_true(json_from_msgpack(value, &f->text));
	return buf_cstr(&f->text);
}

/* base NULL: none is kept. */
static inline void start(struct fixture *f, const char *policy, const char *base)
{
	struct policy_error error;
	struct slice bytes = from_json(f, policy);
	if (!policy_parse(bytes, &f->arena, &f->policy, &error))
		fail_msg("%s: %s", error.place, error.text);
	f->has_base = base != NULL;
	f->base = base ? from_json(f, base) : (struct slice){0};
	f->leaves_count = 0;
}

static inline struct merge_leaf *add(struct fixture *f, const char *revision, const char *json)
{
	struct merge_leaf *leaf = &f->leaves[f->leaves_count++];
	*leaf = (struct merge_leaf){.revision = slice_text(revision), .deleted = json == NULL};
	if (json)
		leaf->body = from_json(f, json);
	return leaf;
}

static inline void add_stamped(struct fixture *f, const char *revision, uint64_t stamp,
			       const char *json)
{
	add(f, revision, json)->stamp = stamp;
}

static inline void run(struct fixture *f)
{
	struct merge_input input = {.leaves = f->leaves,
				    .leaves_count = f->leaves_count,
				    .has_base = f->has_base,
				    .base = f->base,
				    .policy = &f->policy};
	buf_close(&f->result.body);
	buf_close(&f->result.detail);
	merge_run(&input, &f->arena, &f->result);
	assert_true(mp_valid(buf_slice(&f->result.detail)));
	assert_true(f->result.detail.len <= LIMIT_POLICY_BYTES);
}

#endif
