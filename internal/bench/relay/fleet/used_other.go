//go:build !unix

package fleet

import "time"

func used() time.Duration { return 0 }
