package main

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/zeebo/blake3"
)

func send(ctx context.Context, cfg p2p.Config, to string, paths []string) error {
	var what offer
	err := walk(paths, func(_ fs.FS, _ string, info fs.FileInfo) error {
		if !info.IsDir() {
			what.files++
			what.bytes += info.Size()
		}
		return nil
	})
	if err != nil {
		return err
	}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background())
	peer, err := choose(ctx, node, to)
	if err != nil {
		return err
	}
	return deliver(ctx, peer, what, paths)
}

// choose finds devices that receive and, unless it is empty, are called to, and returns the only one or that which the
// user chooses. It waits 20 s for the first of them, and then a second for more.
func choose(ctx context.Context, node *p2p.P2P, to string) (*p2p.Peer, error) {
	looking, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	var found []*p2p.Peer
	for p := range node.Available(looking) {
		called := to == "" || to == p.Name() || to == p.Identity().Fingerprint()
		if called && p.Metadata()["receives"] != "" {
			found = append(found, p)
			fmt.Printf("%3d  %s, name verified: %v, %v\n", len(found), who(p), p.Verified(), p.Candidates())
			time.AfterFunc(time.Second, cancel)
		}
	}
	n := 1
	if to == "" || len(found) > 1 {
		fmt.Print("Send to number (or use --to with a name or fingerprint): ")
		if _, err := fmt.Scanln(&n); err != nil {
			return nil, fmt.Errorf("no device was chosen: %w", err)
		}
	}
	if n < 1 || n > len(found) {
		return nil, errors.New("there is no such device that receives files")
	}
	return found[n-1], nil
}

// deliver sends what is at the paths, and returns when the peer has all of it.
func deliver(ctx context.Context, peer *p2p.Peer, what offer, paths []string) error {
	ctx, cancel := interruptible(ctx) // before this, Ctrl-C ends the program
	defer cancel()
	s, err := peer.Open(ctx, "drop")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { s.Reset(cancelled) })()
	to, began := who(peer), time.Now()
	fmt.Printf("Sending %v to %s\n", &what, to)
	if err := write(s, what, paths); err != nil {
		s.Reset(cancelled)
		return explain(ctx, err, to)
	}
	fmt.Println("Sent", what.since(began))
	return s.Close()
}

// write writes all that the sender has to say, and waits until the receiver has verified it.
func write(s *p2p.Stream, what offer, paths []string) error {
	bar := progress(what)
	defer bar.Close()
	b, _ := what.AppendBinary(nil)
	s.Write(b)
	w, hash := bufio.NewWriterSize(s, 256<<10), blake3.New()
	archive := tar.NewWriter(io.MultiWriter(w, hash))
	err := walk(paths, func(tree fs.FS, path string, info fs.FileInfo) error {
		header, err := tar.FileInfoHeader(info, "")
		if err != nil {
			return err
		}
		header.Name, header.Uname, header.Gname = path, "", "" // whose it is here is nobody's business
		if err := archive.WriteHeader(header); err != nil || info.IsDir() {
			return err
		}
		f, err := tree.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := io.CopyN(io.MultiWriter(archive, bar), f, header.Size); err != nil {
			return fmt.Errorf("%s: %w", path, err) // io.EOF: it has become shorter
		}
		return nil
	})
	if err := errors.Join(err, archive.Close()); err != nil {
		return err
	}
	w.Write(hash.Sum(nil))
	if err := errors.Join(w.Flush(), s.CloseWrite()); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, s) // nothing, until the receiver ends the stream
	return err
}

// walk visits the files and folders at the paths: where they are, what others are to call them, what they are.
func walk(paths []string, visit func(tree fs.FS, path string, info fs.FileInfo) error) error {
	for _, top := range paths {
		top, err := filepath.Abs(top)
		if err != nil {
			return err
		}
		tree := os.DirFS(filepath.Dir(top))
		err = fs.WalkDir(tree, filepath.Base(top), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if safe(path) && (info.IsDir() || info.Mode().IsRegular()) {
				return visit(tree, path, info)
			}
			fmt.Fprintf(os.Stderr, "skipped %q: neither a file nor a folder, or not a safe name\n", path)
			return nil // nobody follows symbolic links
		})
		if err != nil {
			return err
		}
	}
	return nil
}
