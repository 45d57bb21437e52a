/* Which shards a filter concerns: one that names ids needs only theirs. */
#include "common/doc/query_conditions.h"
#include "gateway/list.h"
#include "proto/msgpack.h"

/* Only text can be an id. */
static void mark(const struct map_collection *c, struct slice value, bool *wanted)
{
	struct mp_reader r = mp_reader_of(value);
	struct mp_token token = mp_read(&r);
	if (token.type != MP_STR || token.bytes.len == 0)
		return;
	const struct map_shard *shard = map_collection_shard(c, token.bytes);
	for (uint32_t i = 0; i < c->shards_count; i++)
		wanted[i] = wanted[i] || c->shards[i] == shard;
}

uint32_t list_shards(struct request *r, const struct map_collection *c, struct slice filter,
		     uint64_t **out)
{
	struct query_error error = {0};
	struct query_condition *conditions = NULL;
	struct query *query = filter.len > 0 ? query_compile(filter, &r->arena, &error) : NULL;
	uint32_t conditions_count = query ? query_conditions(query, &r->arena, &conditions) : 0;
	bool *left_out = arena_alloc(&r->arena, c->shards_count + 1);
	uint32_t count = 0;
	for (uint32_t i = 0; i < conditions_count; i++) {
		if (!slice_is(conditions[i].path, "id") || conditions[i].comparison != COMPARE_IN)
			continue;
		bool *wanted = arena_alloc(&r->arena, c->shards_count + 1);
		for (uint32_t k = 0; k < conditions[i].values_count; k++)
			mark(c, conditions[i].values[k], wanted);
		for (uint32_t k = 0; k < c->shards_count; k++)
			left_out[k] = left_out[k] || !wanted[k];
	}
	*out = arena_alloc(&r->arena, (c->shards_count + 1) * sizeof **out);
	for (uint32_t i = 0; i < c->shards_count; i++)
		if (!left_out[i])
			(*out)[count++] = c->shards[i]->shard.id;
	return count;
}
