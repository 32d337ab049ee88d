# Everything that is done with this repository. Go is needed; what else a
# target needs, it installs.

GO ?= go
FUZZTIME ?= 5s
BENCH ?= .
ROUNDS ?= 5
RECORDS ?= 10000000
GOLANGCI_VERSION := v2.15.0
VERSITYGW_VERSION := v1.8.0

# The version is in the path: another version is another file.
GOLANGCI := .tools/golangci-lint-$(GOLANGCI_VERSION)/golangci-lint
VERSITYGW := .tools/versitygw-$(VERSITYGW_VERSION)/versitygw

# A virtual environment holds its own path, so another place is another one.
VENV := .tools/venv-$(shell { pwd; cat .ci/requirements.txt; } | cksum | cut -d ' ' -f 1)

TEMPLATE := cmd/ephemera-lambda/template.yaml

# Packages that have a real-tagged test, or a benchmark, as ./dir; cmd/bench is
# another module.
packages_with = $(shell grep -rlE $(1) --include='*_test.go' --exclude-dir='.?*' --exclude-dir=bench . | xargs -r -n1 dirname | sort -u)
REAL_PACKAGES = $(call packages_with,'^//go:build .*\breal\b')
BENCH_PACKAGES = $(call packages_with,'^func Benchmark')

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/ephemera
	$(GO) build -trimpath -buildvcs=false -o bin/ephemera ./cmd/ephemera

# What is set here decides which code is built; the environment shall not.
LAMBDA_BUILD = CGO_ENABLED=0 GOFLAGS= GOOS=linux GOAMD64=v1 GOARM64=v8.0 \
	$(GO) build -tags lambda.norpc -trimpath -buildvcs=false -ldflags='-s -w'

.PHONY: package
package: ## build dist/ephemera-lambda-arm64.zip and -x86_64.zip, the same bytes every time
	GOARCH=arm64 $(LAMBDA_BUILD) -o dist/arm64/bootstrap ./cmd/ephemera-lambda
	GOARCH=amd64 $(LAMBDA_BUILD) -o dist/x86_64/bootstrap ./cmd/ephemera-lambda
	$(GO) run ./cmd/package-lambda dist/arm64/bootstrap dist/ephemera-lambda-arm64.zip
	$(GO) run ./cmd/package-lambda dist/x86_64/bootstrap dist/ephemera-lambda-x86_64.zip

.PHONY: demo
demo: build ## analyse a broken network, report in out/demo, and propose rules in out/proposal
	bin/ephemera analyze --network testdata/article/config --out out/demo testdata/article/logs
	bin/ephemera rules --network testdata/article/config --out out/proposal testdata/article/logs

.PHONY: test
test: ## run the tests that need Go alone
	$(GO) test ./...

.PHONY: real
real: $(VERSITYGW) $(VENV)/ready ## run the tests against a real browser, S3, AWS interfaces and DuckDB, installing what is missing
	@.ci/need chromium chromium chromium-browser google-chrome google-chrome-stable
	EPHEMERA_MOTO=$(CURDIR)/$(VENV)/bin/moto_server EPHEMERA_VERSITYGW=$(CURDIR)/$(VERSITYGW) \
		$(GO) test -tags real -count=1 $(REAL_PACKAGES)
	@.ci/need gcc gcc
	cd cmd/bench && CGO_ENABLED=1 $(GO) test ./...

$(VENV)/ready:
	@.ci/venv $(@D) .ci/requirements.txt

$(VERSITYGW):
	@echo "building versitygw $(VERSITYGW_VERSION), an S3 server; once, some minutes"
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW_VERSION)

.PHONY: accuracy
accuracy: ## measure the inference on simulated traffic, and draw docs/calibration.svg
	$(GO) test ./analyze/accuracy -run '^TestAccuracy$$' -v -count=1 -timeout 30m -args -accuracy -plot $(CURDIR)/docs/calibration.svg

.PHONY: check
check: gofmt vet lint tidy template race fuzz ## check format, vet, lint, tidiness, template, races, and fuzz a little

.PHONY: gofmt
gofmt:
	@unformatted=$$(gofmt -s -l .) || exit; \
	if [ -n "$$unformatted" ]; then \
		echo "these files are not formatted; run make fmt:"; echo "$$unformatted"; exit 1; \
	fi

.PHONY: vet
vet:
	$(GO) vet ./...
	$(GO) vet -tags real ./...

.PHONY: lint
lint: $(GOLANGCI)
	$(GOLANGCI) run ./...

$(GOLANGCI):
	@echo "building golangci-lint $(GOLANGCI_VERSION); once, some minutes"
	GOBIN=$(CURDIR)/$(@D) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: tidy
tidy:
	$(GO) mod tidy -diff

.PHONY: template
template: $(VENV)/ready ## check the Lambda function's template, as it is and as SAM translates it
	$(VENV)/bin/cfn-lint $(TEMPLATE)
	$(VENV)/bin/python .ci/sam-translate $(TEMPLATE) >$(VENV)/template.json
	$(VENV)/bin/cfn-lint $(VENV)/template.json

.PHONY: race
race:
	@.ci/need gcc gcc
	CGO_ENABLED=1 $(GO) test -race -short -timeout 20m ./...

.PHONY: fuzz
fuzz: ## fuzz every target for FUZZTIME, 5s each
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

# Logs are written once for each number of records; another generator writes
# other logs, so its checksum is in the path.
BENCH_DATA = .tools/bench/$(RECORDS)-$(shell cat $(filter-out %_test.go,$(wildcard ingest/traffic/*.go)) | cksum | cut -d ' ' -f 1)

.PHONY: bench
bench: ## compare with DuckDB on large logs; BENCH=regexp chooses, ROUNDS=5, RECORDS=10000000
	@.ci/need gcc gcc
	$(GO) build -trimpath -buildvcs=false -o .tools/bench/bin/ ./cmd/ephemera
	cd cmd/bench && CGO_ENABLED=1 $(GO) build -trimpath -buildvcs=false -o $(CURDIR)/.tools/bench/bin/ . ./cmd/...
	.tools/bench/bin/bench -data $(BENCH_DATA) -records $(RECORDS) -rounds $(ROUNDS) -only '$(BENCH)'

.PHONY: microbench
microbench: $(VERSITYGW) ## run the benchmarks of packages; BENCH=regexp chooses
	EPHEMERA_VERSITYGW=$(CURDIR)/$(VERSITYGW) \
		$(GO) test -tags real -run '^$$' -bench '$(BENCH)' -benchmem $(BENCH_PACKAGES)

.PHONY: fmt
fmt: ## format the source
	gofmt -s -w .

.PHONY: clean
clean: ## remove bin, dist and out
	rm -rf bin dist out
