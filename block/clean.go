package block

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"
)

const orphanAfter = time.Hour // data without a journal

// Clean removes what interrupted transfers into dest have left behind, if it is
// older than age and not in use. Receive does that with an age of 7 days. It
// may be called at any time. It keeps the index of complete files, so that they
// need not be sent again: to remove that, remove the folder .sdp2p-partial.
func Clean(dest *os.Root, age time.Duration) error {
	dir, err := dest.OpenRoot(partialDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return writing(err)
	}
	defer dir.Close()
	vol := newVolume(dest, false, nil)
	vol.partial = dir
	if vol.dir, err = newHandle(dir); err != nil {
		return writing(err)
	}
	defer vol.dir.close()
	return vol.clean(age)
}

// clean is Clean for a volume.
func (v *volume) clean(age time.Duration) error {
	names, err := readNames(v.partial)
	if err != nil {
		return writing(err)
	}
	journals := map[string]bool{}
	for _, name := range names {
		if base, ok := strings.CutSuffix(name, journalEnd); ok {
			journals[base] = true
		}
	}
	for _, name := range names {
		info, err := v.partial.Lstat(name)
		if err != nil {
			continue
		}
		if strings.HasSuffix(name, indexEnd) {
			continue // it is needed as long as the files exist
		}
		base, isJournal := strings.CutSuffix(name, journalEnd)
		if isJournal && time.Since(info.ModTime()) >= age {
			v.cleanJournal(base)
		}
		base, _, _ = strings.Cut(name, ".")
		if !isJournal && !journals[base] && time.Since(info.ModTime()) >= max(min(age, orphanAfter), time.Minute) {
			if _, err := v.partial.Lstat(base + journalEnd); err != nil { // its journal may have been created since
				v.partial.Remove(name)
			}
		}
	}
	return nil
}

// cleanJournal removes a journal and its data files if the journal is not in
// use.
func (v *volume) cleanJournal(name string) {
	j := newJournal(v, name)
	var err error
	if j.file, err = v.partial.OpenFile(name+journalEnd, os.O_RDWR, 0); err != nil {
		return
	}
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if j.hold(over) {
		if v.lock(j.file) {
			j.load() // as far as it can be read: one of its data files may be the user's

			j.close(true)
			return
		}
		j.free()
	}
	j.file.Close()
}
