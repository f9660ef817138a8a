//go:build !linux && !darwin && !freebsd

package block

// dataAfter does not know.
func dataAfter(opened, int64) (data, hole int64, ok bool) { return 0, 0, false }

// systemStored does not know.
func systemStored(any) (int64, bool) { return 0, false }
