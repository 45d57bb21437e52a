#include "coordinator/membership.h"
#include "coordinator/drops.h"

#include "coordinator/map_push.h"
#include "coordinator/recovery.h"
#include "coordinator/report.h"
#include "coordinator/state.h"

void membership_set(struct coordinator *c, const struct coordinator_member *members, uint32_t count)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));)
		((struct member_row *)e->value)->listed = false;
	for (uint32_t i = 0; i < count && i < LIMIT_MEMBERS; i++) {
		struct member_row *m = coordinator_member_row(c, members[i].id);
		if (!m)
			m = state_member_add(c, members[i].id);
		m->listed = true;
		m->role = members[i].role;
		m->name_len = strnlen(members[i].name, sizeof m->name);
		memcpy(m->name, members[i].name, m->name_len);
		m->seen_ms = m->joined ? m->seen_ms : c->now_ms;
	}
}

void membership_grace(struct coordinator *c)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		if (!m->joined)
			m->seen_ms = c->now_ms;
	}
}

void membership_slept(struct coordinator *c, int64_t before_ms)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		if (before_ms - m->seen_ms < OFFLINE_MS)
			m->seen_ms += c->now_ms - before_ms;
	}
}

/* Not yet known to be dead: heard of, or too early to tell. */
static bool recent(const struct coordinator *c, const struct member_row *m)
{
	return m->listed && c->now_ms - m->seen_ms < OFFLINE_MS;
}

bool membership_alive(const struct coordinator *c, const struct member_row *m)
{
	return m->joined && recent(c, m);
}

bool membership_replica_alive(const struct coordinator *c, const struct replica *replica)
{
	const struct member_row *m = coordinator_member_row(c, replica->node);
	return m && m->incarnation == replica->incarnation && membership_alive(c, m);
}

static uint32_t storage_count(const struct coordinator *c, bool joined)
{
	uint32_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		count += m->listed && m->role == ROLE_STORAGE && (!joined || m->joined);
	}
	return count;
}

uint32_t membership_storage_listed(const struct coordinator *c)
{
	return storage_count(c, false);
}

uint32_t membership_storage_joined(const struct coordinator *c)
{
	return storage_count(c, true);
}

static void answer_join(const struct event *e, struct effects *fx, enum status status,
			const char *text)
{
	struct msg_member_join_ack ack = {.status = status, .text = slice_text(text)};
	fx_reply(fx, WHEN_DURABLE, e, MSG_member_join_ack, &ack);
}

static void welcome(const struct member_row *m, const struct event *e, struct effects *fx)
{
	struct msg_member_join_ack ack = {
	    .status = STATUS_OK, .text = slice_text("Welcome."), .trail_number = m->trail_number};
	fx_reply(fx, WHEN_DURABLE, e, MSG_member_join_ack, &ack);
}

/* The connection's row; the one silent for longest makes room when there are too many. */
static struct member_route *route_of(struct member_row *m, uint32_t route)
{
	struct member_route *oldest = &m->routes[0];
	for (uint32_t i = 0; i < m->routes_count; i++) {
		if (m->routes[i].route == route)
			return &m->routes[i];
		if (m->routes[i].seen_ms < oldest->seen_ms)
			oldest = &m->routes[i];
	}
	struct member_route *r =
	    m->routes_count < ROUTES_MAX ? &m->routes[m->routes_count++] : oldest;
	*r = (struct member_route){.route = route, .pushed_ms = NO_TIME};
	return r;
}

static struct member_route *heard(struct coordinator *c, struct member_row *m,
				  const struct event *e, uint64_t map_version)
{
	struct member_route *route = route_of(m, e->message.from.route);
	route->seen_ms = c->now_ms;
	route->map_version = map_version;
	if (m->health == HEALTH_OFFLINE)
		c->review_wanted = true;
	m->seen_ms = c->now_ms;
	m->seen_wall_ms = c->wall_ms;
	return route;
}

/* See the header: late message, or a copy that was put back? True once it is the second. */
static bool put_back(struct coordinator *c, struct member_row *m, const struct msg_member_join *j)
{
	if (m->behind_incarnation != j->incarnation || m->behind_boot != j->boot ||
	    m->behind_life != j->life || c->now_ms - m->behind_last_ms > OFFLINE_MS) {
		m->behind_incarnation = j->incarnation;
		m->behind_boot = j->boot;
		m->behind_life = j->life;
		m->behind_count = 0;
		m->behind_since_ms = c->now_ms;
	}
	m->behind_count++;
	m->behind_last_ms = c->now_ms;
	return m->behind_count >= BEHIND_JOINS && c->now_ms - m->behind_since_ms >= BEHIND_MS;
}

static void refuse_behind(struct coordinator *c, struct member_row *m, const struct event *e,
			  struct effects *fx)
{
	const struct msg_member_join *j = e->message.body;
	if (!put_back(c, m, j))
		return;
	fx_log(
	    fx, LOG_LEVEL_ERROR,
	    "incarnation_revoked member=%llu incarnation=%016llx boot=%llu remembered=%016llx/%llu",
	    (unsigned long long)m->id, (unsigned long long)j->incarnation,
	    (unsigned long long)j->boot, (unsigned long long)m->incarnation,
	    (unsigned long long)m->boot);
	REACHED(incarnation_revoked);
	m->behind_count = 0;
	if (!membership_alive(c, m))
		m->fatal = true;
	answer_join(e, fx, STATUS_INCARNATION_REVOKED,
		    "This data directory is older than what the cluster remembers of it.");
}

/* Another data directory of a member that is alive, or may be, as we have just started: it waits,
 * without an answer, until the other is silent. */
static bool other_alive(struct coordinator *c, struct member_row *m,
			const struct msg_member_join *j, struct effects *fx)
{
	if (m->incarnation == 0 || m->incarnation == j->incarnation || !recent(c, m))
		return false;
	REACHED(two_incarnations);
	if (!m->other_logged)
		fx_log(fx, LOG_LEVEL_WARN,
		       "join_waits member=%llu incarnation=%016llx alive=%016llx",
		       (unsigned long long)m->id, (unsigned long long)j->incarnation,
		       (unsigned long long)m->incarnation);
	m->other_logged = true;
	return true;
}

/* A late message may tell of an earlier step. */
static void adopt_step(struct coordinator *c, struct member_row *m, uint64_t number, uint64_t id,
		       struct effects *fx)
{
	if (number <= m->trail_number)
		return;
	m->trail_number = number;
	m->trail_id = id;
	state_put_member(c, m, fx);
}

/* Remembers who it is now. */
static void adopt_identity(struct coordinator *c, struct member_row *m,
			   const struct msg_member_join *j, struct effects *fx)
{
	if (m->incarnation == j->incarnation && m->boot == j->boot && m->life == j->life)
		return;
	if (m->incarnation != j->incarnation) {
		state_revoke(c, m, fx);
		m->trail_number = 0;
	}
	m->incarnation = j->incarnation;
	m->boot = j->boot;
	m->life = j->life;
	state_put_member(c, m, fx);
	state_map_changed(c);
	report_forget(c, m->id);
}

/* The step that is remembered is not on its trail. One that goes on longer than it lists can't be
 * told. */
static bool lacks_step(const struct member_row *m, const struct trail *trail)
{
	if (m->trail_number == 0 || trail->ids_count == 0 || MUTATION(trail_ignored))
		return false;
	uint64_t back = trail->number - m->trail_number;
	return trail->number < m->trail_number ||
	       (back < trail->ids_count && trail->ids[back] != m->trail_id);
}

/* An older start of the same data; the same one lived twice, as a copy made one start ago and put
 * back counts as many starts as the cluster remembers; or a new one of a copy made while its
 * original ran. */
static bool is_behind(const struct member_row *m, const struct msg_member_join *j)
{
	if (MUTATION(old_disk_trusted))
		return false;
	if (j->boot <= m->boot)
		return j->boot < m->boot || j->life != m->life;
	bool lacks = lacks_step(m, &j->trail);
	if (lacks)
		REACHED(copy_lacks_step);
	return lacks;
}

/* False: it is not let in, and has been answered if an answer is due. */
static bool admit_storage(struct coordinator *c, struct member_row *m, const struct event *e,
			  struct effects *fx)
{
	const struct msg_member_join *j = e->message.body;
	if (j->incarnation == 0) {
		answer_join(e, fx, STATUS_BAD_MESSAGE, "A storage node joins with an incarnation.");
		return false;
	}
	bool behind = m->incarnation == j->incarnation ? is_behind(m, j)
						       : state_is_revoked(m, j->incarnation);
	if (behind) {
		refuse_behind(c, m, e, fx);
		return false;
	}
	if (other_alive(c, m, j, fx))
		return false;
	adopt_identity(c, m, j, fx);
	if (j->trail.ids_count > 0)
		adopt_step(c, m, j->trail.number, j->trail.ids[0], fx);
	return true;
}

/* Which of these shards are dropped. */
static void tell_drops(struct coordinator *c, const struct event *e,
		       const struct shard_report *reports, uint32_t count, struct effects *fx)
{
	uint64_t *ids = arena_alloc(&c->arena, (count + 1) * sizeof *ids);
	for (uint32_t i = 0; i < count; i++)
		ids[i] = reports[i].shard;
	drops_tell(c, e, ids, count, fx);
}

/* Likewise, of all that a storage node has when it joins. */
static void tell_drops_joined(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_member_join *j = e->message.body;
	uint64_t *ids =
	    arena_alloc(&c->arena, (j->reports_count + j->collections_count + 1) * sizeof *ids);
	uint32_t count = 0;
	for (uint32_t i = 0; i < j->reports_count; i++)
		ids[count++] = j->reports[i].shard;
	for (uint32_t i = 0; i < j->collections_count; i++)
		ids[count++] = j->collections[i].id;
	drops_tell(c, e, ids, count, fx);
}

void membership_on_join(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_member_join *j = e->message.body;
	struct member_row *m = coordinator_member_row(c, e->message.from.member);
	if (!m || !m->listed) {
		answer_join(e, fx, STATUS_UNKNOWN_MEMBER,
			    "This coordinator's member list lacks it.");
		return;
	}
	bool storage = m->role == ROLE_STORAGE;
	if (storage && !admit_storage(c, m, e, fx))
		return;
	if (!m->joined)
		fx_log(fx, LOG_LEVEL_INFO,
		       "member_joined member=%llu role=%d incarnation=%016llx boot=%llu",
		       (unsigned long long)m->id, (int)m->role, (unsigned long long)m->incarnation,
		       (unsigned long long)m->boot);
	m->joined = true;
	m->fatal = false;
	m->other_logged = false;
	struct member_route *route = heard(c, m, e, j->map_version);
	recovery_on_join(c, m, j, fx);
	if (storage) {
		report_take(c, m, j->reports, j->reports_count);
		tell_drops_joined(c, e, fx);
	}
	c->review_wanted = true;
	welcome(m, e, fx);
	map_push_if_old(c, m, route, fx);
}

static void answer_heartbeat(struct coordinator *c, const struct event *e, enum status status,
			     uint64_t trail_number, struct effects *fx)
{
	struct msg_heartbeat_ack ack = {
	    .status = status, .map_version = c->state.map_version, .trail_number = trail_number};
	fx_reply(fx, WHEN_DURABLE, e, MSG_heartbeat_ack, &ack);
}

void membership_on_heartbeat(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_heartbeat *h = e->message.body;
	struct member_row *m = coordinator_member_row(c, e->message.from.member);
	bool known = m && m->listed && m->joined;
	bool storage = known && m->role == ROLE_STORAGE;
	if (!known || (storage && (h->incarnation != m->incarnation || h->boot != m->boot ||
				   h->life != m->life))) {
		answer_heartbeat(c, e, STATUS_NOT_FOUND, 0, fx);
		return;
	}
	struct member_route *route = heard(c, m, e, h->map_version);
	recovery_on_heartbeat(c, m, h, fx);
	if (storage) {
		m->disk_full = h->disk_full;
		report_take(c, m, h->shards, h->shards_count);
		if (report_is_old(c, h->shards, h->shards_count))
			route->map_version = 0; /* whatever it says */
		tell_drops(c, e, h->shards, h->shards_count, fx);
		adopt_step(c, m, h->trail_number, h->trail_id, fx);
	}
	answer_heartbeat(c, e, STATUS_OK, m->trail_number, fx);
	map_push_if_old(c, m, route, fx);
}

/* Marks the nodes of replicas that are behind, or beyond help. */
static void mark_replicas(const struct coordinator *c, const struct shard_row *row)
{
	const struct shard *s = &row->placement.shard;
	bool all[LIMIT_REPLICAS];
	for (uint32_t i = 0; i < s->replicas_count; i++)
		all[i] = true;
	bool lost = !placement_can_elect(s, all) && !row->serving;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		struct member_row *m = coordinator_member_row(c, s->replicas[i].node);
		if (!m)
			continue;
		bool learning =
		    s->replicas[i].learning || s->replicas[i].incarnation != m->incarnation;
		m->catching_up |= learning || (row->serving && !row->views[i].in_sync);
		m->lost_shard |= learning && lost;
	}
}

static enum health health_of(const struct coordinator *c, const struct member_row *m)
{
	if (m->id == c->options.self)
		return HEALTH_HEALTHY;
	if (m->fatal)
		return HEALTH_FATAL;
	if (!membership_alive(c, m))
		return HEALTH_OFFLINE;
	if (m->lost_shard)
		return HEALTH_FATAL;
	return m->catching_up || m->disk_full ? HEALTH_UNHEALTHY : HEALTH_HEALTHY;
}

static void health_set(struct coordinator *c, struct member_row *m, struct effects *fx)
{
	static const char *const names[] = {"offline", "healthy", "unhealthy", "fatal"};
	enum health health = health_of(c, m);
	if (health == m->health)
		return;
	fx_log(fx, health == HEALTH_HEALTHY ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
	       "member_health member=%llu health=%s", (unsigned long long)m->id, names[health]);
	/* between healthy and unhealthy a node goes with every burst of writes: not worth a map */
	if (health == HEALTH_OFFLINE || m->health == HEALTH_OFFLINE)
		state_map_changed(c);
	m->health = health;
}

void membership_review(struct coordinator *c, struct effects *fx)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		struct member_row *m = e->value;
		m->catching_up = false;
		m->lost_shard = false;
	}
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));)
		mark_replicas(c, e->value);
	at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));)
		health_set(c, e->value, fx);
}
