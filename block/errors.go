package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// Errors of transfers and of single files. What a transfer or a file failed for wraps one of them, or is the error of the
// stream.
var (
	// ErrCancelled says that one side ended the transfer: the other one, if the error is a [*PeerError], else we, by the context.
	ErrCancelled = errors.New("block: cancelled")
	// ErrRefused says that the receiver did not want the offer or the file.
	ErrRefused = errors.New("block: refused")
	// ErrChanged says that a file was changed between its offer and its last byte. What was sent of it is kept; sending it
	// again goes on from the first chunk that differs.
	ErrChanged = errors.New("block: the file was changed while it was sent")
	// ErrDiskFull says that the destination has no room. On the receiver it comes with a [*SpaceError] if that was known beforehand.
	ErrDiskFull = errors.New("block: the disk is full")
	// ErrName says that a name cannot be used: see the package's documentation.
	ErrName = errors.New("block: unsafe name")
	// ErrCorrupt says that bytes arrived otherwise than they were sent, also after three repairs of the chunk.
	ErrCorrupt = errors.New("block: corrupted on the way")
	// ErrRead says that the sender could not read a file or a folder.
	ErrRead = errors.New("block: reading the source failed")
	// ErrWrite says that the receiver could not write. What was received is kept if that is possible.
	ErrWrite = errors.New("block: writing to the destination failed")
	// ErrProtocol says that the peer sent what the protocol does not allow.
	ErrProtocol = errors.New("block: protocol violated")
	// ErrVersion says that the peer speaks a version that this package does not know, or something else altogether.
	ErrVersion = errors.New("block: unknown version of the protocol")
	// ErrTimeout says that the peer was not heard of, and took nothing, for 30 s.
	ErrTimeout = errors.New("block: the peer has not answered for 30 s")
	// ErrIrregular says that what a path leads to is neither a file nor a folder, such as a symbolic link.
	ErrIrregular = errors.New("block: neither a file nor a folder")
	// ErrCut says that the stream ended before the transfer did. It wraps [io.ErrUnexpectedEOF].
	ErrCut = fmt.Errorf("%w: cut off before the end: %w", errStream, io.ErrUnexpectedEOF)

	errStream = errors.New("block: the stream failed") // nothing can be said over it any more

	errFailed   = errors.New("block: failed") // a code that we do not know
	errFinished = errors.New("block: finished")
)

// A code says on the wire why a transfer or a file ended.
type code uint8

// codes holds the error for each code. A code that is not here is read as 0.
var codes = [...]error{
	errFailed, ErrCancelled, ErrRefused, ErrChanged, ErrDiskFull, ErrName, ErrCorrupt,
	ErrRead, ErrWrite, ErrProtocol, ErrVersion, ErrTimeout, ErrIrregular,
}

func (c code) err() error {
	if int(c) < len(codes) {
		return codes[c]
	}
	return errFailed
}

func codeOf(err error) code {
	for c, e := range codes {
		if errors.Is(err, e) {
			return code(c)
		}
	}
	return 0
}

// A PeerError tells why the other side ended the transfer or could not go on with a file.
type PeerError struct {
	Err    error  // one of this package's errors, such as [ErrCancelled], [ErrRefused] or [ErrDiskFull]
	Reason string // in the peer's words, or empty; up to 1024 bytes of anything: quote it
}

func (e *PeerError) Error() string {
	if e.Reason == "" {
		return e.Err.Error() + " (by the peer)"
	}
	return fmt.Sprintf("%v (by the peer): %q", e.Err, e.Reason)
}

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// A SpaceError tells that the destination has not enough room for what was accepted. It wraps [ErrDiskFull].
type SpaceError struct {
	Needed, Free uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%v: %d bytes are needed, %d are free", ErrDiskFull, e.Needed, e.Free)
}

// Unwrap returns [ErrDiskFull].
func (e *SpaceError) Unwrap() error { return ErrDiskFull }

// A FileError tells why one file or folder was left out, or did not arrive.
type FileError struct {
	Path string // as it was offered; quote it
	Err  error  // wraps one of this package's errors
}

func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// failed tells an entry that failed from one that was left out on purpose.
func (e *FileError) failed() bool {
	return !errors.Is(e.Err, ErrRefused) && !errors.Is(e.Err, ErrName) && !errors.Is(e.Err, ErrIrregular)
}

// A refusal is what [Refuse] returns.
type refusal struct{ reason string }

func (e *refusal) Error() string { return fmt.Sprintf("%v: %q", ErrRefused, e.reason) }
func (e *refusal) Unwrap() error { return ErrRefused }

// Refuse returns an error for a Decide function to refuse an offer with. The sender is told the reason, of which the
// first 1024 bytes count.
func Refuse(reason string) error { return &refusal{reason} }

// cancelled makes of a cause of a context what a transfer returns.
func cancelled(cause error) error {
	if errors.Is(cause, ErrCancelled) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrCancelled, cause)
}

// reason returns what the peer is told besides the code. Errors of the system stay here: they name local paths.
func reason(err error) string {
	var refused *refusal
	var space *SpaceError
	switch {
	case errors.As(err, &refused):
		return refused.reason
	case errors.As(err, &space):
		return fmt.Sprintf("%d bytes are needed, %d are free", space.Needed, space.Free)
	case errors.Is(err, ErrCancelled) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) == 2 {
			return all.Unwrap()[1].Error() // the cause, which the app gave
		}
	}
	return ""
}

// writing makes of an error of the destination what a transfer returns.
func writing(err error) error {
	switch {
	case err == nil:
		return nil
	case noSpace(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return fmt.Errorf("%w: %w", ErrWrite, err)
}

// fatal tells an error that the next file would meet as well from one that a name may have caused.
func fatal(err error) bool {
	return noSpace(err) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EIO) || errors.Is(err, fs.ErrClosed)
}
