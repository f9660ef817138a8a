package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/sdp2p/p2p/library"
)

// In a device's folder there are
//
//	node.pem, instance.pem  the keys
//	library.json            the library's record, with its secret
//	notes.log               the operations
//	lock                    nothing; it is locked while the program runs
//
// All are for nobody else to read.

func recordFile(folder string) string { return filepath.Join(folder, "library.json") }

// saveRecord replaces the record as a whole: after a crash there is the old one or the new one.
func saveRecord(folder string, r library.Record) error {
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(folder, ".library-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it has its name
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), recordFile(folder)); err != nil {
		return err
	}
	return syncFolder(folder)
}

// loadRecord reads the record. If there is none, the error wraps [fs.ErrNotExist].
func loadRecord(folder string) (r library.Record, err error) {
	b, err := os.ReadFile(recordFile(folder))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// lock sees to it that no other process uses the folder, until the file is closed or this process ends.
func lock(folder string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(folder, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		return nil, errors.Join(errors.New("another program uses the folder"), err)
	}
	return f, nil
}
