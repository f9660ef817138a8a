package block

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing/fstest"
	"time"
)

// noise is the content from which the files of plans are made.
var noise = func() []byte {
	b := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}()

// mix derives a random number from other numbers.
func mix(of ...uint64) uint64 {
	r := rand.NewPCG(1, 2)
	for _, n := range of {
		r = rand.NewPCG(r.Uint64()^n, r.Uint64())
	}
	return r.Uint64()
}

// content returns the bytes of a file.
func (p *plan) content(f *wantedFile) []byte {
	at := mix(p.seed, uint64(len(f.path)), uint64(f.path[len(f.path)-1])) % uint64(len(noise)-f.size+1)
	return noise[at : int(at)+f.size]
}

var (
	errShaky  = errors.New("bad sector")
	shakyTime = time.Unix(1e9, 5)
)

// A shaky is a troubled file, during one attempt.
type shaky struct {
	file    *wantedFile
	content []byte
	pace    *pace
	reads   int
	opens   int
	read    map[int64]bool // by offset
}

func (s *shaky) ReadAt(b []byte, at int64) (int, error) {
	s.pace.pause(time.Hour, always)
	n := copy(b, s.content[min(at, int64(len(s.content))):])
	late := s.reads >= s.file.after
	s.reads++
	again := s.read[at]
	s.read[at] = true
	switch s.file.trouble {
	case breaks:
		if end := at + int64(n); n > 0 && end > int64(s.file.size/2) {
			return 0, errShaky
		}
	case tires:
		if again {
			return 0, errShaky
		}
	case shrinks:
		if late {
			n = 0
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// A shakyTree is a tree with troubled files, by their paths.
type shakyTree struct {
	fstest.MapFS
	files map[string]*shaky
}

func (t shakyTree) Open(name string) (fs.File, error) {
	f, err := t.MapFS.Open(name)
	if s := t.files[name]; s != nil && err == nil {
		s.opens++
		if s.file.trouble == refuses || s.file.trouble == vanishes && s.opens > 1 {
			return nil, fs.ErrPermission
		}
		return &shakyFile{File: f, shaky: s}, nil
	}
	return f, err
}

// ReadDir reads a folder; the one named locked refuses.
func (t shakyTree) ReadDir(name string) ([]fs.DirEntry, error) {
	if name == "locked" {
		return nil, fs.ErrPermission
	}
	return t.MapFS.ReadDir(name)
}

// A shakyFile is an open troubled file.
type shakyFile struct {
	fs.File
	*shaky
}

func (f *shakyFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	if f.file.trouble == changes && f.reads >= f.file.after {
		return changed{info}, err
	}
	return info, err
}

// changed is the file information of a file that was touched.
type changed struct{ fs.FileInfo }

func (changed) ModTime() time.Time { return shakyTime.Add(time.Second) }

// numbered matches the number in the name of a file whose own name was taken.
var numbered = regexp.MustCompile(` \(\d+\)`)

// whole checks that every file with a final name is complete, and that all
// files are there that had to arrive.
func (p *plan) whole(dir string) error {
	there := map[string]bool{}
	byPath := map[string]*wantedFile{}
	for _, f := range p.files {
		byPath[f.path] = f
	}
	err := filepath.WalkDir(dir, func(at string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.Name() == partialDir:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		rel, _ := filepath.Rel(dir, at)
		name := numbered.ReplaceAllString(filepath.ToSlash(rel), "")
		f := byPath[name]
		if f == nil || p.unwanted(f) || f.part || f.trouble == refuses || f.trouble == breaks && f.size > 0 {
			return fmt.Errorf("%v is there", rel)
		}
		got, err := os.ReadFile(at)
		if err != nil {
			return err
		}
		if string(got) != string(p.content(f)) {
			return fmt.Errorf("%v is not whole: %d bytes", rel, len(got))
		}
		there[name] = true
		return nil
	})
	for _, f := range p.files {
		if f.trouble == steady && !p.unwanted(f) && !f.part && !there[f.path] {
			err = errors.Join(err, fmt.Errorf("%v has not come", f.path))
		}
	}
	return err
}

// A writerTo is a buffer for a part.
type writerTo []byte

func (w writerTo) WriteAt(b []byte, at int64) (int, error) { return copy(w[at:], b), nil }
