//go:build !unix || solaris || aix

package block

import (
	"io/fs"
	"os"
)

func newDisk(dir string) fs.FS { return os.DirFS(dir) }

// openFile opens a file of fsys.
func openFile(fsys fs.FS, name string) (opened, error) { return fsys.Open(name) }

// tree returns fsys as one to walk through.
func tree(fsys fs.FS) fs.FS { return fsys }

// readsTogether tells whether f is a file that several may read at a time.
func readsTogether(f opened) bool {
	_, ok := f.(*os.File)
	return ok
}
