#include "gateway/inflate.h"

#include <stdlib.h>
#include <zlib.h>

#include "common/base/memory.h"

enum { WINDOW_GZIP = 15 + 16 /* zlib: the largest window, in a gzip header */ };

struct inflater *inflater_new(void)
{
	struct inflater *z = mem_alloc_zero(sizeof *z);
	z_stream *stream = mem_alloc_zero(sizeof *stream);
	CHECK(inflateInit2(stream, WINDOW_GZIP) == Z_OK);
	z->stream = stream;
	return z;
}

void inflater_free(struct inflater *z)
{
	if (!z)
		return;
	(void)inflateEnd(z->stream);
	free(z->stream);
	free(z);
}

bool inflater_step(struct inflater *z, struct slice *in)
{
	z_stream *stream = z->stream;
	if (z->ended)
		return in->len == 0;
	stream->next_in = (Bytef *)(uintptr_t)in->data;
	stream->avail_in = in->len < UINT32_MAX ? (uInt)in->len : UINT32_MAX;
	stream->next_out = z->plain;
	stream->avail_out = INFLATE_BYTES;
	size_t given = stream->avail_in;
	int result = inflate(stream, Z_NO_FLUSH);
	size_t used = given - stream->avail_in;
	*in = slice_of(in->data + used, in->len - used);
	z->at = 0;
	z->len = INFLATE_BYTES - stream->avail_out;
	z->ended = result == Z_STREAM_END;
	z->more = !z->ended && stream->avail_out == 0;
	return z->ended ? in->len == 0 : result == Z_OK || result == Z_BUF_ERROR;
}
