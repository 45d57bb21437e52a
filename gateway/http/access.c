#include "gateway/http/access.h"

#include <stdlib.h>

#include "common/base/memory.h"
#include "common/run/file.h"
#include "common/run/password_pool.h"

enum { SECRET_FILE_BYTES = 4096 };

struct http_access {
	struct daemon *daemon;
	struct password_pool *pool;
};

bool http_access_options(const struct config *c, struct couch_options *out, struct buf *problem)
{
	*out = (struct couch_options){
	    .passwords = config_bool(c, "couch_passwords"),
	    .cors_origins = config_text(c, "couch_cors_origins"),
	    .cors_methods = config_text(c, "couch_cors_methods"),
	    .cors_headers = config_text(c, "couch_cors_headers"),
	    .cors_credentials = config_bool(c, "couch_cors_credentials"),
	};
	if (out->cors_credentials && strchr(out->cors_origins, '*')) {
		buf_append_text(problem, "couch_cors_credentials needs origins that are named");
		return false;
	}
	if (out->passwords && config_text(c, "couch_secret")[0] == 0) {
		buf_append_text(problem, "couch_passwords needs couch_secret");
		return false;
	}
	return true;
}

bool http_access_secrets(struct daemon *d, struct gateway *gw, struct buf *problem)
{
	const struct config *c = daemon_config(d);
	struct buf text = {0};
	if (!config_bool(c, "couch_passwords"))
		return true;
	bool ok =
	    file_read_secret(config_text(c, "couch_secret"), SECRET_FILE_BYTES, &text, problem) &&
	    gateway_set_couch_secrets(gw, buf_slice(&text), problem);
	if (text.data)
		explicit_bzero(text.data, text.cap);
	buf_close(&text);
	return ok;
}

static void on_hash(void *context, const struct password_reply *reply)
{
	struct http_access *a = context;
	struct event event = {.kind = EVENT_PASSWORD, .password = reply};
	daemon_inject(a->daemon, &event);
}

static void on_ready(void *context)
{
	struct http_access *a = context;
	password_pool_take(a->pool, on_hash, a);
}

struct http_access *http_access_open(struct daemon *d)
{
	struct http_access *a = mem_alloc_zero(sizeof *a);
	a->daemon = d;
	a->pool = password_pool_new();
	loop_add(daemon_loop(d), password_pool_fd(a->pool), on_ready, a);
	return a;
}

void http_access_close(struct http_access *a)
{
	if (!a)
		return;
	loop_remove(daemon_loop(a->daemon), password_pool_fd(a->pool));
	password_pool_free(a->pool);
	free(a);
}

void http_access_hash(struct http_access *a, const struct password_request *request)
{
	password_pool_submit(a->pool, request);
}
