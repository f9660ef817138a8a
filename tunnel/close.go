package tunnel

import (
	"net"
	"time"

	"github.com/sdp2p/p2p/internal/turn"
)

// Close ends the tunnel: data already written still arrives, followed by the
// end. Data that the peer has yet to send is discarded. Pending calls return
// [net.ErrClosed]; if Close interrupts a Write, the tunnel is reset, since an
// orderly end would hide the missing data. Close does not wait for the peer;
// [Conn.Done] tells when everything has been handed over.
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

// Done is closed once the tunnel is over and the data and the end that Close
// had to send are handed over to the stream, or given up after 30 s.
func (c *Conn) Done() <-chan struct{} { return c.finished }

// finish sends the end, and closes the stream. The caller has taken the writing
// turn.
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

// Abort ends the tunnel at once, in both directions: all calls return reason,
// the peer's fail. It is for callers that revoke the permission for the tunnel.
// After Close it also ends any sending that Close left pending.
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

// abort ends the tunnel at once. It returns false, and does nothing, if the
// tunnel was over already.
func (c *Conn) abort(reason error) bool {
	if !c.stop(reason) {
		return false
	}
	close(c.finished)
	c.reset()
	return true
}

// stop records why the tunnel is over. It returns false if the tunnel was over
// already.
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

// fault ends the tunnel because of an error, and returns the error that ended
// it first. A timeout or an interruption does not end it; and once Close has
// begun, a call that Close interrupts must not cut off the data that Close
// still sends.
func (c *Conn) fault(err error) error {
	if !passes(err) {
		c.abort(err)
	}
	if failure := c.over.Reason(); failure != nil {
		return failure
	}
	return err
}
