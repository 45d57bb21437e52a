/* The listening socket of an API. */
#ifndef PARLEY_GATEWAY_HTTP_LISTEN_H
#define PARLEY_GATEWAY_HTTP_LISTEN_H

#include <stdint.h>

#include "common/base/buf.h"

/* Its descriptor; -1: *problem says why not. wanted 0: the kernel chooses; *port tells. */
int http_listen(const char *numeric, uint16_t wanted, uint16_t *port, struct buf *problem);

#endif
