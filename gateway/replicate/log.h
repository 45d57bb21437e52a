/* Checkpoints, and the times in them. */
#ifndef PARLEY_GATEWAY_REPLICATE_LOG_H
#define PARLEY_GATEWAY_REPLICATE_LOG_H

#include "gateway/internal.h"

struct job;

/* Reads both, then calls job_pages. */
void log_read(struct turn *t, struct job *job);
/* Of a job that goes on, before a page: job_page, or job_filter_changed if its filter is another
 * function than the one that the checkpoints are named by. */
void log_check(struct turn *t, struct job *job);
/* Writes both, then calls job_next. */
void log_write(struct turn *t, struct job *job);
/* The history with this session first, as JSON. */
void log_history(const struct job *job, struct buf *out);
/* "Sat, 21 Nov 2026 17:15:35 GMT" */
void date_print(int64_t wall_ms, struct buf *out);
/* "2026-11-21T17:15:35Z" */
void time_print(int64_t wall_ms, struct buf *out);

#endif
