/* Why a request is refused, and where. */
#include "gateway/internal.h"

static void copy_text(char *to, size_t cap, const char *from)
{
	size_t len = strlen(from);
	if (len >= cap)
		len = cap - 1;
	/* Never half a character. */
	while (len > 0 && ((uint8_t)from[len] & 0xc0) == 0x80)
		len--;
	memcpy(to, from, len);
	to[len] = 0;
}

bool problem_detail(struct problem *p, enum status status, const char *place, const char *detail)
{
	*p = (struct problem){.status = status};
	copy_text(p->place, sizeof p->place, place);
	copy_text(p->detail, sizeof p->detail, detail);
	return false;
}

bool problem_set(struct problem *p, enum status status, const char *place)
{
	return problem_detail(p, status, place, "");
}

bool problem_limit(struct problem *p, enum status status, const char *key, uint64_t limit,
		   uint64_t actual)
{
	problem_set(p, status, key);
	p->limit_key = key;
	p->limit = limit;
	p->actual = actual;
	return false;
}
