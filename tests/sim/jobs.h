/* Work shared out to processes: seeds do not know of each other. */
#ifndef PARLEY_SIM_JOBS_H
#define PARLEY_SIM_JOBS_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory that processes forked later share; released with jobs_unshare. */
void *jobs_shared(size_t bytes);
void jobs_unshare(void *shared, size_t bytes);

typedef void jobs_work(void *context, uint64_t number);

/* work(context, number) once for each number below count, in so many processes at once; what is to
 * be known of it afterwards belongs into shared memory. With one job it runs in this process. One
 * that a signal ends is replaced. Returns how many these were. */
uint64_t jobs_run(int jobs, uint64_t count, jobs_work *work, void *context);

#endif
