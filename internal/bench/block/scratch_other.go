//go:build !linux

package block

func hasMemory(string, int64) bool { return false }
