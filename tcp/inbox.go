package tcp

import (
	"os"
	"sync"
	"time"
)

// An inbox holds the bytes that have arrived on a lane and were not read yet.
// One goroutine fills it, and one reads from it.
type inbox struct {
	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte // a ring; nil until the first byte arrives
	at, n    int    // position and number of the bytes
	err      error  // returned after the last byte
	cut      error  // returned from now on, before any byte
	full     bool   // the filling goroutine waits
	done     bool   // the filling goroutine has ended
	deadline time.Time
	timer    *time.Timer
}

// inboxSize is the most unread bytes that an inbox holds, in addition to the
// system's buffers.
const inboxSize = 256 << 10

var rings = sync.Pool{New: func() any { return new([inboxSize]byte) }}

func (in *inbox) init() { in.changed.L = &in.mu }

// Read returns bytes that have arrived, or waits for some.
func (in *inbox) Read(b []byte) (int, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for {
		switch {
		case in.cut != nil:
			return 0, in.cut
		case !in.deadline.IsZero() && !time.Now().Before(in.deadline):
			return 0, os.ErrDeadlineExceeded
		case in.n > 0 || len(b) == 0:
			n := in.take(b)
			in.changed.Broadcast()
			return n, nil
		case in.err != nil:
			return 0, in.err
		}
		in.changed.Wait()
	}
}

// take moves bytes to b. The caller holds mu.
func (in *inbox) take(b []byte) (n int) {
	for n < len(b) && in.n > 0 {
		m := copy(b[n:], in.buf[in.at:min(in.at+in.n, len(in.buf))])
		n, in.n = n+m, in.n-m
		in.at = (in.at + m) % len(in.buf)
	}
	return n
}

// room waits for room in the ring and returns it. The caller fills it and then
// calls add. room returns nil once nobody reads any more.
func (in *inbox) room() []byte {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.buf == nil && in.cut == nil {
		in.buf = rings.Get().(*[inboxSize]byte)[:]
	}
	for in.cut == nil && in.n == len(in.buf) {
		in.full = true
		in.changed.Wait()
	}
	in.full = false
	if in.cut != nil {
		return nil
	}
	if in.n == 0 {
		in.at = 0
	}
	from := (in.at + in.n) % len(in.buf)
	if from < in.at {
		return in.buf[from:in.at]
	}
	return in.buf[from:]
}

// add records that n bytes of the room were filled.
func (in *inbox) add(n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cut == nil {
		in.n += n
	}
	in.changed.Broadcast()
}

// waits reports whether the filling goroutine waits for room.
func (in *inbox) waits() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.full
}

// end sets the error that follows the bytes that have arrived. Only the first
// call counts.
func (in *inbox) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.err == nil {
		in.err = err
	}
	in.changed.Broadcast()
}

// drop makes reads fail from now on, and drops the bytes that have arrived.
func (in *inbox) drop(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cut == nil {
		in.cut, in.n = err, 0
		in.free()
	}
	if in.timer != nil {
		in.timer.Stop()
	}
	in.changed.Broadcast()
}

// filled records that the filling goroutine has ended.
func (in *inbox) filled() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.done = true
	in.free()
}

// free releases the ring if nobody uses it any more. The caller holds mu.
func (in *inbox) free() {
	if in.buf != nil && in.cut != nil && in.done {
		rings.Put((*[inboxSize]byte)(in.buf))
		in.buf = nil
	}
}

// ended returns the error that the stream has ended with, or nil if it has not
// ended yet.
func (in *inbox) ended() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}

// SetReadDeadline makes reads fail from t on.
func (in *inbox) SetReadDeadline(t time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.timer != nil {
		in.timer.Stop()
		in.timer = nil
	}
	in.deadline = t
	if !t.IsZero() && in.cut == nil {
		in.timer = time.AfterFunc(time.Until(t), func() {
			in.mu.Lock()
			defer in.mu.Unlock()
			in.changed.Broadcast()
		})
	}
	in.changed.Broadcast()
}
