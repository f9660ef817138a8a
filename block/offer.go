package block

import (
	"io"
	"io/fs"
	"iter"
	"time"
)

// A File is a file or a folder of an offer, as the sender describes it. Nothing
// of it is verified.
type File struct {
	Index   int         // in the offer, from 0
	Path    string      // with slashes; a folder comes before its content
	Mode    fs.FileMode // permissions, and [fs.ModeDir]
	ModTime time.Time
	Size    int64    // in bytes; 0 for a folder
	ID      [16]byte // the sender's ID of the file; zero for a folder
	Err     error    // if not nil, the file will not arrive: its name cannot be used ([ErrName]), or the sender left it out (a [*PeerError])
}

func (e *entry) file(index int) File {
	f := File{Index: index, Path: e.path, Mode: fs.FileMode(e.mode), ModTime: e.modTime(), Size: e.size, ID: e.id}
	switch {
	case e.kind == kindLeftOut:
		f.Err = e.why()
	case e.kind == kindFolder:
		f.Mode |= fs.ModeDir
		fallthrough
	default:
		f.Err = checkPath(e.path)
	}
	if f.Err != nil {
		f.Path = printable(e.path, maxPath)
	}
	return f
}

// why returns why the sender left the entry out.
func (e *entry) why() error { return &PeerError{Err: e.code.err()} }

// An Offer describes what the sender wants to send. It is valid only while its
// decide function runs, and must not be used concurrently.
type Offer struct {
	// ID is the sender's ID of the offer: see [SendOptions].ID. All offers of a
	// transfer have the same.
	ID [16]byte
	// Files, Folders and Bytes are the totals of the whole transfer, as
	// announced by the sender; more is not accepted. LeftOut is the number of
	// files and folders that the sender cannot send.
	Files, Folders, LeftOut int
	Bytes                   int64
	// Earlier is the number of entries of this transfer that were decided on
	// before. A transfer of more than 65,535 entries consists of several
	// offers, one after another, and decide is called for each. An app should
	// ask its user only if Earlier is 0.
	Earlier int

	spool    spool
	totals   totals    // of this offer
	verdicts []verdict // or nil if the app has left out nothing
	parts    map[int]part
	err      error
}

// A part is the wanted range of a file.
type part struct {
	start, end int64
	to         io.WriterAt
}

func newOffer() *Offer { return &Offer{parts: map[int]part{}, spool: spool{limit: maxOffer}} }

// add adds an entry as it arrives. Entries are not processed further before the
// offer is accepted.
func (o *Offer) add(e *entry) error {
	if _, err := o.spool.add(e); err != nil {
		return writing(err)
	}
	if o.spool.count > maxEntries || o.spool.size > maxOffer {
		return violation("an offer may have %d entries and %d bytes", maxEntries, maxOffer)
	}
	if !o.totals.add(e) {
		return violation("more than 2^63 bytes are offered")
	}
	return nil
}

// decisions returns the verdicts, which the app and the receiver may change.
func (o *Offer) decisions() []verdict {
	if o.verdicts == nil {
		o.verdicts = make([]verdict, o.spool.count)
		for i := range o.verdicts {
			o.verdicts[i] = verdictWhole
		}
	}
	return o.verdicts
}

// All returns the offer's entries in order. It may be called repeatedly.
func (o *Offer) All() iter.Seq[File] {
	return func(yield func(File) bool) {
		c := o.spool.all()
		for c.next() {
			if !yield(c.file(c.index)) {
				return
			}
		}
		if c.err != nil && o.err == nil {
			o.err = writing(c.err)
		}
	}
}

// Skip leaves out the entry with an index; if it is a folder, with its
// contents.
func (o *Offer) Skip(index int) { o.decisions()[index] = verdictNo }

// Part asks for the bytes of a file from start up to, but not including, end,
// which must lie in the file. They are written to to, from offset 0 on, as they
// arrive. They are verified only once Receive has returned without an error for
// the file. A part has no place in the destination and is not resumed.
func (o *Offer) Part(index int, start, end int64, to io.WriterAt) {
	o.decisions()[index] = verdictPart
	o.parts[index] = part{start, end, to}
}
