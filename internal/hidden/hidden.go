// Package hidden keeps secrets out of printed output.
package hidden

import (
	"fmt"
	"log/slog"
	"unique"
)

// A Value holds a secret. However it is printed, it shows at most an address,
// even as an unexported field of something else, where its methods are not
// called. Values are equal if their secrets are. The zero Value holds the zero
// T.
//
// Package fmt follows one pointer, and with a verb other than %v does so at any
// depth: the secret is behind two.
type Value[T comparable] struct {
	h unique.Handle[unique.Handle[T]]
}

// Of returns a Value that holds v.
func Of[T comparable](v T) Value[T] {
	var zero T
	if v == zero {
		return Value[T]{}
	}
	return Value[T]{unique.Make(unique.Make(v))}
}

// Get returns the secret.
func (v Value[T]) Get() (secret T) {
	if v == (Value[T]{}) {
		return secret
	}
	return v.h.Value().Value()
}

// Format prints a placeholder under every verb.
func (v Value[T]) Format(f fmt.State, _ rune) { fmt.Fprint(f, "hidden") }

// LogValue returns a placeholder.
func (v Value[T]) LogValue() slog.Value { return slog.StringValue("hidden") }

// MarshalText returns a placeholder.
func (v Value[T]) MarshalText() ([]byte, error) { return []byte("hidden"), nil }
