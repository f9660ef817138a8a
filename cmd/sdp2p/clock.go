package main

import (
	"runtime/debug"
	"time"
)

// built returns a time that has passed: that of the last commit if known,
// otherwise that of the Go version's release.
func built() time.Time {
	made := time.Date(2026, time.February, 1, 0, 0, 0, 0, time.UTC)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if t, err := time.Parse(time.RFC3339, s.Value); s.Key == "vcs.time" && err == nil && t.After(made) {
				made = t
			}
		}
	}
	return made
}
