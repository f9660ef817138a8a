package block

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// scratch makes a folder in memory, if there is room for so many bytes, or else
// where temporary files are.
func scratch(need int64) (dir string, err error) {
	if hasMemory(shared, need) {
		if dir, err := os.MkdirTemp(shared, "bench"); err == nil {
			return dir, nil
		}
	}
	return os.MkdirTemp("", "bench")
}

// shared is where systems with Linux have a file system in memory.
const shared = "/dev/shm"

// write makes a file with bytes of which no two parts are alike.
func write(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	random := rand.NewChaCha8([32]byte{byte(size)})
	buf := make([]byte, min(size, buffer))
	for left := size; left > 0; {
		b := buf[:min(left, buffer)]
		random.Read(b)
		if _, err := f.Write(b); err != nil {
			return err
		}
		left -= int64(len(b))
	}
	return f.Close()
}

// writeMany makes a folder with so many files, no two of them alike.
func writeMany(dir string, files int, size int) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	random := rand.NewChaCha8([32]byte{1})
	b := make([]byte, size)
	for i := range files {
		random.Read(b)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
