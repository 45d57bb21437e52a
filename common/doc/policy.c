#include "common/doc/policy.h"

#include <stdio.h>

#include "common/doc/policy_parser.h"
#include "proto/enums.h"

#define ALLOWED_MEMBERS                                                                            \
	"strategy, paths, deletes, script, fallback, deadlineMs, leaseMs, roots, references"
#define ALLOWED_STRATEGIES "\"none\", \"newest\", \"oldest\", \"merge\", \"script\", \"external\""
#define ALLOWED_FALLBACKS  "\"none\", \"newest\", \"oldest\", \"merge\", \"script\""
#define ALLOWED_DELETES    "\"edit-wins\", \"delete-wins\""

static const char *const strategy_names[POLICY_STRATEGIES] = {
    [POLICY_NONE] = "none",   [POLICY_NEWEST] = "newest", [POLICY_OLDEST] = "oldest",
    [POLICY_MERGE] = "merge", [POLICY_SCRIPT] = "script", [POLICY_EXTERNAL] = "external",
};

const char *policy_strategy_name(enum policy_strategy strategy)
{
	return strategy_names[strategy];
}

/* Bytes that fit, without half a character at the end. */
static int shown_len(struct slice text, size_t most)
{
	size_t len = text.len < most ? text.len : most;
	while (len > 0 && len < text.len && (text.data[len] & 0xc0) == 0x80)
		len--;
	return (int)len;
}

bool policy_refuse(struct policy_parser *p, const char *place, struct slice member,
		   const char *text)
{
	int len = shown_len(member, 100);
	(void)snprintf(p->error->place, sizeof p->error->place, "%s%.*s", place, len,
		       len ? (const char *)member.data : "");
	(void)snprintf(p->error->text, sizeof p->error->text, "%s", text);
	return false;
}

static bool refuse(struct policy_parser *p, const char *place, const char *text)
{
	return policy_refuse(p, place, (struct slice){0}, text);
}

bool policy_path_is_well_formed(struct slice path)
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

/* ---- members ---- */

static bool strategy_of(struct mp_reader *r, enum policy_strategy *out)
{
	struct mp_token token = mp_read(r);
	for (uint32_t i = 0; token.type == MP_STR && i < POLICY_STRATEGIES; i++) {
		if (!slice_is(token.bytes, strategy_names[i]))
			continue;
		*out = (enum policy_strategy)i;
		return true;
	}
	return false;
}

static bool read_strategy(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	return strategy_of(r, &out->strategy) ||
	       refuse(p, "/strategy", "allowed: " ALLOWED_STRATEGIES);
}

static bool read_fallback(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	return (strategy_of(r, &out->fallback) && out->fallback != POLICY_EXTERNAL) ||
	       refuse(p, "/fallback", "allowed: " ALLOWED_FALLBACKS);
}

static bool read_deletes(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->delete_wins = token.type == MP_STR && slice_is(token.bytes, "delete-wins");
	if (out->delete_wins || (token.type == MP_STR && slice_is(token.bytes, "edit-wins")))
		return true;
	return refuse(p, "/deletes", "allowed: " ALLOWED_DELETES);
}

static bool read_script(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->script = token.bytes;
	return (token.type == MP_STR && token.bytes.len > 0) ||
	       refuse(p, "/script",
		      "must be the source of a function: \"function (base, leaves) { ... }\"");
}

static bool read_deadline(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->deadline_ms = token.u64;
	return (token.type == MP_UINT && token.u64 <= POLICY_DEADLINE_MS_MOST) ||
	       refuse(p, "/deadlineMs", "an integer from 0 (none) to 31622400000 (a year)");
}

static bool read_lease(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->lease_ms = token.u64;
	return (token.type == MP_UINT && token.u64 >= POLICY_LEASE_MS_LEAST &&
		token.u64 <= POLICY_LEASE_MS_MOST) ||
	       refuse(p, "/leaseMs", "an integer from 100 to 3600000 (an hour)");
}

/* ---- the whole ---- */

static bool read_member(struct policy_parser *p, struct mp_reader *r, uint32_t *seen,
			struct policy *out)
{
	static const struct {
		const char *name;
		policy_reader *read;
	} members[] = {
	    {"strategy", read_strategy},
	    {"paths", policy_read_paths},
	    {"deletes", read_deletes},
	    {"script", read_script},
	    {"fallback", read_fallback},
	    {"deadlineMs", read_deadline},
	    {"leaseMs", read_lease},
	    {"roots", policy_read_roots},
	    {"references", policy_read_references},
	};
	struct mp_token name = mp_read(r);
	for (uint32_t i = 0; name.type == MP_STR && i < ARRAY_LEN(members); i++) {
		if (!slice_is(name.bytes, members[i].name))
			continue;
		if (*seen & 1u << i)
			return policy_refuse(p, "/", name.bytes, "the member is there twice");
		*seen |= 1u << i;
		return members[i].read(p, r, out);
	}
	return policy_refuse(p, "/", name.type == MP_STR ? name.bytes : (struct slice){0},
			     "unknown; allowed: " ALLOWED_MEMBERS);
}

/* What no member can tell alone. */
static bool is_consistent(struct policy_parser *p, const struct policy *policy)
{
	if (policy->fallback != POLICY_NONE && policy->fallback == policy->strategy)
		return refuse(p, "/fallback", "must differ from the strategy");
	if (policy->script.len == 0 &&
	    (policy->strategy == POLICY_SCRIPT || policy->fallback == POLICY_SCRIPT))
		return refuse(p, "/script", "is needed: \"function (base, leaves) { ... }\"");
	return true;
}

bool policy_parse(struct slice bytes, struct arena *arena, struct policy *out,
		  struct policy_error *error)
{
	struct policy_parser p = {arena, error};
	struct policy policy = {.strategy = POLICY_MERGE};
	*error = (struct policy_error){0};
	if (bytes.len > LIMIT_POLICY_BYTES)
		return refuse(&p, "", "a policy is at most 65536 bytes of MessagePack");
	if (bytes.len > 0 && !mp_valid(bytes))
		return refuse(&p, "", "not valid MessagePack");
	struct mp_reader r = mp_reader_of(bytes);
	struct mp_token map = {.type = MP_MAP};
	if (bytes.len > 0)
		map = mp_read(&r);
	if (map.type != MP_MAP)
		return refuse(&p, "", "must be an object; allowed: " ALLOWED_MEMBERS);
	uint32_t seen = 0;
	for (uint32_t i = 0; i < map.count; i++)
		if (!read_member(&p, &r, &seen, &policy))
			return false;
	if (!is_consistent(&p, &policy))
		return false;
	*out = policy;
	return true;
}
