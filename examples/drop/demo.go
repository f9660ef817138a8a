package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// demo sends source from one process to another, over the loopback interface, and compares what arrived.
func demo(ctx context.Context, source string) error {
	ctx, cancel := interruptible(ctx)
	defer time.AfterFunc(50*time.Second, cancel).Stop()
	defer cancel()
	interfaces, _ := net.Interfaces()
	loopback := slices.IndexFunc(interfaces, func(i net.Interface) bool { return i.Flags&net.FlagLoopback != 0 })
	self, err := os.Executable()
	if err != nil || loopback < 0 {
		return errors.Join(errors.New("a loopback interface and this program's file are needed"), err)
	}
	dir, err := os.MkdirTemp("", "drop-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, append(args, "--interface", interfaces[loopback].Name, "--keys", filepath.Join(dir, "keys"))...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd
	}
	name := fmt.Sprintf("demo-%08x", rand.Uint32()) // this demo's receiver and no other
	dest := filepath.Join(dir, "received")
	if err := os.Mkdir(dest, 0o700); err != nil {
		return err
	}
	receiver := command("receive", dest, "--yes", "--name", name)
	if err := receiver.Start(); err != nil {
		return err
	}
	err = command("send", source, "--to", name).Run() // prints how much it was, and how fast
	cancel()
	receiver.Wait() // it was killed, since it would wait for more
	if err != nil {
		return fmt.Errorf("the demo was cut: %w", err)
	}
	source, err = filepath.Abs(source)
	if err != nil {
		return err
	}
	want, err := snapshot(source)
	got, err2 := snapshot(filepath.Join(dest, filepath.Base(source)))
	if err = errors.Join(err, err2); err != nil || !maps.Equal(want, got) {
		return errors.Join(errors.New("what has arrived is not what was sent"), err)
	}
	fmt.Printf("demo: all %d files and folders are identical, byte by byte\n", len(got))
	return nil
}

// snapshot returns every name in a tree, with the bytes of files. Whether a file may be executed is not part of it: of those
// from strangers none may.
func snapshot(top string) (all map[string]string, err error) {
	tree := os.DirFS(filepath.Dir(top))
	all = map[string]string{}
	return all, fs.WalkDir(tree, filepath.Base(top), func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			all[path] = "folder"
		case d.Type().IsRegular():
			content, err := fs.ReadFile(tree, path)
			all[path] = "file: " + string(content)
			return err
		}
		return nil // nobody follows symbolic links
	})
}
