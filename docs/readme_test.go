package docs_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/internal/exampletest"
)

// readmeCommands are the commands of the README, each with the test that runs
// it; .ci/run runs those of the Makefile.
var readmeCommands = []struct{ begin, file, test string }{
	{"make demo ", ".ci/run", "make demo"},
	{"make test ", ".ci/run", "make test"},
	{"go run ./examples/drop receive ", "examples/drop/main_test.go", "TestInterrupt"},
	{"go run ./examples/drop send ", "examples/drop/main_test.go", "TestInterrupt"},
	{"go run ./examples/notes --demo ", "examples/notes/demo_test.go", "TestDemo"},
	{"go run ./examples/hello --debug :7380 ", "examples/hello/main_debug_test.go", "TestDebug"},
	{"go run ./cmd/sdp2p status :7380 ", "cmd/sdp2p/status_test.go", "TestStatus"},
	{"go run ./cmd/sdp2p scan --app hello ", "cmd/sdp2p/main_test.go", "TestTable"},
	{"go run ./cmd/sdp2p scan --json | jq -r '.[].identity'", "cmd/sdp2p/main_test.go", "TestJSON"},
	{"go run ./cmd/sdp2p id --create node.pem ", "cmd/sdp2p/id_test.go", "TestIdentity"},
	{"go run ./cmd/sdp2p id node.pem ", "cmd/sdp2p/id_test.go", "TestIdentity"},
	{"go run ./cmd/sdp2p library recover ", "cmd/sdp2p/library_test.go", "TestLibraryRecover"},
	{"go run ./cmd/sdp2p doctor ", "cmd/sdp2p/doctor_test.go", "TestDoctor"},
	{"go run ./cmd/sdp2p doctor 192.168.1.7 ", "cmd/sdp2p/doctor_test.go", "TestDoctor"},
	{"go run ./cmd/sdp2p doctor --app hello ", "cmd/sdp2p/doctor_test.go", "TestDoctor"},
}

// Every command of the README is run by a test.
func TestReadmeCommands(t *testing.T) {
	lines := 0
	for _, b := range blocks(t, "../README.md") {
		if b.kind != "sh" {
			continue
		}
		for line := range strings.Lines(b.text) {
			i := slices.IndexFunc(readmeCommands, func(c struct{ begin, file, test string }) bool {
				return strings.HasPrefix(line, c.begin)
			})
			require.GreaterOrEqual(t, i, 0, "no test runs %q", line)
			lines++
		}
	}
	require.Equal(t, len(readmeCommands), lines)
	for _, c := range readmeCommands {
		text, err := os.ReadFile(filepath.Join("..", c.file))
		require.NoError(t, err)
		require.Regexp(t, `(?m)^(func )?`+c.test+`\b`, string(text), c.file)
	}
}

// TestReadme runs the program of the README twice on one computer, as the
// README says, but on the loopback interface.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	all := blocks(t, "../README.md")
	i := slices.IndexFunc(all, func(b block) bool { return b.kind == "go" })
	require.GreaterOrEqual(t, i, 0)
	const everywhere, app = "mdns.Config{}", `App: "hello"`
	require.Contains(t, all[i].text, everywhere)
	require.Contains(t, all[i].text, app)
	text := strings.NewReplacer(
		everywhere, `mdns.Config{Interfaces: []string{"`+exampletest.Loopback(t)+`"}}`,
		app, `App: "readme"`, // examples/hello may be tested at the same time
	).Replace(all[i].text)

	root, err := filepath.Abs("..")
	require.NoError(t, err)
	home := t.TempDir()
	dir := filepath.Join(home, "readme")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Symlink(root, filepath.Join(home, "p2p")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(text), 0o644))
	run(t, dir, "go mod init example.org/readme && go mod edit -require github.com/sdp2p/p2p@v0.0.0 -replace github.com/sdp2p/p2p=../p2p && go mod tidy && go vet . && test -z \"$(gofmt -l .)\" && go build -ldflags='-s -w' -o ../hello .")
	one, other := start(t, home, "./hello"), start(t, home, "./hello")
	for _, p := range []*process{one, other} {
		require.Regexp(t, regexp.MustCompile(`^found (\w{4}-){3}\w{4}$`), p.line(t, "found"))
		require.Equal(t, "my laptop says hello", p.line(t, "says"))
	}
}
