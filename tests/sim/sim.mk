# The simulated cluster: make sim [SEEDS=200] [SEED=1] [JOBS=n] [DEEP=1] [LINES=1] [MARKS=1] [FAULTS=1] [VERBOSE=1];
# the last line counts violations. JOBS: processes at once, as many as there are cores; DEEP: at least
# a minute and 500 operations each; LINES: what each seed draws; MARKS: which marks of common/marks.def
# were reached; FAULTS: which faults met which workloads and clusters. RECORD=file: what the
# cores have passed is written down, and not run again; make sim-sum RECORD=file adds it up.
# The simulator's own test: make sim-mutations [SEEDS=2000] plants known bugs, which must be found.

# Its cores carry the probes of common/probe.h, which the daemons do not.
PROBED_SRC := $(COORDINATOR_SRC) $(STORAGE_SRC) $(GATEWAY_SRC) $(ARBITER_SRC)
SIM_LIBS := $(BUILD)/libsim.a $(BUILD)/libprobed.a $(BUILD)/libpure.a

$(BUILD)/probed/%.c.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -DPARLEY_PROBES -MMD -MP -c $< -o $@
$(BUILD)/libprobed.a: $(patsubst %,$(BUILD)/probed/%.o,$(PROBED_SRC))
	@rm -f $@
	ar rcs $@ $^

$(BUILD)/parley-sim: $(BUILD)/tests/sim/main.c.o $(SIM_LIBS)
	$(CXX) $(LDFLAGS) -o $@ $< $(SIM_LIBS) $(PURE_LIBS)
$(BUILD)/unit/sim_test: $(BUILD)/tests/unit/sim_test.c.o $(SIM_LIBS)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) -o $@ $< $(SIM_LIBS) $(PURE_LIBS) -lcmocka

SIM_JOBS = $(or $(JOBS),$(if $(VERBOSE),1,$(shell nproc)))
SIM_CODE := common proto coordinator storage-node gateway arbiter tests/sim
# The same code has the same name, whatever else was committed since. Of the daemons only the cores
# count: the shell is not in the simulator.
SIM_CODE_ONLY = grep -e '\.[chd]$$' -e '\.cc$$' -e '\.def$$' | grep -v -e /main.c -e common/run/ -e common/store/ -e gateway/http/
SIM_NAME = $(shell git ls-files -s $(1) | $(SIM_CODE_ONLY) | sha1sum | cut -c1-12)$(if $(shell \
	git status --porcelain $(1) | $(SIM_CODE_ONLY)),-changed)
SIM_CORES = $(call SIM_NAME,$(filter-out tests/%,$(SIM_CODE)))
SIM_SIMULATOR = $(call SIM_NAME,tests/sim)

# For long runs: optimised over all files at once, and for what some seeds of its own do.
SIM_FAST := build-fast
SIM_FAST_FLAGS := -O3 -g1 -I. -D_GNU_SOURCE -fno-pie -fno-plt -flto=auto
SIM_FAST_MAKE = $(MAKE) BUILD=$(SIM_FAST) FLAGS='$(SIM_FAST_FLAGS) $(1)' LDFLAGS='-no-pie -O3 -flto=auto $(1)' \
	$(SIM_FAST)/parley-sim
$(SIM_FAST)/trained-sim: $(shell git ls-files $(SIM_CODE) | grep '\.[chd]')
	$(if $(findstring clang,$(CC)),$(error FAST=1 is for gcc))
	rm -rf $(SIM_FAST)
	+$(call SIM_FAST_MAKE,-fprofile-generate)
	$(SIM_FAST)/parley-sim --deep --seeds 20
	find $(SIM_FAST) '(' -name '*.[oa]' -o -name parley-sim ')' -delete
	+$(call SIM_FAST_MAKE,-fprofile-use -Wno-error=missing-profile)
	mv $(SIM_FAST)/parley-sim $@

sim: $(if $(FAST),$(SIM_FAST)/trained-sim,$(BUILD)/parley-sim)
	$< --seeds $(or $(SEEDS),200) --seed $(or $(SEED),1) --jobs $(SIM_JOBS) \
		$(if $(RECORD),--record $(RECORD)$(comma)$(SIM_CORES)$(comma)$(SIM_SIMULATOR)) $(if $(DEEP),--deep) $(if $(LINES),--lines) $(if $(MARKS),--marks) \
		$(if $(FAULTS),--faults) $(if $(VERBOSE),--verbose)

# The last run of each block counts; runs.h says what is in which column.
sim-sum:
	@awk '{ block = $$1 " " $$2 " " $$3; of[block] = $$1 " " $$2; seeds[block] = $$4; bad[block] = $$6; \
			simulated[block] = $$7; cpu[block] = $$8 } \
		END { for (b in of) { k = of[b]; n[k] += seeds[b]; failed[k] += bad[b]; s[k] += simulated[b]; c[k] += cpu[b] } \
			for (k in n) printf "%s seeds=%d violations=%d simulated_seconds=%d cpu_seconds=%d\n", \
				k, n[k], failed[k], s[k], c[k] }' $(RECORD)

sim-mutations: $(BUILD)/parley-sim
	$< --mutations --seeds $(or $(SEEDS),2000) --seed $(or $(SEED),1) --jobs $(SIM_JOBS)

# A node fails at each step of cleanup, purge, resolution and split, in so many seeds each.
sim-places: $(BUILD)/unit/fault_places_test
	PLACES_SEEDS=$(or $(SEEDS),500) $<

.PHONY: sim sim-sum sim-mutations sim-places
