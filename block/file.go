package block

import "io/fs"

// An opened is an [fs.File]; one without Read is an [io.ReaderAt].
type opened interface {
	Stat() (fs.FileInfo, error)
	Close() error
}
