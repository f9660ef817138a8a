package v1_test

import (
	"fmt"
	"strings"

	"github.com/sdp2p/p2p/internal/v1"
)

func ExampleMetadata_Fit() {
	m := v1.Metadata{"name": "Laptop", "os": "Linux"}
	for i := range 64 {
		m[fmt.Sprintf("6ba7b810-9dad-11d1-80b4-00c04fd430%02x", i)] = strings.Repeat("A", 43)
	}
	fit := m.Fit(v1.MaxPeerMetadata)
	fmt.Println(fit["name"], fit["os"], "and", len(fit)-2, "libraries")
	// Output: Laptop Linux and 11 libraries
}
