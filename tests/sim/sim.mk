# The simulated cluster: make sim [SEEDS=200] [SEED=1] [VERBOSE=1]; the last line counts violations.

sim: $(BUILD)/parley-sim
	$< --seeds $(or $(SEEDS),200) --seed $(or $(SEED),1) $(if $(VERBOSE),--verbose)

.PHONY: sim
