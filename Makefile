# The course's targets. `make` alone lists them.

# The first Python of these versions: for others, some of the servers have no wheels.
VERSIONS := 3.11 3.12 3.13
USABLE   := import ensurepip, sys; sys.exit("%d.%d" % sys.version_info[:2] not in "$(VERSIONS)".split())
PYTHON   ?= $(or $(shell for python in python3 $(VERSIONS:%=python%) python; do \
  $$python -c '$(USABLE)' 2>/dev/null && echo $$python && break; done),python3)
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check
PORT   ?= 8888
# The project's source, a student's notebook, the number of parallel gradings, other limits.
SOURCE   ?= project/07_project.ipynb
NOTEBOOK ?= notebooks/07_project.ipynb
JOBS     ?= 1
LIMITS   ?=

# If it is set, every process compiles all its imports again, which is most of its start-up time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env lab check release student grade autograders test verify by-address durations bank fresh picture lint notebooks torture bench up down status docker-up docker-down lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' Makefile

# ---- The environment: created again only if a lock has changed -------------------------------

.venv/.made:
	@python="$(PYTHON)"; found=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	case " $(VERSIONS) " in *" $${found:-none} "*) ;; *) echo \
	  "The course needs Python 3.11, 3.12 or 3.13, and $$python is $${found:-not installed}: install one of these, or name it: make PYTHON=/path/to/python3.12 lab." >&2; exit 2;; esac; \
	"$$python" -c 'import ensurepip' 2>/dev/null || { echo \
	  "$$python cannot make virtual environments: install its venv package (Debian, Ubuntu: apt-get install python$$found-venv)." >&2; exit 2; }; \
	echo "Creating the environment in .venv with Python $$found"; \
	"$$python" -m venv --clear .venv
	@touch $@

.venv/.lab: .venv/.made requirements.txt
	@echo "Installing the course and its dependencies (about a minute, once)"
	@$(PIP) --require-hashes -r requirements.txt
	@$(PIP) --no-build-isolation --no-deps --editable .
	@touch $@

.venv/.dev: .venv/.lab requirements-dev.txt
	@echo "Installing the tools that check the course"
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

env: .venv/.lab  ## create the environment in .venv

# ---- For students ---------------------------------------------------------------------------

lab: .venv/.lab  ## start the servers, seed the shop, open JupyterLab on the notebooks
	@$(BIN)/python -m helpers up
	@$(BIN)/python -m helpers seed --if-empty
	@$(BIN)/python -m helpers.cli.jupyterlab --port $(PORT)

up: .venv/.lab  ## start the servers
	@$(BIN)/python -m helpers up

down: .venv/.lab  ## stop the servers; the data stay
	@$(BIN)/python -m helpers down

status: .venv/.lab  ## show engine, version and address of every store
	@$(BIN)/python -m helpers status

check: .venv/.lab  ## show how far your project is; NOTEBOOK=file names another file
	@$(BIN)/python -m course.grading.check "$(NOTEBOOK)"

docker-up: .env  ## start genuine Citus, MongoDB and Redis with Docker; WORKERS=3 starts a third worker
	docker compose up --detach
	@# The service that registers the workers ends when it has done so.
	@test "$$(docker wait shop-register)" = 0 || { docker logs shop-register; exit 2; }
	docker compose up --detach --wait mongo redis
	$(if $(filter 3,$(WORKERS)),docker compose --profile scale-out up --detach --wait worker3)

docker-down:  ## stop them; the data stay
	docker compose --profile scale-out down

# Every clone gets new passwords; an existing .env is kept.
.env:
	@$(PYTHON) -c 'import pathlib, re, secrets; pathlib.Path(".env").touch(0o600); pathlib.Path(".env").write_text(re.sub(r"change-me", lambda _: secrets.token_urlsafe(18), pathlib.Path(".env.example").read_text()))'
	@echo "Created .env with new passwords. While it exists, the course uses the Docker servers."

clean:  ## stop the embedded servers; delete their data, the environment, all generated files
	@test ! -x $(BIN)/python || $(BIN)/python -m helpers reset --own
	rm -rf .venv .shop .pytest_cache .mypy_cache .ruff_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- For instructors ------------------------------------------------------------------------

release: .venv/.lab  ## write the students' version of the project into TO=folder
	@$(BIN)/python -m course.grading.release --source "$(SOURCE)" --to "$(or $(TO),build/release)"

student: .venv/.lab  ## write the folder that students get: lessons and project, no solutions; TO=folder
	@$(BIN)/python -m course.grading.student_copy --source "$(SOURCE)" --to "$(or $(TO),build/student)"

grade: .venv/.lab  ## grade SUBMISSIONS=folder (or zip), JOBS=n in parallel, into TO=folder
	@test -n "$(SUBMISSIONS)" || { echo "Name the folder: make grade SUBMISSIONS=folder" >&2; exit 2; }
	@$(BIN)/python -m course.grading.grade --source "$(SOURCE)" --submissions "$(SUBMISSIONS)" \
	  --to "$(or $(TO),build/grades)" --jobs $(JOBS) $(LIMITS) \
	  $(if $(ROSTER),--roster "$(ROSTER)") $(if $(ASSIGNMENT),--assignment "$(ASSIGNMENT)")

autograders: .venv/.lab  ## write autograders for Gradescope and Classroom 50 into TO=folder
	@$(BIN)/python -m course.grading.autograders pack --source "$(SOURCE)" --to "$(or $(TO),build/autograders)"

# ---- For contributors -----------------------------------------------------------------------

# A run's duration is counted from here, so that it includes the environment.
STARTED := $(shell date +%s)
RUN     := $(BIN)/python -m tests.run --started $(STARTED)

test: .venv/.dev  ## after every change: style, types, quick tests, all notebooks
	@$(RUN) test

verify: .venv/.dev  ## all other tests: servers, faults, browsers, exercises, grading, by address
	@$(RUN) verify

by-address: .venv/.dev  ## the tests on servers given by address; ALL=1 runs all that can
	@$(RUN) $(if $(ALL),all-by-address,by-address)

durations: .venv/.dev  ## run all tests and record their durations, which order later runs
	@$(RUN) test --record-durations
	@$(RUN) verify --record-durations

lint: .venv/.dev  ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

notebooks: .venv/.dev  ## run every notebook and store its outputs
	@$(BIN)/python -m course.authoring.store_outputs notebooks project

bank: .venv/.dev  ## try the project's tests on correct answers and on mistakes; ALL=1 tries all tasks with each
	@$(if $(ALL),BANK_EVERYWHERE=1) $(BIN)/python -m pytest -q -n 2 --dist loadscope tests/e2e/project

torture: .venv/.dev  ## kill everything at every step, for minutes; SEED=n repeats a run
	@$(BIN)/python -m tests.e2e.torture $(if $(SEED),--seed $(SEED))

bench: .venv/.dev  ## measure and print the figures
	@$(BIN)/python -m benchmarks

fresh:  ## try the README's two commands as on a new machine, for minutes
	@$(PYTHON) -m tests.e2e.fresh

picture: .venv/.dev  ## take the README's screenshot of a notebook again
	@$(BIN)/python -m course.authoring.screenshot

lock: .venv/.dev  ## resolve the dependencies of pyproject.toml again
	@$(BIN)/python -m course.authoring.lock
