package block

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
)

// errShared says that another process has written to a file that we took over.
var errShared = errors.New("another transfer of the same offer has written to the file")

// adopt takes over a journal where there are no locks: the transfer that has left
// it is over, most likely, and if it is not, it must do no harm. Its records are
// copied to a new journal. Its data files are renamed, so that it cannot give a
// name to one of them any more. It may still write to one that it has open; such
// a file is verified once more before it gets its name: see unshared.
func (j *journal) adopt(ctx context.Context) error {
	to := newJournal(j.vol, rand.Text())
	if err := to.create(ctx); err != nil {
		return err
	}
	abandon := func(err error) error {
		to.close(true)
		return err
	}
	if _, err := io.Copy(to.file, io.NewSectionReader(j.file, 0, j.size)); err != nil {
		return abandon(err)
	}
	if err := to.sync(); err != nil {
		return abandon(err)
	}
	names, err := readNames(j.dir)
	if err != nil {
		return abandon(err)
	}
	for _, name := range names {
		if n, ok := j.numberOf(name); ok {
			j.dir.Rename(name, to.data(n)) // if another transfer has it, nothing is claimed of it
		}
	}
	removeOpen(j.dir, j.file, j.name+journalEnd)
	j.free()
	j.name, j.file, j.holder, j.adopted = to.name, to.file, to.holder, true
	return nil
}

// unshared checks that nobody else has written to a file of which everything has
// arrived, where that is possible.
func (a *assembler) unshared(in *incoming) error {
	if !in.adopted {
		return nil
	}
	n, err := a.vol.verify(a.ctx, in.file, in.hashes, in.size)
	if err == nil && n < len(in.hashes) {
		return errShared
	}
	return err
}
