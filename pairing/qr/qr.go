// Package qr shows a ticket as a QR code, for another device's camera.
//
//	code, err := qr.Terminal(ticket.Text())
//	png, err := qr.PNG(ticket.Text(), 8)
//
// It is a separate package so that apps that draw codes themselves need not
// link it. The codes are those of rsc.io/qr (ISO/IEC 18004), with error
// correction level L: a ticket is read from an undamaged screen, where large
// squares help more.
package qr

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// quiet is the width of the light border around a code, in squares (ISO/IEC
// 18004 §5.3.8).
const quiet = 4

// encode makes the code of a ticket, in upper case, which means the same and
// makes the code a third smaller.
func encode(ticket string) (*qr.Code, error) {
	c, err := qr.Encode(strings.ToUpper(ticket), qr.L)
	if err != nil {
		return nil, fmt.Errorf("qr: %w", err)
	}
	return c, nil
}

// Terminal returns the code as text for a terminal, in lines of half blocks:
// about 60 columns and 30 lines for a ticket. It sets the colors itself, since
// many cameras read only dark on light.
func Terminal(ticket string) (string, error) {
	c, err := encode(ticket)
	if err != nil {
		return "", err
	}
	const start, end = "\x1b[38;2;0;0;0;48;2;255;255;255m", "\x1b[0m\n"
	var b strings.Builder
	for y := -quiet; y < c.Size+quiet; y += 2 {
		b.WriteString(start)
		for x := -quiet; x < c.Size+quiet; x++ {
			switch upper, lower := c.Black(x, y), c.Black(x, y+1); {
			case upper && lower:
				b.WriteRune('█')
			case upper:
				b.WriteRune('▀')
			case lower:
				b.WriteRune('▄')
			default:
				b.WriteRune(' ')
			}
		}
		b.WriteString(end)
	}
	return b.String(), nil
}

// PNG returns the code as a PNG picture in which each square is scale pixels
// wide: at least 2, or 8 if scale is not positive.
func PNG(ticket string, scale int) ([]byte, error) {
	c, err := encode(ticket)
	if err != nil {
		return nil, err
	}
	if c.Scale = max(scale, 2); scale <= 0 { // rsc.io/qr v0.2.0 panics at 1
		c.Scale = 8
	}
	return c.PNG(), nil
}
