/* Who listens where: the last report of each gateway, kept in memory while the gateway is alive. */
#ifndef PARLEY_COORDINATOR_NOTIFYS_H
#define PARLEY_COORDINATOR_NOTIFYS_H

#include "coordinator/internal.h"

void notifys_on_report(struct coordinator *c, const struct event *e);
/* Rows of system.notifys: as reported, and `gateway`, its name. */
void notifys_list(struct coordinator *c, struct msg_system_list_ack *ack);
void notifys_close(struct coordinator *c);

#endif
