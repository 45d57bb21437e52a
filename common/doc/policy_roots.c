/* Of documents that share an id, and of those that refer to one. */
#include "common/doc/policy_parser.h"
#include "proto/enums.h"

/* ---- roots ---- */

static bool read_kind(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	static const char allowed[] = "must be a list of 1 to 8 dotted paths";
	struct mp_token list = mp_read(r);
	if (list.type != MP_ARRAY || list.count == 0 || list.count > POLICY_KINDS_MAX)
		return policy_refuse(p, "/roots/kind", (struct slice){0}, allowed);
	struct slice *kind = arena_alloc(p->arena, list.count * sizeof *kind);
	for (uint32_t i = 0; i < list.count; i++) {
		struct mp_token token = mp_read(r);
		if (token.type != MP_STR || !policy_path_is_well_formed(token.bytes))
			return policy_refuse(p, "/roots/kind", (struct slice){0}, allowed);
		kind[i] = token.bytes;
	}
	out->roots.kind = kind;
	out->roots.kind_count = list.count;
	return true;
}

static bool read_same(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->roots.same_stays_open = token.type == MP_STR && slice_is(token.bytes, "open");
	return out->roots.same_stays_open ||
	       (token.type == MP_STR && slice_is(token.bytes, "merge")) ||
	       policy_refuse(p, "/roots/same", (struct slice){0}, "allowed: \"merge\", \"open\"");
}

static bool read_different(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token token = mp_read(r);
	out->roots.different_stays_open = token.type == MP_STR && slice_is(token.bytes, "open");
	return out->roots.different_stays_open ||
	       (token.type == MP_STR && slice_is(token.bytes, "split")) ||
	       policy_refuse(p, "/roots/different", (struct slice){0},
			     "allowed: \"split\", \"open\"");
}

bool policy_read_roots(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	static const struct {
		const char *name;
		policy_reader *read;
	} members[] = {{"kind", read_kind}, {"same", read_same}, {"different", read_different}};
	struct mp_token map = mp_read(r);
	uint32_t seen = 0;
	if (map.type != MP_MAP)
		return policy_refuse(p, "/roots", (struct slice){0},
				     "must be an object; allowed: kind, same, different");
	for (uint32_t i = 0; i < map.count; i++) {
		struct mp_token name = mp_read(r);
		uint32_t m = 0;
		while (m < ARRAY_LEN(members) &&
		       !(name.type == MP_STR && slice_is(name.bytes, members[m].name)))
			m++;
		if (m == ARRAY_LEN(members) || seen & 1u << m)
			return policy_refuse(p, "/roots/",
					     name.type == MP_STR ? name.bytes : (struct slice){0},
					     "unknown or twice; allowed: kind, same, different");
		seen |= 1u << m;
		if (!members[m].read(p, r, out))
			return false;
	}
	return true;
}

/* ---- references ---- */

static bool read_reference(struct mp_reader *r, struct policy_reference *out)
{
	struct mp_token map = mp_read(r);
	for (uint32_t i = 0; map.type == MP_MAP && i < map.count; i++) {
		struct mp_token name = mp_read(r);
		struct mp_token value = mp_read(r);
		bool is_path = name.type == MP_STR && slice_is(name.bytes, "path");
		struct slice *member = is_path ? &out->path : &out->kind;
		if (name.type != MP_STR || !(is_path || slice_is(name.bytes, "kind")) ||
		    member->len > 0 || value.type != MP_STR || value.bytes.len == 0)
			return false;
		*member = value.bytes;
	}
	return policy_path_is_well_formed(out->path) && out->kind.len <= POLICY_KIND_BYTES;
}

bool policy_read_references(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	static const char allowed[] =
	    "must be a list of at most 64 objects {\"path\": dotted, \"kind\": text}";
	struct mp_token list = mp_read(r);
	if (list.type != MP_ARRAY || list.count > POLICY_REFERENCES_MAX)
		return policy_refuse(p, "/references", (struct slice){0}, allowed);
	struct policy_reference *references =
	    arena_alloc(p->arena, list.count * sizeof *references);
	for (uint32_t i = 0; i < list.count; i++)
		if (!read_reference(r, &references[i]))
			return policy_refuse(p, "/references", (struct slice){0}, allowed);
	out->references = references;
	out->references_count = list.count;
	return true;
}
