package library_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/library"
	"github.com/sdp2p/p2p/proto"
)

// entry encodes a member by the protocol's text.
func entry(m library.Member) []byte {
	instance, node := m.Instance.Bytes(), m.Node.Bytes()
	b := binary.LittleEndian.AppendUint64(append(instance[:], node[:]...), uint64(m.Since))
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(m.Name))), m.Name...)
}

func list(members ...library.Member) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(len(members)))
	for _, m := range members {
		b = append(b, entry(m)...)
	}
	return b
}

func stranger() library.Member {
	return library.Member{Instance: identity.New().Remote(), Node: identity.New().Remote(), Name: "Eve's", Since: 7}
}

func decodeList(b []byte) (m library.MemberList, err error) {
	return m, m.DecodeFrom(proto.NewDecoder(bytes.NewReader(b)))
}

func TestMemberList(t *testing.T) {
	a, b := stranger(), stranger()
	b.Name, b.Since = "", -1
	want := list(a, b)
	got, err := library.MemberList{a, b}.AppendBinary([]byte("x"))
	require.NoError(t, err)
	require.Equal(t, append([]byte("x"), want...), got)
	var m library.MemberList
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(iotest.OneByteReader(bytes.NewReader(want)))))
	require.Equal(t, library.MemberList{a, b}, m)
	for i := range want {
		_, err := decodeList(want[:i])
		require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%d bytes: %v", i, err)
	}
	r := bytes.NewReader(append(want, "more"...))
	require.NoError(t, m.DecodeFrom(proto.NewDecoder(r)))
	require.Equal(t, 4, r.Len())

	a.Name = strings.Repeat("x", 255)
	_, err = decodeList(list(a))
	require.NoError(t, err)
	full := make([]library.Member, library.MaxMembers+1)
	for i := range full {
		full[i] = a
	}
	m, err = decodeList(list(full...))
	require.NoError(t, err)
	require.Len(t, m, library.MaxMembers+1)
	_, err = library.MemberList(append(full, a)).AppendBinary(nil)
	require.Error(t, err)
	_, err = decodeList(list(append(full, a)...))
	require.ErrorIs(t, err, proto.ErrInvalid)
	a.Name += "x"
	_, err = library.MemberList{a}.AppendBinary(nil)
	require.Error(t, err)
	_, err = decodeList(list(a))
	require.ErrorIs(t, err, proto.ErrInvalid)
	a.Name = "\xff"
	_, err = decodeList(list(a))
	require.ErrorIs(t, err, proto.ErrInvalid)
	for _, bad := range []library.Member{{Instance: a.Instance}, {Node: a.Node}} {
		_, err = decodeList(list(bad))
		require.ErrorIs(t, err, identity.ErrInvalid)
	}
}

func FuzzMemberList(f *testing.F) {
	f.Add(list())
	f.Add(list(stranger()))
	f.Add(list(stranger(), stranger())[:150])
	f.Add([]byte{1, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		var m library.MemberList
		if m.DecodeFrom(proto.NewDecoder(r)) != nil {
			require.Nil(t, m)
			return
		}
		got, err := m.AppendBinary(nil)
		require.NoError(t, err)
		require.Equal(t, b[:len(b)-r.Len()], got)
	})
}
