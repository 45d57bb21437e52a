# Real daemons as hosts of their own, and everything that can go wrong. Needs root. Included by the Makefile.
#   make chaos MINUTES=n [SEED=n] [RATE=n]     RATE: writes a second, about; without it as many as there can be

MINUTES ?= 1
UNSYNCED := $(BUILD)/chaos/unsynced.so
$(UNSYNCED): tests/chaos/unsynced.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -D_GNU_SOURCE $(CWARN) -shared -fPIC -o $@ $<

chaos: all $(UNSYNCED)
	PARLEY_BUILD=$(BUILD) node --test --test-reporter=spec tests/chaos/check.test.mjs
	PARLEY_BUILD=$(BUILD) PARLEY_CHAOS_RATE=$(RATE) node tests/chaos/chaos.mjs $(MINUTES) $(SEED)
.PHONY: chaos
