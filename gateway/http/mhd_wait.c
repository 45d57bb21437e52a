/* Requests that wait for their answer: suspended when that takes long, resumed with it, and given
 * up when their client has gone. */
#include <poll.h>

#include "common/run/clock.h"
#include "gateway/http/mhd_private.h"

/* Resuming walks over all that are suspended, so only those are that wait long. For the others
 * libmicrohttpd asks each time it runs. */
void exchange_park(struct exchange *x)
{
	if (!x->parked)
		MHD_suspend_connection(x->connection);
	x->parked = true;
}

void exchange_unpark(struct exchange *x)
{
	x->server->answered = true;
	if (x->parked)
		MHD_resume_connection(x->connection);
	x->parked = false;
}

bool exchange_reads(const struct exchange *x)
{
	return x->pieces && !x->whole && !x->parked;
}

void exchange_answered(struct exchange *x)
{
	x->told = false;
	x->server->inflight--;
	exchange_unpark(x);
}

/* libmicrohttpd must not be stopped while a connection is suspended. */
void exchanges_refuse(struct http_server *s)
{
	for (uint32_t i = 0; i < s->slots_count; i++) {
		struct exchange *x = s->slots[i];
		if (!x->used || !x->told || !x->parked)
			continue;
		x->told = false;
		s->inflight--;
		x->refused = STATUS_DRAINING;
		s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
		exchange_unpark(x);
	}
}

bool exchange_has_left(const struct exchange *x)
{
	const union MHD_ConnectionInfo *fd =
	    MHD_get_connection_info(x->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct pollfd look = {.fd = fd->connect_fd, .events = POLLRDHUP};
	return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

/* Those that wait for longer than a moment are suspended: they are not asked after then, and have
 * no time limit. Nor does libmicrohttpd look whether their clients are still there. Who has gone
 * shall not be waited for: his locks would be nobody's. */
void exchanges_look(struct http_server *s)
{
	int64_t now_ms = clock_boot_ms();
	if (s->inflight == 0 || (!s->left && now_ms - s->looked_ms < HTTP_LOOK_MS))
		return;
	s->looked_ms = now_ms;
	s->left = false;
	for (uint32_t i = 0; i < s->slots_count; i++) {
		struct exchange *x = s->slots[i];
		if (!x->used || !x->told || (exchange_reads(x) && !x->left))
			continue;
		if (!x->parked && !x->left) {
			exchange_park(x);
		} else if (x->left || exchange_has_left(x)) {
			x->refused = STATUS_TIMED_OUT;
			s->options.callbacks.on_gone(s->options.callbacks.context, exchange_id(x));
			exchange_answered(x);
		}
	}
}
