#include "common/doc/graph_parts.h"

#include "common/base/buf.h"
#include "common/base/map.h"

struct graph_body {
	struct revision name;
	struct slice body;
};

bool graph_parts_are_left(const struct msg_conflict_read_ack *part)
{
	for (uint32_t i = 0; i < part->nodes_count; i++)
		if (part->nodes[i].flags & REVISION_BODY_LEFT)
			return true;
	return false;
}

static struct slice key_of(const struct revision *name, struct buf *key)
{
	buf_clear(key);
	buf_append_be64(key, name->generation);
	buf_append_slice(key, name->hash);
	return buf_slice(key);
}

static void remember(struct graph_parts *p, struct arena *arena, const struct graph_node *node)
{
	if (p->count == p->room) {
		uint32_t room = p->room > 0 ? 2 * p->room : 64;
		struct graph_body *bodies = arena_alloc(arena, room * sizeof *bodies);
		if (p->count > 0)
			memcpy(bodies, p->bodies, p->count * sizeof *bodies);
		p->bodies = bodies;
		p->room = room;
	}
	struct graph_body *kept = &p->bodies[p->count++];
	kept->name.generation = node->revision.generation;
	kept->name.hash = arena_copy(arena, node->revision.hash);
	kept->body = arena_copy(arena, node->body);
	p->bytes += node->body.len;
}

/* The bodies of this part and of those before. */
struct filling {
	uint32_t missing; /* the first node that still has none, or the number of nodes */
	bool brought;     /* there were bodies in the part */
	bool full;        /* and not all of them could be kept */
};

static struct filling fill(struct graph_parts *p, struct arena *arena,
			   struct msg_conflict_read_ack *whole)
{
	struct filling f = {.missing = whole->nodes_count};
	struct map known = {0};
	struct buf key = {0};
	for (uint32_t i = 0; i < p->count; i++)
		(void)map_put(&known, key_of(&p->bodies[i].name, &key), &p->bodies[i].body);
	for (uint32_t i = 0; i < whole->nodes_count; i++) {
		struct graph_node *node = &whole->nodes[i];
		const struct slice *body = map_get(&known, key_of(&node->revision, &key));
		f.brought |= (node->flags & REVISION_HAS_BODY) != 0;
		if (body) {
			node->body = *body;
			node->flags |= REVISION_HAS_BODY;
			node->flags &= ~(uint64_t)REVISION_BODY_LEFT;
		} else if (node->flags & REVISION_BODY_LEFT) {
			f.missing = f.missing < i ? f.missing : i;
		} else if (node->flags & REVISION_HAS_BODY) {
			f.full |= p->bytes + node->body.len > GRAPH_PARTS_BYTES_MAX;
			if (!f.full)
				remember(p, arena, node);
		}
	}
	buf_close(&key);
	map_close(&known);
	return f;
}

bool graph_parts_take(struct graph_parts *p, struct arena *arena,
		      const struct msg_conflict_read_ack *part, struct msg_conflict_read_ack *whole,
		      uint64_t *from)
{
	*whole = *part;
	if (p->parts == 0 && !graph_parts_are_left(part))
		return true;
	whole->nodes = arena_alloc(arena, (part->nodes_count + 1) * sizeof *whole->nodes);
	if (part->nodes_count > 0)
		memcpy(whole->nodes, part->nodes, part->nodes_count * sizeof *whole->nodes);
	struct filling f = fill(p, arena, whole);
	*from = f.missing;
	bool more = f.missing < whole->nodes_count;
	return !more || ++p->parts >= GRAPH_PARTS_MAX || f.full || !f.brought;
}
