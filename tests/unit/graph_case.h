/* One conflict: a graph drawn node by node, a policy, and what is decided. */
#ifndef PARLEY_TESTS_UNIT_GRAPH_CASE_H
#define PARLEY_TESTS_UNIT_GRAPH_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/doc/decide.h"
#include "common/doc/json.h"
#include "common/doc/script_answer.h"

enum { NODES_MAX = 80 };

struct fixture {
	struct json_parser *parser;
	struct arena arena;
	struct buf scratch;
	struct graph_node nodes[NODES_MAX];
	struct msg_conflict_read_ack graph;
	struct decision decision;
};

static inline int setup(void **state)
{
	static struct fixture f;
	f = (struct fixture){.parser = json_parser_new()};
	*state = &f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;
	json_parser_free(f->parser);
	arena_close(&f->arena);
	buf_close(&f->scratch);
	return 0;
}

static inline struct slice from_json(struct fixture *f, const char *json)
{
	struct json_error error;
	buf_clear(&f->scratch);
	assert_true(json_to_msgpack(f->parser, slice_text(json), &f->scratch, &error));
	return arena_copy(&f->arena, buf_slice(&f->scratch));
}

static inline const char *to_json(struct fixture *f, struct slice value)
{
	buf_clear(&f->scratch);
	assert_true(json_from_msgpack(value, &f->scratch));
	return buf_cstr(&f->scratch);
}

static inline void start(struct fixture *f, const char *policy)
{
	f->graph = (struct msg_conflict_read_ack){.nodes = f->nodes,
						  .policy_version = 3,
						  .policy = from_json(f, policy),
						  .shard = 7,
						  .conflict = {.number = 20}};
}

/* json NULL: the body is not kept. Parents are indexes, ended by -1. */
static inline struct graph_node *node(struct fixture *f, const char *name, const int *parents,
				      const char *json)
{
	struct graph_node *n = &f->nodes[f->graph.nodes_count++];
	*n = (struct graph_node){.flags = REVISION_LEAF};
	assert_true(revision_parse(slice_text(name), &n->revision));
	n->parents = arena_alloc(&f->arena, NODES_MAX * sizeof *n->parents);
	for (; *parents >= 0; parents++) {
		n->parents[n->parents_count++] = (uint64_t)*parents;
		if (*parents < NODES_MAX)
			f->nodes[*parents].flags &= ~(uint64_t)REVISION_LEAF;
	}
	if (json) {
		n->flags |= REVISION_HAS_BODY;
		n->body = from_json(f, json);
	}
	return n;
}

#define P(...) ((const int[]){__VA_ARGS__, -1})
#define ROOT   ((const int[]){-1})

#endif
