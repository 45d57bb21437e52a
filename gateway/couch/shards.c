#include "gateway/couch/shards.h"

#include "common/doc/value.h"

uint32_t couch_groups(struct request *r, const struct map_collection *c, const struct slice *ids,
		      uint32_t count, struct couch_group **out)
{
	struct couch_group *groups = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof *groups);
	uint32_t *of = arena_alloc(&r->arena, (count + 1) * sizeof *of);
	uint32_t used = 0;
	for (uint32_t i = 0; i < count; i++) {
		uint64_t shard = map_collection_shard(c, ids[i])->shard.id;
		for (of[i] = 0; of[i] < used && groups[of[i]].shard != shard;)
			of[i]++;
		used += of[i] == used;
		groups[of[i]].shard = shard;
		groups[of[i]].count++;
	}
	for (uint32_t g = 0; g < used; g++) {
		groups[g].items = arena_alloc(&r->arena, groups[g].count * sizeof *groups[g].items);
		groups[g].count = 0;
	}
	for (uint32_t i = 0; i < count; i++)
		groups[of[i]].items[groups[of[i]].count++] = i;
	*out = groups;
	return used;
}

bool couch_ask_lead(struct turn *t, struct request *r, struct call_spec spec)
{
	spec.reach = REACH_LEAD;
	spec.repeatable = true;
	if (call_open(t, r, &spec))
		return true;
	answer_status(t, r, STATUS_OVERLOADED, "");
	return false;
}

void couch_tell_lead(struct turn *t, struct request *r, struct call_spec spec)
{
	spec.reach = REACH_LEAD;
	spec.repeatable = true;
	spec.write = true;
	if (!call_open(t, r, &spec))
		spec.done(t, r, spec.index, STATUS_OVERLOADED, NULL);
}

bool couch_take_id(struct slice value, struct slice *id, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return couch_problem(p, COUCH_ID_NOT_STRING, "");
	*id = token.bytes;
	return couch_id_check(*id, p);
}

bool couch_take_revisions(struct request *r, struct mp_reader *reader, uint32_t count,
			  struct revs_asked *out, struct problem *p)
{
	out->revisions = arena_alloc(&r->arena, (count + 1) * sizeof *out->revisions);
	for (uint32_t i = 0; i < count; i++) {
		struct mp_token rev = mp_read(reader);
		if (rev.type != MP_STR)
			return couch_problem(p, COUCH_BAD_REV, "");
		if (!couch_revision(r, rev.bytes, &out->revisions[out->revisions_count++], p))
			return false;
	}
	return true;
}

/* ---- a body {id: [revisions]} ---- */

/* *left: revisions that the request may still name. */
static bool take_row(struct request *r, struct slice id, struct slice list, struct revs_asked *out,
		     uint32_t *left, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(list);
	struct mp_token head = mp_read(&reader);
	out->id = id;
	if (id.len > COUCH_ASKED_ID_BYTES)
		return couch_problem(p, COUCH_BAD_ID, "");
	if (head.type != MP_ARRAY)
		return couch_problem(p, COUCH_BAD_REV_LIST, "");
	if (head.count > *left)
		return problem_set(p, STATUS_BODY_TOO_LARGE, "max_list_rows");
	*left -= head.count;
	return couch_take_revisions(r, &reader, head.count, out, p);
}

bool couch_take_asked(struct turn *t, struct request *r, struct couch_asked *out, struct problem *p)
{
	struct slice body;
	uint32_t max = t->gw->options.limits.list_rows_max;
	uint32_t left = max;
	if (!native_body(t, r, &body, p))
		return false;
	struct mp_reader reader = mp_reader_of(body);
	struct mp_token head = mp_read(&reader);
	if (head.type != MP_MAP)
		return couch_problem(p, COUCH_BAD_REQUEST, "Request body must be a JSON object");
	if (head.count > max)
		return problem_limit(p, STATUS_BODY_TOO_LARGE, "max_list_rows", max, head.count);
	out->rows = arena_alloc(&r->arena, (head.count + 1) * sizeof *out->rows);
	out->ids = arena_alloc(&r->arena, (head.count + 1) * sizeof *out->ids);
	for (uint32_t i = 0; i < head.count; i++) {
		struct slice id = mp_read(&reader).bytes;
		struct revs_asked *asked = &out->rows[out->count];
		if (!take_row(r, id, mp_value(&reader), asked, &left, p))
			return false;
		out->ids[out->count] = id;
		out->count += asked->revisions_count > 0;
	}
	return true;
}
