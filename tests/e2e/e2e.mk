# End to end: real processes, real keys, real disks. Included by the Makefile.

# A peer that misbehaves in every way that the bus must refuse.
ROGUE_PEER := $(BUILD)/e2e/rogue-peer
$(ROGUE_PEER): $(BUILD)/tests/e2e/rogue_peer.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a $(PURE_LIBS) -lzmq

# One file after the other: each has a cluster of its own, and some measure.
E2E ?= $(sort $(wildcard tests/e2e/*.test.mjs))
e2e: all $(ROGUE_PEER)
	PARLEY_BUILD=$(BUILD) node --test --test-reporter=spec --test-concurrency=1 $(E2E)
.PHONY: e2e
