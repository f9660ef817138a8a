//go:build !linux

package block

import "errors"

// rename is not supported: on this system, it could replace a file.
func (h *handle) rename(*handle, string, string) error { return errors.ErrUnsupported }
