package tcp

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// A wire is the connection below TLS. An unfinished write makes a TLS
// connection unusable, which a deadline must not do. So TLS only ever fills a
// buffer, from which a lane sends; bytes that a deadline leaves in the buffer
// go out with the next write.
type wire struct {
	*net.TCPConn

	mu       sync.Mutex
	buffered bool   // from the end of the handshake on
	out      []byte // in lent, if that is not nil and was large enough
	lent     *[lentSize]byte

	flushing sync.Mutex

	written, taken atomic.Uint64 // bytes that were sent and received
}

// maxUnsent is more than a lane ever leaves in the buffer. Only a peer that
// requests new keys again and again could fill it.
const maxUnsent = 4 * maxData

// lentSize is enough for a frame with the longest payload in TLS records. A
// wire holds a buffer of that size while it has something to send.
const lentSize = maxData + 16<<10

// smallWrite is the size up to which a write needs no such buffer.
const smallWrite = 4 << 10

var buffers = sync.Pool{New: func() any { return new([lentSize]byte) }}

var errUnsent = errors.New("tcp: too many bytes are waiting to be sent")

// Write adds bytes to the buffer, or sends them during the handshake.
func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	if w.buffered {
		defer w.mu.Unlock()
		if len(w.out)+len(b) > maxUnsent {
			return 0, errUnsent
		}
		if w.out == nil && len(b) > smallWrite {
			w.lent = buffers.Get().(*[lentSize]byte)
			w.out = w.lent[:0]
		}
		w.out = append(w.out, b...)
		return len(b), nil
	}
	w.mu.Unlock()
	n, err := w.TCPConn.Write(b)
	w.written.Add(uint64(n))
	return n, err
}

// buffer makes writes wait for flush from now on.
func (w *wire) buffer() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buffered = true
}

// unsent returns the bytes in the buffer.
func (w *wire) unsent() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out
}

// sent removes n bytes from the buffer.
func (w *wire) sent(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n < len(w.out) {
		w.out = w.out[n:]
		return
	}
	w.out = nil
	if w.lent != nil {
		buffers.Put(w.lent)
		w.lent = nil
	}
}

// flush sends the buffer, until the write deadline.
func (w *wire) flush() error {
	w.flushing.Lock()
	defer w.flushing.Unlock()
	for {
		b := w.unsent()
		if len(b) == 0 {
			return nil
		}
		n, err := w.TCPConn.Write(b)
		w.written.Add(uint64(n))
		w.sent(n)
		if err != nil {
			return err
		}
	}
}

// Read reads what TLS asks for.
func (w *wire) Read(b []byte) (int, error) {
	n, err := w.TCPConn.Read(b)
	w.taken.Add(uint64(n))
	return n, err
}
