/* The ZeroMQ Authentication Protocol's server side (RFC 27): decides which CURVE keys may connect.
 */
#ifndef PARLEY_RUN_ZAP_H
#define PARLEY_RUN_ZAP_H

#include <stdbool.h>
#include <stdint.h>

#include "common/run/members.h"

struct zap {
	void *socket; /* REP at inproc://zeromq.zap.01 */
	const struct members *members;
};

/* Before the first CURVE server socket of the context. False: errno of ZeroMQ. */
bool zap_open(struct zap *z, void *context, const struct members *members) MUST_CHECK;
void zap_close(struct zap *z);
/* Answers one request if there is one. Returns false if none was waiting. *refused_from gets the
 * address of a peer that was refused, else "". */
bool zap_answer(struct zap *z, char refused_from[64]);

#endif
