# Parley: build, tests and the cluster in one command each.
#   make               the four daemons, in build/
#   make run           packages, build, a cluster with data in it, a conflict shown; make stop
#   make test          every suite: check unit unit-sanitized sim fuzz-smoke e2e chaos (each is a target, too)
#   make merge-deep    histories merged in pieces and at once: MERGES=n
#   make sim           the simulator: SEEDS=n SEED=first VERBOSE=1
#   make sim-mutations the simulator's own test: planted bugs must be found; make sim-places: a node fails at each step
#   make bench         CPU time per operation beside bare prototypes: LIMITS_DIR=dir
#   make overload failover catchup coordinator-away   goodput, and what faults cost; on a quiet machine
#   make chaos         a real cluster under real faults: MINUTES=n SEED=n RATE=n (root)
#   make fuzz-smoke    every fuzzer for SECONDS=n; make fuzz-hours: for HOURS=n of CPU time each
#   make docs golden   generated documents and pinned encodings, after a change to proto/
#   CC=clang CXX=clang++   another compiler
#   SAN=address,undefined  sanitizers (objects go to a folder of their own)

ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(origin CXX),default)
CXX := g++
endif
SAN ?=
comma := ,
BUILD := build$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(filter clang%,$(CC)),-clang)

WARN := -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wundef -Wvla -Wformat=2 -Wwrite-strings
CWARN := $(WARN) -Wmissing-prototypes -Wstrict-prototypes -Wold-style-definition
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
DEBUG := -g
FLAGS := -O2 $(DEBUG) -I. -D_GNU_SOURCE -fstack-protector-strong -fPIE $(SANFLAGS)
CFLAGS := -std=c11 $(FLAGS) $(CWARN)
CXXFLAGS := -std=c++17 $(FLAGS) $(WARN) -fno-exceptions
LDFLAGS := -pie $(SANFLAGS)
PURE_LIBS := -lsimdjson -lpcre2-8 -lxxhash -lcrypto -lz -lmsgpackc -licui18n -licuuc -lm -lstdc++
SHELL_LIBS := -lzmq -lrocksdb -lmicrohttpd -lwslay -lcurl-gnutls -lgnutls -lcyaml -lsystemd $(PURE_LIBS) -lpthread

# The engine of the script worker: no other program links it.
JSC_CFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags javascriptcoregtk-4.1))
JSC_LIBS = $(shell pkg-config --libs javascriptcoregtk-4.1) -lseccomp

objs = $(patsubst %,$(BUILD)/%.o,$(1))

# Pure code: no I/O, no clock; what the simulator links.
PURE_SRC := $(wildcard common/base/*.c common/doc/*.c common/doc/*.cc common/*.c) \
	$(filter-out proto/schema_doc.c,$(wildcard proto/*.c))
COORDINATOR_SRC := $(filter-out %/main.c,$(wildcard coordinator/*.c))
STORAGE_SRC := $(filter-out %/main.c,$(wildcard storage-node/*.c))
HTTP_SRC := $(wildcard gateway/http/*.c)
GATEWAY_SRC := $(filter-out %/main.c $(HTTP_SRC),$(wildcard gateway/*.c gateway/*/*.c))
ARBITER_SRC := $(filter-out %/main.c,$(wildcard arbiter/*.c))
CORE_SRC := $(PURE_SRC) $(COORDINATOR_SRC) $(STORAGE_SRC) $(GATEWAY_SRC) $(ARBITER_SRC)
# The shell: sockets, disks, timers.
RUN_SRC := $(wildcard common/run/*.c common/store/*.c)
SCRIPT_SRC := $(wildcard script-worker/*.c)
SIM_SRC := $(filter-out %/main.c,$(wildcard tests/sim/*.c))

DAEMONS := $(BUILD)/parley-coordinator $(BUILD)/parley-storage-node $(BUILD)/parley-gateway $(BUILD)/parley-arbiter
# The longest first, so that it does not run alone at the end.
UNIT_TESTS := $(BUILD)/unit/sim_test \
	$(filter-out %/sim_test,$(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(wildcard tests/unit/*_test.c))) \
	$(patsubst tests/core/%.c,$(BUILD)/core/%,$(wildcard tests/core/*_test.c))

all: $(DAEMONS) $(BUILD)/parley-script-worker

$(BUILD)/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/%.cc.o: %.cc
	@mkdir -p $(@D)
	$(CXX) $(CXXFLAGS) -MMD -MP -c $< -o $@

$(BUILD)/libpure.a: $(call objs,$(PURE_SRC))
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/libcores.a: $(call objs,$(COORDINATOR_SRC) $(STORAGE_SRC) $(GATEWAY_SRC) $(ARBITER_SRC))
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/librun.a: $(call objs,$(RUN_SRC) $(HTTP_SRC))
	@rm -f $@
	ar rcs $@ $^
$(BUILD)/libsim.a: $(call objs,$(SIM_SRC))
	@rm -f $@
	ar rcs $@ $^

LIBS := $(BUILD)/librun.a $(BUILD)/libcores.a $(BUILD)/libpure.a

$(BUILD)/parley-%: $(BUILD)/%/main.c.o $(LIBS)
	$(CXX) $(LDFLAGS) -o $@ $< $(LIBS) $(SHELL_LIBS)

$(BUILD)/script-worker/%.c.o: CFLAGS += $(JSC_CFLAGS)
$(BUILD)/parley-script-worker: $(call objs,$(SCRIPT_SRC)) $(BUILD)/libpure.a
	$(CXX) $(LDFLAGS) -o $@ $^ $(JSC_LIBS) $(PURE_LIBS)

$(BUILD)/unit/%: $(BUILD)/tests/unit/%.c.o $(BUILD)/libsim.a $(LIBS)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libsim.a $(LIBS) $(SHELL_LIBS) -lcmocka
$(BUILD)/core/%: $(BUILD)/tests/core/%.c.o $(BUILD)/libsim.a $(LIBS)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(BUILD)/libsim.a $(LIBS) $(SHELL_LIBS) -lcmocka

$(BUILD)/unit/script_pool_test: $(BUILD)/parley-script-worker

# Histories of edits, merged by one arbiter at once and by several in pieces, without a difference.
MERGES ?= 100000
merge-deep: $(BUILD)/unit/history_test
	$< $(MERGES)

# As many at once as make may run jobs; each one's output stands together. First all are built: else make would come
# back to the longest only when all others, whose objects were there when it met them, have run.
unit: $(UNIT_TESTS)
	@$(MAKE) --no-print-directory unit-runs
unit-runs: $(UNIT_TESTS:=.run)
$(UNIT_TESTS:=.run): %.run: %
	@$< >$@.log 2>&1; status=$$?; cat $@.log; exit $$status

# Documents made from the tables; tests/lint/fresh fails when they are stale.
$(BUILD)/schema-doc: $(call objs,proto/schema_doc.c proto/schema.c proto/schema_rows.c proto/msgpack.c \
	proto/status.c common/base/buf.c common/base/arena.c common/base/memory.c)
	$(CXX) $(LDFLAGS) -o $@ $^ -lmsgpackc
docs: $(BUILD)/schema-doc $(DAEMONS)
	@mkdir -p docs
	$< protocol >proto/PROTOCOL.md
	$< errors >docs/errors.md
	docs/print-configuration $(BUILD) >docs/configuration.md

# Encodings of fixed values, compared by unit tests, and the fuzzer's seeds made from them.
golden: $(BUILD)/unit/schema_golden_test
	$< --write

# The unit tests once more under AddressSanitizer and UndefinedBehaviorSanitizer, by the other compiler, from the
# objects that the fuzzers are made of: one build for both.
unit-sanitized:
	$(MAKE) $(FUZZ_FLAGS) unit

# Every suite; the packages it needs are installed first.
test: deps-test
	tests/run

help:
	@sed -n 's/^#   make/make/p' Makefile

clean:
	rm -rf build build-*

.PHONY: all help unit unit-runs merge-deep unit-sanitized test docs golden clean
.SECONDARY:

include deploy/deploy.mk
include tests/bench/bench.mk
include tests/e2e/e2e.mk
include tests/sim/sim.mk
include tests/fuzz/fuzz.mk
include tests/chaos/chaos.mk
include tests/lint/lint.mk

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
