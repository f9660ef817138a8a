package block

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
)

// errShared says that another process has written to a file that this one has
// taken over.
var errShared = errors.New("another transfer of the same offer has written to the file")

// adopt takes over a journal on a file system without locks. The transfer that
// left the journal is most likely over; if it is not, it must do no harm. The
// records are copied to a new journal, and the data files are renamed, so that
// the old transfer can no longer give one of them its final name. It may still
// write to a data file that it has open; such a file is verified once more
// before it gets its name: see unshared.
func (j *journal) adopt(ctx context.Context) error {
	to := newJournal(j.vol, rand.Text())
	to.hold(ctx)
	unfinished := to.name + ".new" // not named as a journal yet
	err := func() (err error) {
		if to.file, err = j.dir.OpenFile(unfinished, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return err
		}
		if _, err = io.Copy(to.file, io.NewSectionReader(j.file, 0, j.size)); err == nil {
			err = to.sync()
		}
		if err == nil {
			err = j.dir.Rename(unfinished, to.name+journalEnd)
		}
		if err != nil {
			removeOpen(j.dir, to.file, unfinished)
		}
		return err
	}()
	if err != nil {
		to.free()
		return err
	}
	to.next = j.next
	to.absorb(j)
	j.free()
	j.name, j.file, j.holder, j.adopted = to.name, to.file, to.holder, true
	return nil
}

// absorb takes over the data files of another journal of the same transfer that
// may be of use: those whose number this journal has given out, and for which
// it has no data file. It removes the others. If the number stands for
// different files in the two journals, the hashes reveal it.
func (j *journal) absorb(other *journal) {
	names, _ := readNames(j.dir)
	for _, name := range names {
		n, ok := other.numberOf(name)
		if !ok {
			continue
		}
		_, err := j.dir.Lstat(j.data(n))
		if n >= j.next || err == nil || j.dir.Rename(name, j.data(n)) != nil {
			j.dir.Remove(name) // if another transfer has it, it is not claimed
		}
	}
	removeOpen(j.dir, other.file, other.name+journalEnd)
}
