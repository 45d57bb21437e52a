#include "common/doc/policy.h"

#include <stdio.h>
#include <stdlib.h>

#include "common/doc/value.h"
#include "proto/enums.h"
#include "proto/msgpack.h"

/* Where the parser stands, for its complaints. */
struct parser {
	struct arena *arena;
	struct policy_error *error;
};

#define ALLOWED_MEMBERS    "strategy, paths, deletes"
#define ALLOWED_STRATEGIES "\"none\", \"newest\", \"oldest\", \"merge\""
#define ALLOWED_DELETES    "\"edit-wins\", \"delete-wins\""
#define ALLOWED_RULES                                                                              \
	"\"manual\", \"set\", \"newest\", \"max\", \"min\", \"counter\", {\"map\": [\"key\", "     \
	"...]}"

static const struct {
	const char *text;
	enum policy_strategy strategy;
} strategies[] = {{"none", POLICY_NONE},
		  {"newest", POLICY_NEWEST},
		  {"oldest", POLICY_OLDEST},
		  {"merge", POLICY_MERGE}};

static const struct {
	const char *text;
	enum policy_rule rule;
} rules[] = {{"manual", RULE_MANUAL}, {"set", RULE_SET}, {"newest", RULE_NEWEST},
	     {"max", RULE_MAX},       {"min", RULE_MIN}, {"counter", RULE_COUNTER}};

/* Bytes that fit, without half a character at the end. */
static int shown_len(struct slice text, size_t most)
{
	size_t len = text.len < most ? text.len : most;
	while (len > 0 && len < text.len && (text.data[len] & 0xc0) == 0x80)
		len--;
	return (int)len;
}

static bool refuse(struct parser *p, const char *place, struct slice member, const char *text)
{
	int len = shown_len(member, 100);
	(void)snprintf(p->error->place, sizeof p->error->place, "%s%.*s", place, len,
		       len ? (const char *)member.data : "");
	(void)snprintf(p->error->text, sizeof p->error->text, "%s", text);
	return false;
}

static bool read_strategy(struct parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	for (size_t i = 0; token.type == MP_STR && i < ARRAY_LEN(strategies); i++) {
		if (!slice_is(token.bytes, strategies[i].text))
			continue;
		out->strategy = strategies[i].strategy;
		return true;
	}
	return refuse(p, "/strategy", (struct slice){0}, "allowed: " ALLOWED_STRATEGIES);
}

static bool read_deletes(struct parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->delete_wins = token.type == MP_STR && slice_is(token.bytes, "delete-wins");
	if (out->delete_wins || (token.type == MP_STR && slice_is(token.bytes, "edit-wins")))
		return true;
	return refuse(p, "/deletes", (struct slice){0}, "allowed: " ALLOWED_DELETES);
}

/* ---- paths ---- */

static bool path_is_well_formed(struct slice path)
{
	if (path.len == 0 || path.len > LIMIT_PATH_BYTES)
		return false;
	bool after_dot = true;
	for (size_t i = 0; i < path.len; i++) {
		if (path.data[i] == '.' && after_dot)
			return false;
		after_dot = path.data[i] == '.';
	}
	return !after_dot;
}

/* The list of key fields behind {"map": ...}. */
static bool read_keys(struct parser *p, struct mp_reader *r, struct policy_path *out)
{
	struct mp_token list = mp_read(r);
	if (list.type != MP_ARRAY || list.count == 0 || list.count > POLICY_KEYS_MAX)
		return refuse(p, "/paths/", out->path, "map takes a list of 1 to 8 field names");
	struct slice *keys = arena_alloc(p->arena, list.count * sizeof *keys);
	for (uint32_t i = 0; i < list.count; i++) {
		struct mp_token token = mp_read(r);
		if (token.type != MP_STR || token.bytes.len == 0 ||
		    token.bytes.len > LIMIT_PATH_BYTES)
			return refuse(p, "/paths/", out->path,
				      "map takes a list of 1 to 8 field names");
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(keys[k], token.bytes))
				return refuse(p, "/paths/", out->path,
					      "map names the same field twice");
		keys[i] = token.bytes;
	}
	out->rule = RULE_MAP;
	out->keys = keys;
	out->keys_count = list.count;
	return true;
}

static bool read_rule(struct parser *p, struct mp_reader *r, struct policy_path *out)
{
	struct mp_token token = mp_read(r);
	for (size_t i = 0; token.type == MP_STR && i < ARRAY_LEN(rules); i++) {
		if (!slice_is(token.bytes, rules[i].text))
			continue;
		out->rule = rules[i].rule;
		return true;
	}
	if (token.type == MP_MAP && token.count == 1) {
		struct mp_token name = mp_read(r);
		if (name.type == MP_STR && slice_is(name.bytes, "map"))
			return read_keys(p, r, out);
	}
	return refuse(p, "/paths/", out->path, "allowed: " ALLOWED_RULES);
}

static int compare_paths(const void *a, const void *b)
{
	return slice_compare(((const struct policy_path *)a)->path,
			     ((const struct policy_path *)b)->path);
}

static bool read_paths(struct parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token map = mp_read(r);
	if (map.type != MP_MAP || map.count > POLICY_PATHS_MAX)
		return refuse(p, "/paths", (struct slice){0},
			      "must be an object of at most 1024 dotted paths with their rules");
	struct policy_path *paths = arena_alloc(p->arena, map.count * sizeof *paths);
	for (uint32_t i = 0; i < map.count; i++) {
		struct mp_token name = mp_read(r);
		if (name.type != MP_STR || !path_is_well_formed(name.bytes))
			return refuse(p, "/paths/",
				      name.type == MP_STR ? name.bytes : (struct slice){0},
				      "a path is 1 to 1024 bytes: member names joined by dots");
		paths[i].path = name.bytes;
		if (!read_rule(p, r, &paths[i]))
			return false;
	}
	if (map.count > 1)
		qsort(paths, map.count, sizeof *paths, compare_paths);
	for (uint32_t i = 1; i < map.count; i++)
		if (slice_equal(paths[i - 1].path, paths[i].path))
			return refuse(p, "/paths/", paths[i].path, "the path is there twice");
	out->paths = paths;
	out->paths_count = map.count;
	return true;
}

/* ---- the whole ---- */

static bool read_member(struct parser *p, struct mp_reader *r, uint32_t *seen, struct policy *out)
{
	static const struct {
		const char *name;
		bool (*read)(struct parser *, struct mp_reader *, struct policy *);
	} members[] = {
	    {"strategy", read_strategy}, {"paths", read_paths}, {"deletes", read_deletes}};
	struct mp_token name = mp_read(r);
	for (uint32_t i = 0; name.type == MP_STR && i < ARRAY_LEN(members); i++) {
		if (!slice_is(name.bytes, members[i].name))
			continue;
		if (*seen & 1u << i)
			return refuse(p, "/", name.bytes, "the member is there twice");
		*seen |= 1u << i;
		return members[i].read(p, r, out);
	}
	return refuse(p, "/", name.type == MP_STR ? name.bytes : (struct slice){0},
		      "unknown member; allowed: " ALLOWED_MEMBERS);
}

bool policy_parse(struct slice bytes, struct arena *arena, struct policy *out,
		  struct policy_error *error)
{
	struct parser p = {arena, error};
	struct policy policy = {.strategy = POLICY_MERGE};
	struct slice nothing = {0};
	*error = (struct policy_error){0};
	if (bytes.len > LIMIT_POLICY_BYTES)
		return refuse(&p, "", nothing, "a policy is at most 65536 bytes of MessagePack");
	if (bytes.len > 0 && !mp_valid(bytes))
		return refuse(&p, "", nothing, "not valid MessagePack");
	struct mp_reader r = mp_reader_of(bytes);
	struct mp_token map = {.type = MP_MAP};
	if (bytes.len > 0)
		map = mp_read(&r);
	if (map.type != MP_MAP)
		return refuse(&p, "", nothing, "must be an object; allowed: " ALLOWED_MEMBERS);
	uint32_t seen = 0;
	for (uint32_t i = 0; i < map.count; i++)
		if (!read_member(&p, &r, &seen, &policy))
			return false;
	*out = policy;
	return true;
}

const struct policy_path *policy_find(const struct policy *policy, struct slice path)
{
	struct policy_path wanted = {.path = path};
	if (policy->paths_count == 0)
		return NULL;
	return bsearch(&wanted, policy->paths, policy->paths_count, sizeof wanted, compare_paths);
}
