#include "gateway/admission.h"

void admission_init(struct admission *a)
{
	*a = (struct admission){.window = ADMISSION_WINDOW_FIRST};
}

static uint64_t best(const struct admission *a)
{
	if (a->best_ms == 0 || (a->best_before_ms > 0 && a->best_before_ms < a->best_ms))
		return a->best_before_ms;
	return a->best_ms;
}

static uint64_t late_ms(const struct admission *a)
{
	uint64_t late = best(a) * ADMISSION_LATE_TIMES;
	if (late < ADMISSION_LATE_MIN_MS)
		late = ADMISSION_LATE_MIN_MS;
	else if (late > ADMISSION_LATE_MAX_MS)
		late = ADMISSION_LATE_MAX_MS;
	return late + a->turn_eighths_ms / 8 * ADMISSION_TURNS;
}

void admission_turn(struct admission *a, int64_t now_ms)
{
	uint64_t took_ms = now_ms > a->turn_end_ms ? (uint64_t)(now_ms - a->turn_end_ms) : 0;
	if (a->turn_end_ms > 0)
		a->turn_eighths_ms += took_ms - a->turn_eighths_ms / 8;
	a->turn_end_ms = now_ms;
}

static void learn_best(struct admission *a, uint64_t average_ms, int64_t now_ms)
{
	if (now_ms >= a->calm_end_ms) {
		a->calm_end_ms = now_ms + ADMISSION_CALM_MS;
		a->best_before_ms = best(a);
		a->best_ms = 0;
	}
	uint64_t seen = average_ms > 0 ? average_ms : 1;
	if (a->best_ms == 0 || seen < a->best_ms)
		a->best_ms = seen;
}

static void end_interval(struct admission *a, int64_t now_ms)
{
	uint64_t average_ms = a->answers > 0 ? a->took_ms / a->answers : 0;
	if (a->answers > 0)
		learn_best(a, average_ms, now_ms);
	if (average_ms > late_ms(a))
		a->window -= a->window / 5;
	else if (a->full || (a->answers > 0 && a->window < ADMISSION_WINDOW_FIRST))
		a->window += a->window / 8;
	if (a->window < ADMISSION_WINDOW_MIN)
		a->window = ADMISSION_WINDOW_MIN;
	a->interval_end_ms = now_ms + ADMISSION_INTERVAL_MS;
	a->answers = 0;
	a->took_ms = 0;
	a->full = false;
}

bool admission_admit(struct admission *a, uint64_t under_way, uint32_t max, int64_t now_ms)
{
	if (now_ms >= a->interval_end_ms)
		end_interval(a, now_ms);
	if (a->window > max)
		a->window = max;
	if (under_way < a->window)
		return true;
	a->full = true;
	return false;
}

void admission_answered(struct admission *a, int64_t took_ms, int64_t now_ms)
{
	a->answers++;
	a->took_ms += took_ms > 0 ? (uint64_t)took_ms : 0;
	if (now_ms >= a->interval_end_ms)
		end_interval(a, now_ms);
}
