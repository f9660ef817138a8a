package tunnel

import (
	"errors"
	"time"
)

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline makes reads fail with [os.ErrDeadlineExceeded] from t on; the
// zero time means never.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.over.Before(func() error { return c.s.Stream.SetReadDeadline(t) })
}

// SetWriteDeadline makes writes fail with [os.ErrDeadlineExceeded] from t on;
// the zero time means never.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.over.Before(func() error {
		c.writeBy = t
		if c.lifted {
			return nil
		}
		return c.s.Stream.SetWriteDeadline(t)
	})
}

// liftWriteDeadline replaces the write deadline for a moment. Once the tunnel
// is over, it does nothing, nor does restoreWriteDeadline.
func (c *Conn) liftWriteDeadline(t time.Time) {
	_ = c.over.Before(func() error {
		c.lifted = true
		return c.s.Stream.SetWriteDeadline(t)
	})
}

func (c *Conn) restoreWriteDeadline() {
	_ = c.over.Before(func() error {
		c.lifted = false
		return c.s.Stream.SetWriteDeadline(c.writeBy)
	})
}
