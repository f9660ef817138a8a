//go:build !linux && !darwin

package block

import "errors"

// exchange is not supported on this system.
func (h *handle) exchange(*handle, string, string) error { return errors.ErrUnsupported }
