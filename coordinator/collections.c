#include "coordinator/collections.h"

#include "common/doc/policy.h"
#include "common/probe.h"
#include "coordinator/asked.h"
#include "coordinator/drops.h"
#include "coordinator/indexes.h"
#include "coordinator/membership.h"
#include "coordinator/state.h"

#define SYSTEM_PREFIX "system."
enum { KEEP_ANCESTORS_AVAILABLE = 10, REPLICATIONS_RETAIN_MS = 3600 * 1000 };

bool collections_name_valid(struct slice name)
{
	if (slice_is(name, COLLECTION_LOCAL) || slice_is(name, COLLECTION_USERS) ||
	    slice_is(name, COLLECTION_REPLICATOR) || slice_is(name, COLLECTION_REPLICATIONS))
		return true;
	if (name.len == 0 || name.len > LIMIT_NAME_BYTES)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		uint8_t ch = name.data[i];
		bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
		if (!letter && !(ch >= '0' && ch <= '9') && ch != '.' && ch != '-')
			return false;
	}
	size_t prefix = sizeof SYSTEM_PREFIX - 1;
	return name.len < prefix || memcmp(name.data, SYSTEM_PREFIX, prefix) != 0;
}

/* Also bounds the sum of all policies, since the map carries them all. */
static enum status check_policy(struct coordinator *c, struct slice policy, uint64_t replaces)
{
	struct policy parsed;
	struct policy_error error;
	if (policy.len > 0 && !policy_parse(policy, &c->arena, &parsed, &error))
		return STATUS_BAD_PARAMETER;
	size_t sum = policy.len;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->collections, &at));) {
		const struct collection_row *row = e->value;
		sum += row->collection.id == replaces ? 0 : row->collection.policy.len;
	}
	return sum > POLICIES_BYTES_MAX ? STATUS_LIMIT_REACHED : STATUS_OK;
}

static uint64_t or_default(uint64_t asked, uint64_t otherwise)
{
	return asked != 0 ? asked : otherwise;
}

/* N is smaller by default where the member list is too short for the usual one. */
static uint64_t default_replicas(const struct coordinator *c)
{
	uint64_t usual = or_default(c->options.replicas, COORDINATOR_REPLICAS);
	uint64_t listed = membership_storage_listed(c);
	return listed > 0 && listed < usual ? listed : usual;
}

static void fill_defaults(const struct coordinator *c, const struct msg_collection_create *m,
			  struct collection *s)
{
	s->replicas = or_default(s->replicas, default_replicas(c));
	s->write_quorum = or_default(s->write_quorum, s->replicas / 2 + 1);
	/* who runs a job is decided by writes of which one wins */
	bool rows = slice_is(s->name, COLLECTION_REPLICATIONS);
	bool decides = rows || slice_is(s->name, COLLECTION_REPLICATOR);
	if (rows)
		s->retain_deleted = or_default(s->retain_deleted, REPLICATIONS_RETAIN_MS);
	if (!m->mode_given && !decides)
		s->mode = or_default(s->mode, c->options.mode);
	if (!m->retain_nothing)
		s->retain_ms = or_default(s->retain_ms, c->options.retain_ms);
	if (s->mode == MODE_AVAILABLE && !m->keep_nothing)
		s->keep_ancestors = or_default(s->keep_ancestors, KEEP_ANCESTORS_AVAILABLE);
	s->database = 0;
	s->version = 1;
}

static bool quorum_valid(const struct collection *s)
{
	return s->replicas >= 1 && s->replicas <= LIMIT_REPLICAS &&
	       s->write_quorum <= s->replicas && 2 * s->write_quorum > s->replicas;
}

static bool agrees(uint64_t asked, uint64_t has)
{
	return asked == 0 || asked == has;
}

static uint64_t shards_of(const struct coordinator *c, uint64_t collection)
{
	uint64_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));)
		count += ((struct shard_row *)e->value)->placement.shard.collection == collection;
	return count;
}

static bool compatible(const struct coordinator *c, const struct msg_collection_create *m,
		       const struct collection *has)
{
	const struct collection *asked = &m->collection;
	return agrees(asked->replicas, has->replicas) &&
	       agrees(asked->write_quorum, has->write_quorum) &&
	       (m->mode_given ? asked->mode == has->mode : agrees(asked->mode, has->mode)) &&
	       (m->retain_nothing ? has->retain_ms == 0
				  : agrees(asked->retain_ms, has->retain_ms)) &&
	       (m->keep_nothing ? has->keep_ancestors == 0
				: agrees(asked->keep_ancestors, has->keep_ancestors)) &&
	       agrees(asked->retain_deleted, has->retain_deleted) &&
	       (asked->policy.len == 0 || slice_equal(asked->policy, has->policy)) &&
	       agrees(m->shards, shards_of(c, has->id)) && indexes_agree(asked, has);
}

/* Storage nodes by how well they can take a replica; a full one can, but would refuse to lead. */
enum host_group { HOSTS_READY, HOSTS_FULL, HOSTS_AWAY, HOSTS_GROUPS };
struct hosts {
	uint64_t nodes[HOSTS_GROUPS][LIMIT_MEMBERS];
	uint32_t count[HOSTS_GROUPS];
};

static void hosts_of(const struct coordinator *c, struct hosts *h)
{
	memset(h->count, 0, sizeof h->count);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->members, &at));) {
		const struct member_row *m = e->value;
		if (!m->listed || m->role != ROLE_STORAGE || m->incarnation == 0 || m->fatal ||
		    m->draining)
			continue;
		enum host_group g = m->disk_full ? HOSTS_FULL : HOSTS_READY;
		if (!membership_alive(c, m))
			g = HOSTS_AWAY;
		if (h->count[g] < LIMIT_MEMBERS)
			h->nodes[g][h->count[g]++] = m->id;
	}
}

/* How many shards prefer this node as their lead. */
static uint64_t leads_of(const struct coordinator *c, uint64_t node)
{
	uint64_t count = 0;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));)
		count += ((struct shard_row *)e->value)->placement.replicas[0].node == node;
	return count;
}

static uint64_t fresh_id(struct coordinator *c)
{
	for (;;) {
		uint64_t id = rng_next(&c->rng);
		if (id != 0 && !map_get_u64(&c->shards, id) && !map_get_u64(&c->collections, id) &&
		    !drops_has(c, id))
			return id;
	}
}

/* Replicas by rendezvous among those that are ready, filled up with the others; one of the first
 * leads. */
static void place(struct coordinator *c, struct hosts *h, const struct collection *collection,
		  struct placement *out)
{
	struct shard *s = &out->shard;
	uint32_t n = (uint32_t)collection->replicas;
	uint64_t nodes[LIMIT_REPLICAS] = {0};
	uint64_t leads[LIMIT_REPLICAS] = {0};
	uint32_t chosen = 0;
	for (int g = 0; g < HOSTS_GROUPS; g++) {
		placement_rank(s->id, h->nodes[g], h->count[g]);
		for (uint32_t i = 0; i < h->count[g] && chosen < n; i++)
			nodes[chosen++] = h->nodes[g][i];
	}
	uint32_t ready = h->count[HOSTS_READY] < n ? h->count[HOSTS_READY] : n;
	for (uint32_t i = 0; i < ready; i++)
		leads[i] = leads_of(c, nodes[i]);
	placement_balance(nodes, leads, ready);
	s->replicas = out->replicas;
	s->replicas_count = n;
	for (uint32_t i = 0; i < n; i++)
		out->replicas[i] = (struct replica){
		    .node = nodes[i],
		    .incarnation = coordinator_member_row(c, nodes[i])->incarnation};
	s->lead = nodes[0];
}

static void make_shards(struct coordinator *c, const struct collection *collection, uint32_t count,
			struct hosts *h, struct effects *fx)
{
	for (uint32_t i = 0; i < count; i++) {
		struct placement p = {.shard = {.id = fresh_id(c),
						.collection = collection->id,
						.epoch = 1,
						.write_quorum = collection->write_quorum}};
		placement_range(i, count, &p.shard.hash_first, &p.shard.hash_last);
		place(c, h, collection, &p);
		CHECK(placement_problem(&p.shard) == NULL);
		struct shard_row *row = state_put_shard(c, &p.shard, fx);
		row->quorum_since_ms = c->now_ms;
	}
}

static enum status make(struct coordinator *c, const struct msg_collection_create *m,
			struct effects *fx)
{
	struct collection settings = m->collection;
	bool one =
	    slice_is(settings.name, COLLECTION_REPLICATIONS); /* each gateway reads all of it */
	uint64_t usual = one ? 1 : or_default(c->options.shards, COORDINATOR_SHARDS);
	uint64_t shards = or_default(m->shards, usual);
	fill_defaults(c, m, &settings);
	if (!quorum_valid(&settings) || shards > LIMIT_COLLECTION_SHARDS)
		return STATUS_BAD_PARAMETER;
	enum status status = check_policy(c, settings.policy, 0);
	if (status == STATUS_OK)
		status = indexes_make(c, &settings);
	if (status != STATUS_OK)
		return status;
	if (c->collections.count >= LIMIT_COLLECTIONS || c->shards.count + shards > LIMIT_SHARDS)
		return STATUS_LIMIT_REACHED;
	struct hosts *h = arena_alloc(&c->arena, sizeof *h);
	hosts_of(c, h);
	/* with W of them alive it can be written at once; the others catch up */
	uint32_t alive = h->count[HOSTS_READY] + h->count[HOSTS_FULL];
	if (alive + h->count[HOSTS_AWAY] < settings.replicas || alive < settings.write_quorum)
		return STATUS_NOT_ENOUGH_NODES;
	settings.id = fresh_id(c);
	settings.made_by = m->operation;
	state_put_collection(c, &settings, fx);
	make_shards(c, &settings, (uint32_t)shards, h, fx);
	fx_log(fx, LOG_LEVEL_INFO,
	       "collection_created name=%.*s id=%016llx shards=%llu replicas=%llu",
	       (int)settings.name.len, (const char *)settings.name.data,
	       (unsigned long long)settings.id, (unsigned long long)shards,
	       (unsigned long long)settings.replicas);
	return STATUS_CREATED;
}

/* Who asked filled in what was given with what was there: others may have changed that, or dropped
 * it and made another one of the name. */
static bool is_of_before(const struct msg_collection_create *m, const struct collection *has)
{
	uint64_t id = m->collection.id;
	return m->if_version != 0 && !MUTATION(settings_of_before) &&
	       (m->if_version != has->version || (id != 0 && id != has->id));
}

static enum status update(struct coordinator *c, const struct msg_collection_create *m,
			  const struct collection *has, struct effects *fx)
{
	const struct collection *asked = &m->collection;
	if (!agrees(asked->replicas, has->replicas) ||
	    !agrees(asked->write_quorum, has->write_quorum) ||
	    !agrees(m->shards, shards_of(c, has->id)))
		return STATUS_BAD_PARAMETER;
	enum status status = check_policy(c, asked->policy, has->id);
	if (status != STATUS_OK)
		return status;
	struct collection next = *has;
	next.mode = asked->mode;
	next.policy = asked->policy;
	next.retain_ms = asked->retain_ms;
	next.keep_ancestors = asked->keep_ancestors;
	next.retain_deleted = asked->retain_deleted;
	if (next.mode == has->mode && slice_equal(next.policy, has->policy) &&
	    next.retain_ms == has->retain_ms && next.keep_ancestors == has->keep_ancestors &&
	    next.retain_deleted == has->retain_deleted)
		return STATUS_OK;
	if (is_of_before(m, has))
		return STATUS_CONFLICT;
	next.version = has->version + 1;
	state_put_collection(c, &next, fx);
	fx_log(fx, LOG_LEVEL_INFO, "collection_updated id=%016llx version=%llu",
	       (unsigned long long)next.id, (unsigned long long)next.version);
	return STATUS_OK;
}

/* Asked again after an answer that was lost, it finds the policy there already. */
static enum status update_policy(struct coordinator *c, const struct msg_collection_create *m,
				 const struct collection *has, struct effects *fx)
{
	if (is_of_before(m, has) && !slice_equal(m->collection.policy, has->policy))
		return STATUS_CONFLICT;
	struct msg_collection_create whole = {.collection = *has};
	whole.collection.policy = m->collection.policy;
	return update(c, &whole, has, fx);
}

static enum status create(struct coordinator *c, const struct msg_collection_create *m,
			  struct effects *fx)
{
	if (!collections_name_valid(m->collection.name))
		return STATUS_BAD_NAME;
	const struct collection *has = state_collection(c, m->collection.name);
	if (m->drop) {
		if (!has)
			return STATUS_NOT_FOUND;
		drops_add(c, has, m->operation, fx);
		return STATUS_OK;
	}
	if (has && !m->update)
		return compatible(c, m, has) ? STATUS_OK : STATUS_EXISTS;
	if (c->disk_full)
		return STATUS_DISK_FULL;
	if (m->update && has && (m->index_add_count > 0 || m->index_drop.len > 0))
		return indexes_change(c, m, has, fx);
	if (m->update && has && m->policy_only)
		return update_policy(c, m, has, fx);
	if (m->update)
		return has ? update(c, m, has, fx) : STATUS_NOT_FOUND;
	return make(c, m, fx);
}

void collections_on_create(struct coordinator *c, const struct event *e, struct effects *fx)
{
	const struct msg_collection_create *m = e->message.body;
	struct asking asking = {m->operation, m->until_ms, m->life};
	enum status status = coordinator_decides(c);
	if (status == STATUS_OK && !asked_before(c, asking, &status)) {
		status = create(c, m, fx);
		asked_note(c, asking, status);
	}
	struct msg_collection_create_ack ack = {.status = status,
						.map_version = c->state.map_version,
						.clock_ms = (uint64_t)c->now_ms,
						.life = c->life};
	fx_reply(fx, WHEN_DURABLE, e, MSG_collection_create_ack, &ack);
}
