/* Conflict policies as data: a MessagePack map in collection settings, parsed once.
 *
 *   {"strategy": "none" | "newest" | "oldest" | "merge" | "script" | "external",
 *    "paths": {"a.b": RULE, ...},
 *    "deletes": "edit-wins" | "delete-wins",
 *    "script": "function (base, leaves) { ... }",
 *    "fallback": "none" | "newest" | "oldest" | "merge" | "script",
 *    "deadlineMs": n, "leaseMs": n,
 *    "roots": {"kind": ["a.b", ...], "same": "merge" | "open", "different": "split" | "open"},
 *    "references": [{"path": "a.b", "kind": "k", "collection": "c"}, ...]}
 *
 *   RULE: "manual" | "set" | "append" | "newest" | "oldest" | "max" | "min" | "counter" |
 *         {"map": ["key field", ...]}
 *
 * Empty bytes mean {"strategy": "merge"}; what is left out means "merge", no paths, "edit-wins", no
 * script, "none", no deadline, the lease of the lead's choice, {"same": "merge", "different":
 * "split"} with all documents of one kind, no references. What the strategy has no use for is
 * allowed, so that a strategy may be changed and changed back.
 *
 * Paths are member names joined by dots. The elements of a `map` add nothing to the path: with
 * {"items": {"map": ["sku"]}}, "items.count" is the member `count` of each element. All rules but
 * `map` take what is below their path as one thing. */
#ifndef PARLEY_DOC_POLICY_H
#define PARLEY_DOC_POLICY_H

#include "common/base/arena.h"
#include "common/base/check.h"
#include "common/base/slice.h"
#include "proto/status.h"

/* Of a name that a reference gives. */
#define POLICY_NO_SUCH_NAME                                                                        \
	"no collection can have such a name: 1 to 64 of a-z A-Z 0-9 . -, not beginning with "      \
	"system."

enum policy_strategy {
	POLICY_NONE,
	POLICY_NEWEST,
	POLICY_OLDEST,
	POLICY_MERGE,
	POLICY_SCRIPT,
	POLICY_EXTERNAL,
	POLICY_STRATEGIES
};

enum policy_rule {
	RULE_MANUAL,
	RULE_SET,
	RULE_MAP,
	RULE_APPEND,
	RULE_NEWEST,
	RULE_OLDEST,
	RULE_MAX,
	RULE_MIN,
	RULE_COUNTER,
	POLICY_RULES
};

enum {
	POLICY_PATHS_MAX = 1024,
	POLICY_KEYS_MAX = 8,
	POLICY_KINDS_MAX = 8,
	POLICY_REFERENCES_MAX = 64,
	POLICY_KIND_BYTES = 256,
	POLICY_LEASE_MS_LEAST = 100
};
#define POLICY_LEASE_MS_MOST    3600000ull     /* an hour */
#define POLICY_DEADLINE_MS_MOST 31622400000ull /* a year */

struct policy_path {
	struct slice path; /* dotted */
	enum policy_rule rule;
	const struct slice *keys; /* RULE_MAP: names or dotted paths of what makes the key */
	uint32_t keys_count;
};

/* A path whose value, or whose elements, are ids of other documents. */
struct policy_reference {
	struct slice path;
	struct slice kind;       /* of the documents referred to; empty: any */
	struct slice collection; /* that they are in; empty: the one that has the policy */
};

/* Two documents with one id and no common ancestor. */
struct policy_roots {
	const struct slice *kind; /* paths whose values tell the kind; none: all are of one kind */
	uint32_t kind_count;
	bool same_stays_open;      /* else merged, with an empty base */
	bool different_stays_open; /* else split */
};

struct policy {
	enum policy_strategy strategy;
	enum policy_strategy fallback; /* POLICY_NONE: what fails stays open; never EXTERNAL, never
					* the strategy itself */
	bool delete_wins;
	const struct policy_path *paths; /* sorted by path */
	uint32_t paths_count;
	struct slice script;  /* source text; not empty if strategy or fallback is SCRIPT */
	uint64_t deadline_ms; /* EXTERNAL, from the conflict's beginning; 0: none */
	uint64_t lease_ms;    /* EXTERNAL; 0: not given */
	struct policy_roots roots;
	const struct policy_reference *references;
	uint32_t references_count;
};

struct policy_error {
	char place[128]; /* JSON pointer into the policy; "" is the whole */
	char text[160];
};

/* Borrows from bytes; lists in the arena. False: not a policy, *error says where and what is
 * allowed. */
bool policy_parse(struct slice bytes, struct arena *arena, struct policy *out,
		  struct policy_error *error) MUST_CHECK;
/* The rule declared for exactly this path, or NULL. */
const struct policy_path *policy_find(const struct policy *policy, struct slice path);
/* Is there such a rule for a path below this one? The empty path is above all. */
bool policy_has_below(const struct policy *policy, struct slice path, enum policy_rule rule);
/* False: a rule stands where it is never asked, *error says where. Whoever writes a policy is told;
 * one that was stored before stays what it is. */
bool policy_paths_count_all(const struct policy *policy, struct policy_error *error) MUST_CHECK;
/* As written in a policy. */
const char *policy_strategy_name(enum policy_strategy strategy);
/* RULE_MAP: "map". */
const char *policy_rule_name(enum policy_rule rule);

#endif
