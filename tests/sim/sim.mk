# The simulated cluster: make sim [SEEDS=200] [SEED=1] [DEEP=1] [LINES=1] [MARKS=1] [FAULTS=1] [VERBOSE=1]; the last
# line counts violations. DEEP: at least a minute and 500 operations each; LINES: what each seed
# draws; MARKS: which marks of common/marks.def were reached; FAULTS: which faults met which workloads and clusters.
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

sim: $(BUILD)/parley-sim
	$< --seeds $(or $(SEEDS),200) --seed $(or $(SEED),1) \
		$(if $(DEEP),--deep) $(if $(LINES),--lines) $(if $(MARKS),--marks) $(if $(FAULTS),--faults) $(if $(VERBOSE),--verbose)

sim-mutations: $(BUILD)/parley-sim
	$< --mutations --seeds $(or $(SEEDS),2000) --seed $(or $(SEED),1)

.PHONY: sim sim-mutations
