# make demo      the main job: two processes on this machine find each other and move a folder
# make demo-away the same between two networks, each behind a router, with a relay in a third; needs root
# make check     before each commit: what lint finds in this module, and the tests with fewer random cases; 30 s if little has changed
# make test      everything that needs neither root nor other programs
# make test-net  hosts in network namespaces and real peers; needs root, and says what is missing
# make screenshot  the picture of the debugging page in docs; needs root and chromium
# make soak      make test 20 times in any order while all cores are busy, then its long rows (SDP2P_SOAK=1); half an hour or more
# make soak-net  make test-net 20 times, with its long rows (SDP2P_SOAK=1): processes that are stopped for 90 s, and bulk to a node that moves; hours
# make lint      vet, staticcheck, gofmt, import rules, cross-builds, the size of a small program
# make kill      200 rounds of killing one side of a file transfer, on each of four kinds of disk, of one that replaces
#                files, of large files, and of transfers that go on over other streams
# make fuzz      every fuzz target for FUZZTIME each
# make generate  what protogen writes: code, tests, and the tables of docs/protocol.md
# make bench-quick  a look at the measurements against peers, in two minutes; nothing is written
# make bench     benchmarks in the packages, and measurements against peers: bench/RESULTS.md; root for all of it

GO          ?= go
FUZZTIME    ?= 10s
GOCOGNIT    ?= github.com/uudashr/gocognit/cmd/gocognit@v1.2.0
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
TREE        ?= $(shell $(GO) env GOROOT)/src/net

# The race detector watches memory that goroutines share. In the arithmetic of
# field elements and of hashes nothing is shared, and to watch that was half of the
# tests' CPU: it is left alone by make test, and watched by make soak.
NORACE      ?= -gcflags=crypto/internal/fips140/edwards25519/...=-race=false -gcflags=filippo.io/edwards25519/...=-race=false -gcflags=github.com/zeebo/blake3/...=-race=false -gcflags=github.com/sdp2p/p2p/internal/dns=-race=false
# Most tests that take long wait for something: more run at a time than there are cores.
ATONCE      ?= -p 4 -parallel 8
# The packages that take longest begin first, so that none of them is left alone in the end.
FIRST       ?= ./block ./quic ./examples/notes ./internal/dnssd ./library ./examples/drop ./mdns ./cmd/sdp2p ./tunnel ./pairing ./docs
# A third of the CPU goes into the compiler and the linker, and a fifth of that into
# collecting garbage in processes that soon end. A program with the race detector
# waits for a second at its end, as do those that tests start; make soak lets it.
BRISKLY     ?= GOGC=400 GORACE=atexit_sleep_ms=50
# make lint vets what make test runs.
NOVET       ?= -vet=off
# Nobody debugs a program that is removed after its test; without a symbol table, it is
# linked in three quarters of the CPU.
NODEBUG     ?= -gcflags=-dwarf=false -ldflags=-s

.PHONY: demo demo-away check check-test lint-here test test-race test-bench test-net screenshot soak soak-net kill lint fuzz generate bench bench-quick

demo:
	$(GO) run ./examples/drop --demo "$(TREE)"

demo-away:
	SDP2P_NETTEST=1 $(GO) test -count=1 -timeout 120s -run '^TestDemoAway$$' -v ./internal/nettest

check:
	@$(MAKE) --no-print-directory -j 2 lint-here check-test

# In the order of the files, and without the race detector, so that the go command
# remembers the results of packages that have not changed.
check-test:
	$(GO) test -short $(NOVET) -timeout 300s ./...

test:
	@$(MAKE) --no-print-directory -j 2 test-race test-bench

test-race:
	$(BRISKLY) $(GO) test -race -shuffle=on $(NOVET) $(NODEBUG) $(NORACE) $(ATONCE) -timeout 600s $(FIRST) ./...

test-bench:
	cd internal/bench && $(BRISKLY) $(GO) test -short -shuffle=on $(NOVET) -timeout 600s ./...
	cd relay/redis && $(BRISKLY) $(GO) test -race -shuffle=on $(NOVET) -timeout 300s ./... # a module of its own
	cd proto/protogen && $(BRISKLY) $(GO) test -race -shuffle=on $(NOVET) -timeout 300s ./... # as well
	cd examples/grpc && $(BRISKLY) $(GO) test -race -shuffle=on $(NOVET) -timeout 300s ./... # as well

test-net:
	SDP2P_NETTEST=1 $(GO) test -count=1 -timeout 1200s -parallel 6 -v ./internal/netlab ./internal/nettest ./cmd/sdp2p
	SDP2P_NETTEST=1 $(GO) test -count=1 -timeout 120s -run '^TestReal' -v ./block
	cd debugpage/browsertest && SDP2P_NETTEST=1 $(GO) test -count=1 -timeout 300s -v . # a module of its own; needs chromium

screenshot:
	cd debugpage/browsertest && SDP2P_NETTEST=1 SDP2P_SCREENSHOT=$(CURDIR)/docs/debugpage.png $(GO) test -count=1 -timeout 300s -run '^TestScreenshot$$' .

soak:
	cd internal/bench && sh ../soak/busy.sh $(GO) test -short -count=20 -shuffle=on -timeout 2h ./...
	sh internal/soak/busy.sh $(GO) test -race $(NORACE) $(ATONCE) -count=20 -shuffle=on -timeout 4h ./...
	SDP2P_SOAK=1 $(GO) test -race -count=1 -timeout 1h ./...
	cd relay/redis && SDP2P_SOAK=1 $(GO) test -race -count=1 -timeout 10m ./...

soak-net:
	SDP2P_NETTEST=1 SDP2P_SOAK=1 $(GO) test -count=20 -timeout 6h -parallel 6 ./internal/netlab ./internal/nettest ./cmd/sdp2p

kill:
	BLOCK_KILLS=200 BLOCK_KILL_SIZE=1024 BLOCK_SPARSE=8 $(GO) test -count=1 -timeout 1800s -run 'Kill|Sparse' -v ./block

# What lint finds in this module, for this system.
lint-here:
	@fmt=$$(gofmt -l .); if [ -n "$$fmt" ]; then echo "gofmt:"; echo "$$fmt"; exit 1; fi
	$(GO) vet ./...
	$(GO) mod tidy -diff
	$(GO) run $(STATICCHECK) ./...
	$(GO) run ./internal/lint/house
	$(GO) run $(GOCOGNIT) -over 25 -ignore '_test.go|_gen.go|[.]pb[.]go' .
	$(GO) run ./internal/lint/arrows .=8 ./block=10
	GO=$(GO) sh internal/lint/imports.sh

lint: lint-here
	cd internal/bench && $(GO) vet ./...
	cd internal/bench/transport/hello && $(GO) vet ./... # a module of its own
	cd debugpage/browsertest && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run $(STATICCHECK) ./... # as well
	cd relay/redis && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run $(STATICCHECK) ./... # as well
	cd proto/protogen && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run $(STATICCHECK) ./... # as well
	cd examples/grpc && $(GO) vet ./... && $(GO) mod tidy -diff && $(GO) run $(STATICCHECK) ./... # as well
	GO=$(GO) sh internal/lint/cross.sh
	GO=$(GO) sh internal/lint/size.sh

fuzz:
	GO=$(GO) FUZZTIME=$(FUZZTIME) sh internal/lint/fuzz.sh
	cd proto/protogen && GO=$(GO) FUZZTIME=$(FUZZTIME) sh ../../internal/lint/fuzz.sh

generate:
	$(GO) generate ./internal/described/... ./examples/...
	cd internal/bench && $(GO) generate ./codec/protogen ./call

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd internal/bench && $(GO) run ./cmd/bench

bench-quick:
	cd internal/bench && $(GO) run ./cmd/bench -short -skip discovery # which waits for the times of RFC 6762
