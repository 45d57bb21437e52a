/* What scenarios of a gateway begin with, and how their traces are compared. */
#ifndef PARLEY_TESTS_CORE_GATEWAY_CASE_H
#define PARLEY_TESTS_CORE_GATEWAY_CASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/sim/gateway_bench.h"

/* A bench of its own, with no map yet. limits: NULL for the usual ones. */
static inline struct gateway_bench *bench_open(void **state, const struct gateway_limits *limits)
{
	struct gateway_bench *b = malloc(sizeof *b);
	assert_non_null(b);
	gateway_bench_open(b, limits);
	*state = b;
	return b;
}

/* It knows the collection, of so many shards; nothing of that is in the trace. */
static inline void bench_map(struct gateway_bench *b, uint32_t shards, enum availability_mode mode)
{
	gateway_bench_map(b, shards, mode);
	gateway_bench_clear(b);
}

static inline void expect(struct gateway_bench *b, const char *trace)
{
	assert_string_equal(buf_cstr(&b->trace), trace);
	gateway_bench_clear(b);
}

/* The lead's answer to call `index`; generation 0: without a revision. */
static inline void answer_write(struct gateway_bench *b, uint32_t index, enum status status,
				uint64_t generation)
{
	struct msg_doc_write_ack ack = {.status = status};
	if (generation > 0)
		ack.revision = (struct revision){generation, slice_text("r")};
	gateway_bench_answer(b, index, MSG_doc_write_ack, &ack);
}

#endif
