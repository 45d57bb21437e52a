/* A peer in a process of its own, which is stopped: what is sent to it then waits here. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zmq.h>

#include <cmocka.h>

#include "common/base/memory.h"
#include "common/run/bus_zmq.h"
#include "common/run/clock.h"

enum { SENDER = 0, RECEIVER = 1, NODES = 2, DEADLINE_MS = 10000, MIB = 1024 * 1024 };

struct pair {
	struct member_row rows[NODES];
	struct members members;
	char secrets[NODES][MEMBER_KEY_CHARS + 1];
	struct logger logger;
	struct bus *bus;
	struct effects fx;
	pid_t receiver;
};

static struct bus *open_bus(struct pair *p, int i)
{
	struct buf problem = {0};
	struct bus_options options = {.members = &p->members,
				      .self = p->rows[i].id,
				      .secret_key = p->secrets[i],
				      .logger = &p->logger,
				      .bind = true,
				      .bind_to = "tcp://127.0.0.1:*"};
	struct bus *b = bus_new(&options, &problem);
	if (!b)
		fail_msg("bus_new: %s", buf_cstr(&problem));
	return b;
}

static void ignore(void *context, struct event *event)
{
	(void)context;
	(void)event;
}

/* Says where it listens, and then only reads. */
static void receive_for_ever(struct pair *p, int told)
{
	char endpoint[MEMBER_ADDRESS_BYTES] = "";
	struct bus *b = open_bus(p, RECEIVER);
	snprintf(endpoint, sizeof endpoint, "%s", bus_endpoint(b));
	if (write(told, endpoint, sizeof endpoint) != sizeof endpoint)
		_exit(EXIT_FAILURE);
	for (;;) {
		bus_receive(b, 64, INT64_MAX, ignore, NULL);
		usleep(1000);
	}
}

/* The process comes before ZeroMQ's threads, which it would lack. */
static int pair_open(void **state)
{
	struct pair *p = mem_alloc_zero(sizeof *p);
	int ends[2];
	for (int i = 0; i < NODES; i++) {
		p->rows[i].id = (uint64_t)i + 1;
		p->rows[i].role = ROLE_STORAGE;
		snprintf(p->rows[i].name, sizeof p->rows[i].name, "node-%d", i);
		assert_int_equal(zmq_curve_keypair(p->rows[i].public_key, p->secrets[i]), 0);
	}
	p->members = (struct members){.cluster = 7, .rows = p->rows, .count = NODES};
	logger_open(&p->logger, "storage", "node", LOG_LEVEL_FATAL);
	assert_int_equal(pipe(ends), 0);
	p->receiver = fork();
	assert_true(p->receiver >= 0);
	if (p->receiver == 0)
		receive_for_ever(p, ends[1]);
	char *address = p->rows[RECEIVER].address;
	assert_int_equal(read(ends[0], address, MEMBER_ADDRESS_BYTES), MEMBER_ADDRESS_BYTES);
	close(ends[0]);
	close(ends[1]);
	p->bus = open_bus(p, SENDER);
	*state = p;
	return 0;
}

static int pair_close(void **state)
{
	struct pair *p = *state;
	kill(p->receiver, SIGKILL);
	waitpid(p->receiver, NULL, 0);
	bus_free(p->bus, 0);
	effects_close(&p->fx);
	logger_close(&p->logger);
	free(p);
	return 0;
}

static void send_bytes(struct pair *p, size_t bytes)
{
	struct envelope envelope = {.type = MSG_outbox_push};
	struct msg_outbox_push push = {.shard = 1};
	uint8_t *change = mem_alloc_zero(bytes);
	push.change = slice_of(change, bytes);
	effects_clear(&p->fx);
	fx_send(&p->fx, WHEN_NOW, p->rows[RECEIVER].id, 0, &envelope, &push);
	assert_true(bus_send(p->bus, &p->fx.items[0]));
	bus_flush(p->bus);
	free(change);
}

static void look_until_connected(struct pair *p, uint32_t connected)
{
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	while (bus_connected(p->bus) != connected && clock_boot_ms() < end_ms) {
		bus_receive(p->bus, 64, INT64_MAX, ignore, NULL);
		usleep(1000);
	}
	assert_int_equal(bus_connected(p->bus), connected);
}

/* The bound of frames alone would let 16 GiB of these wait. */
static void what_a_stopped_peer_does_not_take_is_bounded(void **state)
{
	struct pair *p = *state;
	const struct bus_counters *out = bus_counters(p->bus);
	enum { FRAME_BYTES = 16 * MIB, ROOM = BUS_QUEUE_BYTES / FRAME_BYTES };
	send_bytes(p, 1);
	look_until_connected(p, 1);
	kill(p->receiver, SIGSTOP);
	for (int i = 0; i < 2 * ROOM; i++)
		send_bytes(p, FRAME_BYTES);
	/* some of it lies in the network */
	assert_in_range(out->dropped[DROPPED_FULL], ROOM - 4, ROOM + 1);
	/* what is short is not kept from it by what is long */
	uint64_t dropped = out->dropped[DROPPED_FULL];
	send_bytes(p, 1);
	assert_int_equal(out->dropped[DROPPED_FULL], dropped);
	/* it has gone: there is room for the next one */
	kill(p->receiver, SIGCONT);
	int64_t end_ms = clock_boot_ms() + DEADLINE_MS;
	do {
		dropped = out->dropped[DROPPED_FULL];
		bus_receive(p->bus, 64, INT64_MAX, ignore, NULL);
		usleep(1000);
		send_bytes(p, FRAME_BYTES);
	} while (out->dropped[DROPPED_FULL] > dropped && clock_boot_ms() < end_ms);
	assert_int_equal(out->dropped[DROPPED_FULL], dropped);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(what_a_stopped_peer_does_not_take_is_bounded, pair_open,
					    pair_close),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
