package tunnel

import (
	"errors"
	"time"
)

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail with [os.ErrDeadlineExceeded] from t on; the zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if err := c.failure(); err != nil {
		return err
	}
	return c.s.Stream.SetReadDeadline(t)
}

// SetWriteDeadline makes writes fail with [os.ErrDeadlineExceeded] from t on; the zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if err := c.failure(); err != nil {
		return err
	}
	c.writeBy = t
	if c.lifted {
		return nil
	}
	return c.s.Stream.SetWriteDeadline(t)
}

// liftWriteDeadline sets another write deadline for a moment.
func (c *Conn) liftWriteDeadline(t time.Time) {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	if c.failure() == nil {
		c.lifted = true
		c.s.Stream.SetWriteDeadline(t)
	}
}

func (c *Conn) restoreWriteDeadline() {
	c.deadlines.Lock()
	defer c.deadlines.Unlock()
	c.lifted = false
	if c.failure() == nil {
		c.s.Stream.SetWriteDeadline(c.writeBy)
	}
}
