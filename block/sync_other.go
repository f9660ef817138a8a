//go:build !linux || android

package block

// syncAll is not supported on this system.
func syncAll(*handle) (bool, error) { return false, nil }
