/* Durations that the parts promise each other, in milliseconds. */
#ifndef PARLEY_TIMING_H
#define PARLEY_TIMING_H

enum {
	HEARTBEAT_MS = 250,
	OFFLINE_MS = 1000, /* no heartbeat for so long: offline */
	LEASE_MS = 1500,   /* as the lead counts it, from sending */
	LEASE_HELD_MS =
	    1800, /* as the replica counts it, from receiving: 20 % for drifting clocks */
	LEASE_RENEW_MS = 300,
	TAKEOVER_MS = 2500,  /* a named lead that does not serve by then is replaced */
	MOVE_BACK_MS = 5000, /* the preferred lead must have been in sync for so long */
	REQUEST_DEADLINE_MS = 5000,
	RETRY_MS = 50,
	BRANCH_AFTER_MS = 1000, /* available mode: no lead for so long: take a branch */
	OUTBOX_RETRY_MS = 500,
	OPERATION_KEEP_MS = 24 * 60 * 60 * 1000
};

#endif
