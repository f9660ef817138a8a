//go:build !linux

package discovery

import "testing"

func inNamespaces(_ *testing.T, r *results) {
	r.without("what takes real time, since hosts in network namespaces need Linux")
}
