package block

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"

	"github.com/sdp2p/p2p/internal/text"
	"github.com/sdp2p/p2p/proto"
)

// Errors of transfers and of single files. The error of a transfer or a file
// wraps one of them, or is the error of the stream. The texts are about this
// device; if the other one has reported the error, a [*PeerError] has the text.
var (
	// ErrCanceled says that one side canceled the transfer: the peer if the
	// error is a [*PeerError], otherwise this side, through its context.
	ErrCanceled = errors.New("block: canceled")
	// ErrRefused says that the receiver refused the offer or the file.
	ErrRefused = errors.New("block: refused")
	// ErrChanged says that a file was changed between its offer and its last
	// byte. Sending it again resumes from the first chunk that differs.
	ErrChanged = errors.New("block: the file was changed while it was sent: send it again")
	// ErrDiskFull says that the destination has no room, or that its quota is
	// used up. On the receiver it comes with a [*SpaceError] if that was known
	// beforehand.
	ErrDiskFull = errors.New("block: the disk is full")
	// ErrName says that a name cannot be used: see the package's documentation.
	ErrName = errors.New("block: the name cannot be used")
	// ErrCorrupt says that a chunk was corrupted in transit, even after three
	// repairs.
	ErrCorrupt = errors.New("block: corrupted on the way too often: send it again")
	// ErrRead says that the sender could not read a file or a folder.
	ErrRead = errors.New("block: reading failed")
	// ErrWrite says that the receiver could not write. Received data is kept if
	// possible.
	ErrWrite = errors.New("block: writing failed")
	// ErrProtocol says that the peer sent something that the protocol does not
	// allow.
	ErrProtocol = errors.New("block: the other device violated the protocol")
	// ErrVersion says that the peer speaks a version that this package does not
	// know, or something else altogether.
	ErrVersion = errors.New("block: the other device has another version of this app, or another app: update both")
	// ErrTimeout says that the peer neither sent nor accepted anything for 30
	// s.
	ErrTimeout = errors.New("block: the other device has not answered for 30 s")
	// ErrIrregular says that a path is neither a file nor a folder, but for
	// example a symbolic link.
	ErrIrregular = errors.New("block: neither a file nor a folder")
	// ErrBusy says that too many offers wait for the receiver's answer. Trying
	// again later may help.
	ErrBusy = errors.New("block: too many offers are waiting for an answer")
	// ErrSpool says that the sender could not keep its list of files: see
	// [SendOptions].Spool.
	ErrSpool = errors.New("block: the list of files cannot be kept")
	// ErrUnanswered says that the receiver did not decide on the offer in time:
	// see [ReceiveOptions].AnswerWithin.
	ErrUnanswered = errors.New("block: the offer was not answered in time")
	// ErrIncomplete says that the transfer ran to its end, but that some files
	// or folders did not arrive. It comes as an [*IncompleteError].
	ErrIncomplete = errors.New("block: not everything has arrived")
	// ErrCut says that the stream ended before the transfer did. It wraps
	// [io.ErrUnexpectedEOF].
	ErrCut = fmt.Errorf("%w: cut off before the end: %w", errStream, io.ErrUnexpectedEOF)

	errStream = errors.New("block: the stream failed") // nothing more can be sent over it

	errFailed   = errors.New("block: failed") // an unknown code
	errFinished = errors.New("block: finished")
)

// A code says on the wire why a transfer or a file ended.
type code uint8

// codes holds the error for each code. An unknown code is read as 0.
var codes = [...]error{
	errFailed, ErrCanceled, ErrRefused, ErrChanged, ErrDiskFull, ErrName, ErrCorrupt,
	ErrRead, ErrWrite, ErrProtocol, ErrVersion, ErrTimeout, ErrIrregular,
	ErrBusy, ErrSpool, ErrUnanswered,
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

// A PeerError says why the other side ended the transfer or gave up a file. Its
// text calls that side the other device.
type PeerError struct {
	Err    error  // one of this package's errors, such as [ErrCanceled], [ErrRefused] or [ErrDiskFull]
	Reason string // in the peer's words, or empty: at most 1024 bytes of printable text
}

func (e *PeerError) Error() string {
	says := "reports: " + strings.TrimPrefix(e.Err.Error(), "block: ")
	for err, text := range ofPeer {
		if errors.Is(e.Err, err) {
			says = text
		}
	}
	if e.Reason != "" {
		says += fmt.Sprintf(": %q", e.Reason)
	}
	return "block: the other device " + says
}

// ofPeer says what the other device has reported, for errors whose own text is
// about this device.
var ofPeer = map[error]string{
	errFailed:     "failed, and does not say why",
	ErrCanceled:   "canceled",
	ErrRefused:    "declined",
	ErrDiskFull:   "has no room on its disk",
	ErrName:       "cannot use the name",
	ErrRead:       "could not read it",
	ErrWrite:      "could not write it",
	ErrProtocol:   "says that this one violated the protocol",
	ErrVersion:    "has another version of this app: update both",
	ErrTimeout:    "has heard nothing from this one for 30 s",
	ErrBusy:       "is busy with other transfers: try again later",
	ErrSpool:      "cannot keep its list of files",
	ErrUnanswered: "has not answered the offer in time",
}

// Unwrap returns Err.
func (e *PeerError) Unwrap() error { return e.Err }

// A SpaceError says that the destination has not enough room for the files that
// were accepted. It wraps [ErrDiskFull].
type SpaceError struct {
	Needed, Free uint64 // bytes
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("%v: %s are needed, %s are free", ErrDiskFull, text.Size(e.Needed), text.Size(e.Free))
}

// Unwrap returns [ErrDiskFull].
func (e *SpaceError) Unwrap() error { return ErrDiskFull }

// A FileError says why one file or folder was left out, or did not arrive.
type FileError struct {
	Path string // as it was offered; printable if the peer chose it and it cannot be used
	Err  error  // wraps one of this package's errors
}

func (e *FileError) Error() string { return fmt.Sprintf("%q: %v", e.Path, e.Err) }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// missing reports whether the entry should have arrived, as opposed to one that
// the receiver did not want.
func (e *FileError) missing() bool { return !errors.Is(e.Err, ErrRefused) }

// again reports whether another attempt may bring the entry.
func (e *FileError) again() bool {
	return e.missing() && !errors.Is(e.Err, ErrName) && !errors.Is(e.Err, ErrIrregular)
}

// An IncompleteError reports that a transfer ran to its end, but that some
// files and folders did not arrive, through a fault of either side. It wraps
// [ErrIncomplete] and First.
type IncompleteError struct {
	Missing int        // how many files and folders are missing
	First   *FileError // the first of them; [Result].Skipped has the others
}

func (e *IncompleteError) Error() string {
	return fmt.Sprintf("%v: %d missing, the first is %v", ErrIncomplete, e.Missing, e.First)
}

// Unwrap returns [ErrIncomplete] and First.
func (e *IncompleteError) Unwrap() []error { return []error{ErrIncomplete, e.First} }

// A refusal is the error that [Refuse] returns.
type refusal struct{ reason string }

func (e *refusal) Error() string {
	if e.reason == "" {
		return ErrRefused.Error()
	}
	return fmt.Sprintf("%v: %q", ErrRefused, e.reason)
}

func (e *refusal) Unwrap() error { return ErrRefused }

// Refuse returns an error for a decide function to refuse an offer with. The
// sender is told the reason: its first 1024 bytes, as printable text.
func Refuse(reason string) error { return &refusal{reason} }

// canceled returns the error of a transfer whose context has ended with cause.
func canceled(cause error) error {
	if errors.Is(cause, ErrCanceled) {
		return cause
	}
	return &cancellation{cause}
}

// A cancellation is the error of a transfer whose context has ended. Its text
// has the cause only if the app gave one.
type cancellation struct{ cause error }

func (e *cancellation) Error() string {
	if e.cause == context.Canceled {
		return ErrCanceled.Error()
	}
	return fmt.Sprintf("%v: %v", ErrCanceled, e.cause)
}

func (e *cancellation) Unwrap() []error { return []error{ErrCanceled, e.cause} }

// A told error wraps one of this package's errors, with a text for the peer.
type told struct {
	error
	reason string
}

func (e *told) Error() string { return fmt.Sprintf("%v: %s", e.error, e.reason) }
func (e *told) Unwrap() error { return e.error }

// reason returns the text that the peer gets along with the code. Errors of the
// operating system are not sent: they name local paths.
func reason(err error) string {
	var refused *refusal
	var space *SpaceError
	var said *told
	switch {
	case errors.As(err, &refused):
		return refused.reason
	case errors.As(err, &said):
		return said.reason
	case errors.As(err, &space):
		return fmt.Sprintf("%s are needed, %s are free", text.Size(space.Needed), text.Size(space.Free))
	case errors.Is(err, ErrCanceled) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded):
		if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) == 2 {
			return all.Unwrap()[1].Error() // the cause that the app gave
		}
	}
	return ""
}

// printable returns text in a form that is safe for terminals and logs: at most
// limit bytes of UTF-8, with printable characters and spaces only.
func printable(s string, limit int) string {
	clean := text.Mask(s)
	if len(clean) > limit {
		clean = strings.ToValidUTF8(clean[:limit], "") // without a partial character
	}
	return clean
}

// writing wraps an error of the destination in ErrDiskFull or ErrWrite.
func writing(err error) error {
	switch {
	case err == nil:
		return nil
	case noSpace(err):
		return fmt.Errorf("%w: %w", ErrDiskFull, err)
	}
	return fmt.Errorf("%w: %w", ErrWrite, err)
}

// fatal reports whether an error concerns the destination as a whole, and not
// only a single file.
func fatal(err error) bool {
	return noSpace(err) || errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrClosed) || errors.Is(err, errJournal)
}

// unsupported reports whether an error means that the file system lacks an
// operation, rather than that the operation failed.
func unsupported(err error) bool {
	return errors.Is(err, errors.ErrUnsupported) || errors.Is(err, syscall.EINVAL)
}

// decoding turns an error of decoding into ErrVersion, ErrProtocol, or an error
// of the stream.
func decoding(err error) error {
	switch {
	case errors.Is(err, ErrVersion):
		return ErrVersion
	case errors.Is(err, ErrProtocol):
		return err
	case errors.Is(err, proto.ErrInvalid):
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	return streamError(err)
}

func violation(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProtocol, fmt.Sprintf(format, args...))
}

// errJournal marks errors of the journal: without it, no file can be received.
var errJournal = errors.New("the journal")

// streamError marks an error of the stream itself.
func streamError(err error) error {
	if err == nil || errors.Is(err, errStream) || errors.Is(err, ErrTimeout) {
		return err
	}
	return fmt.Errorf("%w: %w", errStream, err)
}
