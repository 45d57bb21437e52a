# Fuzzers: the parsers of outside bytes, and the cores among peers that say anything.
#   make fuzz-smoke [SECONDS=6] [RUNS=20000] [FUZZ_SEED=1]
#                                 each from the kept seeds until the first limit; part of make test,
#                                 so the same build always tries the same inputs
#   make fuzz-hours [HOURS=1] [NAMES="json http"] [FUZZ_CORPUS=dir] [JOBS=1]
#                                 each for so much CPU time, at the lowest priority; what it finds
#                                 and the corpus that grows lie outside the tree
#   make fuzz-merge               takes what is new in that corpus over into the kept seeds
# A fuzzer x_fuzz.c keeps its seeds in corpus/x.
FUZZ_NAMES := $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
FUZZERS := $(patsubst %,$(BUILD)/fuzz/%_fuzz,$(FUZZ_NAMES))
# What they share.
FUZZ_SRC := $(filter-out %_fuzz.c,$(wildcard tests/fuzz/*.c))
# An input that needs more memory or time is a finding.
FUZZ_LIMITS := -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=256
FUZZ_CORPUS ?= $(HOME)/.cache/parley-fuzz

$(BUILD)/fuzz/%: $(BUILD)/tests/fuzz/%.c.o $(call objs,$(FUZZ_SRC)) $(BUILD)/libsim.a $(BUILD)/libcores.a \
		$(BUILD)/libpure.a
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(BUILD)/libsim.a $(BUILD)/libcores.a \
		$(BUILD)/libpure.a $(PURE_LIBS) $(FUZZ_LIBS)
# Of the shell, what reads bytes of clients, operators and peers.
$(BUILD)/fuzz/socket_fuzz: $(BUILD)/gateway/http/ws.c.o
$(BUILD)/fuzz/socket_fuzz: FUZZ_LIBS := -lwslay -lgnutls
$(BUILD)/fuzz/config_fuzz $(BUILD)/fuzz/zap_fuzz: $(call objs,$(addprefix common/run/,config.c members.c yaml_file.c \
	file.c zap.c))
$(BUILD)/fuzz/config_fuzz $(BUILD)/fuzz/zap_fuzz: FUZZ_LIBS := -lcyaml -lzmq
$(BUILD)/fuzz/config_fuzz: $(call objs,common/store/mark.c)
$(BUILD)/fuzz/stored_fuzz: $(call objs,common/run/identity.c common/run/entropy.c)

# Everything a fuzzer links is instrumented, so it has a build directory of its own.
FUZZ_BUILD := build-fuzz
# The names of lines are enough for what sanitizers print, and a fifth less to compile.
FUZZ_FLAGS := CC=clang CXX=clang++ BUILD=$(FUZZ_BUILD) SAN=fuzzer-no-link,address,undefined DEBUG=-g1
SECONDS ?= 6
RUNS ?= 20000
FUZZ_SEED ?= 1
fuzz:
	$(MAKE) $(FUZZ_FLAGS) fuzzers
fuzzers: $(FUZZERS)
# What a run finds goes to the build directory; the kept seeds are only read.
FUZZ_SMOKES := $(FUZZ_NAMES:%=fuzz-smoke-%)
fuzz-smoke: $(FUZZ_SMOKES)
$(FUZZ_SMOKES): fuzz-smoke-%: fuzz
	@mkdir -p $(FUZZ_BUILD)/corpus/$* tests/fuzz/corpus/$*
	@$(FUZZ_BUILD)/fuzz/$*_fuzz -seed=$(FUZZ_SEED) -runs=$(RUNS) -max_total_time=$(SECONDS) \
		$(FUZZ_LIMITS) -max_len=65536 -print_final_stats=1 -verbosity=0 -artifact_prefix=$(FUZZ_BUILD)/$*- \
		$(FUZZ_BUILD)/corpus/$* tests/fuzz/corpus/$* >$(FUZZ_BUILD)/$*.log 2>&1; \
		status=$$?; cat $(FUZZ_BUILD)/$*.log; exit $$status

NAMES ?= $(FUZZ_NAMES)
HOURS ?= 1
JOBS ?= 1
fuzz-hours: fuzz
	@FUZZ_LIMITS="$(FUZZ_LIMITS)" FUZZ_BUILD=$(FUZZ_BUILD) FUZZ_CORPUS=$(FUZZ_CORPUS) HOURS=$(HOURS) JOBS=$(JOBS) \
		tests/fuzz/hours $(NAMES)
fuzz-merge: fuzz
	@FUZZ_LIMITS="$(FUZZ_LIMITS)" FUZZ_BUILD=$(FUZZ_BUILD) FUZZ_CORPUS=$(FUZZ_CORPUS) tests/fuzz/merge $(NAMES)

.PHONY: fuzz fuzzers fuzz-smoke $(FUZZ_SMOKES) fuzz-hours fuzz-merge
