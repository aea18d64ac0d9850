BIN := .venv/bin
STAMP := .venv/installed
PEERS := .venv-peers/installed
MAP_PEERS := .venv-pydiffmap/installed .venv-datafold/installed

.PHONY: demo test test-slow lint fuzz faults bench bench-generators bench-peers bench-closures bench-learned \
	bench-diffusion-maps bench-adaptive bench-scaling bench-cost clean

.venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	python3 -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)
	rm -rf runs/demo
	$(BIN)/micromacro run hidden-barrier -o runs/demo
	$(BIN)/python -m benchmarks.errors runs/demo
	$(BIN)/micromacro report runs/demo

test: lint
	$(BIN)/pytest -m "not slow" -n 2 --dist loadfile --durations 12

test-slow: $(STAMP)
	$(BIN)/pytest -m slow

lint: $(STAMP)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

faults: $(STAMP)
	$(BIN)/python -m benchmarks.faults

fuzz: $(STAMP)
	$(BIN)/python -m benchmarks.fuzz --case-files 10000 --data-files 2000 --stores 1000 --seed 0

bench: $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt -e '.[bench]'
	$(BIN)/python -m benchmarks.throughput

bench-generators: $(STAMP)
	$(BIN)/python -m benchmarks.generators

bench-closures: $(STAMP)
	$(BIN)/python -m benchmarks.closures
	$(BIN)/python -m benchmarks.time_scales
	$(BIN)/python -m benchmarks.projective_integration
	$(BIN)/python -m benchmarks.fold
	$(BIN)/python -m benchmarks.micro_macro_chain

bench-adaptive: $(STAMP)
	$(BIN)/python -m benchmarks.adaptive

bench-peers: $(STAMP) $(PEERS)
	$(BIN)/python -m benchmarks.compare_peers

# PyTorch first and alone, in its build for the CPU
$(PEERS): benchmarks/peers/requirements.txt
	python3 -m venv .venv-peers
	.venv-peers/bin/pip install --quiet $(shell grep '^torch==' benchmarks/peers/requirements.txt)
	.venv-peers/bin/pip install --quiet -r benchmarks/peers/requirements.txt
	touch $@

bench-learned: $(STAMP)
	$(BIN)/python -m benchmarks.half_moon_map
	$(BIN)/python -m benchmarks.diffusion_map_convergence
	$(BIN)/python -m benchmarks.learned_coordinate_cost
	$(BIN)/python -m benchmarks.lifting

bench-diffusion-maps: $(STAMP) $(MAP_PEERS)
	$(BIN)/python -m benchmarks.diffusion_maps

bench-scaling: $(STAMP)
	$(BIN)/python -m benchmarks.scaling

bench-cost: $(STAMP)
	$(BIN)/python -m benchmarks.cost
	$(BIN)/python -m benchmarks.cost --walker-steps 1e10

# one environment each: datafold wants older numpy and scipy
.venv-%/installed: benchmarks/peers/requirements-%.txt
	python3 -m venv .venv-$*
	.venv-$*/bin/pip install --quiet -r $<
	touch $@

clean:
	rm -rf .venv .venv-* runs build dist .cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
