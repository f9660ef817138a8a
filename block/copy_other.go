//go:build !linux

package block

import "os"

func copyRange(to *os.File, at int64, from *os.File, start, n int64) error {
	return copyBytes(to, at, from, start, n)
}
