#include "coordinator/recovery.h"

#include "coordinator/drops.h"
#include "coordinator/membership.h"
#include "coordinator/state.h"

/* So many fencing tokens that no shard has seen, of locks on mere names, may have been lost. */
#define TOKENS_LOST_MAX (UINT64_C(1) << 32)

static void refuse(struct coordinator *c, const struct member_row *m, const char *what,
		   uint64_t theirs, uint64_t ours, struct effects *fx)
{
	if (c->recovery == RECOVERY_REFUSED)
		return;
	c->recovery = RECOVERY_REFUSED;
	buf_clear(&c->refused_text);
	buf_printf(&c->refused_text,
		   "member %llu knows %s %llu, here it is %llu; start with "
		   "--recover-from-nodes to adopt what the nodes know",
		   (unsigned long long)m->id, what, (unsigned long long)theirs,
		   (unsigned long long)ours);
	fx_log(fx, LOG_LEVEL_ERROR, "recovery_refused text=\"%s\"", buf_cstr(&c->refused_text));
}

/* Somebody knows more than we do: adopted by the caller (true), or refused here. */
static bool may_adopt(struct coordinator *c, const struct member_row *m, const char *what,
		      uint64_t theirs, uint64_t ours, struct effects *fx)
{
	if (c->options.recover_from_nodes && theirs <= COUNTER_MAX)
		return true;
	refuse(c, m, what, theirs, ours, fx);
	return false;
}

/* A token is never given twice. Durable with the next one. */
static void adopt_token(struct coordinator *c, uint64_t token)
{
	if (token > c->state.token && token <= COUNTER_MAX)
		c->state.token = token;
}

/* The version is raised above it with the next change, which adopting makes due. */
static void compare_map_version(struct coordinator *c, const struct member_row *m, uint64_t version,
				struct effects *fx)
{
	if (version <= c->state.map_version ||
	    !may_adopt(c, m, "map version", version, c->state.map_version, fx))
		return;
	c->state.map_version = version;
	c->map_changed = false;
	state_map_changed(c);
}

static void compare_promise(struct coordinator *c, const struct member_row *m,
			    const struct shard_report *r, struct effects *fx)
{
	if (drops_has(c, r->shard))
		return;
	struct shard_row *row = coordinator_shard_row(c, r->shard);
	uint64_t epoch = row ? row->placement.shard.epoch : 0;
	uint64_t highest = r->epoch > r->promised ? r->epoch : r->promised;
	if (highest <= epoch || !may_adopt(c, m, "epoch", highest, epoch, fx) || !row)
		return;
	if (highest > row->promised_max)
		row->promised_max = highest;
	row->raise = true;
	c->review_wanted = true;
}

/* A dropped collection counts as a later version of what it was. */
static void compare_drop(struct coordinator *c, const struct member_row *m, uint64_t id,
			 struct effects *fx)
{
	const struct collection_row *row = map_get_u64(&c->collections, id);
	uint64_t version = row ? row->collection.version : 0;
	if (drops_has(c, id) || (!row && !c->options.recover_from_nodes) ||
	    !may_adopt(c, m, "collection version", version + 1, version, fx))
		return;
	fx_log(fx, LOG_LEVEL_WARN, "recovery_drop collection=%016llx", (unsigned long long)id);
	REACHED(drop_recovered);
	drops_adopt(c, id, fx);
}

/* One of a name that was made anew here stays with its node: of two, members would take either. */
static void compare_collection(struct coordinator *c, const struct member_row *m,
			       const struct collection *theirs, struct effects *fx)
{
	if (drops_has(c, theirs->id))
		return;
	const struct collection_row *row = map_get_u64(&c->collections, theirs->id);
	uint64_t version = row ? row->collection.version : 0;
	if (theirs->version <= version || c->collections.count >= LIMIT_COLLECTIONS ||
	    !may_adopt(c, m, "collection version", theirs->version, version, fx))
		return;
	const struct collection *named = state_collection(c, theirs->name);
	if (named && named->id != theirs->id) {
		fx_log(fx, LOG_LEVEL_ERROR,
		       "recovery_name_taken member=%llu name=%.*s collection=%016llx here=%016llx",
		       (unsigned long long)m->id, (int)theirs->name.len,
		       (const char *)theirs->name.data, (unsigned long long)theirs->id,
		       (unsigned long long)named->id);
		return;
	}
	fx_log(fx, LOG_LEVEL_WARN, "recovery_collection collection=%016llx version=%llu",
	       (unsigned long long)theirs->id, (unsigned long long)theirs->version);
	state_put_collection(c, theirs, fx);
}

static void adopt_shard(struct coordinator *c, const struct shard *theirs, struct effects *fx)
{
	fx_log(fx, LOG_LEVEL_WARN, "recovery_shard shard=%016llx epoch=%llu lead=%llu",
	       (unsigned long long)theirs->id, (unsigned long long)theirs->epoch,
	       (unsigned long long)theirs->lead);
	struct shard_row *row = state_put_shard(c, theirs, fx);
	row->quorum_since_ms = c->now_ms;
}

/* Two contents of one epoch can't both be in force: only a newer one ends that. */
static void adopt_in_doubt(struct coordinator *c, struct shard_row *row)
{
	row->raise = true;
	c->review_wanted = true;
}

static void compare_shard(struct coordinator *c, const struct member_row *m,
			  const struct shard *theirs, struct effects *fx)
{
	if (drops_has(c, theirs->id))
		return;
	if (drops_has(c, theirs->collection)) {
		drops_add_shard(c, theirs->id, theirs->collection, fx);
		return;
	}
	struct shard_row *row = coordinator_shard_row(c, theirs->id);
	uint64_t epoch = row ? row->placement.shard.epoch : 0;
	bool differs =
	    row && theirs->epoch == epoch && !placement_equal(theirs, &row->placement.shard);
	if (theirs->epoch < epoch || (theirs->epoch == epoch && !differs))
		return;
	const char *problem = placement_problem(theirs);
	if (problem) {
		fx_log(fx, LOG_LEVEL_ERROR,
		       "placement_invalid member=%llu shard=%016llx text=\"%s\"",
		       (unsigned long long)m->id, (unsigned long long)theirs->id, problem);
		return;
	}
	if (!may_adopt(c, m, differs ? "another content of epoch" : "epoch", theirs->epoch, epoch,
		       fx))
		return;
	if (differs)
		adopt_in_doubt(c, row);
	else if (row || c->shards.count < LIMIT_SHARDS)
		adopt_shard(c, theirs, fx);
}

void recovery_on_join(struct coordinator *c, const struct member_row *m,
		      const struct msg_member_join *j, struct effects *fx)
{
	compare_map_version(c, m, j->map_version, fx);
	if (m->role != ROLE_STORAGE)
		return;
	adopt_token(c, j->lock_token);
	for (uint32_t i = 0; i < j->dropped_count; i++)
		compare_drop(c, m, j->dropped[i], fx);
	for (uint32_t i = 0; i < j->collections_count; i++)
		compare_collection(c, m, &j->collections[i], fx);
	for (uint32_t i = 0; i < j->shards_count; i++)
		compare_shard(c, m, &j->shards[i], fx);
	for (uint32_t i = 0; i < j->reports_count; i++)
		compare_promise(c, m, &j->reports[i], fx);
}

void recovery_on_heartbeat(struct coordinator *c, const struct member_row *m,
			   const struct msg_heartbeat *h, struct effects *fx)
{
	compare_map_version(c, m, h->map_version, fx);
	if (m->role != ROLE_STORAGE)
		return;
	for (uint32_t i = 0; i < h->shards_count; i++)
		compare_promise(c, m, &h->shards[i], fx);
}

/* Enough have spoken to be sure that the newest epoch of this shard is known. */
static bool heard_enough(const struct coordinator *c, const struct shard *s)
{
	bool here[LIMIT_REPLICAS] = {false};
	uint32_t joined = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		const struct member_row *m = coordinator_member_row(c, s->replicas[i].node);
		if (!m || !m->joined)
			continue;
		joined++;
		here[i] = s->replicas[i].incarnation == m->incarnation;
	}
	return placement_can_elect(s, here) || joined == s->replicas_count;
}

/* Of all shards? */
static bool hear(struct coordinator *c)
{
	bool all = true;
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		struct shard_row *row = e->value;
		row->heard = row->heard || heard_enough(c, &row->placement.shard);
		all = all && row->heard;
	}
	return all;
}

/* Of a lost state there is nothing to say which shards and collections there are: what one node
 * alone knows would be made anew under the same name. */
static bool complete(const struct coordinator *c, bool all)
{
	uint32_t listed = membership_storage_listed(c);
	uint32_t joined = membership_storage_joined(c);
	if (c->options.recover_from_nodes)
		all = all && joined == listed;
	else if (all && c->shards.count > 0)
		return true;
	if (!all && c->now_ms < c->recovery_patient_ms)
		return false;
	return joined * 2 > listed || listed == 0;
}

void recovery_start(struct coordinator *c)
{
	c->recovery_patient_ms = c->now_ms + RECOVERY_PATIENCE_MS;
}

void recovery_slept(struct coordinator *c, int64_t ms)
{
	c->recovery_patient_ms += ms;
}

void recovery_review(struct coordinator *c, struct effects *fx)
{
	bool all = hear(c);
	if (c->recovery != RECOVERY_WAITING || !complete(c, all))
		return;
	c->recovery = RECOVERY_DONE;
	fx_log(fx, LOG_LEVEL_INFO, "recovered map_version=%llu shards=%llu",
	       (unsigned long long)c->state.map_version, (unsigned long long)c->shards.count);
	if (c->options.recover_from_nodes)
		c->state.token += TOKENS_LOST_MAX;
	if (c->map_waits)
		state_map_changed(c);
	c->map_waits = false;
	membership_grace(c);
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&c->shards, &at));) {
		struct shard_row *row = e->value;
		row->quorum_since_ms = c->now_ms;
		row->waiting_since_ms = c->now_ms;
	}
}
