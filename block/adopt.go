package block

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
)

// errShared says that another process has written to a file that we took over.
var errShared = errors.New("another transfer of the same offer has written to the file")

// adopt takes over a journal where there are no locks: the transfer that has
// left it is over, most likely, and if it is not, it must do no harm. Its
// records are copied to a new journal. Its data files are renamed, so that it
// cannot give a name to one of them any more. It may still write to one that it
// has open; such a file is verified once more before it gets its name: see
// unshared.
func (j *journal) adopt(ctx context.Context) error {
	to := newJournal(j.vol, rand.Text())
	to.hold(ctx)
	unfinished := to.name + ".new" // no journal yet
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

// absorb takes the data files of another journal of the same transfer, as far
// as they may be of use: their numbers were given out here, and it has no file
// of that number. The rest is removed. A number may mean another file there;
// then the hashes tell.
func (j *journal) absorb(other *journal) {
	names, _ := readNames(j.dir)
	for _, name := range names {
		n, ok := other.numberOf(name)
		if !ok {
			continue
		}
		_, err := j.dir.Lstat(j.data(n))
		if n >= j.next || err == nil || j.dir.Rename(name, j.data(n)) != nil {
			j.dir.Remove(name) // or another transfer has it, and nothing is claimed of it
		}
	}
	removeOpen(j.dir, other.file, other.name+journalEnd)
}
