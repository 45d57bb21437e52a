/* Policies that clients give are checked; decisions are printed. */
#include <stdio.h>

#include "gateway/policy.h"
#include "gateway/routes.h"
#include "gateway/url.h"

/* Whoever writes a reference to a collection that nobody can make is told; a policy that was stored
 * before stays what it is. */
static bool references_can_be(const struct policy *policy, struct policy_error *error)
{
	for (uint32_t i = 0; i < policy->references_count; i++) {
		struct slice name = policy->references[i].collection;
		if (name.len == 0 || collection_name_makeable(name))
			continue;
		snprintf(error->place, sizeof error->place, "/references/%u/collection", i);
		snprintf(error->text, sizeof error->text, POLICY_NO_SUCH_NAME);
		return false;
	}
	return true;
}

bool policy_check(struct request *r, struct slice value, const char *place, struct problem *p)
{
	struct policy policy;
	struct policy_error error = {0};
	char where[PLACE_BYTES];
	if (value.len > LIMIT_POLICY_BYTES)
		return problem_limit(p, STATUS_BAD_PARAMETER, *place ? place : "policy",
				     LIMIT_POLICY_BYTES, value.len);
	if (policy_parse(value, &r->arena, &policy, &error) &&
	    policy_paths_count_all(&policy, &error) && references_can_be(&policy, &error))
		return true;
	snprintf(where, sizeof where, "%s%s%s", place,
		 *error.place == '/' || !*error.place ? "" : "/", error.place);
	return problem_detail(p, STATUS_BAD_PARAMETER, where, error.text);
}

static void print_value(const char *name, struct slice value, struct buf *out)
{
	struct buf json = {0};
	if (value.len > 0 && json_from_msgpack(value, &json)) {
		buf_printf(out, ",\"%s\":", name);
		buf_append_slice(out, buf_slice(&json));
	}
	buf_close(&json);
}

/* Is it only what versions that follow it are made on? */
static bool is_base(const struct decision *d, uint32_t part)
{
	return d->parts[part].divided && d->parts[part + 1].base->generation > 0;
}

static void split_print(const struct decision *d, struct buf *out)
{
	buf_append_text(out, ",\"documents\":[");
	bool first = true;
	for (uint32_t i = 0; i < d->parts_count; i++) {
		if (is_base(d, i))
			continue;
		if (!first)
			buf_append_byte(out, ',');
		first = false;
		const struct split_part *part = &d->parts[i];
		if (part->deleted) {
			buf_append_text(out, "{\"id\":");
			json_string(part->id, out);
			buf_append_text(out, ",\"deleted\":true}");
		} else if (!json_document(part->id, part->body, out)) {
			buf_append_text(out, "null");
		}
	}
	buf_append_byte(out, ']');
}

static void print_result(const struct decision *d, struct slice id, bool document, struct buf *out)
{
	static const char *const how[HOW_KINDS] = {
	    [HOW_MERGE] = "merge",   [HOW_NEWEST] = "newest", [HOW_OLDEST] = "oldest",
	    [HOW_SINGLE] = "single", [HOW_SCRIPT] = "script", [HOW_EXTERNAL] = "external",
	    [HOW_SPLIT] = "split",
	};
	buf_printf(out, ",\"how\":\"%s\",\"revision\":", how[d->how]);
	json_revision(&d->resolve.revision, out);
	buf_printf(out, ",\"deleted\":%s", d->resolve.deleted ? "true" : "false");
	struct buf json = {0};
	if (document && !d->resolve.deleted && json_document(id, d->resolve.body, &json)) {
		buf_append_text(out, ",\"document\":");
		buf_append_slice(out, buf_slice(&json));
	}
	buf_close(&json);
	if (document && d->parts_count > 0)
		split_print(d, out);
}

void decision_print(const struct decision *d, struct slice id, bool document, struct buf *out)
{
	switch (d->kind) {
	case DECISION_RESOLVE:
		buf_append_text(out, "\"outcome\":\"resolved\"");
		print_result(d, id, document, out);
		print_value("detail", d->resolve.detail, out);
		return;
	case DECISION_NOTE:
		buf_append_text(out, "\"outcome\":\"open\"");
		if (d->resolve.revision.generation > 0)
			print_result(d, id, document, out);
		print_value("detail", d->note.detail, out);
		return;
	case DECISION_SCRIPT:
		buf_append_text(out, "\"outcome\":\"script\"");
		return;
	case DECISION_EXTERNAL:
		buf_append_text(out, "\"outcome\":\"external\"");
		return;
	case DECISION_NOTHING:
	case DECISION_BROKEN:
		break;
	}
	buf_append_text(out, "\"outcome\":\"none\"");
}
