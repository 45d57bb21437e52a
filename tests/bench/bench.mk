# Benchmarks: CPU time per operation, beside bare prototypes on the same libraries where their folder is at hand.
#   LIMITS_DIR=DIR   sources of the prototypes; CONN=32 connections; D=4 seconds a run; RUNS=3, of which the median counts
LIMITS_DIR ?= $(wildcard ../shared/limits)

BENCH_LOAD := $(BUILD)/bench-load
$(BENCH_LOAD): $(BUILD)/tests/bench/load.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a -lssl -lcrypto

bench: all $(BENCH_LOAD) $(BUILD)/parley-keys
	python3 tests/bench/bench.py $(BUILD) $(LIMITS_DIR)
.PHONY: bench

# Matching alone, without a store.
BENCH_QUERY := $(BUILD)/bench-query
$(BENCH_QUERY): $(BUILD)/tests/bench/query.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a $(PURE_LIBS)

bench-query: $(BENCH_QUERY)
	$<
.PHONY: bench-query

# Idle subscribers of one gateway: its memory, and how soon an event is with a thousand of them.
#   SUBSCRIBERS=10000 MATCHING=1000 EVENTS=100; each subscriber takes one descriptor at either end
BENCH_SUBSCRIBERS := $(BUILD)/bench-subscribers
$(BENCH_SUBSCRIBERS): $(BUILD)/tests/bench/subscribers.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a -lssl -lcrypto

bench-subscribers: all $(BENCH_SUBSCRIBERS) $(BUILD)/parley-keys
	python3 tests/bench/subscribers.py $(BUILD)
.PHONY: bench-subscribers

# Twice the load that a cluster can bear: D=180 seconds of each of OPS="put get".
overload: all $(BENCH_LOAD) $(BUILD)/parley-keys
	python3 tests/bench/overload.py $(BUILD)

# How long writing waits when leads are killed (KILLS=100), a node needs that missed WRITES=100000, and whether anybody
# notices that the coordinator is down for AWAY=60 seconds.
failover: all
	PARLEY_BUILD=$(BUILD) node tests/bench/figures.mjs failover $(or $(KILLS),100)
catchup: all
	PARLEY_BUILD=$(BUILD) node tests/bench/figures.mjs catchup $(or $(WRITES),100000)
coordinator-away: all
	PARLEY_BUILD=$(BUILD) node tests/bench/figures.mjs coordinator $(or $(AWAY),60)
.PHONY: overload failover catchup coordinator-away

# CONFLICTS=10000 open conflicts of two leaves, resolved and cleaned up; one document with LEAVES=10000 leaves.
bench-conflicts: all
	PARLEY_BUILD=$(BUILD) node tests/bench/conflicts.mjs queue $(or $(CONFLICTS),10000)
bench-leaves: all
	PARLEY_BUILD=$(BUILD) node tests/bench/conflicts.mjs leaves $(or $(LEAVES),10000)
# Likewise pushed to one document, a thousand at once, while somebody else writes other documents.
bench-push: all
	PARLEY_BUILD=$(BUILD) node tests/bench/conflicts.mjs push $(or $(LEAVES),10000)
# _changes: DOCUMENTS=100000 listed, FEEDS=5000 long polls that wait; each takes one descriptor at either end.
bench-changes: all
	PARLEY_BUILD=$(BUILD) node tests/bench/changes.mjs $(or $(DOCUMENTS),100000) $(or $(FEEDS),5000)
# What PUT, GET and _bulk_docs cost in the CouchDB dialect, beside the native one.
bench-couch: all $(BENCH_LOAD) $(BUILD)/parley-keys
	python3 tests/bench/couch.py $(BUILD)
# A view of DOCUMENTS=100000 small documents.
bench-views: all
	PARLEY_BUILD=$(BUILD) node tests/bench/views.mjs $(or $(DOCUMENTS),100000)
# An attachment of MIB=1024: written and read, alone and as a part; memory of each process.
bench-attachments: all
	PARLEY_BUILD=$(BUILD) node tests/bench/attachments.mjs $(or $(MIB),1024)
.PHONY: bench-attachments bench-changes bench-couch bench-views bench-conflicts bench-leaves bench-push
