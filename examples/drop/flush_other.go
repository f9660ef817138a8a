//go:build !linux && !darwin && !dragonfly && !freebsd && !netbsd && !openbsd

package main

// flush does nothing: whole lines are read, and dropped, all the time.
func flush(int) {}
