#include "gateway/split.h"

#include "gateway/conflict_ask.h"

static struct split_writes *state_of(const struct request *r)
{
	return &((struct conflict_ask *)r->op)->split;
}

static void ended(struct turn *t, struct request *r)
{
	const struct split_writes *s = state_of(r);
	s->done(t, r, s->status, s->taken);
}

static void part_ended(struct turn *t, struct request *r, uint32_t index, enum status status,
		       const void *body)
{
	struct split_writes *s = state_of(r);
	bool taken = status == STATUS_PRECONDITION_FAILED || status == STATUS_OPERATION_ID_REUSED;
	/* another try that saw more is ahead */
	if (status == STATUS_CONFLICT)
		status = STATUS_LEAVES_MOVED;
	if (!body || !status_is_success(status)) {
		if (s->status == STATUS_OK || taken)
			s->status = taken ? STATUS_SPLIT_TAKEN : status;
		if (taken)
			s->taken = s->writes[index].id;
	}
	if (--s->left == 0)
		ended(t, r);
}

static void copy_part(struct request *r, const struct split_part *part, struct msg_doc_write *out)
{
	*out = split_part_write(part);
	out->id = arena_copy(&r->arena, out->id);
	out->body = arena_copy(&r->arena, out->body);
	out->operation_id = arena_copy(&r->arena, out->operation_id);
	out->operation_digest = arena_copy(&r->arena, out->operation_digest);
}

static bool send_part(struct turn *t, struct request *r, const struct map_collection *c,
		      uint32_t index)
{
	struct msg_doc_write *write = &state_of(r)->writes[index];
	const struct map_shard *shard = c ? map_collection_shard(c, write->id) : NULL;
	if (!shard)
		return false;
	write->shard = shard->shard.id;
	struct call_spec spec = {.reach = REACH_LEAD,
				 .shard = write->shard,
				 .type = MSG_doc_write,
				 .answer = MSG_doc_write_ack,
				 .message = write,
				 .repeatable = true,
				 .write = true,
				 .index = index,
				 .done = part_ended};
	return call_open(t, r, &spec);
}

void split_write(struct turn *t, struct request *r, uint64_t shard, const struct decision *d,
		 split_done *done)
{
	struct split_writes *s = state_of(r);
	const struct map_shard *row = cluster_map_shard(&t->gw->map, shard);
	const struct map_collection *c =
	    row ? map_get_u64(&t->gw->map.collections_by_id, row->shard.collection) : NULL;
	*s = (struct split_writes){.count = d->parts_count, .done = done, .status = STATUS_OK};
	s->writes = arena_alloc(&r->arena, (s->count + 1) * sizeof *s->writes);
	for (uint32_t i = 0; i < s->count; i++)
		copy_part(r, &d->parts[i], &s->writes[i]);
	/* one more than there are, so that an early failure does not answer before all were sent */
	s->left = s->count + 1;
	for (uint32_t i = 0; i < s->count; i++)
		if (!send_part(t, r, c, i))
			part_ended(t, r, i, STATUS_OVERLOADED, NULL);
	if (--s->left == 0)
		ended(t, r);
}
