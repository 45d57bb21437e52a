# Benchmarks: CPU time per operation, beside bare prototypes on the same libraries where their folder is at hand.
#   LIMITS_DIR=DIR   sources of the prototypes; CONN=32 connections; D=4 seconds a run; RUNS=3, of which the median counts
LIMITS_DIR ?= $(wildcard ../shared/limits)

BENCH_LOAD := $(BUILD)/bench-load
$(BENCH_LOAD): $(BUILD)/tests/bench/load.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a -lssl -lcrypto

bench: all $(BENCH_LOAD) $(BUILD)/parley-keys
	python3 tests/bench/bench.py $(BUILD) $(LIMITS_DIR)
.PHONY: bench

# Matching alone, without a store.
BENCH_QUERY := $(BUILD)/bench-query
$(BENCH_QUERY): $(BUILD)/tests/bench/query.c.o $(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/libpure.a $(PURE_LIBS)

bench-query: $(BENCH_QUERY)
	$<
.PHONY: bench-query
