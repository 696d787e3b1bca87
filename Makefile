# Spillway needs Go, make, git and a C compiler to be built and tested; everything else
# is pinned in internal/tools and test/lab and built from source. Start with "make demo".

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules

# One way of compiling for everything, so that builds, tests and linters share a cache.
export CGO_ENABLED ?= 0
export GOFLAGS ?= -trimpath

VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.1.0-dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
GOARCH ?= $(shell go env GOARCH)
IMAGE ?= spillway:$(VERSION)

module := github.com/spillway-project/spillway
ldflags := -s -w -X $(module)/internal/version.version=$(VERSION) -X $(module)/internal/version.commit=$(COMMIT)
# Modules beside the root one: what they need must stay out of the product's go.mod.
nested_modules := internal/tools internal/tools/lint test/lab/controlplane test/lab/nodes

tool := go tool -modfile=internal/tools/go.mod
golangci_lint := bin/tools/golangci-lint
helm := bin/tools/helm

# Packages whose tests start clusters.
cluster_pattern := /test/(lab|e2e|sidecar|virtual)(/|$$)
# What to test: packages, and how long one package may take.
unit_packages := ./api/... ./cmd/... ./internal/... ./webhooks/... ./test/arch/... ./test/chart/... ./test/docs/... ./test/simulation/...
TEST_TIMEOUT ?= 30m
# TEST_FLAGS is for more flags of go test, such as TEST_FLAGS="-run TestX -v".
TEST_FLAGS ?=
FUZZ_TIME ?= 20s
# Schedules of the ledger's simulation that "make fuzz" runs, from which seed on; "make test" runs those
# from 1 to 100000.
SIM_SCHEDULES ?= 10000000
SIM_FIRST ?= 1000000
# Pods that "make fuzz" sends up to a virtual node and down again, made from a seed; "make test" does 20000.
ROUND_TRIPS ?= 1000000
ROUND_TRIP_SEED ?= 1
BENCH_COUNT ?= 6
# Not cached: the tests of the chart and of the architecture read files that go test does not see.
gotestsum := $(tool) gotestsum --format pkgname --hide-summary skipped -- -count=1
# On a build machine, which others may stall, a test of whole clusters that fails is run once more, by itself. It is
# named in the output all the same; more than three are no coincidence.
gotestsum_clusters := $(tool) gotestsum --format pkgname --hide-summary skipped $(if $(CI),--rerun-fails=1 --rerun-fails-max-failures=3)

##@ Start here

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} \
	  /^##@ / {printf "\n%s\n", substr($$0, 5)} \
	  /^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## See Spillway work, in a real cluster on this machine (first time: about 10 min of building; KEEP=1 leaves it running).
	go run ./test/demo

.PHONY: test
test: lab $(helm) ## Run all tests: unit, integration and end to end.
	go -C internal/tools test ./...
	@rm -f dist/e2e-figures.txt
	$(gotestsum) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $$(go list ./... | grep -vE '$(cluster_pattern)')
	@# Clusters one after the other: they are busy by themselves.
	$(gotestsum_clusters) --packages "$$(go list ./... | grep -E '$(cluster_pattern)' | tr '\n' ' ')" -- -count=1 -p 1 -timeout $(TEST_TIMEOUT) $(TEST_FLAGS)
	@cat dist/e2e-figures.txt 2>/dev/null || true

##@ Develop

.PHONY: build
build: ## Build the static binaries into bin/.
	go build -ldflags '$(ldflags)' -o bin/ ./cmd/...
	@du -h --apparent-size $(addprefix bin/,$(notdir $(wildcard cmd/*)))

.PHONY: unit
unit: $(helm) ## Run the tests that need no cluster.
	$(gotestsum) -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(call existing,$(unit_packages))

.PHONY: race
race: $(helm) ## Run the unit tests under the race detector (first time: about 7 min of building).
	CGO_ENABLED=1 $(gotestsum) -race -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) $(call existing,$(filter-out ./test/%,$(unit_packages)))

.PHONY: e2e
e2e: lab ## Run the tests that need a cluster.
	@rm -f dist/e2e-figures.txt
	$(gotestsum) -p 1 -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./test/e2e/... ./test/sidecar/... ./test/virtual/...
	@cat dist/e2e-figures.txt 2>/dev/null || true

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZ_TIME (default 20s; first time: about 5 min of building), then "make roundtrip simulate".
	@grep -rHoE --include='*_test.go' '^func Fuzz\w+' api cmd internal webhooks | sort | while IFS=: read -r file function; do \
	  echo "$${function#func } in $$(dirname "$$file")"; \
	  go test -run '^$$' -fuzz "^$${function#func }$$" -fuzztime $(FUZZ_TIME) -fuzzminimizetime 1s "./$$(dirname "$$file")"; \
	done
	@$(MAKE) --no-print-directory roundtrip simulate

.PHONY: roundtrip
roundtrip: ## Hand the constraints of ROUND_TRIPS (default a million) generated pods down and restore them, from ROUND_TRIP_SEED on.
	go test -count=1 -v -timeout 0 ./api/clusterselector -run '^TestWhatGoesUpComesDown$$' -rapid.checks=$(ROUND_TRIPS) -rapid.seed=$(ROUND_TRIP_SEED)

.PHONY: simulate
simulate: ## Run SIM_SCHEDULES (default 10 million, about 2 h) schedules of the ledger's simulation, from seed SIM_FIRST on.
	go test -count=1 -v -timeout 0 ./test/simulation -run '^TestSimulation$$' -sim.first=$(SIM_FIRST) -sim.schedules=$(SIM_SCHEDULES) -sim.progress=1m

.PHONY: bench
bench: lab $(helm) ## Measure bursts in a real cluster, with and without Spillway (BENCH_SIZES=1000,5000, BENCH_ROUNDS=3; about 25 min).
	go run ./test/bench

.PHONY: gobench
gobench: ## Run the Go benchmarks BENCH_COUNT times (default 6) into dist/bench.txt; BASE=FILE compares with an earlier run.
	@mkdir -p dist
	go test -run '^$$' -bench . -benchmem -count $(BENCH_COUNT) $(call existing,$(filter-out ./test/%,$(unit_packages))) | tee dist/bench.new | grep --line-buffered -E '^(pkg:|Benchmark)'
	mv dist/bench.new dist/bench.txt
	$(tool) benchstat $(BASE) dist/bench.txt

.PHONY: lint
lint: $(golangci_lint) $(helm) ## Check code and chart against the rules of this repository.
	$(golangci_lint) run --allow-parallel-runners ./...
	@# test/lab/controlplane is one file, and vetting it would vet all of Kubernetes.
	for module in internal/tools test/lab/nodes; do echo "$$module:"; (cd $$module && $(CURDIR)/$(golangci_lint) run --allow-parallel-runners --config $(CURDIR)/.golangci.yml ./...); done
	$(helm) lint --strict --quiet charts/spillway
	$(tool) helm-tool lint -i charts/spillway/values.yaml -d charts/spillway/templates -e charts/spillway/values.linter.exceptions

.PHONY: fmt
fmt: $(golangci_lint) ## Format the code.
	$(golangci_lint) fmt ./...
	cd internal/tools && $(CURDIR)/$(golangci_lint) fmt --config $(CURDIR)/.golangci.yml ./...

##@ Generated files

.PHONY: generate
generate: ## Write everything that is derived: deep copies, CRDs, permissions, chart README and schema.
	$(tool) controller-gen object paths=./api/...
	$(tool) controller-gen rbac:roleName=spillway paths=./cmd/... paths=./internal/... paths=./webhooks/... output:rbac:dir=config/rbac
	cd internal/tools && go run ./manifests -root $(CURDIR)
	mkdir -p bin
	$(tool) helm-tool schema -i charts/spillway/values.yaml | (cd internal/tools && go run ./valuesschema) > bin/values.schema.json
	mv bin/values.schema.json charts/spillway/values.schema.json
	$(tool) helm-tool inject -i charts/spillway/values.yaml -o charts/spillway/README.md \
	  --header-search '^<!-- AUTO-GENERATED -->' --footer-search '^<!-- /AUTO-GENERATED -->'

.PHONY: tidy
tidy: ## Tidy go.mod of all modules.
	for module in . $(nested_modules); do go -C $$module mod tidy; done

.PHONY: verify
verify: ## Check that generated files, formatting and modules are as make would write them.
	bash internal/tools/verify.sh

##@ Release

.PHONY: image
image: ## Build dist/spillway-image.tar for "docker load", without a container engine.
	GOOS=linux GOARCH=$(GOARCH) go build -ldflags '$(ldflags)' -o dist/linux_$(GOARCH)/spillway ./cmd/spillway
	cd internal/tools && GOARCH= go run ./imagetar -binary $(CURDIR)/dist/linux_$(GOARCH)/spillway -output $(CURDIR)/dist/spillway-image.tar \
	  -tag $(IMAGE) -arch $(GOARCH) -version $(VERSION) -revision $(COMMIT)

.PHONY: chart
chart: $(helm) ## Package the chart into dist/.
	$(helm) package charts/spillway --destination dist

.PHONY: clean
clean: ## Remove what was built, but not the lab's binaries.
	rm -rf dist bin/tools bin/spillway bin/kubectl-spillway

##@ Built on the way

.PHONY: lab
lab: ## Build the lab's cluster: API server, nodes, cert-manager, helm (first time: about 10 min).
	go run ./test/lab/cmd/lab build

# Built like the lab's own, from the same module, so that it is compiled once.
$(helm): test/lab/nodes/go.mod
	@echo "building helm (first time: about 2 min)"
	@mkdir -p $(@D)
	go -C test/lab/nodes build -buildvcs=false -ldflags '-s -w' -o $(CURDIR)/$@ helm.sh/helm/v4/cmd/helm

$(golangci_lint): internal/tools/lint/go.mod
	@echo "building golangci-lint (first time: about 3 min)"
	@mkdir -p $(@D)
	go -C internal/tools/lint build -ldflags '-s -w' -o $(CURDIR)/$@ sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter

# Those of the given package patterns whose folder is there.
existing = $(foreach pattern,$(1),$(if $(wildcard $(pattern:/...=)),$(pattern)))
