/* Bodies coded with gzip, as some clients send all of theirs. */
#include "gateway/couch/couch.h"
#include "gateway/couch/multipart.h"
#include "gateway/inflate.h"
#include "gateway/multipart.h"
#include "gateway/routes.h"

/* Who logs in is nobody yet: what comes of his few bytes is little, too. */
static uint64_t most_of(const struct turn *t, const struct request *r)
{
	bool login = strcmp(r->route->pattern, "/_session") == 0;
	return login ? INFLATE_BYTES : t->gw->options.limits.request_bytes_max;
}

static bool inflate_all(struct slice in, uint64_t most, struct buf *out, struct problem *p)
{
	struct inflater *z = inflater_new();
	bool fine = true;
	while (fine && !z->ended && out->len <= most) {
		/* what ends too early gives nothing more */
		fine = (in.len > 0 || z->more) && inflater_step(z, &in);
		if (fine)
			buf_append(out, z->plain, z->len);
	}
	inflater_free(z);
	if (!fine)
		return couch_problem(p, COUCH_BAD_GZIP, "");
	return out->len <= most ||
	       problem_limit(p, STATUS_BODY_TOO_LARGE, "max_request_bytes", most, out->len);
}

static bool is_empty(const struct request *r)
{
	return r->http->body.len == 0 && !r->http->in_pieces;
}

bool couch_body_decode(struct turn *t, struct request *r, struct problem *p)
{
	struct slice coding = request_header(r, "content-encoding");
	struct buf out = {0};
	/* it is decoded as it comes in (op_attachment.c) */
	bool attachment = r->route->handler == couch_attachment_write;
	if (coding.len == 0 || is_empty(r) || attachment || header_type_is(coding, "identity"))
		return true;
	if (!header_type_is(coding, "gzip") || couch_multipart_sent(r))
		return couch_problem(p, COUCH_BAD_CODING, "");
	bool fine = inflate_all(r->http->body, most_of(t, r), &out, p) &&
		    (request_body_replace(t->gw, r, buf_slice(&out)) ||
		     problem_set(p, STATUS_OVERLOADED, ""));
	buf_close(&out);
	return fine;
}
