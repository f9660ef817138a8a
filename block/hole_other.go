//go:build !linux && !darwin && !freebsd

package block

// dataAfter is not supported on this system.
func dataAfter(opened, int64) (data, hole int64, ok bool) { return 0, 0, false }

// systemStored is not supported on this system.
func systemStored(any) (int64, bool) { return 0, false }
