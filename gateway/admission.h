/* How many requests are let in at the same time.
 *
 * A cluster that is asked for more than it can do answers no faster when more wait: they only wait
 * longer, and what is answered late is often no longer wanted. So the window shrinks while answers
 * come late, and grows while it is used up and they don't. Once they come soon it also goes back to
 * where it began, used or not: what an overload left of it would refuse the first requests of a
 * moment's stall. Late is told from what answers take when all is calm, as disks and networks
 * differ; what the gateway's own turns take is left out: where it is the gateway that can't do
 * more, refusing costs as much as answering, and connections that are not read are the better
 * brake. Pure; times in ms of the core's clock. */
#ifndef PARLEY_GATEWAY_ADMISSION_H
#define PARLEY_GATEWAY_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

enum {
	ADMISSION_WINDOW_MIN =
	    256, /* so many clients that wait for their answers are never refused */
	ADMISSION_WINDOW_FIRST = 1024,
	ADMISSION_INTERVAL_MS = 100,
	ADMISSION_CALM_MS = 300000, /* how long it is remembered what answers took at best */
	ADMISSION_LATE_MIN_MS = 100,
	ADMISSION_LATE_MAX_MS = 1000,
	ADMISSION_LATE_TIMES = 4, /* as long as at best */
	ADMISSION_TURNS = 4       /* that an answer may wait for, on its ways */
};

struct admission {
	uint32_t window;
	int64_t interval_end_ms;
	uint64_t answers, took_ms; /* in this interval */
	bool full;                 /* it was reached in this interval */
	int64_t calm_end_ms;
	int64_t turn_end_ms;
	uint64_t turn_eighths_ms;         /* what turns take of late, times eight */
	uint64_t best_ms, best_before_ms; /* of this and the last time of calm; 0: none yet */
};

void admission_init(struct admission *a);
/* May one more come in, beside those under way? max: at most, whatever answers take. */
bool admission_admit(struct admission *a, uint64_t under_way, uint32_t max, int64_t now_ms);
/* A turn of the gateway has ended. */
void admission_turn(struct admission *a, int64_t now_ms);
/* One was answered after so long. */
void admission_answered(struct admission *a, int64_t took_ms, int64_t now_ms);

#endif
