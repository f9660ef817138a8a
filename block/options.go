package block

import "time"

// Existing says what to do with a file that the sender has sent here before and
// offers again with another content. It does not concern other files: those
// that the user has made, or another sender has sent, are neither touched nor
// revealed.
type Existing uint8

const (
	// Keep keeps the file; the new one gets another name, such as "a (2).txt".
	Keep Existing = iota
	// Replace puts the new file in its place once that is complete: at any time
	// there is either the old one or the new one. It does so only for a regular
	// file that has one name, spelled as before, and is still the one that was
	// placed, by its size, time of modification and number in the file system.
	// Otherwise, and if the file system cannot do that ([Lacks].Exchange), it
	// acts as Keep.
	Replace
	// Skip keeps the file, and refuses the new one.
	Skip
)

// ReceiveOptions are the choices of a receiver. The zero value is safe for
// untrusted senders.
type ReceiveOptions struct {
	// From names the sender. Its interrupted transfers are kept apart from
	// those of others, and only it can resume them. If empty, the name is taken
	// from the stream: a *p2p.Stream and a *tunnel.Conn have one. If the stream
	// has none either, nothing is kept.
	From string
	// Trusted says that the sender is trusted: names may begin with a dot,
	// which otherwise becomes an underscore, and files may be executable.
	Trusted bool
	// Existing says what to do with files that the same sender has sent before
	// and offers again with another content. It requires Trusted and a known
	// sender; without these, there is no record of earlier files, and it acts
	// as Keep.
	Existing Existing
	// Modes and Times say that permissions and times of modification are
	// restored, as far as the file system supports them. The owner keeps all
	// rights to folders.
	Modes, Times bool
	// Progress is called with the progress of the transfer, at most every 100
	// ms, and at its end, from one goroutine at a time.
	Progress func(Progress)
	// Received is called with each file and folder that is in its place, and
	// its path in the destination, from one goroutine at a time.
	Received func(f File, path string)
	// AnswerWithin is the time limit of decide, after which the offer is
	// refused with ErrUnanswered. If zero, 60 s. If negative, no limit.
	AnswerWithin time.Duration
	// AllowIncomplete makes Receive return nil instead of an
	// [*IncompleteError].
	AllowIncomplete bool
	// NoSpaceCheck leaves out the check, before anything is received, that the
	// destination has enough free space. Some network file systems do not know.
	NoSpaceCheck bool

	faults       func(op, name string) error // for tests: see newVolume
	acknowledged func()                      // for Transfers: called when the sender has acknowledged that everything has arrived
}
