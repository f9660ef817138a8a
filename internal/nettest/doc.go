// Package nettest tests the SDK as a whole: nodes that are processes of their
// own, on hosts of a [netlab.Lab]. It has no code but tests, which need Linux
// and root; make test-net runs them.
package nettest
