// Command house checks the rules of the house that no other linter checks:
//
//   - A comment is at most 100 columns wide (a tab counts as 4), unless it is a
//     table, an example, a link or a directive.
//   - Comments, texts and documents have American spelling.
//   - Each exported name has a comment.
//   - A function has at most 60 lines, and a file at most 500.
//   - A test file is named after the source file that it is about, and the
//     subject if it is about one: lane_test.go, lane_idle_test.go.
//
// It is run in the root of the module, checks all files that git tracks except
// generated ones, and prints a line for each fault.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func main() {
	out, err := exec.Command("git", "ls-files", "--", "*.go", "*.md").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "house: git ls-files:", err)
		os.Exit(2)
	}
	var files, faults []string
	for _, name := range strings.Fields(string(out)) {
		text, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "house:", err)
			os.Exit(2)
		}
		files = append(files, name)
		if !strings.HasPrefix(name, "internal/lint/house/") { // the list of British words itself
			faults = append(faults, check(name, string(text))...)
		}
	}
	faults = append(faults, misnamed(files)...)
	for _, f := range faults {
		fmt.Println(f)
	}
	if len(faults) > 0 {
		fmt.Fprintf(os.Stderr, "house: %d faults\n", len(faults))
		os.Exit(1)
	}
}

// check returns the faults of a file, each as "name:line: fault".
func check(name, text string) (faults []string) {
	complain := func(line int, format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s:%d: %s", name, line, fmt.Sprintf(format, args...)))
	}
	if strings.HasSuffix(name, ".md") {
		spelled(text, 1, complain)
		return faults
	}
	checkGo(name, text, complain)
	return faults
}
