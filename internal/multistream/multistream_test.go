package multistream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/multiformats/go-multistream"
	"github.com/stretchr/testify/require"
)

const (
	protocolStream   = "/sdp2p/2"
	protocolMeta     = "/sdp2p/2/meta"
	protocolAncestor = "/sdp2p/1"
)

// script is a stream with a fixed input from the other side, which records its
// output.
type script struct {
	io.Reader
	bytes.Buffer
}

func (s *script) Read(b []byte) (int, error) { return s.Reader.Read(b) }

func TestSelectBytes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\x13/multistream/1.0.0\n\x09/sdp2p/2\n", Question(protocolStream))

	s := &script{Reader: strings.NewReader(Question(protocolStream) + "app bytes")}
	protocol, rest, err := Accept(s, protocolStream, protocolMeta)
	require.NoError(t, err)
	require.Equal(t, protocolStream, protocol)
	left, _ := io.ReadAll(s)
	require.Equal(t, "app bytes", string(rest)+string(left), "no byte that follows may be lost")
	require.Equal(t, Question(protocolStream), s.String())

	s = &script{Reader: strings.NewReader(Question("/x") + token("/y") + token(protocolMeta))}
	protocol, _, err = Accept(s, protocolStream, protocolMeta)
	require.NoError(t, err)
	require.Equal(t, protocolMeta, protocol)
	require.Equal(t, header+no+no+token(protocolMeta), s.String())

	s = &script{Reader: strings.NewReader(header + no)}
	_, err = Select(s, protocolMeta)
	require.ErrorIs(t, err, ErrNotSupported)
}

func TestSelectOne(t *testing.T) {
	t.Parallel()
	s := &script{Reader: strings.NewReader(header + no + token("/b") + "more")}
	protocol, rest, err := SelectOne(s, "/a", "/b", "/c")
	require.NoError(t, err)
	require.Equal(t, "/b", protocol)
	left, _ := io.ReadAll(s)
	require.Equal(t, "more", string(rest)+string(left), "no byte that follows may be lost")
	require.Equal(t, header+token("/a")+token("/b"), s.String())

	s = &script{Reader: strings.NewReader(header + no + no)}
	_, _, err = SelectOne(s, "/a", "/b")
	require.ErrorIs(t, err, ErrNotSupported)

	s = &script{Reader: strings.NewReader(header + token("/b"))}
	_, _, err = SelectOne(s, "/a", "/b")
	require.ErrorIs(t, err, ErrSelection, "an answer to another question")
	require.Equal(t, Question("/a"), s.String())
}

// The peer may be any implementation, which may send one token at a time and
// wait for each answer.
func TestSelectWithGoMultistream(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(c net.Conn) (string, error){
		"one": func(c net.Conn) (string, error) {
			return protocolStream, multistream.SelectProtoOrFail(protocolStream, c)
		},
		"several": func(c net.Conn) (string, error) {
			return multistream.SelectOneOf([]string{"/nope", "/neither", protocolStream}, c)
		},
		"lazy": func(c net.Conn) (string, error) {
			_, err := multistream.NewMSSelect(c, protocolStream).Read(nil)
			return protocolStream, err
		},
		"a token at a time": func(c net.Conn) (string, error) {
			io.WriteString(c, header)
			if _, err := multistream.ReadNextToken[string](c); err != nil {
				return "", err
			}
			io.WriteString(c, token("/nope"))
			if _, err := multistream.ReadNextToken[string](c); err != nil {
				return "", err
			}
			io.WriteString(c, token(protocolStream))
			return multistream.ReadNextToken[string](c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := buffered(t), buffered(t)
			ours.to, theirs.to = theirs, ours
			opened := make(chan error, 1)
			go func() {
				protocol, err := open(theirs)
				if err == nil && protocol != protocolStream {
					err = errors.New(protocol)
				}
				opened <- err
			}()
			protocol, _, err := Accept(ours, protocolMeta, protocolStream)
			require.NoError(t, err)
			require.Equal(t, protocolStream, protocol)
			require.NoError(t, <-opened)
		})
	}
	t.Run("as the opener", func(t *testing.T) {
		ours, theirs := buffered(t), buffered(t)
		ours.to, theirs.to = theirs, ours
		mux := multistream.NewMultistreamMuxer[string]()
		mux.AddHandler(protocolMeta, func(string, io.ReadWriteCloser) error { return nil })
		go mux.Negotiate(theirs)
		_, err := Select(ours, protocolMeta)
		require.NoError(t, err)

		ours, theirs = buffered(t), buffered(t)
		ours.to, theirs.to = theirs, ours
		go mux.Negotiate(theirs)
		_, err = Select(ours, protocolStream)
		require.ErrorIs(t, err, ErrNotSupported)
		theirs.Close()
	})
}

// An end is a pipe's end that, like a QUIC stream, does not block its writer.
type end struct {
	net.Conn // nil; its methods are not called
	in       chan byte
	to       *end
	closed   chan struct{}
}

func buffered(t *testing.T) *end {
	e := &end{in: make(chan byte, 1<<12), closed: make(chan struct{})}
	t.Cleanup(func() { e.Close() })
	return e
}

func (e *end) Write(b []byte) (int, error) {
	for _, c := range b {
		e.to.in <- c
	}
	return len(b), nil
}

func (e *end) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	select {
	case b[0] = <-e.in:
		return 1, nil
	case <-e.closed:
		return 0, io.EOF
	}
}

func (e *end) Close() error {
	select {
	case <-e.closed:
	default:
		close(e.closed)
	}
	return nil
}

func TestSelectTruncated(t *testing.T) {
	t.Parallel()
	whole := Question(protocolMeta)
	for n := range len(whole) {
		_, _, err := Accept(&script{Reader: iotest.OneByteReader(strings.NewReader(whole[:n]))}, protocolMeta)
		want := io.ErrUnexpectedEOF
		if n == 0 || n == len(header) {
			want = io.EOF
		}
		require.ErrorIs(t, err, want, n)
		_, err = Select(&script{Reader: iotest.OneByteReader(strings.NewReader(whole[:n]))}, protocolMeta)
		require.ErrorIs(t, err, want, n)
	}
}

func TestSelectBounds(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]string{
		"long token":      header + "\xff\xff\xff\x7f",
		"empty token":     header + "\x00",
		"no newline":      "\x03abc",
		"another header":  token("/multistream/2.0.0"),
		"endless refusal": header + strings.Repeat(token("/x"), 1000),
		"another answer":  header + token("/other"),
	} {
		s := &script{Reader: strings.NewReader(bytes)}
		_, _, err := Accept(s, protocolStream)
		require.Error(t, err, name)
		require.Less(t, s.Len(), 2*maxSelection, name)
		_, err = Select(&script{Reader: strings.NewReader(bytes)}, protocolStream)
		require.Error(t, err, name)
	}
}

// A lazily selected stream may be read with a deadline that strikes in the
// middle of the answer.
func TestSelectionGoesOnAfterADeadline(t *testing.T) {
	t.Parallel()
	answer := Question(protocolStream)
	for cut := range len(answer) {
		r := io.MultiReader(strings.NewReader(answer[:cut]), &deadlineOnce{}, strings.NewReader(answer[cut:]+"!"))
		sel := NewSelection(r)
		err := sel.Answer(protocolStream)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, sel.Answer(protocolStream), cut)
		left, _ := io.ReadAll(r)
		require.Equal(t, "!", string(sel.buf)+string(left))
	}
}

// deadlineOnce is a reader that fails once, and then ends.
type deadlineOnce struct{ failed bool }

func (d *deadlineOnce) Read([]byte) (int, error) {
	if d.failed {
		return 0, io.EOF
	}
	d.failed = true
	return 0, os.ErrDeadlineExceeded
}

func FuzzAcceptProtocol(f *testing.F) {
	f.Add([]byte(Question(protocolStream) + "rest"))
	f.Add([]byte(Question("/x") + token(protocolAncestor)))
	f.Add([]byte(header + "\x80\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s := &script{Reader: bytes.NewReader(b)}
		protocol, rest, err := Accept(s, protocolStream, protocolMeta, protocolAncestor)
		if err == nil {
			left, _ := io.ReadAll(s)
			require.True(t, bytes.HasSuffix(b, append(rest, left...)))
			require.Contains(t, string(b), protocol)
		}
		Select(&script{Reader: bytes.NewReader(b)}, protocolStream)
	})
}
