package p2p

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// A PanicError reports that a hook, a handler or a callback panicked. Value is
// the argument of panic.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("p2p: panic: %v", e.Value) }

// Unwrap returns Value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// errExited is the error of a function that neither returned nor panicked.
var errExited = errors.New("p2p: the goroutine was ended with runtime.Goexit")

// protect calls f and turns a panic into an error.
func protect(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f()
}
