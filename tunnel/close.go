package tunnel

import (
	"net"
	"time"

	"github.com/sdp2p/p2p/internal/turn"
)

// Close ends the tunnel: what was written still arrives, followed by the end. What the peer has yet to send is discarded.
// Pending calls return [net.ErrClosed]; where that interrupts a Write, the tunnel is reset, since its end would look like
// one that was meant. Close does not wait for the peer; [Conn.Done] tells when all is handed over.
func (c *Conn) Close() error {
	if !c.stop(net.ErrClosed) {
		return nil
	}
	var idle bool
	c.over.Do(func() {
		c.s.Stream.SetReadDeadline(turn.Past)
		if idle = c.writing.TakeNow(); !idle {
			c.s.Stream.SetWriteDeadline(turn.Past)
		}
	})
	go func() {
		if !idle {
			c.writing.Take()
		}
		c.finish()
	}()
	return nil
}

// Done is closed once the tunnel is over, and what Close had to say is handed over to the stream, or given up after 30 s.
func (c *Conn) Done() <-chan struct{} { return c.finished }

// finish sends the end, and closes the stream. The caller has taken the writing turn.
func (c *Conn) finish() {
	defer close(c.finished)
	defer c.writing.Release()
	c.over.Do(func() { c.s.Stream.SetWriteDeadline(time.Now().Add(closeTime)) })
	err := error(nil)
	if c.cut {
		err = net.ErrClosed
	} else {
		err = c.push()
	}
	if err == nil && !c.closed {
		c.seal(typeClose, nil)
		c.closed = true
		err = c.push()
	}
	if err != nil {
		c.reset()
		return
	}
	c.s.Stream.Close()
}

// Abort ends the tunnel at once, in both directions: all calls return reason, the peer's fail. It is for whoever revokes what
// the tunnel was allowed by. After Close it ends what Close left to be done.
func (c *Conn) Abort(reason error) {
	if c.abort(reason) {
		return
	}
	select {
	case <-c.finished:
	default:
		c.reset()
	}
}

// abort ends the tunnel at once. It reports false, and does nothing, if it was over
// already.
func (c *Conn) abort(reason error) bool {
	if !c.stop(reason) {
		return false
	}
	close(c.finished)
	c.reset()
	return true
}

// stop records why the tunnel is over. It reports false if it was over already.
func (c *Conn) stop(err error) bool {
	if err == nil {
		err = net.ErrClosed
	}
	if !c.over.Begin(err) {
		return false
	}
	c.over.Do(func() { c.age.Stop() })
	return true
}

// reset ends the stream at once.
func (c *Conn) reset() { c.resetOnce.Do(c.s.reset) }

// fault ends the tunnel because of an error, and returns why it ended first. A
// timeout does not end it; and once Close has begun, a call that it interrupts must
// not cut off what Close still sends.
func (c *Conn) fault(err error) error {
	if !isTimeout(err) {
		c.abort(err)
	}
	if failure := c.over.Reason(); failure != nil {
		return failure
	}
	return err
}
