package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sdp2p/p2p/proto/protogen/internal/schema"
)

// root is the directory of the SDK's module.
const root = "../.."

// module makes a module outside the repository, with the given files in the
// form of txtar, and returns its directory.
func module(t *testing.T, files string) string {
	t.Helper()
	sdk, err := filepath.Abs(root)
	check(t, err)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	check(t, err)
	sum, err := os.ReadFile(filepath.Join(sdk, "go.sum"))
	check(t, err)
	write(t, dir, "go.sum", string(sum))
	write(t, dir, "go.mod", fmt.Sprintf(`module clips

go 1.26.0

tool github.com/sdp2p/p2p/proto/protogen

require (
	github.com/sdp2p/p2p v0.0.0
	github.com/sdp2p/p2p/proto/protogen v0.0.0
)

replace (
	github.com/sdp2p/p2p => %s
	github.com/sdp2p/p2p/proto/protogen => %[1]s/proto/protogen
)
`, sdk))
	for file := range strings.SplitSeq("\n"+files, "\n-- ") {
		if name, text, ok := strings.Cut(file, " --\n"); ok {
			write(t, dir, name, text)
		}
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "-mod=mod")
	return dir
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
	check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	check(t, err)
	return string(b)
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// command runs a command in a directory, and returns its output.
func command(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// described returns the directories of the SDK's packages that have
// descriptions.
func described(t *testing.T) (dirs []string) {
	for _, under := range []string{"internal", "examples"} {
		check(t, filepath.WalkDir(filepath.Join(root, under), func(path string, _ os.DirEntry, err error) error {
			if filepath.Base(path) == codeFile {
				dirs = append(dirs, filepath.Dir(path))
			}
			return err
		}))
	}
	if len(dirs) < 15 {
		t.Fatalf("only %v", dirs)
	}
	return dirs
}

// The generated files in the repository are as protogen writes them now.
func TestCurrent(t *testing.T) {
	for _, dir := range described(t) {
		check(t, run([]string{"-dir", dir, "-check"}, io.Discard))
	}
}

// The tables of docs/protocol.md are those of the descriptions.
func TestProtocolCurrent(t *testing.T) {
	doc := filepath.Join(root, "docs/protocol.md")
	for _, m := range regexp.MustCompile(`<!-- protogen (\w+)\.`).FindAllStringSubmatch(read(t, doc), -1) {
		check(t, run([]string{"-dir", filepath.Join(root, "internal/described", m[1]), "-doc", doc, "-check"}, io.Discard))
	}
}

// Generated code imports only proto, identity and the standard library, and
// compiles where an int has 32 bits.
func TestImports(t *testing.T) {
	for _, dir := range described(t) {
		for _, name := range []string{codeFile, testFile} {
			text := read(t, filepath.Join(dir, name))
			block, _, _ := strings.Cut(text[strings.Index(text, "import ("):], ")")
			for _, m := range regexp.MustCompile(`"(.*)"`).FindAllStringSubmatch(block, -1) {
				if strings.Contains(m[1], ".") && !regexp.MustCompile(`^github\.com/sdp2p/p2p/(proto|identity)$`).MatchString(m[1]) {
					t.Errorf("%s/%s imports %s", dir, name, m[1])
				}
			}
		}
	}
	t.Setenv("GOARCH", "386")
	command(t, root, "go", "vet", "./internal/described/everything", "./internal/described/relay")
}

// An app that has protogen as a tool needs nothing else for it.
func TestTool(t *testing.T) {
	dir := module(t, `
-- clip.go --
package clips

//go:generate go tool protogen

// A Clip is text that was copied.
//
//proto:message
type Clip struct {
	Text string   `+"`proto:\"max=4096\"`"+`
	Tags []string `+"`proto:\"count=u8,max=9;max=20\"`"+`
}
-- clip_test.go --
package clips

import "testing"

func TestSize(t *testing.T) {
	if n := (&Clip{Text: "hello"}).Size(); n != 8 {
		t.Error(n)
	}
}
`)
	mod := read(t, filepath.Join(dir, "go.mod"))
	command(t, dir, "go", "generate", ".")
	if out := command(t, dir, "gofmt", "-l", codeFile, testFile); out != "" {
		t.Error("not formatted:", out)
	}
	command(t, dir, "go", "vet", ".")
	command(t, dir, "go", "test", ".")
	if now := read(t, filepath.Join(dir, "go.mod")); now != mod {
		t.Errorf("go.mod has become\n%s", now)
	}
	first := read(t, filepath.Join(dir, codeFile))
	command(t, dir, "go", "generate", ".")
	if read(t, filepath.Join(dir, codeFile)) != first {
		t.Error("a second run writes something else")
	}
}

// Every mistake in a description is reported at its line. The files in testdata
// say which error is expected where.
func TestErrors(t *testing.T) {
	for _, file := range []string{"fields", "messages", "unions", "recursion", "lists", "zero"} {
		t.Run(file, func(t *testing.T) {
			text := read(t, "testdata/"+file+".txt")
			dir := module(t, "-- a.go --\n"+text)
			_, err := schema.Load(dir)
			var got []string
			if all, ok := errors.AsType[schema.Errors](err); ok {
				for _, e := range all {
					got = append(got, strings.TrimPrefix(e.Error(), dir+"/a.go:"))
				}
			} else if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(text, "\n") {
				// For lines that are comments as a whole.
				if _, far, ok := strings.Cut(line, "// ABOVE "); ok {
					var n int
					fmt.Sscan(far, &n)
					_, text, _ := strings.Cut(far, " ")
					i, line = n-1, "// WANT "+text
				}
				_, want, ok := strings.Cut(line, "// WANT ")
				for want := range strings.SplitSeq(want, " AND ") {
					if !ok {
						continue
					}
					j := slices.IndexFunc(got, func(e string) bool {
						return strings.HasPrefix(e, fmt.Sprintf("%d:", i+1)) && strings.Contains(e, want)
					})
					if j < 0 {
						t.Errorf("line %d: no error %q", i+1, want)
						continue
					}
					got = slices.Delete(got, j, j+1)
				}
			}
			for _, e := range got {
				t.Errorf("not expected: %s", e)
			}
		})
	}
}

const clip = `
-- a.go --
package clips

//proto:message extensible max=100
type Clip struct {
	ID   uint32
%s
}
`

// Fields that an extensible message had cannot be taken back.
func TestHistory(t *testing.T) {
	base := "A uint8 `proto:\"since=2\"`\nB string `proto:\"since=2,max=9\"`"
	for name, test := range map[string]struct{ next, want string }{
		"more":           {base + "\nC bool `proto:\"since=3\"`", ""},
		"renamed":        {strings.ReplaceAll(base, "A ", "Other "), ""},
		"another limit":  {strings.ReplaceAll(base, "max=9", "max=8"), ""},
		"retired":        {strings.ReplaceAll(base, "A uint8 `proto:\"", "_ uint8 `proto:\"retired,"), ""},
		"gone":           {"A uint8 `proto:\"since=2\"`", "a.go:4:6: Clip had 3 fields"},
		"another type":   {strings.ReplaceAll(base, "uint8", "uint16"), "a.go:6:1: field 2 of Clip was 2:u8, and is 2:u16"},
		"in front":       {"X bool `proto:\"since=2\"`\n" + base, "a.go:6:1: field 2 of Clip was 2:u8, and is 2:bool"},
		"in the middle":  {strings.Replace(base, "\n", "\nX bool `proto:\"since=2\"`\n", 1), "a.go:7:1: field 3"},
		"swapped":        {"B string `proto:\"since=2,max=9\"`\nA uint8 `proto:\"since=2\"`", "a.go:6:1: field 2"},
		"first is newer": {strings.ReplaceAll(base, "A uint8 `proto:\"since=2\"`", "A uint8"), "field 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := module(t, fmt.Sprintf(clip, base))
			check(t, run([]string{"-dir", dir}, io.Discard))
			_, text, _ := strings.Cut(fmt.Sprintf(clip, test.next), "--\n")
			write(t, dir, "a.go", text)
			err := run([]string{"-dir", dir}, io.Discard)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatal(err)
			}
			check(t, run([]string{"-dir", dir, "-break"}, io.Discard))
		})
	}
	t.Run("used again", func(t *testing.T) {
		dir := module(t, fmt.Sprintf(clip, strings.ReplaceAll(base, "A uint8 `proto:\"", "_ uint8 `proto:\"retired,")))
		check(t, run([]string{"-dir", dir}, io.Discard))
		_, text, _ := strings.Cut(fmt.Sprintf(clip, base), "--\n")
		write(t, dir, "a.go", text)
		if err := run([]string{"-dir", dir}, io.Discard); err == nil || !strings.Contains(err.Error(), "a retired field of Clip is used again") {
			t.Fatal(err)
		}
	})
}

// protogen does not overwrite a file that it has not written, and writes none
// if the package describes nothing.
func TestLeftAlone(t *testing.T) {
	dir := module(t, "-- a.go --\npackage clips\n\n//proto:message\ntype A struct{ X uint8 }\n-- proto_gen.go --\npackage clips\n")
	if err := run([]string{"-dir", dir}, io.Discard); err == nil || !strings.Contains(err.Error(), "is not generated") {
		t.Error(err)
	}
	dir = module(t, "-- a.go --\npackage clips\n")
	if err := run([]string{"-dir", dir}, io.Discard); err == nil || !strings.Contains(err.Error(), "no type has") {
		t.Error(err)
	}
	if err := run([]string{"x"}, io.Discard); !errors.Is(err, errUsage) {
		t.Error(err)
	}
}

// Generated code still compiles if the app uses the names of generated helpers
// or variables itself.
func TestNames(t *testing.T) {
	dir := module(t, `
-- a.go --
package clips

import "time"

func decodeTime() {}

//proto:message
type A struct {
	T time.Time `+"`proto:\"time=s+ns\"`"+`
	d, b, out, err uint8
}
`)
	check(t, run([]string{"-dir", dir}, io.Discard))
	command(t, dir, "go", "vet", ".")
	command(t, dir, "go", "test", ".")
}

// With -doc, protogen writes between markers, and nowhere else.
func TestDoc(t *testing.T) {
	dir := module(t, "-- a.go --\npackage clips\n\n//proto:message\ntype A struct {\n\tBlockSize uint32 // in bytes\n\tText string `proto:\"max=9\"`\n}\n")
	doc := filepath.Join(dir, "doc.md")
	write(t, dir, "doc.md", "before\n<!-- protogen A -->\nold\n<!-- /protogen -->\nbetween\n<!-- protogen other.A -->\nother's\n<!-- /protogen -->\n")
	check(t, run([]string{"-dir", dir, "-doc", doc}, io.Discard))
	want := "before\n<!-- protogen A -->\n```\nsize  field\n4     block size  in bytes\n2+n   text        n ≤ 9, UTF-8\n```\n<!-- /protogen -->\nbetween\n<!-- protogen other.A -->\nother's\n<!-- /protogen -->\n"
	if got := read(t, doc); got != want {
		t.Errorf("%s", got)
	}
	for text, want := range map[string]string{
		"<!-- protogen B -->\n<!-- /protogen -->\n": "describes no B",
		"nothing": "no marker",
		"<!-- protogen A -->\n<!-- /protogen -->\n<!-- protogen A -->\n": "no <!-- /protogen -->",
	} {
		write(t, dir, "doc.md", text)
		if err := run([]string{"-dir", dir, "-doc", doc}, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// The same description always gives the same files.
func TestStable(t *testing.T) {
	var before []byte
	for range 5 {
		dir := filepath.Join(root, "internal/described/everything")
		check(t, run([]string{"-dir", dir, "-check"}, io.Discard))
		now := []byte(read(t, filepath.Join(dir, codeFile)))
		if before != nil && !bytes.Equal(before, now) {
			t.Fatal("the generated file differs")
		}
		before = now
	}
}
