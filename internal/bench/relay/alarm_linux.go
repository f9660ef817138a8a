package relay

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// An alarm waits for points in time more exactly than package time does, which
// wakes a process that has nothing else to do up to a millisecond late.
type alarm struct{ timer *os.File } // nil if there is none to be had

func newAlarm() alarm {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return alarm{}
	}
	return alarm{os.NewFile(uintptr(fd), "timer")}
}

func (a alarm) close() {
	if a.timer != nil {
		a.timer.Close()
	}
}

func (a alarm) wait(t time.Time) {
	left := time.Until(t)
	if left <= 0 {
		return
	}
	if a.timer != nil && a.sleep(left) == nil {
		return
	}
	time.Sleep(time.Until(t))
}

func (a alarm) sleep(d time.Duration) error {
	c, err := a.timer.SyscallConn()
	if err != nil {
		return err
	}
	var setErr error
	err = c.Control(func(fd uintptr) {
		setErr = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}, nil)
	})
	if err != nil || setErr != nil {
		return os.ErrInvalid
	}
	_, err = a.timer.Read(make([]byte, 8))
	return err
}
