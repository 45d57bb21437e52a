# Real daemons as hosts of their own, and everything that can go wrong. Needs root. Included by the Makefile.
#   make chaos                                  what matters most, a bit over a minute; a suite of make test
#   make chaos MINUTES=n [SEED=n] [RATE=n]      RATE: writes a second, about; without it as many as there can be

PRELOADED := $(BUILD)/chaos/unsynced.so $(BUILD)/chaos/timers.so
$(PRELOADED): $(BUILD)/chaos/%.so: tests/chaos/%.c
	@mkdir -p $(@D)
	$(CC) -std=c11 -O2 -D_GNU_SOURCE $(CWARN) -shared -fPIC -o $@ $<

# Where the machine can make no hosts, tests/run finds this file, and does not count the suite as passed.
CHAOS_SKIPPED := $(BUILD)/chaos/skipped
SHORT_SEED := 20
chaos: all $(PRELOADED)
	@rm -f $(CHAOS_SKIPPED)
	PARLEY_BUILD=$(BUILD) node --test --test-reporter=spec tests/chaos/check.test.mjs
	PARLEY_BUILD=$(BUILD) PARLEY_CHAOS_RATE=$(RATE) $(if $(MINUTES),,PARLEY_SKIPPED=$(CHAOS_SKIPPED)) \
		node tests/chaos/chaos.mjs $(if $(MINUTES),$(MINUTES) $(SEED),short $(SHORT_SEED))
.PHONY: chaos
