/* Answers that wait for feeds: to a NOTIFY, or to a request for a stream of events. Each is in the
 * list of all that wait and in its subscriber's, so that nobody's going costs the others anything.
 */
#include <stdlib.h>

#include "common/base/memory.h"
#include "gateway/notify/events.h"
#include "gateway/notify/feed.h"

/* Somebody who is answered when the feeds are open. */
struct waiter {
	struct waiter_list *in;
	struct waiter *prev, *next;
	struct waiter *own_prev, *own_next; /* of the owner */
	struct subscriber *owner;
	struct subscription *subscription; /* NULL: a request for a stream of events */
	struct buf accept;                 /* JSON */
};

/* ---- lists ---- */

static void list_leave(struct waiter *w)
{
	*(w->prev ? &w->prev->next : &w->in->first) = w->next;
	*(w->next ? &w->next->prev : &w->in->last) = w->prev;
	w->prev = w->next = NULL;
	w->in = NULL;
}

static void list_join(struct waiter_list *list, struct waiter *w)
{
	if (w->in)
		list_leave(w);
	w->in = list;
	w->prev = list->last;
	*(list->last ? &list->last->next : &list->first) = w;
	list->last = w;
}

/* NULL: the list is empty. */
static struct waiter *list_take(struct waiter_list *list)
{
	struct waiter *w = list->first;
	if (!w)
		return NULL;
	list->first = w->next;
	if (w->next)
		w->next->prev = NULL;
	else
		list->last = NULL;
	w->next = NULL;
	w->in = NULL;
	return w;
}

static void detach(struct waiter *w)
{
	if (w->in)
		list_leave(w);
	*(w->own_prev ? &w->own_prev->own_next : &w->owner->waiters) = w->own_next;
	if (w->own_next)
		w->own_next->own_prev = w->own_prev;
	w->owner->waits--;
}

static void waiter_free(struct waiter *w)
{
	buf_close(&w->accept);
	free(w);
}

void waiters_drop(struct subscriber *sub, const struct subscription *s)
{
	for (struct waiter *w = sub->waiters, *next; w; w = next) {
		next = w->own_next;
		if (s && w->subscription != s)
			continue;
		detach(w);
		waiter_free(w);
	}
}

/* ---- who can be answered ---- */

/* Many wait for the same: feeds are looked at once for all of them. */
static bool interest_ready(struct turn *t, struct interest *interest)
{
	uint64_t looks = t->gw->notify->looks;
	if (interest->looked != looks) {
		interest->looked = looks;
		interest->ready = feeds_ready(t, interest);
	}
	return interest->ready;
}

/* What a map older than the position lacks would look new; what a newer one lacks was dropped. */
static bool position_known(struct turn *t, struct subscriber *sub)
{
	sub->newest = sub->newest || resume_known(t->gw, sub) == sub->resume_count;
	return sub->newest;
}

static bool ready(struct turn *t, const struct waiter *w)
{
	if (w->subscription)
		return interest_ready(t, w->subscription->pattern->interest);
	if (w->owner->refusal != STATUS_OK)
		return true;
	if (!position_known(t, w->owner))
		return false;
	for (uint32_t i = 0; i < w->owner->count; i++)
		if (!interest_ready(t, w->owner->items[i]->pattern->interest))
			return false;
	/* once more each time: there may be new shards */
	if (w->owner->resumes && !replays_open(t, w->owner)) {
		w->owner->refusal = STATUS_OVERLOADED;
		return true;
	}
	return replays_ready(w->owner);
}

static void look(struct turn *t, struct waiter *w)
{
	if (ready(t, w))
		list_join(&t->gw->notify->due, w);
}

void waiters_look(struct turn *t, struct subscriber *sub)
{
	struct notify *n = t->gw->notify;
	n->looks++;
	for (struct waiter *w = sub->waiters; w; w = w->own_next)
		if (w->in == &n->waiting)
			look(t, w);
}

static void look_at_all(struct turn *t)
{
	struct notify *n = t->gw->notify;
	n->looks++;
	for (struct waiter *w = n->waiting.first, *next; w; w = next) {
		next = w->next;
		look(t, w);
	}
}

void notify_wait(struct turn *t, struct subscriber *sub, struct subscription *s,
		 struct slice accept)
{
	struct notify *n = t->gw->notify;
	struct waiter *w = mem_alloc_zero(sizeof *w);
	w->owner = sub;
	w->subscription = s;
	buf_append_slice(&w->accept, accept);
	w->own_next = sub->waiters;
	if (w->own_next)
		w->own_next->own_prev = w;
	sub->waiters = w;
	sub->waits++;
	list_join(&n->waiting, w);
	n->looks++;
	look(t, w); /* else an answer of its feeds has all looked at: not each newcomer */
}

/* ---- answers ---- */

void waiters_accept(struct turn *t, struct subscriber *sub, const struct subscription *s)
{
	struct waiter *w = sub->waiters; /* the newest */
	while (w && w->own_next)
		w = w->own_next;
	for (; w; w = w->own_prev)
		if (w->subscription == s)
			socket_accept(t, sub, buf_slice(&w->accept));
}

static void answer(struct turn *t, struct waiter *w)
{
	detach(w); /* what follows may end the owner */
	if (w->subscription) {
		subscription_activate(w->subscription);
		socket_accept(t, w->owner, buf_slice(&w->accept));
	} else {
		events_begin(t, w->owner);
	}
	waiter_free(w);
}

void notify_finish(struct turn *t)
{
	struct notify *n = t->gw->notify;
	if (n->costly)
		tell_costly(t);
	if (n->recheck) {
		n->recheck = false;
		look_at_all(t);
	}
	for (struct waiter *w; (w = list_take(&n->due));)
		answer(t, w);
}
