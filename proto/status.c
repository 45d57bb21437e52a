#include "proto/status.h"

#include <stddef.h>

#include "common/base/check.h"

/* Indexed by number: sparse, but small. */
static const struct status_row rows[] = {
#define STATUS(name, number, http, retry, code, text)                                              \
	[(number)] = {STATUS_##name, (http), (retry), #name, (code), (text)},
#include "proto/status.def"
#undef STATUS
};

const struct status_row *status_row(uint64_t number)
{
	if (number >= ARRAY_LEN(rows) || !rows[number].name)
		return &rows[STATUS_INTERNAL];
	return &rows[number];
}

bool status_is_success(uint64_t number)
{
	int http = status_row(number)->http;
	return http >= 200 && http < 300;
}
