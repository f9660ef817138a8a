package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"
)

// demo sends source from one process to another, over the loopback interface,
// and compares what arrived.
func demo(ctx context.Context, c *console, source string) error {
	ctx, cancel := context.WithTimeout(ctx, 50*time.Second)
	defer cancel()
	source, err := filepath.Abs(source)
	if err != nil {
		return err
	}
	interfaces, _ := net.Interfaces()
	loopback := slices.IndexFunc(interfaces, func(i net.Interface) bool {
		return i.Flags&net.FlagLoopback != 0
	})
	if loopback < 0 {
		return errors.New("a loopback interface is needed")
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
		args = append(args, "--interface", interfaces[loopback].Name, "--keys", keys)
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
	cancel() // kills a receiver that waits in vain
	receiver.Wait()
	if err := partly(err); err != nil {
		return fmt.Errorf("the demo was cut: %w", err)
	}
	return compare(c, source, filepath.Join(dest, filepath.Base(source)))
}

// partly returns what a process failed for. That it left out what is neither a
// file nor a folder is no failure here.
func partly(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == int(exitSome) {
		return nil
	}
	return err
}

// compare compares what was sent with what arrived.
func compare(c *console, sent, arrived string) error {
	want, err := snapshot(sent)
	if err != nil {
		return err
	}
	got, err := snapshot(arrived)
	if err == nil && !maps.Equal(want, got) {
		err = errors.New("they differ")
	}
	if err != nil {
		return fmt.Errorf("what has arrived is not what was sent: %w", err)
	}
	c.say("demo: all %d files and folders are identical, byte by byte", len(got))
	return nil
}

// snapshot returns every name in a tree, with the bytes of files. Whether a
// file may be executed is not part of it: of those from strangers none may.
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
