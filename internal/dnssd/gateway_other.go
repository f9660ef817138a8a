//go:build !linux

package dnssd

import "net/netip"

// gateways returns nothing: this platform has no table to read. A change of network shows in the prefixes.
func gateways() map[string]netip.Addr { return nil }
