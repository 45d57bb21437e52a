#include "common/quorum.h"

#include <stddef.h>

bool quorum_has(const struct replica *r, enum quorum_set set)
{
	return set == QUORUM_OLD ? !r->joining : !r->leaving;
}

uint32_t quorum_places(const struct shard *s)
{
	uint32_t places = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++)
		places += !s->replicas[i].joining;
	return places;
}

bool quorum_joint(const struct shard *s)
{
	for (uint32_t i = 0; i < s->replicas_count; i++)
		if (s->replicas[i].joining && !s->replicas[i].learning)
			return true;
	return false;
}

enum quorum_set quorum_last(const struct shard *s)
{
	return quorum_joint(s) ? QUORUM_NEW : QUORUM_OLD;
}

uint32_t quorum_takeover(const struct shard *s)
{
	return quorum_places(s) - (uint32_t)s->write_quorum + 1;
}

static uint32_t count(const struct shard *s, const bool *here, enum quorum_set set)
{
	uint32_t sum = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++)
		sum += here[i] && quorum_has(&s->replicas[i], set);
	return sum;
}

bool quorum_reached(const struct shard *s, const bool *here, uint32_t needed)
{
	return count(s, here, QUORUM_OLD) >= needed &&
	       (!quorum_joint(s) || count(s, here, QUORUM_NEW) >= needed);
}

const char *quorum_problem(const struct shard *s)
{
	uint32_t joining = 0;
	uint32_t leaving = 0;
	for (uint32_t i = 0; i < s->replicas_count; i++) {
		joining += s->replicas[i].joining;
		leaving += s->replicas[i].leaving;
		if (s->replicas[i].joining && s->replicas[i].leaving)
			return "a replica joins and leaves";
	}
	return joining > 1 || joining != leaving ? "not one that joins for one that leaves" : NULL;
}
