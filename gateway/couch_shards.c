#include "gateway/couch_shards.h"

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

bool couch_take_id(struct slice value, struct slice *id, struct problem *p)
{
	struct mp_reader reader = mp_reader_of(value);
	struct mp_token token = mp_read(&reader);
	if (token.type != MP_STR)
		return couch_problem(p, COUCH_ID_NOT_STRING, "");
	*id = token.bytes;
	return couch_id_check(*id, p);
}
