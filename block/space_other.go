//go:build unix && !linux && !darwin && !freebsd

package block

import "os"

// free is not supported on this system.
func free(*os.Root) (uint64, bool) { return 0, false }
