package p2ptest

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"
)

// goroutines holds the stacks of goroutines, keyed by the runtime's names for
// them.
type goroutines map[string]string

// running returns all goroutines that exist now.
func running() goroutines {
	dump := make([]byte, 1<<20)
	for {
		n := runtime.Stack(dump, true)
		if n < len(dump) {
			dump = dump[:n]
			break
		}
		dump = make([]byte, 2*len(dump))
	}
	all := goroutines{}
	for stack := range bytes.SplitSeq(dump, []byte("\n\n")) {
		name, _, _ := strings.Cut(string(stack), " [") // "goroutine 7 [select]:"
		all[name] = string(stack)
	}
	return all
}

// noneSince fails the test unless all goroutines that are not in before end
// within patience.
func noneSince(t *testing.T, before goroutines) {
	t.Helper()
	var left []string
	for began := time.Now(); time.Since(began) < patience; time.Sleep(10 * time.Millisecond) {
		left = nil
		for name, stack := range running() {
			if _, ok := before[name]; !ok {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("%d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
}
