package nettest

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// figuresEnv names the file to which figures are appended, as lines of JSON,
// for `make bench`.
const figuresEnv = "SDP2P_NETTEST_FIGURES"

// A figure is one measurement for a row of the table.
type figure struct {
	Row     string
	Seconds float64
	Failed  bool
}

// takes makes the test a measurement for a row. It returns a function that
// records the figure, unless the test fails.
func takes(t *testing.T, row string) (took func(time.Duration)) {
	f := figure{Row: row}
	t.Cleanup(func() {
		f.Failed = t.Failed()
		record(t, f)
	})
	return func(d time.Duration) {
		t.Helper()
		t.Logf("%s: %v", row, d)
		f.Seconds = d.Seconds()
	}
}

func record(t *testing.T, f figure) {
	file := os.Getenv(figuresEnv)
	if file == "" {
		return
	}
	line, err := json.Marshal(f)
	require.NoError(t, err)
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer out.Close()
	_, err = out.Write(append(line, '\n')) // in a single call, since several tests append
	require.NoError(t, err)
}
