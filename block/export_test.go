package block

import (
	"os"
	"testing"
	"time"
)

// SetFaults makes the destination of a transfer fail: see newVolume.
func (o *ReceiveOptions) SetFaults(f func(op, name string) error) { o.faults = f }

// On a busy machine the sender's last message may take long, and many tests
// look at the files that are left after it. If it does not come, the stream has
// ended.
func init() { farewellOfSender = time.Minute }

// MemoryDir returns a folder in memory, if the system has one: models would
// mostly wait for the disk.
func MemoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "block")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// FailOnce returns faults that make one operation fail: see failOnce.
func FailOnce(op string, nth int32, err error) func(string, string) error {
	return failOnce(op, "", nth, err)
}

// FailAlways returns faults that fail all operations of one kind.
func FailAlways(op string, err error) func(string, string) error {
	return func(o, _ string) error {
		if o == op {
			return err
		}
		return nil
	}
}
