/* Who listens where: the last report of each gateway, kept in memory while the gateway is alive. */
#ifndef PARLEY_COORDINATOR_NOTIFYS_H
#define PARLEY_COORDINATOR_NOTIFYS_H

#include "coordinator/system.h"

void notifys_on_report(struct coordinator *c, const struct event *e);
/* Rows of system.notifys: as reported, and `gateway`, its name. */
void notifys_list(struct coordinator *c, struct system_list *list);
void notifys_close(struct coordinator *c);

#endif
