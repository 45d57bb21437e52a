/* Any bytes as what libzmq asks of the ZAP handler about a peer that connects. Input: parts, each a
 * byte for its length, then its bytes; a length of 255 means a part longer than any is read. Every
 * request is answered, with the six parts of RFC 27, and let in is only who has a member's key. */
#include <stdlib.h>
#include <zmq.h>

#include "common/run/zap.h"

enum { PARTS_MAX = 12, ANSWER_PARTS = 6, LONG = 255, LONG_BYTES = 600, TRIES = 1000 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The key of the only member: 32 bytes "k". */
static struct member_row member = {
    .id = 7, .name = "a", .role = ROLE_STORAGE, .address = "tcp://127.0.0.1:1"};
static const struct members members = {.cluster = 1, .rows = &member, .count = 1};

struct part {
	uint8_t bytes[LONG_BYTES];
	size_t len;
};

static uint32_t take_parts(const uint8_t *data, size_t size, struct part parts[PARTS_MAX])
{
	uint32_t count = 0;
	while (size > 0 && count < PARTS_MAX) {
		struct part *p = &parts[count++];
		size_t len = data[0] < size - 1 ? data[0] : size - 1;
		memset(p->bytes, 'x', sizeof p->bytes);
		memcpy(p->bytes, data + 1, len);
		p->len = data[0] == LONG ? sizeof p->bytes : len;
		data += 1 + len;
		size -= 1 + len;
	}
	return count;
}

static bool is_member(const struct part *parts, uint32_t count)
{
	uint8_t key[32];
	memset(key, 'k', sizeof key);
	return count == 7 && parts[5].len == 5 && memcmp(parts[5].bytes, "CURVE", 5) == 0 &&
	       parts[6].len == sizeof key && memcmp(parts[6].bytes, key, sizeof key) == 0;
}

static void check_answer(void *asker, const struct part *parts, uint32_t count)
{
	struct part answer[ANSWER_PARTS];
	int more = 1;
	size_t size = sizeof more;
	for (int i = 0; i < ANSWER_PARTS; i++) {
		CHECK(more);
		int len = zmq_recv(asker, answer[i].bytes, sizeof answer[i].bytes, 0);
		CHECK(len >= 0 && len <= (int)sizeof answer[i].bytes);
		answer[i].len = (size_t)len;
		CHECK(zmq_getsockopt(asker, ZMQ_RCVMORE, &more, &size) == 0);
	}
	CHECK(!more);
	CHECK(answer[0].len == 3 && memcmp(answer[0].bytes, "1.0", 3) == 0);
	if (count > 1 && parts[1].len <= 256)
		CHECK(answer[1].len == parts[1].len &&
		      memcmp(answer[1].bytes, parts[1].bytes, parts[1].len) == 0);
	bool in = memcmp(answer[2].bytes, "200", 3) == 0;
	CHECK(answer[2].len == 3 && in == is_member(parts, count));
	CHECK((answer[4].len > 0) == in);
}

static void ask(struct zap *zap, void *asker, const struct part *parts, uint32_t count)
{
	char refused[64];
	bool answered = false;
	for (uint32_t i = 0; i < count; i++)
		CHECK(zmq_send(asker, parts[i].bytes, parts[i].len,
			       i + 1 < count ? ZMQ_SNDMORE : 0) >= 0);
	for (int i = 0; i < TRIES && !answered; i++)
		answered = zap_answer(zap, refused);
	CHECK(answered && strlen(refused) < sizeof refused);
	CHECK((refused[0] == 0) == is_member(parts, count));
	check_answer(asker, parts, count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct zap zap;
	static void *asker;
	static struct part parts[PARTS_MAX];
	if (!asker) {
		uint8_t key[32];
		void *context = zmq_ctx_new();
		memset(key, 'k', sizeof key);
		CHECK(zmq_z85_encode(member.public_key, key, sizeof key) != NULL);
		CHECK(zap_open(&zap, context, &members));
		asker = zmq_socket(context, ZMQ_REQ);
		CHECK(asker && zmq_connect(asker, "inproc://zeromq.zap.01") == 0);
	}
	uint32_t count = take_parts(data, size, parts);
	if (count > 0)
		ask(&zap, asker, parts, count);
	return 0;
}
