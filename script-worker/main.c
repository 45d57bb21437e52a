/* parley-script-worker: runs JavaScript functions for the daemon that started it, one after the
 * other, over the socket that is its standard input. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "script-worker/engine.h"
#include "script-worker/limits.h"
#include "script-worker/sandbox.h"

enum { READ_BYTES = 64 * 1024 };

/* Read by the libraries as they are loaded: the C library's allocator, so that memory can be
 * limited, and a world without time zones and languages. */
static const char *const environment[] = {"Malloc=1", "GIGACAGE_ENABLED=0", "TZ=UTC", "LC_ALL=C",
					  NULL};

static void settle_environment(char **argv)
{
	if (getenv("Malloc"))
		return;
	execve("/proc/self/exe", argv, (char *const *)environment);
	perror("parley-script-worker: execve");
	exit(EXIT_FAILURE);
}

static bool write_all(struct slice bytes)
{
	while (bytes.len > 0) {
		ssize_t put = write(STDOUT_FILENO, bytes.data, bytes.len);
		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		bytes = slice_of(bytes.data + put, bytes.len - (size_t)put);
	}
	return true;
}

/* False: this was the last. */
static bool answer(struct engine *engine, const struct script_request *request,
		   const struct buf *in, struct buf *frame)
{
	struct buf out = {0};
	limits_set(request->time_ms, request->memory_bytes, in->cap + frame->cap);
	struct script_reply reply = {.id = request->id};
	reply.status = engine_run(engine, request->source, request->arguments, &out);
	limits_lift();
	reply.value = reply.text = buf_slice(&out);
	/* what this run took is not given back: the next one would find less */
	reply.last = limits_taken_bytes() > request->memory_bytes / 2;
	buf_clear(frame);
	bool ok = script_reply_write(&reply, frame) && write_all(buf_slice(frame));
	buf_close(&out);
	return ok && !reply.last;
}

static bool serve(struct engine *engine, struct buf *in, struct buf *frame)
{
	struct slice body;
	struct script_request request;
	enum script_frame found = script_frame_next(buf_slice(in), &body);
	if (found == SCRIPT_FRAME_MORE) {
		ssize_t got = read(STDIN_FILENO, buf_reserve(in, READ_BYTES), READ_BYTES);
		in->len += got > 0 ? (size_t)got : 0;
		return got > 0 || (got < 0 && errno == EINTR);
	}
	/* one is asked at a time */
	if (found == SCRIPT_FRAME_BAD || in->len > SCRIPT_FRAME_HEAD + body.len ||
	    !script_request_read(body, &request))
		return false;
	bool more = answer(engine, &request, in, frame);
	buf_clear(in);
	return more;
}

int main(int argc, char **argv)
{
	struct buf problem = {0}, in = {0}, frame = {0};
	struct engine *engine = NULL;
	static const uint8_t nil = 0xc0;
	const struct script_reply hello = {.status = SCRIPT_OK, .value = {&nil, 1}};
	(void)argc;
	settle_environment(argv);
	if (!sandbox_begin(&problem) || !(engine = engine_new(&problem)) ||
	    !limits_open(&problem) || !sandbox_close(&problem)) {
		fprintf(stderr, "parley-script-worker: %s\n", buf_cstr(&problem));
		return EXIT_FAILURE;
	}
	bool ok = script_reply_write(&hello, &frame) && write_all(buf_slice(&frame));
	while (ok)
		ok = serve(engine, &in, &frame);
	_exit(EXIT_SUCCESS); /* the engine's own end asks for more than is allowed */
}
