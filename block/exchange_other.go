//go:build !linux && !darwin

package block

import "errors"

// exchange cannot be done here.
func (h *handle) exchange(*handle, string, string) error { return errors.ErrUnsupported }
