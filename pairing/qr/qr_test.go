package qr_test

import (
	"bytes"
	"image/png"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	rsc "rsc.io/qr"
	"rsc.io/qr/coding"

	"github.com/sdp2p/p2p/pairing/qr"
)

// ticket is the longest ticket: one with 4 IPv6 addresses.
var ticket = "sdp2p1:" + strings.Repeat("aBcd2345", 26) + "ABCDEFG"

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:"

// decode reads a code of level L and mask 0: the bits of its data, one by one,
// as in ISO/IEC 18004 §7.4.4.
func decode(t *testing.T, size int, black func(x, y int) bool) string {
	t.Helper()
	version := coding.Version((size - 17) / 4)
	require.Equal(t, size, 17+4*int(version))
	plan, err := coding.NewPlan(version, coding.L, 0)
	require.NoError(t, err)
	bits := make([]bool, 8*plan.DataBytes)
	for y, row := range plan.Pixel {
		for x, p := range row {
			switch p.Role() {
			case coding.Data:
				bits[p.Offset()] = black(x, y) != (p&coding.Invert != 0)
			case coding.Position, coding.Alignment, coding.Timing, coding.Format:
				require.Equal(t, p&coding.Black != 0, black(x, y))
			}
		}
	}
	number := func(n int) (v int) {
		for _, b := range bits[:n] {
			if v <<= 1; b {
				v |= 1
			}
		}
		bits = bits[n:]
		return v
	}
	require.Equal(t, 2, number(4), "alphanumeric mode")
	count := 9
	if version >= 10 {
		count = 11
	}
	var s strings.Builder
	n := number(count)
	for ; n >= 2; n -= 2 {
		pair := number(11)
		s.WriteByte(alphabet[pair/45])
		s.WriteByte(alphabet[pair%45])
	}
	if n == 1 {
		s.WriteByte(alphabet[number(6)])
	}
	return s.String()
}

func TestPNG(t *testing.T) {
	for _, scale := range []int{-1, 0, 1, 3, 8} {
		b, err := qr.PNG(ticket, scale)
		require.NoError(t, err)
		img, err := png.Decode(bytes.NewReader(b))
		require.NoError(t, err)
		if scale <= 0 {
			scale = 8
		}
		scale = max(scale, 2)
		bounds := img.Bounds()
		require.Equal(t, bounds.Dx(), bounds.Dy())
		require.Zero(t, bounds.Dx()%scale)
		size := bounds.Dx()/scale - 8
		black := func(x, y int) bool {
			r, g, b, _ := img.At(bounds.Min.X+(x+4)*scale, bounds.Min.Y+(y+4)*scale).RGBA()
			return r+g+b == 0
		}
		for i := -4; i < size+4; i++ {
			for _, quiet := range []int{-4, -3, -2, -1, size, size + 1, size + 2, size + 3} {
				require.False(t, black(i, quiet))
				require.False(t, black(quiet, i))
			}
		}
		require.Equal(t, strings.ToUpper(ticket), decode(t, size, black))
	}
}

func TestTerminal(t *testing.T) {
	text, err := qr.Terminal(ticket)
	require.NoError(t, err)
	code, err := rsc.Encode(strings.ToUpper(ticket), rsc.L)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	require.Len(t, lines, (code.Size+8+1)/2)
	require.Less(t, len(lines), 40)
	color := regexp.MustCompile("\x1b\\[[0-9;]*m")
	var rows [][]rune
	for _, line := range lines {
		require.Len(t, color.FindAllString(line, -1), 2)
		require.True(t, strings.HasSuffix(line, "\x1b[0m"), "colors end with the line")
		row := []rune(color.ReplaceAllString(line, ""))
		require.Len(t, row, code.Size+8)
		rows = append(rows, row)
	}
	black := func(x, y int) bool {
		block := rows[(y+4)/2][x+4]
		return block == '█' || (y+4)%2 == 0 && block == '▀' || (y+4)%2 == 1 && block == '▄'
	}
	for y := -4; y < code.Size+4; y++ {
		for x := -4; x < code.Size+4; x++ {
			require.Equal(t, code.Black(x, y), black(x, y))
		}
	}
	require.Equal(t, strings.ToUpper(ticket), decode(t, code.Size, black))
}

func TestTooLong(t *testing.T) {
	_, err := qr.Terminal(strings.Repeat("A", 10_000))
	require.ErrorContains(t, err, "qr: ")
	_, err = qr.PNG(strings.Repeat("A", 10_000), 1)
	require.ErrorContains(t, err, "qr: ")
}
