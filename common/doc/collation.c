#include "common/doc/collation.h"

#include "common/doc/value.h"
#include "proto/msgpack.h"

static enum value_rank next_rank(const struct mp_reader *r)
{
	return value_rank(slice_of(r->at, (size_t)(r->end - r->at)));
}

static int rank_of(enum value_rank rank)
{
	static const uint8_t ranks[] = {
	    [RANK_NIL] = 0,   [RANK_BOOL] = 1, [RANK_NUMBER] = 2, [RANK_STRING] = 3,
	    [RANK_ARRAY] = 4, [RANK_MAP] = 5,  [RANK_OTHER] = 6,
	};
	return ranks[rank];
}

static int compare_next(struct mp_reader *x, struct mp_reader *y);

/* Names stand before their values. */
static int compare_containers(struct mp_reader *x, struct mp_reader *y)
{
	struct mp_token first = mp_read(x), second = mp_read(y);
	uint32_t common = first.count < second.count ? first.count : second.count;
	bool is_map = first.type == MP_MAP;
	for (uint32_t i = 0; i < common; i++) {
		struct mp_token name = {0}, other = {0};
		if (is_map) {
			name = mp_read(x);
			other = mp_read(y);
		}
		bool named = name.type == MP_STR && other.type == MP_STR;
		int order = named ? slice_compare(name.bytes, other.bytes) : 0;
		if (order == 0)
			order = compare_next(x, y);
		if (order != 0)
			return order;
	}
	return first.count < second.count ? -1 : first.count > second.count;
}

/* Reads as much of both as it takes to tell them apart: all, if they are equal. */
static int compare_next(struct mp_reader *x, struct mp_reader *y)
{
	enum value_rank rank = next_rank(x);
	int first = rank_of(rank), second = rank_of(next_rank(y));
	if (first != second)
		return first < second ? -1 : 1;
	if (rank == RANK_ARRAY || rank == RANK_MAP)
		return compare_containers(x, y);
	return value_compare(mp_value(x), mp_value(y));
}

int collation_compare(struct slice a, struct slice b)
{
	struct mp_reader x = mp_reader_of(a), y = mp_reader_of(b);
	return compare_next(&x, &y);
}
