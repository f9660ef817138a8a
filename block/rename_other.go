//go:build !linux

package block

import "errors"

// rename cannot be done here without replacing what has the name.
func (h *handle) rename(*handle, string, string) error { return errors.ErrUnsupported }
