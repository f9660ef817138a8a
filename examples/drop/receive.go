package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/sdp2p/p2p"
	"github.com/sdp2p/p2p/proto"
	"github.com/zeebo/blake3"
)

// receive receives what is sent, until ctx is done.
func receive(ctx context.Context, cfg p2p.Config, dir string) error {
	ctx, cancel := interruptible(ctx)
	defer cancel()
	root, err := os.OpenRoot(dir) // nothing leads out of it
	if err != nil {
		return err
	}
	defer root.Close()
	var mux p2p.Mux
	mux.HandleFunc("drop", p2p.Anyone, func(_ context.Context, s *p2p.Stream) error {
		err := accept(ctx, s, root)
		if err != nil {
			fmt.Fprintf(os.Stderr, "drop: %v\n", err)
		}
		return err
	})
	cfg.Handler, cfg.Metadata = &mux, map[string]string{"receives": "files"}
	node, err := p2p.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer node.Shutdown(context.Background()) // waits for the handler
	fmt.Printf("Waiting as %q (%s) at %v\n", cfg.Name, node.Identity().Fingerprint(), node.Listeners()[0].Addrs)
	<-ctx.Done()
	return nil
}

// accept receives one transfer.
func accept(ctx context.Context, s *p2p.Stream, root *os.Root) error {
	defer context.AfterFunc(ctx, func() { s.Reset(cancelled) })()
	in := bufio.NewReaderSize(s, 256<<10)
	var what offer
	if err := what.DecodeFrom(proto.NewDecoder(in)); err != nil {
		return err
	}
	s.Peer().WaitMetadata(ctx) // its name, which comes with the connection
	from, began := who(s.Peer()), time.Now()
	fmt.Printf("%s sends %v\n", from, &what)

	temp := ".drop-" + rand.Text()
	defer root.RemoveAll(temp)
	if err := extract(root, temp, in, what); err != nil {
		return explain(ctx, err, from)
	}
	fmt.Println("Received", what.since(began))
	return nil // which closes the stream
}

// extract extracts the archive into a new folder, verifies it, and moves what is in it to its place.
func extract(root *os.Root, temp string, in io.Reader, what offer) error {
	bar := progress(what)
	defer bar.Close()
	if err := root.Mkdir(temp, 0o700); err != nil {
		return err
	}
	hash := blake3.New()
	archive := tar.NewReader(io.TeeReader(in, hash))
	for {
		header, err := archive.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		name, mode := strings.TrimSuffix(header.Name, "/"), header.FileInfo().Mode().Perm()
		if what.bytes -= header.Size; !safe(name) || what.bytes < 0 {
			return fmt.Errorf("%.100q is not what was offered", header.Name)
		}
		switch local := temp + "/" + name; header.Typeflag {
		case tar.TypeDir:
			err = root.Mkdir(local, mode|0o700)
		case tar.TypeReg:
			err = extractFile(root, local, io.TeeReader(archive, bar), mode, header.ModTime)
		default:
			err = errors.New("neither a file nor a folder")
		}
		if err != nil {
			return fmt.Errorf("%.100q: %w", name, err)
		}
	}
	got := make([]byte, 32)
	if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, hash.Sum(nil)) {
		return errors.Join(errors.New("the BLAKE3 hash is wrong"), err)
	}
	return publish(root, temp)
}

func extractFile(root *os.Root, local string, content io.Reader, mode fs.FileMode, modTime time.Time) error {
	f, err := root.OpenFile(local, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close(), root.Chtimes(local, modTime, modTime))
}

// publish moves what is in the folder temp to where it belongs: under another name where its own is taken.
func publish(root *os.Root, temp string) error {
	entries, err := fs.ReadDir(root.FS(), temp)
	for _, e := range entries {
		ext, name := path.Ext(e.Name()), e.Name()
		for i := 1; ; i++ {
			if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
				break
			}
			name = fmt.Sprintf("%s (%d)%s", strings.TrimSuffix(e.Name(), ext), i, ext)
		}
		err = errors.Join(err, root.Rename(temp+"/"+e.Name(), name))
	}
	return err
}
