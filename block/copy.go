package block

import (
	"io"
	"os"
)

// copyBytes copies n bytes by reading and writing them.
func copyBytes(to *os.File, at int64, from *os.File, start, n int64) error {
	buf := pool.Get().(*buffer)
	defer pool.Put(buf)
	for n > 0 {
		b := buf[:min(n, piece)]
		if read, err := from.ReadAt(b, start); read < len(b) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := to.WriteAt(b, at); err != nil {
			return err
		}
		step := int64(len(b))
		start, at, n = start+step, at+step, n-step
	}
	return nil
}
