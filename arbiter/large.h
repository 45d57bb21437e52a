/* The one document at a time that is read in parts: they are much to keep. */
#ifndef PARLEY_ARBITER_LARGE_H
#define PARLEY_ARBITER_LARGE_H

#include "common/doc/graph_parts.h"

struct task;

struct large {
	const struct task *task; /* whose it is, or NULL */
	struct graph_parts parts;
	struct arena arena;
};

#endif
