/* Replicas compare their digests with the leases, which go to and fro anyway; and what follows when
 * a copy turns out to be wrong.
 *
 * Who is wrong? Each side reads all it has. Whose disk does not add up to its own digest is. If
 * both add up, what was wrong came in before it was counted; then the majority is right. */
#include "common/quorum.h"
#include "storage-node/scrub.h"

/* The newest number at or below `most` whose digest is known here; 0: none. */
static uint64_t known_number(const struct shard_copy *c, uint64_t most, uint64_t *digest)
{
	if (digest_at(c, most, digest))
		return most;
	most -= most % DIGEST_EVERY;
	return digest_at(c, most, digest) ? most : 0;
}

static bool is_here(const struct storage *s, const struct follower *f)
{
	return !f->learning && f->heard && s->now_ms - f->heard_ms < OFFLINE_MS;
}

/* Of several nodes that want to start anew the one with the least id is the first, of whatever
 * shard: so one of them gets the word of all leads. */
static bool is_first(const struct storage *s, const struct shard_copy *c, uint64_t node)
{
	if (s->goes && s->options.self < node)
		return false;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		if (f->goes && f->node < node && is_here(s, f))
			return false;
	}
	return true;
}

/* Do W voting replicas besides `but` (NULL: the lead itself) hold all that is settled? Of one that
 * is silent nobody knows whether its disk is still there. Those that may go until later than
 * `spared_ms` don't count. */
static bool others_suffice(const struct storage *s, const struct shard_copy *c,
			   const struct follower *but, int64_t spared_ms)
{
	uint32_t whole = but != NULL && c->durable >= c->settled;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		whole += f != but && is_here(s, f) && f->acked >= c->settled &&
			 f->spared_until_ms <= spared_ms;
	}
	return c->placement.write_quorum > 0 && whole >= c->placement.write_quorum;
}

static bool can_spare(const struct storage *s, const struct shard_copy *c,
		      const struct follower *but)
{
	/* while two sets decide, W of both together may be too few of one */
	return c->state == SHARD_SERVING && is_first(s, c, but ? but->node : s->options.self) &&
	       others_suffice(s, c, but, s->now_ms) && !quorum_joint(&c->placement);
}

/* Whoever goes meanwhile is built anew from the others: waiting for them only takes longer. */
bool damage_stays(const struct storage *s, const struct shard_copy *c)
{
	return c->integrity.damaged && others_suffice(s, c, NULL, INT64_MAX);
}

/* How many voting replicas agree with the lead, itself included, and how many do not. */
static void count_votes(const struct shard_copy *c, uint32_t *same, uint32_t *other)
{
	*same = 1;
	*other = 0;
	for (uint32_t i = 0; i < c->followers_count; i++) {
		const struct follower *f = &c->followers[i];
		*same += !f->learning && f->verdict == VERDICT_SAME;
		*other += !f->learning && f->verdict == VERDICT_OTHER;
	}
}

void compare_ask(struct storage *s, struct shard_copy *c, struct follower *f,
		 struct shard_epoch *question)
{
	uint32_t same, other;
	count_votes(c, &same, &other);
	question->spare = f->goes && can_spare(s, c, f);
	if (question->spare)
		f->spared_until_ms = s->now_ms + SPARED_MS;
	question->outvoted = f->verdict == VERDICT_OTHER && c->integrity.sound && same > other;
	f->asked = f->heard ? known_number(c, f->applied, &f->asked_digest) : 0;
	question->digest_number = f->asked;
	question->digest = f->asked ? f->asked_digest : 0;
}

static void tell_difference(struct storage *s, struct shard_copy *c, uint64_t node, uint64_t number,
			    struct effects *fx)
{
	if (c->integrity.differs)
		return;
	c->integrity.differs = true;
	c->integrity.sound = false;
	s->differs_total++;
	fx_log(fx, LOG_LEVEL_ERROR, "digest_differs shard=%016llx number=%llu peer=%llu",
	       (unsigned long long)c->id, (unsigned long long)number, (unsigned long long)node);
}

void compare_answer(struct storage *s, struct shard_copy *c, const struct shard_epoch *question,
		    struct shard_epoch *answer, struct effects *fx)
{
	struct shard_integrity *i = &c->integrity;
	answer->spare = s->goes;
	if (question->spare)
		i->spare_until_ms = s->now_ms + SPARE_MS;
	if (question->digest_number == 0 || !digest_at(c, question->digest_number, &answer->digest))
		return;
	answer->digest_number = question->digest_number;
	if (answer->digest == question->digest) {
		i->differs = false;
		return;
	}
	tell_difference(s, c, c->placement.lead, question->digest_number, fx);
	if (question->outvoted && i->sound && !i->damaged)
		damage_found(s, c, "most replicas have something else", fx);
}

void compare_conclude(struct storage *s, struct shard_copy *c, struct follower *f,
		      const struct shard_epoch *answer, struct effects *fx)
{
	f->goes = answer->spare;
	if (answer->digest_number == 0 || answer->digest_number != f->asked)
		return;
	f->verdict = answer->digest == f->asked_digest ? VERDICT_SAME : VERDICT_OTHER;
	if (f->verdict == VERDICT_OTHER)
		tell_difference(s, c, f->node, f->asked, fx);
	uint32_t same, other;
	count_votes(c, &same, &other);
	if (other == 0)
		c->integrity.differs = false;
	else if (other > same && c->integrity.sound && !c->integrity.damaged)
		damage_found(s, c, "most replicas have something else", fx);
}

/* ---- damage ---- */

void damage_found(struct storage *s, struct shard_copy *c, const char *what, struct effects *fx)
{
	if (!c->integrity.damaged)
		s->damage_total++;
	c->integrity.damaged = true;
	REACHED(damage_found);
	fx_log(fx, LOG_LEVEL_ERROR, "damage_found shard=%016llx applied=%llu what=\"%s\"",
	       (unsigned long long)c->id, (unsigned long long)c->position.applied, what);
}

/* What a copy has brought counts, also before all has come again that it took. */
static bool is_counted(const struct storage *s, const struct shard_copy *c)
{
	const struct shard_position *p = &c->position;
	return shard_vouching(s, c) || (!p->copying && shard_lacks_vouched(p));
}

/* May this copy go? Only where W other disks hold all that is settled, or nobody counts on it. */
static bool spared(const struct storage *s, const struct shard_copy *c)
{
	if (!is_counted(s, c))
		return true;
	if (shard_is_lead(c))
		return can_spare(s, c, NULL);
	return c->integrity.spare_until_ms > s->now_ms;
}

/* Does it take this copy for W of those that the placement lists, whatever the others hold? Then no
 * lead can ever spare it, and others need not wait for this node to go first. */
static bool is_needed(const struct storage *s, const struct shard_copy *c)
{
	uint64_t others = 0;
	for (uint32_t i = 0; i < c->placement.replicas_count; i++) {
		const struct replica *r = &c->placement.replicas[i];
		others += r->node != s->options.self && !r->learning;
	}
	return is_counted(s, c) && others < c->placement.write_quorum;
}

/* The successors need not wait for the leases of this life to run out. */
static void step_down(struct storage *s, struct effects *fx)
{
	size_t at = 0;
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));)
		if (shard_is_lead(entry->value))
			lease_step_down(s, entry->value, fx);
}

/* May the tail of its stream hold writes that were answered as accepted? They settle, or go into
 * the outbox once another leads or the copy is not listed any more; where an entry of it can't be
 * read, neither ever comes. */
static bool tail_may_be_accepted(const struct shard_copy *c)
{
	uint64_t applied = c->position.applied;
	bool own = c->position.last > applied && c->accepted_entry > applied;
	return (own || shard_tail_may_depart(c)) && c->unreadable <= applied;
}

/* Has it writes that nobody else may have? */
static bool has_branches(const struct storage *s, const struct shard_copy *c)
{
	return c->outbox_count > 0 || tail_may_be_accepted(c) ||
	       (!shard_self(s, c) && !c->position.vacated);
}

void damage_tick(struct storage *s, struct effects *fx)
{
	bool damaged = false;
	bool all_spared = true;
	bool needed = false;
	bool branches = false;
	size_t at = 0;
	if (s->starting_anew) {
		fx_reset(fx, "damaged data: to be rebuilt from the peers");
		return;
	}
	for (struct map_entry *entry; (entry = map_next(&s->shards, &at));) {
		struct shard_copy *c = entry->value;
		if (c->unreadable != 0 && !c->integrity.damaged)
			damage_found(s, c, "an entry of the stream can't be read", fx);
		damaged = damaged || c->integrity.damaged;
		all_spared = all_spared && spared(s, c);
		needed = needed || is_needed(s, c);
		branches = branches || has_branches(s, c);
	}
	s->goes = damaged && !needed && !branches;
	if (damaged && all_spared && !branches) {
		REACHED(damage_starts_anew);
		s->starting_anew = true;
		step_down(s, fx);
	} else if (damaged && s->now_ms >= s->damage_told_ms) {
		s->damage_told_ms = s->now_ms + DAMAGE_TOLD_MS;
		fx_log(fx, LOG_LEVEL_ERROR, "damage_kept why=\"%s\"",
		       branches ? "branches here have not reached their lead"
				: "too few other replicas have all that is settled");
	}
}
