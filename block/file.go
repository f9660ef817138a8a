package block

import "io/fs"

// An opened file is an [fs.File], or an [io.ReaderAt] without Read.
type opened interface {
	Stat() (fs.FileInfo, error)
	Close() error
}
