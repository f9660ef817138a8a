package proto

// An Optional is a value that may be missing; in the zero Optional it is. It is
// encoded as a byte 0, or as a byte 1 and the value: see [AppendOptional].
type Optional[T any] struct {
	Present bool
	Value   T // zero unless Present
}

// Some returns an Optional that holds v.
func Some[T any](v T) Optional[T] { return Optional[T]{Present: true, Value: v} }

// Get returns the value, and whether it is present.
func (o Optional[T]) Get() (T, bool) { return o.Value, o.Present }
