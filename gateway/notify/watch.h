/* Requests that wait for changes of a collection, and ask for them themselves: feeds only wake
 * them. */
#ifndef PARLEY_GATEWAY_NOTIFY_WATCH_H
#define PARLEY_GATEWAY_NOTIFY_WATCH_H

#include "gateway/internal.h"

struct interest;

/* Kept by its request. Zero-initialised: it does not watch. */
struct watcher {
	struct watcher *prev, *next;
	struct interest *interest; /* NULL: none */
	struct request *request;
	request_step *woken;
};

/* woken is called when something has changed, may have, or the feeds are open. */
void watch_begin(struct turn *t, struct watcher *w, struct request *r, request_step *woken);
void watch_end(struct turn *t, struct watcher *w);
/* All feeds have a position: no change after that goes unseen. */
bool watch_ready(struct turn *t, const struct watcher *w);
/* Is somebody else watching, so that joining costs nothing? */
bool watch_is_live(const struct gateway *gw, struct slice collection);
/* Greatest number of a change of the shard that its feed has told of; 0: of none. */
uint64_t watch_told(const struct gateway *gw, uint64_t shard);

#endif
