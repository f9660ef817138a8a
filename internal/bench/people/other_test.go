//go:build !linux

package people

import "testing"

func inNamespaces(_ *testing.T, r *results) {
	r.without("hosts of their own, since network namespaces need Linux")
}
