package tags

import (
	"time"
)

// Size is the length of a [Tag] in bytes.
const Size = 6

// A Tag identifies its announcer to one contact and to nobody else.
type Tag [Size]byte

// EpochTime is the duration of an epoch.
const EpochTime = 15 * time.Minute

// Epoch returns the number of the epoch of a time: the time since 1970 in units
// of [EpochTime].
func Epoch(t time.Time) uint64 { return uint64(max(0, t.Unix())) / uint64(EpochTime/time.Second) }
