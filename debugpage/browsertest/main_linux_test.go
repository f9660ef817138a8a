package browsertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	enable = "SDP2P_NETTEST"
	inside = "SDP2P_BROWSERTEST_INSIDE" // set in the namespace
)

// TestMain runs the tests again in a network namespace of their own, where the
// browser and the nodes can only reach each other.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(enable) == "":
		os.Exit(m.Run()) // the tests skip themselves
	case os.Getenv(inside) != "":
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, "the namespace has no loopback:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "no namespace could be made; that needs root:", err)
		os.Exit(1)
	}
}

// loopbackUp brings up the namespace's only interface.
func loopbackUp() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}
