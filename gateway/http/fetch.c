#include "gateway/http/fetch.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/base/map.h"
#include "common/base/memory.h"
#include "common/run/clock.h"
#include "gateway/routes.h"

enum {
	CONNECT_MS = 10000,
	WATCH_MS = 500,
	READY_MAX = 16,
	ROOM_BYTES = 256 << 10,
	PIECE_BYTES = 256 << 10, /* about */
	HEADER_BYTES_MAX = 4096
};

struct fetch {
	struct fetcher *fetcher;
	uint64_t id;
	CURL *easy;
	struct curl_slist *headers;
	struct buf body;
	uint64_t length; /* of a body that comes in pieces; of these: */
	size_t body_at;  /* so much of `body` has left */
	uint64_t left;   /* and so much of all */
	uint32_t room;   /* and so much since it was told */
	struct buf answer;
	uint64_t answer_bytes_max;
	bool too_large;
	bool in_pieces; /* the answer; of these: */
	bool piece_out; /* one was told, and the next is not asked for */
	struct buf session;
	bool refused; /* it could not be asked */
	int64_t silence_ms;
	curl_off_t moved; /* bytes, both ways, as of: */
	int64_t moved_ms;
	char error[CURL_ERROR_SIZE];
};

/* libcurl's sockets and its timer lie behind one descriptor, which is the daemon's. */
struct fetcher {
	struct fetch_options options;
	CURLM *multi;
	int epoll;
	int timer;
	int watch;          /* another timer: silence is looked for */
	struct map fetches; /* by id */
};

/* ---- libcurl's sockets and timer ---- */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *known)
{
	struct fetcher *f = context;
	struct epoll_event event = {.data = {.fd = fd}};
	(void)easy;
	if (what == CURL_POLL_REMOVE) {
		(void)epoll_ctl(f->epoll, EPOLL_CTL_DEL, fd, NULL); /* it may be closed already */
		return 0;
	}
	event.events = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
	if (epoll_ctl(f->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
		return -1;
	curl_multi_assign(f->multi, fd, f);
	return 0;
}

static int on_timer(CURLM *multi, long wait_ms, void *context)
{
	struct fetcher *f = context;
	struct itimerspec when = {0};
	(void)multi;
	if (wait_ms >= 0) {
		when.it_value.tv_sec = wait_ms / 1000;
		when.it_value.tv_nsec = wait_ms % 1000 * 1000000;
		if (wait_ms == 0)
			when.it_value.tv_nsec = 1; /* 0 would be never */
	}
	return timerfd_settime(f->timer, 0, &when, NULL);
}

/* ---- one question ---- */

static bool is_in_pieces(const struct fetch *fetch)
{
	long status = 0;
	return fetch->in_pieces &&
	       curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK &&
	       status == 200;
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
	struct fetch *fetch = context;
	size_t bytes = size * count;
	if (is_in_pieces(fetch)) {
		if (fetch->answer.len >= PIECE_BYTES)
			return CURL_WRITEFUNC_PAUSE; /* it comes again */
	} else if (bytes > fetch->answer_bytes_max - fetch->answer.len) {
		fetch->too_large = true;
		return 0; /* ends it */
	}
	buf_append(&fetch->answer, data, bytes);
	return bytes;
}

/* Waits for more when it has none. */
static size_t on_wanted(char *out, size_t size, size_t count, void *context)
{
	struct fetch *fetch = context;
	size_t bytes = fetch->body.len - fetch->body_at;
	if (fetch->left == fetch->length)
		return 0;
	if (bytes == 0)
		return CURL_READFUNC_PAUSE;
	if (bytes > size * count)
		bytes = size * count;
	memcpy(out, fetch->body.data + fetch->body_at, bytes);
	fetch->body_at += bytes;
	fetch->left += bytes;
	fetch->room += (uint32_t)bytes;
	return bytes;
}

/* Of all headers only the cookie of a session is wanted. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
	static const char wanted[] = "Set-Cookie: AuthSession=";
	static const size_t name = sizeof "Set-Cookie: " - 1;
	struct fetch *fetch = context;
	size_t bytes = size * count;
	size_t end = name;
	if (bytes < sizeof wanted - 1 || bytes > HEADER_BYTES_MAX ||
	    strncasecmp(data, wanted, sizeof wanted - 1) != 0)
		return bytes;
	while (end < bytes && data[end] > ' ' && data[end] != ';')
		end++;
	buf_clear(&fetch->session);
	if (end > sizeof wanted - 1) /* else it is taken away */
		buf_append(&fetch->session, data + name, end - name);
	return bytes;
}

static void fetch_free(struct fetch *fetch)
{
	map_remove_u64(&fetch->fetcher->fetches, fetch->id);
	if (fetch->easy) {
		curl_multi_remove_handle(fetch->fetcher->multi, fetch->easy);
		curl_easy_cleanup(fetch->easy);
	}
	curl_slist_free_all(fetch->headers);
	buf_close(&fetch->body);
	buf_close(&fetch->answer);
	buf_close(&fetch->session);
	free(fetch);
}

static bool add_header(struct fetch *fetch, struct slice name, struct slice value)
{
	struct buf line = {0};
	buf_append_slice(&line, name);
	buf_append_text(&line, ": ");
	buf_append_slice(&line, value);
	struct curl_slist *list = curl_slist_append(fetch->headers, buf_cstr(&line));
	buf_close(&line);
	if (list)
		fetch->headers = list;
	return list != NULL;
}

static bool set_headers(struct fetch *fetch, const struct http_fetch *asked)
{
	bool ok = add_header(fetch, slice_text("Accept"), slice_text("application/json"));
	if (asked->body.len > 0)
		ok = ok &&
		     add_header(fetch, slice_text("Content-Type"), slice_text("application/json"));
	if (asked->body.len > 0 || asked->length > 0)
		ok = ok && add_header(fetch, slice_text("Expect"), slice_text(""));
	for (uint32_t i = 0; ok && i < asked->headers_count; i++)
		ok = add_header(fetch, asked->headers[i].name, asked->headers[i].value);
	return ok && curl_easy_setopt(fetch->easy, CURLOPT_HTTPHEADER, fetch->headers) == CURLE_OK;
}

static bool set_tls(CURL *easy, const struct fetch_options *o, bool plain)
{
	bool ok = curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
		  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK;
	if (ok && *o->ca)
		ok = curl_easy_setopt(easy, CURLOPT_CAINFO, o->ca) == CURLE_OK;
	if (ok && *o->cert && !plain)
		ok = curl_easy_setopt(easy, CURLOPT_SSLCERT, o->cert) == CURLE_OK &&
		     curl_easy_setopt(easy, CURLOPT_SSLKEY, o->key) == CURLE_OK;
	return ok;
}

static bool set_bounds(CURL *easy, const struct http_fetch *asked)
{
	/* else the end of a question waits for the thread that looks its name up, which takes half
	 * a minute where nobody answers; so that thread goes on, and cleans up behind itself */
	return curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) ==
		   CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)asked->timeout_ms) == CURLE_OK;
}

static bool set_pieces(struct fetch *fetch, uint64_t length)
{
	CURL *easy = fetch->easy;
	fetch->length = length;
	return curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)length) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_wanted) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_READDATA, fetch) == CURLE_OK;
}

static bool set_question(struct fetch *fetch, const struct http_fetch *asked)
{
	CURL *easy = fetch->easy;
	struct buf url = {0};
	buf_append_slice(&url, asked->url);
	bool ok = curl_easy_setopt(easy, CURLOPT_URL, buf_cstr(&url)) == CURLE_OK;
	buf_close(&url);
	if (ok && asked->body.len > 0) {
		buf_append_slice(&fetch->body, asked->body);
		ok = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
				      (curl_off_t)fetch->body.len) == CURLE_OK &&
		     curl_easy_setopt(easy, CURLOPT_POSTFIELDS, fetch->body.data) == CURLE_OK;
	} else if (ok && asked->length > 0) {
		ok = set_pieces(fetch, asked->length);
	}
	return ok &&
	       curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, http_method_name(asked->method)) ==
		   CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, fetch->error) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_WRITEDATA, fetch) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_HEADERDATA, fetch) == CURLE_OK &&
	       curl_easy_setopt(easy, CURLOPT_PRIVATE, fetch) == CURLE_OK;
}

static void watch_set(const struct fetcher *f, bool on)
{
	struct itimerspec when = {0};
	if (on)
		when.it_value.tv_nsec = when.it_interval.tv_nsec = WATCH_MS * 1000000L;
	CHECK(timerfd_settime(f->watch, 0, &when, NULL) == 0);
}

void fetcher_start(struct fetcher *f, const struct http_fetch *asked)
{
	struct fetch *fetch = mem_alloc_zero(sizeof *fetch);
	fetch->fetcher = f;
	fetch->id = asked->id;
	fetch->answer_bytes_max = asked->answer_bytes_max;
	fetch->in_pieces = asked->answer_in_pieces;
	fetch->silence_ms = asked->silence_ms;
	fetch->moved_ms = clock_boot_ms();
	fetch->easy = curl_easy_init();
	if (f->fetches.count == 0)
		watch_set(f, true);
	map_put_u64(&f->fetches, fetch->id, fetch);
	fetch->refused = !fetch->easy || !set_bounds(fetch->easy, asked) ||
			 !set_tls(fetch->easy, &f->options, asked->plain) ||
			 !set_question(fetch, asked) || !set_headers(fetch, asked) ||
			 curl_multi_add_handle(f->multi, fetch->easy) != CURLM_OK;
}

void fetcher_give(struct fetcher *f, uint64_t id, struct slice bytes)
{
	struct fetch *fetch = map_get_u64(&f->fetches, id);
	if (!fetch)
		return;
	memmove(fetch->body.data, fetch->body.data + fetch->body_at,
		fetch->body.len - fetch->body_at);
	fetch->body.len -= fetch->body_at;
	fetch->body_at = 0;
	buf_append_slice(&fetch->body, bytes);
	(void)curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
}

void fetcher_more(struct fetcher *f, uint64_t id)
{
	struct fetch *fetch = map_get_u64(&f->fetches, id);
	if (!fetch)
		return;
	fetch->piece_out = false;
	(void)curl_easy_pause(fetch->easy, CURLPAUSE_CONT);
	if (fetch->answer.len > 0)
		(void)on_timer(f->multi, 0, f); /* it is told by fetcher_run */
}

void fetcher_end(struct fetcher *f, uint64_t id)
{
	struct fetch *fetch = map_get_u64(&f->fetches, id);
	if (fetch)
		fetch_free(fetch);
}

/* ---- answers ---- */

/* No patience helps. */
static bool is_nobody(CURLcode result)
{
	switch (result) {
	case CURLE_UNSUPPORTED_PROTOCOL:
	case CURLE_URL_MALFORMAT:
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_CONNECT:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
		return true;
	default:
		return false;
	}
}

static void deliver(struct fetcher *f, struct fetch *fetch, CURLcode result)
{
	long status = 0;
	if (result == CURLE_OK)
		curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &status);
	const char *error = fetch->error[0] ? fetch->error : curl_easy_strerror(result);
	struct http_fetched fetched = {
	    .id = fetch->id,
	    .status = (int)status,
	    .nobody = is_nobody(result),
	    .too_large = fetch->too_large,
	    .body = buf_slice(&fetch->answer),
	    .error = slice_text(error),
	    .session = buf_slice(&fetch->session),
	};
	f->options.fetched(f->options.context, &fetched);
	fetch_free(fetch);
}

static void deliver_all(struct fetcher *f)
{
	int left;
	for (CURLMsg *m; (m = curl_multi_info_read(f->multi, &left)) != NULL;) {
		struct fetch *fetch = NULL;
		CURLcode result = m->data.result;
		if (m->msg == CURLMSG_DONE &&
		    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&fetch) ==
			CURLE_OK &&
		    fetch)
			deliver(f, fetch, result);
	}
}

static struct fetch *with_room(const struct fetcher *f)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&f->fetches, &at)) != NULL;) {
		struct fetch *fetch = e->value;
		bool empty = fetch->room > 0 && fetch->body_at == fetch->body.len;
		if (empty || fetch->room >= ROOM_BYTES)
			return fetch;
	}
	return NULL;
}

/* What is told may begin or end others. */
static void tell_rooms(struct fetcher *f)
{
	for (struct fetch *fetch; (fetch = with_room(f)) != NULL;) {
		struct http_credit room = {.request = fetch->id, .bytes = fetch->room};
		fetch->room = 0;
		f->options.room(f->options.context, &room);
	}
}

static struct fetch *with_piece(const struct fetcher *f)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&f->fetches, &at)) != NULL;) {
		struct fetch *fetch = e->value;
		if (!fetch->piece_out && fetch->answer.len > 0 && is_in_pieces(fetch))
			return fetch;
	}
	return NULL;
}

static void tell_pieces(struct fetcher *f)
{
	for (struct fetch *fetch; (fetch = with_piece(f)) != NULL;) {
		struct buf bytes = fetch->answer;
		struct http_body piece = {.request = fetch->id, .bytes = buf_slice(&bytes)};
		fetch->answer = (struct buf){0};
		fetch->piece_out = true;
		f->options.piece(f->options.context, &piece);
		buf_close(&bytes);
	}
}

static curl_off_t moved_of(const struct fetch *fetch)
{
	curl_off_t sent = 0;
	curl_off_t got = 0;
	long head = 0;
	(void)curl_easy_getinfo(fetch->easy, CURLINFO_SIZE_UPLOAD_T, &sent);
	(void)curl_easy_getinfo(fetch->easy, CURLINFO_SIZE_DOWNLOAD_T, &got);
	(void)curl_easy_getinfo(fetch->easy, CURLINFO_HEADER_SIZE, &head);
	return sent + got + head;
}

static bool is_silent(struct fetch *fetch, int64_t now_ms)
{
	curl_off_t moved = moved_of(fetch);
	if (moved != fetch->moved)
		fetch->moved_ms = now_ms;
	fetch->moved = moved;
	return fetch->silence_ms > 0 && now_ms - fetch->moved_ms >= fetch->silence_ms;
}

/* One whose end nobody else would tell. */
static struct fetch *overdue(const struct fetcher *f)
{
	int64_t now_ms = clock_boot_ms();
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&f->fetches, &at)) != NULL;) {
		struct fetch *fetch = e->value;
		if (fetch->refused || is_silent(fetch, now_ms))
			return fetch;
	}
	return NULL;
}

static void look_for_silence(struct fetcher *f)
{
	uint64_t times;
	if (read(f->watch, &times, sizeof times) < 0)
		return; /* it is not time */
	for (struct fetch *fetch; (fetch = overdue(f)) != NULL;)
		deliver(f, fetch, fetch->refused ? CURLE_FAILED_INIT : CURLE_OPERATION_TIMEDOUT);
	if (f->fetches.count == 0)
		watch_set(f, false);
}

void fetcher_run(struct fetcher *f)
{
	struct epoll_event ready[READY_MAX];
	int running;
	int count = epoll_wait(f->epoll, ready, READY_MAX, 0);
	for (int i = 0; i < count; i++) {
		uint64_t times;
		int fd = ready[i].data.fd;
		int what =
		    (ready[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) ? CURL_CSELECT_IN : 0) |
		    (ready[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0);
		if (fd == f->timer) {
			if (read(f->timer, &times, sizeof times) < 0)
				continue; /* set anew meanwhile */
			curl_multi_socket_action(f->multi, CURL_SOCKET_TIMEOUT, 0, &running);
		} else if (fd != f->watch) {
			curl_multi_socket_action(f->multi, fd, what, &running);
		}
	}
	deliver_all(f);
	tell_rooms(f);
	tell_pieces(f);
	look_for_silence(f);
}

/* ---- life ---- */

int fetcher_fd(const struct fetcher *f)
{
	return f->epoll;
}

static int open_timer(int epoll)
{
	struct epoll_event event = {.events = EPOLLIN};
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	event.data.fd = timer;
	if (timer >= 0 && epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event) == 0)
		return timer;
	if (timer >= 0)
		close(timer);
	return -1;
}

static bool open_multi(struct fetcher *f)
{
	f->epoll = epoll_create1(EPOLL_CLOEXEC);
	f->timer = open_timer(f->epoll);
	f->watch = open_timer(f->epoll);
	f->multi = curl_multi_init();
	return f->epoll >= 0 && f->timer >= 0 && f->watch >= 0 && f->multi &&
	       curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
	       curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f) == CURLM_OK &&
	       curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timer) == CURLM_OK &&
	       curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f) == CURLM_OK &&
	       curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS,
				 (long)f->options.connections_max) == CURLM_OK;
}

struct fetcher *fetcher_new(const struct fetch_options *options, struct buf *problem)
{
	struct fetcher *f = mem_alloc_zero(sizeof *f);
	f->options = *options;
	f->epoll = f->timer = f->watch = -1;
	if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK && open_multi(f))
		return f;
	buf_append_text(problem, "libcurl can't be started");
	fetcher_free(f);
	return NULL;
}

void fetcher_free(struct fetcher *f)
{
	size_t at = 0;
	for (struct map_entry *e; (e = map_next(&f->fetches, &at)) != NULL;)
		fetch_free(e->value);
	map_close(&f->fetches);
	if (f->multi)
		curl_multi_cleanup(f->multi);
	if (f->timer >= 0)
		close(f->timer);
	if (f->watch >= 0)
		close(f->watch);
	if (f->epoll >= 0)
		close(f->epoll);
	curl_global_cleanup();
	free(f);
}
