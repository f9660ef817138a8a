package block

import (
	"os"
	"testing"
	"time"
)

// SetFaults has the destination of a transfer fail: see newVolume.
func (o *ReceiveOptions) SetFaults(f func(op, name string) error) { o.faults = f }

// On a busy machine the sender's last word takes its time, and many tests look
// at what is left afterwards. Where it does not come, the stream has ended.
func init() { farewellOfSender = time.Minute }

// MemoryDir returns a folder in memory, if the system has any: models would
// wait for the disk most of the time.
func MemoryDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "block")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// FailOnce returns faults that fail one operation: see failOnce.
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
