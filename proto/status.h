/* The outcomes of status.def as C. */
#ifndef PARLEY_PROTO_STATUS_H
#define PARLEY_PROTO_STATUS_H

#include <stdbool.h>
#include <stdint.h>

enum status {
#define STATUS(name, number, http, retry, code, text) STATUS_##name = (number),
#include "proto/status.def"
#undef STATUS
};

enum status_retry { RETRY_NO = 0, RETRY_LATER = 1 };

struct status_row {
	enum status status;
	int http;
	enum status_retry retry;
	const char *name; /* as in the enum, without STATUS_ */
	const char *code;
	const char *text;
};

/* Never NULL: numbers that nobody knows (a newer peer's) read as INTERNAL. */
const struct status_row *status_row(uint64_t number);
/* 2xx */
bool status_is_success(uint64_t number);

#endif
