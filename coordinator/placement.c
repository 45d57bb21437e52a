#include "coordinator/placement.h"

#include "common/probe.h"
#include "common/quorum.h"

void placement_copy(struct placement *to, const struct shard *from)
{
	CHECK(from->replicas_count <= LIMIT_REPLICAS);
	struct shard copy = *from;
	/* `from` may be the shard of `to` itself */
	for (uint32_t i = 0; i < copy.replicas_count; i++)
		to->replicas[i] = copy.replicas[i];
	to->shard = copy;
	to->shard.replicas = to->replicas;
}

uint32_t placement_index(const struct shard *shard, uint64_t node)
{
	uint32_t i = 0;
	while (i < shard->replicas_count && shard->replicas[i].node != node)
		i++;
	return i;
}

static bool votes(const struct shard *shard, uint64_t node)
{
	uint32_t i = placement_index(shard, node);
	return i < shard->replicas_count && !shard->replicas[i].learning;
}

uint32_t placement_voting(const struct shard *shard)
{
	uint32_t voting = 0;
	for (uint32_t i = 0; i < shard->replicas_count; i++)
		voting += !shard->replicas[i].learning;
	return voting;
}

uint32_t placement_joining(const struct shard *shard)
{
	uint32_t i = 0;
	while (i < shard->replicas_count && !shard->replicas[i].joining)
		i++;
	return i;
}

uint32_t placement_leaving(const struct shard *shard)
{
	uint32_t i = 0;
	while (i < shard->replicas_count && !shard->replicas[i].leaving)
		i++;
	return i;
}

bool placement_can_elect(const struct shard *shard, const bool *here)
{
	bool voting[LIMIT_REPLICAS];
	for (uint32_t i = 0; i < shard->replicas_count; i++)
		voting[i] = here[i] && !shard->replicas[i].learning;
	return quorum_reached(shard, voting, quorum_takeover(shard));
}

const char *placement_problem(const struct shard *shard)
{
	uint64_t w = shard->write_quorum;
	if (shard->id == 0 || shard->epoch == 0)
		return "id or epoch is 0";
	if (shard->epoch >= COUNTER_END)
		return "the epoch is none that was ever reached";
	if (shard->hash_first > shard->hash_last)
		return "the range is empty";
	if (shard->replicas_count > LIMIT_REPLICAS)
		return "too many replicas";
	uint64_t n = quorum_places(shard);
	if (w > n || 2 * w <= n)
		return "the write quorum is no majority";
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		if (shard->replicas[i].node == 0 || shard->replicas[i].incarnation == 0)
			return "a replica has no node or no incarnation";
		if (placement_index(shard, shard->replicas[i].node) != i)
			return "a node is listed twice";
	}
	if (shard->lead != 0 && !votes(shard, shard->lead))
		return "the lead is no voting replica";
	return quorum_problem(shard);
}

static bool apply_lead(struct shard *s, const struct placement_move *move)
{
	if (!votes(s, move->lead))
		return false;
	s->lead = move->lead;
	return true;
}

static bool apply_renew(struct shard *s, const struct placement_move *move)
{
	uint32_t i = placement_index(s, move->node);
	if (i == s->replicas_count || move->incarnation == 0 ||
	    s->replicas[i].incarnation == move->incarnation)
		return false;
	s->replicas[i].incarnation = move->incarnation;
	s->replicas[i].learning = true;
	if (s->lead != move->node)
		return true;
	s->lead = move->lead;
	return move->lead == 0 || votes(s, move->lead);
}

static bool apply_promote(struct shard *s, const struct placement_move *move)
{
	uint32_t i = placement_index(s, move->node);
	if (i == s->replicas_count || !s->replicas[i].learning || s->replicas[i].joining ||
	    s->replicas[i].incarnation != move->incarnation)
		return false;
	s->replicas[i].learning = false;
	return true;
}

static void remove_at(struct shard *s, uint32_t at)
{
	s->replicas_count--;
	for (uint32_t i = at; i < s->replicas_count; i++)
		s->replicas[i] = s->replicas[i + 1];
}

static bool apply_join(struct shard *s, const struct placement_move *move)
{
	uint32_t leaving = placement_index(s, move->leaving);
	uint32_t joining = s->replicas_count;
	if (joining == LIMIT_REPLICAS || placement_joining(s) < joining || leaving == joining ||
	    placement_index(s, move->node) < joining || move->node == 0 || move->incarnation == 0)
		return false;
	s->replicas[leaving].leaving = true;
	s->replicas[s->replicas_count++] = (struct replica){.node = move->node,
							    .incarnation = move->incarnation,
							    .learning = true,
							    .joining = true};
	return true;
}

static bool apply_admit(struct shard *s, const struct placement_move *move)
{
	uint32_t i = placement_joining(s);
	if (i == s->replicas_count || !s->replicas[i].learning ||
	    s->replicas[i].incarnation != move->incarnation)
		return false;
	s->replicas[i].learning = false;
	s->lead = move->lead;
	return votes(s, move->lead);
}

/* The list's order is that of preference for lead: it keeps the place, also in that. */
static bool apply_swap(struct shard *s, const struct placement_move *move)
{
	uint32_t from = placement_joining(s);
	uint32_t to = placement_leaving(s);
	(void)move;
	if (from == s->replicas_count ||
	    (s->replicas[from].learning && !MUTATION(move_not_awaited)) ||
	    s->lead == s->replicas[to].node)
		return false;
	struct replica r = s->replicas[from];
	r.joining = false;
	r.learning = false;
	s->replicas[to] = r;
	remove_at(s, from);
	return true;
}

static bool apply_stay(struct shard *s, const struct placement_move *move)
{
	uint32_t i = placement_joining(s);
	if (i == s->replicas_count)
		return false;
	if (s->lead == s->replicas[i].node)
		s->lead = move->lead;
	s->replicas[placement_leaving(s)].leaving = false;
	remove_at(s, i);
	return s->lead == 0 || votes(s, s->lead);
}

static bool (*const moves[PLACEMENT_MOVES])(struct shard *, const struct placement_move *) = {
    [PLACEMENT_LEAD] = apply_lead,       [PLACEMENT_RENEW] = apply_renew,
    [PLACEMENT_PROMOTE] = apply_promote, [PLACEMENT_JOIN] = apply_join,
    [PLACEMENT_ADMIT] = apply_admit,     [PLACEMENT_SWAP] = apply_swap,
    [PLACEMENT_STAY] = apply_stay,
};

bool placement_apply(const struct shard *from, const struct placement_move *move,
		     struct placement *out)
{
	CHECK(move->kind < PLACEMENT_MOVES);
	placement_copy(out, from);
	if (from->epoch == UINT64_MAX || !moves[move->kind](&out->shard, move))
		return false;
	out->shard.epoch = from->epoch + 1;
	CHECK(placement_problem(&out->shard) == NULL);
	return true;
}

/* The finaliser of MurmurHash3 (Appleby), over both numbers: every bit of either changes half of
 * the result. */
static uint64_t weight(uint64_t key, uint64_t node)
{
	uint64_t h = key ^ (node * 0x9e3779b97f4a7c15u);
	for (int round = 0; round < 2; round++) {
		h ^= h >> 33;
		h *= 0xff51afd7ed558ccdu;
		h ^= h >> 33;
		h *= 0xc4ceb9fe1a85ec53u;
		h ^= h >> 33;
	}
	return h;
}

static bool heavier(uint64_t key, uint64_t a, uint64_t b)
{
	uint64_t wa = weight(key, a);
	uint64_t wb = weight(key, b);
	return wa != wb ? wa > wb : a < b;
}

void placement_rank(uint64_t key, uint64_t *nodes, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		uint64_t node = nodes[i];
		uint32_t at = i;
		for (; at > 0 && heavier(key, node, nodes[at - 1]); at--)
			nodes[at] = nodes[at - 1];
		nodes[at] = node;
	}
}

void placement_balance(uint64_t *nodes, const uint64_t *leads, uint32_t count)
{
	CHECK(count <= LIMIT_REPLICAS);
	uint64_t rotated[LIMIT_REPLICAS];
	uint32_t least = 0;
	for (uint32_t i = 1; i < count; i++)
		if (leads[i] < leads[least])
			least = i;
	for (uint32_t i = 0; i < count; i++)
		rotated[i] = nodes[(least + i) % count];
	for (uint32_t i = 0; i < count; i++)
		nodes[i] = rotated[i];
}

void placement_range(uint32_t index, uint32_t count, uint64_t *first, uint64_t *last)
{
	CHECK(index < count);
	uint64_t width = UINT64_MAX / count;
	*first = index * width;
	*last = index + 1 == count ? UINT64_MAX : (index + 1) * width - 1;
}

/* Does a take over more surely, or with less to fetch, than b? */
static bool fitter(const struct placement_candidate *a, const struct placement_candidate *b)
{
	if (a->vouching != b->vouching)
		return a->vouching;
	if (a->disk_full != b->disk_full)
		return b->disk_full;
	if (a->last.epoch != b->last.epoch)
		return a->last.epoch > b->last.epoch;
	if (a->last.number != b->last.number)
		return a->last.number > b->last.number;
	return !a->damaged && b->damaged;
}

uint64_t placement_successor(const struct shard *shard,
			     const struct placement_candidate *candidates)
{
	uint32_t best = shard->replicas_count;
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		const struct placement_candidate *it = &candidates[i];
		if (shard->replicas[i].learning || !it->alive || it->excluded)
			continue;
		if (best == shard->replicas_count || fitter(it, &candidates[best]))
			best = i;
	}
	return best == shard->replicas_count ? 0 : shard->replicas[best].node;
}

uint64_t placement_preferred(const struct shard *shard, const bool *ready)
{
	for (uint32_t i = 0; i < shard->replicas_count; i++) {
		if (!shard->replicas[i].learning && ready[i])
			return shard->replicas[i].node == shard->lead ? 0 : shard->replicas[i].node;
	}
	return 0;
}

static bool replica_equal(const struct replica *a, const struct replica *b)
{
	return a->node == b->node && a->incarnation == b->incarnation &&
	       a->learning == b->learning && a->joining == b->joining && a->leaving == b->leaving;
}

bool placement_equal(const struct shard *a, const struct shard *b)
{
	if (a->id != b->id || a->collection != b->collection || a->hash_first != b->hash_first ||
	    a->hash_last != b->hash_last || a->epoch != b->epoch || a->lead != b->lead ||
	    a->write_quorum != b->write_quorum || a->dropped != b->dropped ||
	    a->replicas_count != b->replicas_count)
		return false;
	for (uint32_t i = 0; i < a->replicas_count; i++)
		if (!replica_equal(&a->replicas[i], &b->replicas[i]))
			return false;
	return true;
}
