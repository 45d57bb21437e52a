#include "coordinator/map_push.h"

#include "coordinator/drops.h"
#include "coordinator/membership.h"

static struct member member_of(const struct member_row *m)
{
	return (struct member){.id = m->id,
			       .name = member_name(m),
			       .role = m->role,
			       .health = m->health,
			       .incarnation = m->incarnation,
			       .boot = m->boot,
			       .draining = m->draining};
}

/* Lists in the step's arena, contents borrowed from the rows. */
static struct msg_map_push map_message(struct coordinator *c)
{
	struct msg_map_push push = {.map_version = c->state.map_version};
	push.members = arena_alloc(&c->arena, (c->members.count + 1) * sizeof *push.members);
	push.collections =
	    arena_alloc(&c->arena, (c->collections.count + 1) * sizeof *push.collections);
	push.shards = arena_alloc(&c->arena, (c->shards.count + 1) * sizeof *push.shards);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (m->listed && push.members_count < LIMIT_MEMBERS)
			push.members[push.members_count++] = member_of(m);
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->collections, &at));)
		push.collections[push.collections_count++] =
		    ((struct collection_row *)e->value)->collection;
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));)
		push.shards[push.shards_count++] = ((struct shard_row *)e->value)->placement.shard;
	drops_fill(c, &push);
	return push;
}

/* Members forget what a map does not name. */
static bool is_all(const struct coordinator *c)
{
	return c->recovery == RECOVERY_DONE ||
	       (c->recovery == RECOVERY_WAITING && !c->options.recover_from_nodes);
}

static void push_to(struct coordinator *c, const struct member_row *m, struct member_route *route,
		    const struct msg_map_push *push, struct effects *fx)
{
	struct envelope envelope = {.type = MSG_map_push};
	fx_send(fx, WHEN_DURABLE, m->id, route->route, &envelope, push);
	route->pushed_ms = c->now_ms;
}

void map_push_all(struct coordinator *c, struct effects *fx)
{
	if (!is_all(c))
		return;
	struct msg_map_push push = map_message(c);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		if (!membership_alive(c, m))
			continue;
		for (uint32_t i = 0; i < m->routes_count; i++)
			if (c->now_ms - m->routes[i].seen_ms < OFFLINE_MS)
				push_to(c, m, &m->routes[i], &push, fx);
	}
}

void map_push_if_old(struct coordinator *c, struct member_row *m, struct member_route *route,
		     struct effects *fx)
{
	if (!is_all(c) || c->map_changed || route->map_version >= c->state.map_version)
		return;
	if (route->pushed_ms != NO_TIME && c->now_ms - route->pushed_ms < MAP_PUSH_MS)
		return;
	struct msg_map_push push = map_message(c);
	push_to(c, m, route, &push, fx);
}

/* A coordinator that refuses to decide may hold an old map: storage nodes give a newer one. */
void map_push_on_request(struct coordinator *c, const struct event *e, struct effects *fx)
{
	if (!is_all(c))
		return;
	struct msg_map_push push = map_message(c);
	fx_reply(fx, WHEN_DURABLE, e, MSG_map_push, &push);
}
