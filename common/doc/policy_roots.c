/* Of documents that share an id, and of those that refer to one. */
#include <stdio.h>

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

#define REFERENCE_FORM "{\"path\": dotted, \"kind\": text, \"collection\": name}"

static bool refuse_reference(struct policy_parser *p, uint32_t index, struct slice member,
			     const char *text)
{
	char place[32];
	(void)snprintf(place, sizeof place, "/references/%u%s", index, member.len > 0 ? "/" : "");
	return policy_refuse(p, place, member, text);
}

/* Where the member belongs, and whether it may have this value. NULL: there is no such member. */
static struct slice *reference_member(struct policy_reference *out, struct slice member,
				      struct slice value, bool *fits)
{
	*fits = value.len > 0;
	if (slice_is(member, "path")) {
		*fits = policy_path_is_well_formed(value);
		return &out->path;
	}
	if (slice_is(member, "kind")) {
		*fits = *fits && value.len <= POLICY_KIND_BYTES;
		return &out->kind;
	}
	*fits = *fits && value.len <= LIMIT_NAME_BYTES;
	return slice_is(member, "collection") ? &out->collection : NULL;
}

static bool read_reference(struct policy_parser *p, struct mp_reader *r, uint32_t index,
			   struct policy_reference *out)
{
	struct mp_token map = mp_read(r);
	if (map.type != MP_MAP)
		return refuse_reference(p, index, (struct slice){0}, "must be " REFERENCE_FORM);
	for (uint32_t i = 0; i < map.count; i++) {
		struct mp_token name = mp_read(r);
		struct mp_token token = mp_read(r);
		struct slice value = token.type == MP_STR ? token.bytes : (struct slice){0};
		struct slice member = name.type == MP_STR ? name.bytes : (struct slice){0};
		bool fits;
		struct slice *to = reference_member(out, member, value, &fits);
		if (!to || to->len > 0)
			return refuse_reference(
			    p, index, member, "unknown or twice; allowed: path, kind, collection");
		if (!fits)
			return refuse_reference(p, index, member,
						token.type == MP_STR && to == &out->collection
						    ? POLICY_NO_SUCH_NAME
						    : "must be " REFERENCE_FORM);
		*to = value;
	}
	return out->path.len > 0 ||
	       refuse_reference(p, index, slice_text("path"), "is needed: " REFERENCE_FORM);
}

bool policy_read_references(struct policy_parser *p, struct mp_reader *r, struct policy *out)
{
	struct mp_token list = mp_read(r);
	if (list.type != MP_ARRAY || list.count > POLICY_REFERENCES_MAX)
		return policy_refuse(p, "/references", (struct slice){0},
				     "must be a list of at most 64 objects " REFERENCE_FORM);
	struct policy_reference *references =
	    arena_alloc(p->arena, list.count * sizeof *references);
	for (uint32_t i = 0; i < list.count; i++)
		if (!read_reference(p, r, i, &references[i]))
			return false;
	out->references = references;
	out->references_count = list.count;
	return true;
}
