# Thin on purpose: a goal is an Invoke task. `make stop start` runs `inv stop start`, once and in this order, in
# .venv, which is made when a goal needs it. A goal that only stops, cleans or looks makes and downloads nothing.
#
#: make demo           what this is about, on real servers, in under a minute
#: make test           the test suite
#:
#: make start          the example in examples/shop; start-backend, start-frontend
#: make up             the same in this terminal, with the logs; Ctrl-C stops it
#: make restart        stop, then start
#: make status         one line a service
#: make show-processes every process, and why it is ours
#: make stop           all of it; stop-backend, stop-frontend
#: make force-clean    kill all of it, remove PID files and logs;
#:                     force-clean-backend, force-clean-frontend
#: make clean          remove what is stale, signal nothing
#: make venv           only the environment, .venv
#:
#: Flags follow the last goal:      make force-clean ARGS="--keep-logs"
#: Every task is a goal. All of them: .venv/bin/inv --list

VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= python3 python3.13 python3.12 python3.11 python
UV ?= uv
ARGS ?=

DOCUMENTED := start stop restart start-backend stop-backend start-frontend stop-frontend force-clean \
  force-clean-backend force-clean-frontend clean show-processes status test demo
TEARDOWN := stop stop-% force-clean force-clean-% clean show-processes status
# The goals as Invoke gets them. Completion in bash asks for one named ":".
TASKS := $(filter-out : help venv,$(MAKECMDGOALS))
# The dependency groups that they need; `test` includes `demo`, which every other task may need for the example.
GROUPS := $(if $(filter test soak,$(TASKS)),test remote,demo) $(filter benchmark,$(TASKS)) $(if $(filter lint types build,$(TASKS)),lint)
INSTALLED := $(GROUPS:%=$(VENV)/.installed-%)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv .inv .missing $(DOCUMENTED) $(TASKS)

help:
	@sed -n 's/^#: \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

venv: $(INSTALLED) ; @:

$(sort $(DOCUMENTED) $(TASKS)): .inv ; @:

# Services outlive this make: they must not inherit its job server, its flags or its arguments.
.inv: $(if $(filter-out $(TEARDOWN),$(TASKS)),$(INSTALLED))
	@unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES ARGS; \
	if [ -x $(PY) ] && [ -e $(VENV)/bin/inv ]; then exec $(PY) -m invoke $(TASKS) $(ARGS); fi; \
	if inv --list >/dev/null 2>&1; then exec inv $(TASKS) $(ARGS); fi; \
	$(left-behind)

# Without an environment nothing was started from here, unless the environment was deleted since. What would
# tell is looked for: a PID file, or (on Linux) a process in this folder that carries our marker.
define left-behind
marked=$$(grep -lsz '^DEVTASKS_ID=' /proc/[0-9]*/environ); here=$$(pwd -P); found=$$(ls .devtasks/*.pid 2>/dev/null); \
	for file in $$marked; do case "$$(readlink "$${file%/environ}/cwd")/" in "$$here"/*) found=$$file;; esac; done; \
	if [ -z "$$found" ]; then \
	  echo "No environment in $(VENV), so nothing was started from here: nothing to do."; exit 0; \
	fi; \
	echo "Services started from here may still run, but the environment that stops them is gone from $(VENV)." >&2; \
	echo "Make it again:  make venv && make $(TASKS)   (or install devtasks where inv on PATH finds it)" >&2; exit 1
endef

$(VENV)/.installed-%: $(VENV)/pyvenv.cfg pyproject.toml
	@echo "Installing devtasks and what '$*' needs into $(VENV) ..."
	@if command -v "$(UV)" >/dev/null 2>&1; then \
	  "$(UV)" pip install --quiet --python $(PY) --editable . --group $*; \
	else \
	  { $(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null; } && \
	  $(PY) -m pip install --quiet --disable-pip-version-check 'pip>=25.1' && \
	  $(PY) -m pip install --quiet --disable-pip-version-check --editable . --group $*; \
	fi
	@touch $@

# Made again when its Python went away. The first one is taken that is new enough and can make an environment:
# Debian's may lack ensurepip.
$(VENV)/pyvenv.cfg: $(shell [ -x $(PY) ] || echo .missing)
	@if command -v "$(UV)" >/dev/null 2>&1; then \
	  UV_VENV_CLEAR=1 exec "$(UV)" venv --quiet --python ">=3.11" $(VENV); \
	fi; \
	for python in $(PYTHON); do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	  if "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then exec "$$python" -m venv --clear $(VENV); fi; \
	  bare="$$bare $$python"; \
	done; \
	if [ -n "$$bare" ]; then \
	  echo "No environment can be made: ensurepip is missing from$$bare." >&2; \
	  echo "Install it:  sudo apt install python3-venv   (Debian, Ubuntu; elsewhere install uv)" >&2; \
	else \
	  echo "devtasks needs Python 3.11 or newer, and there is none among: $(PYTHON)." >&2; \
	  echo "Install one, or name it:  make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; \
	fi; \
	exit 1

pyproject.toml Makefile: ;
