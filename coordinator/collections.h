/* Making collections, and changing their settings. */
#ifndef PARLEY_COORDINATOR_COLLECTIONS_H
#define PARLEY_COORDINATOR_COLLECTIONS_H

#include "coordinator/internal.h"

/* Always answers. Making one that exists with the same settings is OK; zero settings agree with
 * any. With `update`, mode, policy, retain_ms and keep_ancestors are taken as given (zero is zero);
 * the rest must be zero or what it is. */
void collections_on_create(struct coordinator *c, const struct event *e, struct effects *fx);

/* 1 to 64 characters of A-Z a-z 0-9 . - and not of the system's own. */
bool collections_name_valid(struct slice name);

#endif
