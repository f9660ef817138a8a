//go:build !linux

package relay

import "time"

// An alarm waits for points in time.
type alarm struct{}

func newAlarm() alarm { return alarm{} }

func (alarm) close()           {}
func (alarm) wait(t time.Time) { time.Sleep(time.Until(t)) }
