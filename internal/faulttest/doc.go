// Package faulttest causes real faults at nodes on the loopback interface, for
// the tests that look whether an operator can tell each of them from all the
// others: by the page of a node, by its metrics, and by its log.
package faulttest
