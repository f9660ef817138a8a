package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
)

var testLibrary = uuid.UUID{1, 2, 3}

// read opens a log and returns its records.
func read(path string) (all []string, cut int64, err error) {
	l, cut, err := OpenLog(path, testLibrary, func(_ int64, content []byte) error {
		all = append(all, string(content))
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	return all, cut, l.Close()
}

// writeLog writes a log, and returns its bytes and its length after each
// record.
func writeLog(t *testing.T, path string, contents ...string) (b []byte, ends []int) {
	t.Helper()
	l, _, err := OpenLog(path, testLibrary, nil)
	require.NoError(t, err)
	ends = []int{logHeader}
	for _, c := range contents {
		at, err := l.Append([]byte(c))
		require.NoError(t, err)
		require.Equal(t, []int64{int64(ends[len(ends)-1])}, at)
		ends = append(ends, int(l.size))
	}
	require.NoError(t, l.Close())
	b, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, b, ends[len(ends)-1])
	return b, ends
}

func TestLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, cut, err := OpenLog(path, testLibrary, nil)
	require.NoError(t, err)
	require.Zero(t, cut)
	at, err := l.Append([]byte("one"), []byte("two"))
	require.NoError(t, err)
	more, err := l.Append([]byte("three"))
	require.NoError(t, err)
	var got []string
	next, err := l.Read(at[1], l.size, func(at int64, content []byte) error {
		got = append(got, string(content))
		return errEnough
	})
	require.NoError(t, err)
	require.Equal(t, more[0], next)
	require.Equal(t, []string{"two"}, got)
	next, err = l.Read(next, l.size, func(int64, []byte) error { return nil })
	require.NoError(t, err)
	require.Equal(t, l.size, next)
	why := errors.New("why")
	_, err = l.Read(at[0], l.size, func(int64, []byte) error { return why })
	require.ErrorIs(t, err, why)
	require.NoError(t, l.Close())

	all, cut, err := read(path)
	require.NoError(t, err)
	require.Zero(t, cut)
	require.Equal(t, []string{"one", "two", "three"}, all)
	_, _, err = OpenLog(path, uuid.UUID{4}, nil)
	require.ErrorAs(t, err, new(*DamageError), "the log belongs to another library")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0), info.Mode()&0o077)
}

// A crash can leave any prefix of what was written, followed by zeros. Whole
// records stay, and writing goes on after them.
func TestLogTruncated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	contents := []string{"a", "some more", string(bytes.Repeat([]byte("x"), 300)), "the last one"}
	b, ends := writeLog(t, path, contents...)
	for n := range len(b) + 1 {
		whole := 0
		for whole < len(contents) && ends[whole+1] <= n {
			whole++
		}
		tails := [][]byte{nil}
		if n < logHeader || n == ends[whole] {
			tails = append(tails, make([]byte, 5), make([]byte, 10_000))
		}
		for _, tail := range tails {
			if n > 0 && n < logHeader && len(tail) > 0 {
				continue // the header is written once, and synced before anything else
			}
			require.NoError(t, os.WriteFile(path, append(bytes.Clone(b[:n]), tail...), 0o600))
			if n == 0 && len(tail) > logHeader {
				continue
			}
			got, cut, err := read(path)
			require.NoError(t, err, n)
			require.Equal(t, contents[:whole], append([]string{}, got...), n)
			if n >= logHeader {
				require.EqualValues(t, n-ends[whole]+len(tail), cut)
			}
			l, _, err := OpenLog(path, testLibrary, func(int64, []byte) error { return nil })
			require.NoError(t, err)
			_, err = l.Append([]byte("after"))
			require.NoError(t, errors.Join(err, l.Close()))
			got, cut, err = read(path)
			require.NoError(t, err)
			require.Zero(t, cut)
			require.Equal(t, append(append([]string{}, contents[:whole]...), "after"), got, n)
		}
	}
}

// A damaged byte is noticed wherever it is, and the file stays as it is.
func TestLogDamaged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	b, ends := writeLog(t, path, "a", "some more", string(bytes.Repeat([]byte("x"), 300)), "the last one")
	for i := range b {
		for _, mask := range []byte{1, 0x80, 0xff, b[i]} {
			if mask == 0 {
				continue
			}
			bad := bytes.Clone(b)
			bad[i] ^= mask
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			_, _, err := read(path)
			var damage *DamageError
			require.ErrorAs(t, err, &damage, i)
			at := 0
			for _, end := range ends {
				if i >= end {
					at = end
				}
			}
			require.EqualValues(t, at, damage.At, i)
			require.ErrorContains(t, err, fmt.Sprintf("%s is damaged at byte %d: ", path, at))
			now, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, bad, now)
		}
	}
	// Zeros in the middle are not taken for an unfinished record.
	bad := bytes.Clone(b)
	clear(bad[ends[1]:ends[2]])
	require.NoError(t, os.WriteFile(path, bad, 0o600))
	_, _, err := read(path)
	require.ErrorAs(t, err, new(*DamageError))
}

// A length that nobody has written is damage, too, even if its checksum is
// right.
func TestLogLength(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	b, _ := writeLog(t, path, "a")
	for _, length := range []uint32{0, MaxOp + 1, 1 << 31} {
		bad := binary.LittleEndian.AppendUint32(bytes.Clone(b), length)
		bad = binary.LittleEndian.AppendUint32(bad, crc32.Checksum(bad[len(b):], castagnoli))
		require.NoError(t, os.WriteFile(path, append(bad, 0, 0, 0, 0), 0o600))
		_, _, err := read(path)
		require.ErrorAs(t, err, new(*DamageError), length)
	}
}

// A write that fails, for instance because the disk is full, leaves nothing
// behind.
func TestLogWriteFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	writeLog(t, path, "one")
	l, _, err := OpenLog(path, testLibrary, func(int64, []byte) error { return nil })
	require.NoError(t, err)
	file := l.file
	l.file, err = os.Open(path) // opened for reading only
	require.NoError(t, err)
	_, err = l.Append([]byte("two"))
	require.Error(t, err)
	l.file.Close()
	l.file = file
	_, err = l.Append([]byte("three"))
	require.Error(t, err, "the end of the file could not be restored")
	require.Error(t, l.Close())
	all, _, err := read(path)
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, all)
}

// appendForever runs in the process that TestKill kills: it appends records of
// random length, and prints how many it has appended.
func appendForever(path string) {
	n := 0
	l, _, err := OpenLog(path, testLibrary, func(int64, []byte) error { n++; return nil })
	for err == nil {
		n++
		_, err = l.Append([]byte(strconv.Itoa(n)), bytes.Repeat([]byte{byte(n)}, 1+rand.IntN(20_000)))
		fmt.Println(n)
		n++
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Whenever a process is killed, all records are there that it had reported.
func TestKill(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	for range 12 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), "RUN_EXAMPLE=append", "LOG="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		kill := time.AfterFunc(rand.N(30*time.Millisecond)+10*time.Millisecond, func() { cmd.Process.Kill() })
		said := 0
		for s := bufio.NewScanner(out); s.Scan(); {
			if n, err := strconv.Atoi(s.Text()); err == nil { // the last line may be cut
				said = max(said, n)
			}
		}
		kill.Stop()
		require.Error(t, cmd.Wait())
		all, _, err := read(path)
		require.NoError(t, err)
		require.GreaterOrEqual(t, len(all), said)
		if info, err := os.Stat(path); err == nil && info.Size() > 20<<20 {
			require.NoError(t, os.Remove(path))
		}
	}
}
