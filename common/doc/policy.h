/* Conflict policies as data: a MessagePack map in collection settings, parsed once.
 *
 *   {"strategy": "none" | "newest" | "oldest" | "merge",
 *    "paths": {"a.b": RULE, ...},
 *    "deletes": "edit-wins" | "delete-wins"}
 *
 *   RULE: "manual" | "set" | "newest" | "max" | "min" | "counter" | {"map": ["key field", ...]}
 *
 * Empty bytes mean {"strategy": "merge"}; what is left out means "merge", no paths, "edit-wins".
 *
 * Paths are member names joined by dots. The elements of a `map` add nothing to the path: with
 * {"items": {"map": ["sku"]}}, "items.count" is the member `count` of each element. */
#ifndef PARLEY_DOC_POLICY_H
#define PARLEY_DOC_POLICY_H

#include "common/base/arena.h"
#include "common/base/check.h"
#include "common/base/slice.h"
#include "proto/status.h"

enum policy_strategy { POLICY_NONE, POLICY_NEWEST, POLICY_OLDEST, POLICY_MERGE };
enum policy_rule { RULE_MANUAL, RULE_SET, RULE_MAP, RULE_NEWEST, RULE_MAX, RULE_MIN, RULE_COUNTER };

enum { POLICY_PATHS_MAX = 1024, POLICY_KEYS_MAX = 8 };

struct policy_path {
	struct slice path; /* dotted */
	enum policy_rule rule;
	const struct slice *keys; /* RULE_MAP: names of the fields that make the key */
	uint32_t keys_count;
};

struct policy {
	enum policy_strategy strategy;
	bool delete_wins;
	const struct policy_path *paths; /* sorted by path */
	uint32_t paths_count;
};

struct policy_error {
	char place[128];
	char text[160];
};

/* Borrows from bytes; lists in the arena. False: not a policy, *error says where and what is
 * allowed. */
bool policy_parse(struct slice bytes, struct arena *arena, struct policy *out,
		  struct policy_error *error) MUST_CHECK;
/* The rule declared for exactly this path, or NULL. */
const struct policy_path *policy_find(const struct policy *policy, struct slice path);

#endif
