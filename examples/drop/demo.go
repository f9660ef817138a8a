package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sdp2p/p2p/examples/drop/console"
	"github.com/sdp2p/p2p/mdns"
)

// demo sends source from one process to another, over the loopback interface,
// and compares what arrived.
func demo(ctx context.Context, c *console.Console, source string) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "drop-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	keys, dest := filepath.Join(dir, "keys"), filepath.Join(dir, "received")
	if err := os.Mkdir(dest, 0o700); err != nil {
		return err
	}
	key, err := key(keys, "receive") // this demo's receiver and no other
	if err != nil {
		return err
	}
	command := func(args ...string) *exec.Cmd {
		args = append(args, "--interface", mdns.Loopback()[0], "--keys", keys)
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		return cmd
	}
	receiver := command("receive", dest, "--yes", "--once")
	if err := receiver.Start(); err != nil {
		return err
	}
	err = command("send", source, "--to", key.Remote().Fingerprint()).Run()
	if partly(err) == nil {
		err = receiver.Wait()
	}
	cancel() // kills a receiver that still waits
	receiver.Wait()
	if err := partly(err); err != nil {
		return fmt.Errorf("the demo was interrupted: %w", err)
	}
	return compare(c, source, filepath.Join(dest, filepath.Base(source)))
}

// partly returns the error of a process. It is not an error here if the process
// left out entries that are neither files nor folders.
func partly(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == int(exitSome) {
		return nil
	}
	return err
}

// compare compares the files sent with those that arrived.
func compare(c *console.Console, sent, arrived string) error {
	want, err := snapshot(sent)
	if err != nil {
		return err
	}
	got, err := snapshot(arrived)
	if err == nil && !maps.Equal(want, got) {
		err = errors.New("they differ")
	}
	if err != nil {
		return fmt.Errorf("the files that arrived are not those that were sent: %w", err)
	}
	c.Say("demo: all %d files and folders are identical, byte by byte", len(got))
	return nil
}

// snapshot returns every name in a tree, with the contents of files, but not
// whether they are executable: files from strangers never are.
func snapshot(top string) (all map[string]string, err error) {
	tree := os.DirFS(filepath.Dir(top))
	all = map[string]string{}
	visit := func(path string, d fs.DirEntry, err error) error {
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
	}
	return all, fs.WalkDir(tree, filepath.Base(top), visit)
}
