# End to end: real processes, real keys, real disks. Included by the Makefile.

# A peer that misbehaves in every way that the bus must refuse.
ROGUE_PEER := $(BUILD)/e2e/rogue-peer
$(ROGUE_PEER): $(BUILD)/tests/e2e/rogue_peer.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a $(PURE_LIBS) -lzmq

# Clients and checkers that only the tests need; npm writes the stamp when it has installed what the lock file says.
NPM_STAMP := tests/e2e/node_modules/.package-lock.json
$(NPM_STAMP): tests/e2e/package.json tests/e2e/package-lock.json
	cd tests/e2e && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

# One file after the other: each has a cluster of its own, and some measure.
E2E ?= $(sort $(wildcard tests/e2e/*.test.mjs))
e2e: all $(ROGUE_PEER) $(NPM_STAMP)
	PARLEY_BUILD=$(BUILD) node --test --test-reporter=spec --test-concurrency=1 $(E2E)
.PHONY: e2e
