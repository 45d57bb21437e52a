#include "common/doc/collation.h"

#include "common/doc/value.h"
#include "proto/msgpack.h"

static int rank_of(struct slice value)
{
	static const uint8_t ranks[] = {
	    [RANK_NIL] = 0,   [RANK_BOOL] = 1, [RANK_NUMBER] = 2, [RANK_STRING] = 3,
	    [RANK_ARRAY] = 4, [RANK_MAP] = 5,  [RANK_OTHER] = 6,
	};
	return ranks[value_rank(value)];
}

/* Names stand before their values. */
static int compare_containers(struct slice a, struct slice b)
{
	struct mp_reader x = mp_reader_of(a), y = mp_reader_of(b);
	struct mp_token first = mp_read(&x), second = mp_read(&y);
	uint32_t common = first.count < second.count ? first.count : second.count;
	bool is_map = first.type == MP_MAP;
	for (uint32_t i = 0; i < common; i++) {
		struct mp_token name = {0}, other = {0};
		if (is_map) {
			name = mp_read(&x);
			other = mp_read(&y);
		}
		bool named = name.type == MP_STR && other.type == MP_STR;
		int order = named ? slice_compare(name.bytes, other.bytes) : 0;
		if (order == 0)
			order = collation_compare(mp_value(&x), mp_value(&y));
		if (order != 0)
			return order;
	}
	return first.count < second.count ? -1 : first.count > second.count;
}

int collation_compare(struct slice a, struct slice b)
{
	int x = rank_of(a), y = rank_of(b);
	if (x != y)
		return x < y ? -1 : 1;
	enum value_rank rank = value_rank(a);
	bool container = rank == RANK_ARRAY || rank == RANK_MAP;
	return container ? compare_containers(a, b) : value_compare(a, b);
}
