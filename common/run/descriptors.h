/* The process's open files: that there may be enough, and that the first three are what libraries
 * take them for. */
#ifndef PARLEY_RUN_DESCRIPTORS_H
#define PARLEY_RUN_DESCRIPTORS_H

#include <stdint.h>

#include "common/run/logger.h"

/* A daemon may have been started without some of them. What it opens next would get their numbers,
 * and lines of the log would go into the store. */
void descriptors_fill_standard(void);
/* Raises the soft limit to the hard one, and warns if that is below what is wanted. */
void descriptors_want(struct logger *logger, uint64_t wanted);

#endif
