/* The rules for single paths. */
#include <stdio.h>
#include <stdlib.h>

#include "common/doc/policy_parser.h"
#include "proto/enums.h"

#define ALLOWED_RULES                                                                              \
	"\"manual\", \"set\", \"append\", \"newest\", \"oldest\", \"max\", \"min\", \"counter\", " \
	"{\"map\": [\"key\", ...]}"

static const char *const rule_names[POLICY_RULES] = {
    [RULE_MANUAL] = "manual", [RULE_SET] = "set",       [RULE_MAP] = "map",
    [RULE_APPEND] = "append", [RULE_NEWEST] = "newest", [RULE_OLDEST] = "oldest",
    [RULE_MAX] = "max",       [RULE_MIN] = "min",       [RULE_COUNTER] = "counter",
};

const char *policy_rule_name(enum policy_rule rule)
{
	return rule_names[rule];
}

/* The list of key fields behind {"map": ...}. */
static bool read_keys(struct policy_parser *p, struct mp_reader *r, struct policy_path *out)
{
	struct mp_token list = mp_read(r);
	if (list.type != MP_ARRAY || list.count == 0 || list.count > POLICY_KEYS_MAX)
		return policy_refuse(p, "/paths/", out->path,
				     "map takes a list of 1 to 8 field names");
	struct slice *keys = arena_alloc(p->arena, list.count * sizeof *keys);
	for (uint32_t i = 0; i < list.count; i++) {
		struct mp_token token = mp_read(r);
		if (token.type != MP_STR || token.bytes.len == 0 ||
		    token.bytes.len > LIMIT_PATH_BYTES)
			return policy_refuse(p, "/paths/", out->path,
					     "map takes a list of 1 to 8 field names");
		for (uint32_t k = 0; k < i; k++)
			if (slice_equal(keys[k], token.bytes))
				return policy_refuse(p, "/paths/", out->path,
						     "map names the same field twice");
		keys[i] = token.bytes;
	}
	out->rule = RULE_MAP;
	out->keys = keys;
	out->keys_count = list.count;
	return true;
}

static bool read_rule(struct policy_parser *p, struct mp_reader *r, struct policy_path *out)
{
	struct mp_token token = mp_read(r);
	for (uint32_t i = 0; token.type == MP_STR && i < POLICY_RULES; i++) {
		if (i == RULE_MAP || !slice_is(token.bytes, rule_names[i]))
			continue;
		out->rule = (enum policy_rule)i;
		return true;
	}
	if (token.type == MP_MAP && token.count == 1) {
		struct mp_token name = mp_read(r);
		if (name.type == MP_STR && slice_is(name.bytes, "map"))
			return read_keys(p, r, out);
	}
	return policy_refuse(p, "/paths/", out->path, "allowed: " ALLOWED_RULES);
}

static int compare_paths(const void *a, const void *b)
{
	return slice_compare(((const struct policy_path *)a)->path,
			     ((const struct policy_path *)b)->path);
}

bool policy_read_paths(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token map = mp_read(r);
	if (map.type != MP_MAP || map.count > POLICY_PATHS_MAX)
		return policy_refuse(
		    p, "/paths", (struct slice){0},
		    "must be an object of at most 1024 dotted paths with their rules");
	struct policy_path *paths = arena_alloc(p->arena, map.count * sizeof *paths);
	for (uint32_t i = 0; i < map.count; i++) {
		struct mp_token name = mp_read(r);
		if (name.type != MP_STR || !policy_path_is_well_formed(name.bytes))
			return policy_refuse(
			    p, "/paths/", name.type == MP_STR ? name.bytes : (struct slice){0},
			    "a path is 1 to 1024 bytes: member names joined by dots");
		paths[i].path = name.bytes;
		if (!read_rule(p, r, &paths[i]))
			return false;
	}
	if (map.count > 1)
		qsort(paths, map.count, sizeof *paths, compare_paths);
	for (uint32_t i = 1; i < map.count; i++)
		if (slice_equal(paths[i - 1].path, paths[i].path))
			return policy_refuse(p, "/paths/", paths[i].path,
					     "the path is there twice");
	out->paths = paths;
	out->paths_count = map.count;
	return true;
}

static int compare_wanted(const void *a, const void *b)
{
	return slice_compare(*(const struct slice *)a, ((const struct policy_path *)b)->path);
}

const struct policy_path *policy_find(const struct policy *policy, struct slice path)
{
	if (policy->paths_count == 0)
		return NULL;
	return bsearch(&path, policy->paths, policy->paths_count, sizeof *policy->paths,
		       compare_wanted);
}

/* The first one whose path does not sort before that. */
static uint32_t first_from(const struct policy *policy, struct slice path)
{
	uint32_t low = 0, high = policy->paths_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (slice_compare(policy->paths[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_below(struct slice path, struct slice above)
{
	return above.len == 0 || (path.len > above.len && path.data[above.len] == '.' &&
				  memcmp(path.data, above.data, above.len) == 0);
}

bool policy_has_below(const struct policy *policy, struct slice path, enum policy_rule rule)
{
	for (uint32_t i = first_from(policy, path); i < policy->paths_count; i++) {
		const struct policy_path *p = &policy->paths[i];
		if (p->rule == rule && is_below(p->path, path))
			return true;
		if (p->path.len < path.len || !slice_equal(slice_part(p->path, 0, path.len), path))
			return false;
	}
	return false;
}

/* A rule above this path that leaves nothing for it to decide. */
static const struct policy_path *taker_of(const struct policy *policy, struct slice path)
{
	for (size_t i = 1; i < path.len; i++) {
		const struct policy_path *above =
		    path.data[i] == '.' ? policy_find(policy, slice_of(path.data, i)) : NULL;
		if (above && above->rule != RULE_MAP)
			return above;
	}
	return NULL;
}

bool policy_paths_count_all(const struct policy *policy, struct policy_error *error)
{
	struct policy_parser p = {.error = error};
	for (uint32_t i = 0; i < policy->paths_count; i++) {
		char text[sizeof error->text];
		const struct policy_path *taker = taker_of(policy, policy->paths[i].path);
		if (slice_is(policy->paths[i].path, "id"))
			return policy_refuse(&p, "/paths/id", (struct slice){0},
					     "is never asked: all versions have the same id");
		if (!taker)
			continue;
		(void)snprintf(text, sizeof text,
			       "is never asked: a path above it is \"%s\", which takes all below "
			       "it as one thing; only below a map there may be rules",
			       policy_rule_name(taker->rule));
		return policy_refuse(&p, "/paths/", policy->paths[i].path, text);
	}
	return true;
}
