#include "common/run/zap.h"

#include <stdio.h>
#include <zmq.h>

enum { ZAP_PARTS_MAX = 8, ZAP_PART_BYTES = 256, ZAP_KEY_BYTES = 32 };
enum {
	ZAP_VERSION,
	ZAP_REQUEST,
	ZAP_DOMAIN,
	ZAP_ADDRESS,
	ZAP_IDENTITY,
	ZAP_MECHANISM,
	ZAP_CREDENTIALS
};

struct zap_part {
	char data[ZAP_PART_BYTES];
	size_t len;
};

bool zap_open(struct zap *z, void *context, const struct members *members)
{
	z->members = members;
	z->socket = zmq_socket(context, ZMQ_REP);
	return z->socket && zmq_bind(z->socket, "inproc://zeromq.zap.01") == 0;
}

void zap_close(struct zap *z)
{
	if (z->socket)
		zmq_close(z->socket);
	z->socket = NULL;
}

/* Reads a whole request; parts beyond the limits are cut and the request is refused later. */
static int receive(struct zap *z, struct zap_part parts[ZAP_PARTS_MAX])
{
	int count = 0;
	int more = 1;
	size_t size = sizeof more;
	while (more) {
		struct zap_part spare;
		struct zap_part *part = count < ZAP_PARTS_MAX ? &parts[count] : &spare;
		int len = zmq_recv(z->socket, part->data, sizeof part->data, ZMQ_DONTWAIT);
		if (len < 0)
			return 0;
		part->len = (size_t)len < sizeof part->data ? (size_t)len : sizeof part->data;
		count++;
		if (zmq_getsockopt(z->socket, ZMQ_RCVMORE, &more, &size) != 0)
			return 0;
	}
	return count;
}

static const struct member_row *member_of(const struct zap *z, const struct zap_part *parts,
					  int count)
{
	char key[MEMBER_KEY_CHARS + 1];
	if (count != ZAP_CREDENTIALS + 1 || parts[ZAP_MECHANISM].len != 5 ||
	    memcmp(parts[ZAP_MECHANISM].data, "CURVE", 5) != 0 ||
	    parts[ZAP_CREDENTIALS].len != ZAP_KEY_BYTES)
		return NULL;
	if (!zmq_z85_encode(key, (const uint8_t *)parts[ZAP_CREDENTIALS].data, ZAP_KEY_BYTES))
		return NULL;
	return members_by_key(z->members, key);
}

static void send_part(struct zap *z, const void *data, size_t len, bool last)
{
	/* a REP socket that fails here has lost its asker: nothing is left to tell */
	(void)!zmq_send(z->socket, data, len, last ? 0 : ZMQ_SNDMORE);
}

bool zap_answer(struct zap *z, char refused_from[64])
{
	struct zap_part parts[ZAP_PARTS_MAX];
	int count = receive(z, parts);
	refused_from[0] = 0;
	if (count == 0)
		return false;
	const struct member_row *member = member_of(z, parts, count);
	/* the key goes along: a connection must not outlive the row that admitted it */
	char id[24 + MEMBER_KEY_CHARS] = "";
	if (member)
		snprintf(id, sizeof id, "%llu %s", (unsigned long long)member->id,
			 member->public_key);
	else
		snprintf(refused_from, 64, "%.*s",
			 count > ZAP_ADDRESS ? (int)parts[ZAP_ADDRESS].len : 0,
			 parts[ZAP_ADDRESS].data);
	if (!member && refused_from[0] == 0)
		snprintf(refused_from, 64, "unknown");
	send_part(z, "1.0", 3, false);
	send_part(z, parts[ZAP_REQUEST].data, count > ZAP_REQUEST ? parts[ZAP_REQUEST].len : 0,
		  false);
	send_part(z, member ? "200" : "400", 3, false);
	send_part(z, member ? "OK" : "unknown key", member ? 2 : 11, false);
	send_part(z, id, strlen(id), false);
	send_part(z, "", 0, true);
	return true;
}
