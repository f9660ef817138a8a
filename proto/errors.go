package proto

import (
	"errors"
	"fmt"
)

// ErrInvalid is wrapped by every error about a value or bytes that violate the
// encoding, a limit, or a rule of the message. A decoder's error that does not
// wrap it is the reader's own, io.EOF, or io.ErrUnexpectedEOF.
var ErrInvalid = errors.New("proto: invalid")

// ErrUTF8 is the error for a string that is not UTF-8. It wraps [ErrInvalid].
var ErrUTF8 = fmt.Errorf("%w UTF-8", ErrInvalid)

// ErrBool is wrapped by the error for a bool, or the first byte of an optional,
// that is neither 0 nor 1. It wraps [ErrInvalid].
var ErrBool = fmt.Errorf("%w bool", ErrInvalid)

// A LimitError says that a string, bytes, a list or a whole message is larger
// than allowed. It wraps [ErrInvalid].
type LimitError struct {
	What  string // what is too large: "string", "bytes", "list", "metadata"
	Size  uint64 // its actual or announced size: elements of a list, otherwise bytes
	Limit uint64 // the limit, in the same unit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("proto: invalid %s: size %d is over the limit of %d", e.What, e.Size, e.Limit)
}

// Unwrap returns [ErrInvalid].
func (e *LimitError) Unwrap() error { return ErrInvalid }

// An EnumError says that a discriminator is unknown. It wraps [ErrInvalid].
type EnumError struct {
	Name  string // the enum's name, as given to [AppendEnum] or [DecodeEnum]
	Value uint8  // the discriminator
}

func (e *EnumError) Error() string {
	return fmt.Sprintf("proto: invalid %s: unknown discriminator %d", e.Name, e.Value)
}

// Unwrap returns [ErrInvalid].
func (e *EnumError) Unwrap() error { return ErrInvalid }

// limitError returns a *LimitError with a limit of at least 0.
func limitError(what string, size uint64, limit int) error {
	return &LimitError{What: what, Size: size, Limit: uint64(max(limit, 0))}
}
