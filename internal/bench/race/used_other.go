//go:build !unix

package race

import "time"

func used() time.Duration { return 0 }
