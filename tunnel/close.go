package tunnel

import (
	"net"
	"time"
)

// Close ends the tunnel: what was written still arrives, followed by the end. What the peer has yet to send is discarded.
// Pending calls return [net.ErrClosed]; where that interrupts a Write, the tunnel is reset, since its end would look like
// one that was meant. Close does not wait for the peer; [Conn.Done] tells when all is handed over.
func (c *Conn) Close() error {
	if !c.stop(net.ErrClosed) {
		return nil
	}
	c.deadlines.Lock()
	c.s.Stream.SetReadDeadline(past)
	idle := c.writing.takeNow()
	if !idle {
		c.s.Stream.SetWriteDeadline(past)
	}
	c.deadlines.Unlock()
	go func() {
		if !idle {
			c.writing.take()
		}
		c.finish()
	}()
	return nil
}

// past is a deadline that makes pending calls return.
var past = time.Unix(1, 0)

// Done is closed once the tunnel is over, and what Close had to say is handed over to the stream, or given up after 30 s.
func (c *Conn) Done() <-chan struct{} { return c.finished }

// finish sends the end, and closes the stream. The caller has taken the writing turn.
func (c *Conn) finish() {
	defer close(c.finished)
	defer c.writing.release()
	c.deadlines.Lock()
	c.s.Stream.SetWriteDeadline(time.Now().Add(closeTime))
	c.deadlines.Unlock()
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
	if c.stop(reason) {
		close(c.finished)
		c.reset()
		return
	}
	select {
	case <-c.finished:
	default:
		c.reset()
	}
}

// stop notes why the tunnel is over, and reports whether it was not.
func (c *Conn) stop(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	if err == nil {
		err = net.ErrClosed
	}
	c.err = err
	c.age.Stop()
	return true
}

// reset ends the stream at once.
func (c *Conn) reset() { c.resetOnce.Do(c.s.reset) }

func (c *Conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// fault ends the tunnel because of an error, and returns why it ended first. A timeout does not end it.
func (c *Conn) fault(err error) error {
	if !isTimeout(err) {
		c.Abort(err)
	}
	if failure := c.failure(); failure != nil {
		return failure
	}
	return err
}
