#include "gateway/notify/watch.h"

#include "gateway/notify/feed.h"

void watch_begin(struct turn *t, struct watcher *w, struct request *r, request_step *woken)
{
	struct interest *interest = interest_use(t, r->collection);
	*w = (struct watcher){
	    .next = interest->watchers, .interest = interest, .request = r, .woken = woken};
	if (w->next)
		w->next->prev = w;
	interest->watchers = w;
	t->gw->notify->watchers++;
}

void watch_end(struct turn *t, struct watcher *w)
{
	if (!w->interest)
		return;
	*(w->prev ? &w->prev->next : &w->interest->watchers) = w->next;
	if (w->next)
		w->next->prev = w->prev;
	t->gw->notify->watchers--;
	interest_release(t, w->interest);
	*w = (struct watcher){0};
}

bool watch_ready(struct turn *t, const struct watcher *w)
{
	return w->interest && feeds_ready(t, w->interest);
}

bool watch_is_live(const struct gateway *gw, struct slice collection)
{
	const struct interest *interest = map_get(&gw->notify->interests, collection);
	return interest && interest->watchers;
}

uint64_t watch_told(const struct gateway *gw, uint64_t shard)
{
	const struct feed *f = feed_of_shard(gw, shard);
	return f ? f->told : 0;
}

/* One that is woken may end itself, and no other. */
void watchers_wake(struct turn *t, uint64_t collection)
{
	const struct map_collection *c = map_get_u64(&t->gw->map.collections_by_id, collection);
	const struct interest *interest =
	    c ? map_get(&t->gw->notify->interests, c->settings.name) : NULL;
	struct watcher *next;
	for (struct watcher *w = interest ? interest->watchers : NULL; w; w = next) {
		next = w->next;
		w->woken(t, w->request);
	}
}
