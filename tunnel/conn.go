package tunnel

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/turn"
)

const (
	// MaxAge is how long a tunnel lives.
	MaxAge = 24 * time.Hour

	confirmDelay = 5 * time.Millisecond // how long the initiator's confirmation waits for data to travel with
	closeTime    = 30 * time.Second     // how long the end waits while the peer does not read
)

// A Conn is a tunnel: a [net.Conn] to an instance of a library, which nobody
// else can read or write. All methods may be called concurrently.
//
// Only Close and CloseWrite make the peer read [io.EOF]. If the
// tunnel ends in any other way, the peer's reads fail.
type Conn struct {
	s      Session
	with   *Credential
	member Member
	hash   []byte

	reading turn.Turn // of Read; guards what follows
	in      *sealer
	frame   [headerSize]byte
	have    int               // bytes read of the frame and its ciphertext
	body    *[bufferSize]byte // the ciphertext, then the rest of its plaintext; nil: none
	plain   []byte            // in body: what Read has yet to return
	ended   bool              // the peer's end was read

	writing turn.Turn // of Write and CloseWrite; guards what follows
	out     *sealer
	sealed  any    // a buffer, *[bufferSize]byte or *[batchSize]byte; nil: none
	unsent  []byte // in sealed: the rest, yet to be sent
	confirm bool   // the confirmation is due: of the initiator, before its first record
	closed  bool   // our end was sealed
	cut     bool   // a Write was interrupted by Close

	early    *time.Timer   // sends the confirmation alone; nil at the responder
	finished chan struct{} // closed once the tunnel is over

	resetOnce sync.Once

	over    turn.End // guards what follows
	writeBy time.Time
	lifted  bool        // the write deadline does not count now
	age     *time.Timer // ends the tunnel
}

func newConn(s Session, c *Credential, m Member, hash []byte, in, out *sealer) *Conn {
	t := &Conn{
		s: s, with: c, member: m, hash: hash, in: in, out: out,
		reading: turn.New(), writing: turn.New(), finished: make(chan struct{}),
	}
	t.over.Do(func() { t.age = time.AfterFunc(MaxAge, func() { t.Abort(ErrExpired) }) })
	return t
}

// String returns a placeholder that names the peer's instance.
func (c *Conn) String() string { return "a tunnel to " + c.member.Instance.String() }

// Format prints the placeholder for every verb, since the buffers hold the
// tunnel's contents.
func (c *Conn) Format(f fmt.State, _ rune) { fmt.Fprint(f, c.String()) }

// LogValue returns the placeholder.
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Library returns the library that the tunnel belongs to.
func (c *Conn) Library() uuid.UUID { return c.with.library }

// Instance returns the peer's instance of the library, which the tunnel has
// authenticated.
func (c *Conn) Instance() identity.RemoteIdentity { return c.member.Instance }

// Node returns the peer's node, which the connection has authenticated and the
// member's record names.
func (c *Conn) Node() identity.RemoteIdentity { return c.member.Node }

// Credential returns the credential that this side proved itself with.
func (c *Conn) Credential() *Credential { return c.with }

// HandshakeHash returns a value that both ends share and that identifies this
// tunnel (Noise §11.2). It is not secret.
func (c *Conn) HandshakeHash() [32]byte { return [32]byte(c.hash) }

// LocalAddr returns the address of our instance, an [identity.Addr].
func (c *Conn) LocalAddr() net.Addr { return c.with.Instance().Addr() }

// RemoteAddr returns the address of the peer's instance, an [identity.Addr].
func (c *Conn) RemoteAddr() net.Addr { return c.member.Instance.Addr() }

// NetConn returns the stream that the tunnel runs in. Reading from it, writing
// to it or closing it breaks the tunnel.
func (c *Conn) NetConn() net.Conn { return c.s.Stream }

// Read reads what the peer wrote. At the peer's authenticated end it returns
// [io.EOF]. It fails with [ErrTruncated] if the stream ended without one, and
// with [ErrRecordAuth] if a record is not what the peer sealed. After a
// deadline, Read can be called again; if the stream's reads are interrupted
// ([Session]), writes still work.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.confirmNow(); err != nil {
		return 0, err
	}
	c.reading.Take()
	defer c.reading.Release()
	for {
		if err := c.over.Reason(); err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, nil
		}
		if len(c.plain) > 0 {
			n := copy(b, c.plain)
			if c.plain = c.plain[n:]; len(c.plain) == 0 {
				c.drop()
			}
			return n, nil
		}
		if c.ended {
			return 0, io.EOF
		}
		typ, plaintext, err := c.record(b)
		switch {
		case err != nil:
			return 0, c.fault(err)
		case typ == typeConfirm:
			return 0, c.fault(ErrProtocol)
		case typ == typeClose:
			c.drop()
			if err := c.trailing(); err != nil {
				return 0, c.fault(err)
			}
			c.ended = true
		case len(plaintext) > 0 && &plaintext[0] == &b[:1][0]:
			c.drop()
			return len(plaintext), nil
		default:
			c.plain = plaintext
		}
	}
}

// record reads a record and opens it, into b if it fits. After an error that
// passes, it can be called again.
func (c *Conn) record(b []byte) (typ byte, plaintext []byte, err error) {
	for c.have < headerSize {
		n, err := c.s.Stream.Read(c.frame[c.have:])
		if c.have += n; err != nil && c.have < headerSize {
			return 0, nil, cut(err)
		}
	}
	size, err := checkHeader(c.frame)
	if err != nil {
		return 0, nil, err
	}
	if c.body == nil {
		c.body = buffers.Get().(*[bufferSize]byte)
	}
	for c.have < headerSize+size {
		n, err := c.s.Stream.Read(c.body[c.have-headerSize : size])
		if c.have += n; err != nil && c.have < headerSize+size {
			return 0, nil, cut(err)
		}
	}
	c.have = 0
	into := c.body[:0]
	if len(b) >= size-tagSize {
		into = b[:0:len(b)]
	}
	plaintext, err = c.in.open(into, c.frame, c.body[:size])
	return c.frame[0], plaintext, err
}

// cut turns the error of a stream that ended before the peer did into the
// tunnel's. An error that passes is returned unchanged.
func cut(err error) error {
	switch {
	case passes(err):
		return err
	case err == io.EOF:
		return ErrTruncated
	}
	return fmt.Errorf("%w: %w", ErrTruncated, err)
}

// isTimeout reports whether an error is a deadline's, and not that of a
// connection lost because the peer fell silent.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// passes reports whether an error does not end the tunnel: a timeout, or an
// interruption of reads, after which the stream can still be written to.
func passes(err error) bool {
	var e interface{ Interrupted() bool }
	return isTimeout(err) || errors.As(err, &e) && e.Interrupted()
}

func (c *Conn) drop() {
	if c.body != nil {
		buffers.Put(c.body)
		c.body, c.plain = nil, nil
	}
}

// trailing checks whether anything follows the peer's end. A stream that cannot
// end one direction alone need not end yet.
func (c *Conn) trailing() error {
	if _, ok := c.s.Stream.(interface{ CloseWrite() error }); !ok {
		return nil
	}
	if n, _ := c.s.Stream.Read(c.frame[:1]); n > 0 {
		return ErrTrailing
	}
	return nil
}

// Write writes b, in records of up to [MaxData] bytes. Data sealed before the
// deadline passed counts as written: it is sent with the next call.
func (c *Conn) Write(b []byte) (n int, err error) {
	if err := c.over.Reason(); err != nil {
		return 0, err
	}
	c.writing.Take()
	defer c.writing.Release()
	for first := true; first || len(b) > 0; first = false {
		if err := c.writable(); err != nil {
			c.cut = c.cut || !first && err == net.ErrClosed
			return n, err
		}
		chunk := b
		if len(b) >= (batch+1)*MaxData {
			chunk = b[:batch*MaxData]
		}
		b = b[len(chunk):]
		c.seal(typeData, chunk)
		err := c.flush()
		if err == nil || isTimeout(err) {
			n += len(chunk)
		}
		if err != nil {
			c.cut = c.cut || err == net.ErrClosed
			return n, err
		}
	}
	return n, nil
}

// writable returns nil once a record can be sealed: the rest of the one before
// has been sent.
func (c *Conn) writable() error {
	if err := c.over.Reason(); err != nil {
		return err
	}
	if c.closed {
		return net.ErrClosed
	}
	var late bool
	c.over.Do(func() { late = !c.writeBy.IsZero() && !time.Now().Before(c.writeBy) })
	if late {
		return os.ErrDeadlineExceeded
	}
	return c.flush()
}

// seal prepares data for sending, as records that fit into a batch, or the end,
// preceded by the confirmation if that is due. Without data it makes no record.
func (c *Conn) seal(typ byte, data []byte) {
	var b []byte
	if len(data) <= MaxData {
		sealed := buffers.Get().(*[bufferSize]byte)
		c.sealed, b = sealed, sealed[:0]
	} else {
		sealed := batches.Get().(*[batchSize]byte)
		c.sealed, b = sealed, sealed[:0]
	}
	if c.confirm {
		c.confirm = false
		c.early.Stop()
		b = c.out.seal(b, typeConfirm, nil)
	}
	if typ == typeClose {
		b = c.out.seal(b, typeClose, nil)
	}
	for len(data) > 0 {
		n := min(len(data), MaxData)
		b = c.out.seal(b, typ, data[:n])
		data = data[n:]
	}
	c.unsent = b
}

// flush sends the sealed records.
func (c *Conn) flush() error {
	if err := c.push(); err != nil {
		return c.fault(err)
	}
	return nil
}

// push is flush without a check of the tunnel's state.
func (c *Conn) push() error {
	for len(c.unsent) > 0 {
		n, err := c.s.Stream.Write(c.unsent)
		if c.unsent = c.unsent[n:]; err != nil {
			return err
		}
	}
	switch sealed := c.sealed.(type) {
	case *[bufferSize]byte:
		buffers.Put(sealed)
	case *[batchSize]byte:
		batches.Put(sealed)
	}
	c.sealed, c.unsent = nil, nil
	return nil
}

// confirmNow sends the confirmation unless it has been sent. A Write would send
// it anyway.
func (c *Conn) confirmNow() error {
	if c.early == nil || !c.writing.TakeNow() {
		return nil
	}
	defer c.writing.Release()
	return c.sendConfirm()
}

// sendConfirm sends the confirmation, within the handshake's time limit and
// regardless of the write deadline.
func (c *Conn) sendConfirm() error {
	if !c.confirm || c.over.Reason() != nil {
		return nil
	}
	c.seal(typeData, nil)
	c.liftWriteDeadline(time.Now().Add(handshakeTime))
	defer c.restoreWriteDeadline()
	err := c.push()
	switch {
	case err == nil:
		return nil
	case isTimeout(err):
		err = ErrTimeout // the peer has given up by now
	}
	return c.fault(err)
}

// CloseWrite ends the writing direction: the peer reads [io.EOF] after all that
// was written. Reading goes on.
func (c *Conn) CloseWrite() error {
	if err := c.over.Reason(); err != nil {
		return err
	}
	c.writing.Take()
	defer c.writing.Release()
	if err := c.over.Reason(); err != nil {
		return err
	}
	if !c.closed {
		if err := c.flush(); err != nil {
			return err
		}
		c.seal(typeClose, nil)
		c.closed = true
	}
	if err := c.flush(); err != nil {
		return err
	}
	if s, ok := c.s.Stream.(interface{ CloseWrite() error }); ok {
		return s.CloseWrite()
	}
	return nil
}
