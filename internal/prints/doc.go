// Package prints tests that no secret is printed, whatever type holds it.
package prints
