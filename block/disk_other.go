//go:build !unix || solaris || aix

package block

import (
	"io/fs"
	"os"
)

func newDisk(dir string) fs.FS { return os.DirFS(dir) }

// openFile opens a file in fsys.
func openFile(fsys fs.FS, name string) (opened, error) { return fsys.Open(name) }

// tree returns the file system to walk in place of fsys.
func tree(fsys fs.FS) fs.FS { return fsys }

// readsTogether reports whether several goroutines may read f at the same time.
func readsTogether(f opened) bool {
	_, ok := f.(*os.File)
	return ok
}
