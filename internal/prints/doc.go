// Package prints has a test: that nothing secret prints, whatever type holds
// it.
package prints
