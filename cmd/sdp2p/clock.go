package main

import (
	"fmt"
	"runtime/debug"
	"time"
)

// clockJump is by how much the wall clock may deviate from the time that passes, during a check-up.
const clockJump = 500 * time.Millisecond

// clock judges the wall clock, which showed began and now at the ends of a time that took elapsed.
func clock(began, now time.Time, elapsed time.Duration) []check {
	value := now.UTC().Format(time.RFC3339)
	times := check{"clock", "time", fine, value, ""}
	if made := built(); now.Before(made) {
		times.Verdict = fail
		times.Value = fmt.Sprintf("%s, but this program was made after %s", value, made.Format(time.DateOnly))
		times.Advice = "Set the clock, best by NTP. Devices whose clocks are more than an hour apart may not connect."
	}
	steps := check{"clock", "steps", fine, "none", ""}
	if by := now.Sub(began) - elapsed; by.Abs() > clockJump {
		steps.Verdict = warn
		steps.Value = fmt.Sprintf("it jumped by %v while this ran", by.Round(10*time.Millisecond))
		steps.Advice = "Something sets it, or the computer was asleep. If it happens again: two programs that set the clock, or a virtual machine without its guest tools."
	}
	return []check{times, steps}
}

// built returns a time that has passed: of the last commit if that is known, else of the release of the Go version.
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
