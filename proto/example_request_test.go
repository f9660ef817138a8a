package proto_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/sdp2p/p2p/internal/messagetest"
	"github.com/sdp2p/p2p/proto"
	"github.com/stretchr/testify/require"
)

// sampleRequest returns a request for n files. For every other one, it asks
// only for a part.
func sampleRequest(n int) Request {
	m := Request{ID: [16]byte([]byte("0123456789abcdef")), BlockSize: Block1M}
	for i := range n {
		f := File{Name: fmt.Sprintf("IMG_2024_%06d.jpeg", i*7919), Size: 2_400_000 + uint64(i)*7_654_321}
		if i%2 == 1 {
			f.Part, f.Start, f.End = true, f.Size/3, f.Size
		}
		m.Files = append(m.Files, f)
	}
	return m
}

func TestRequest(t *testing.T) {
	wire, err := hex.DecodeString("30313233343536373839616263646566" + // ID
		"01" + "02" + // block size, count
		"0300" + "612e62" + "0a00000000000000" + "00" +
		"0400" + "e282ac63" + "1400000000000000" + "01" + "0500000000000000" + "0600000000000000")
	require.NoError(t, err)
	messagetest.Test(t, wire, Request{ID: [16]byte([]byte("0123456789abcdef")), BlockSize: Block1M, Files: []File{
		{Name: "a.b", Size: 10},
		{Name: "€c", Size: 20, Part: true, Start: 5, End: 6},
	}})
}

func TestRequestLarge(t *testing.T) {
	m := sampleRequest(MaxFiles)
	wire, err := m.AppendBinary(nil)
	require.NoError(t, err)
	for name, reader := range messagetest.Readers {
		d := proto.NewDecoder(reader(bytes.NewReader(wire)))
		var got Request
		require.NoError(t, got.DecodeFrom(d), name)
		require.Equal(t, m, got, name)
	}
}

func TestRequestRefused(t *testing.T) {
	fresh := func() messagetest.Message { return new(Request) }
	id := strings.Repeat("\x00", 16)
	var enum *proto.EnumError
	err := messagetest.RefusedDecode(t, []byte(id+"\x03\x00"), fresh, proto.ErrInvalid)
	require.ErrorAs(t, err, &enum)
	require.Equal(t, proto.EnumError{Name: "block size", Value: 3}, *enum)
	messagetest.RefusedDecode(t, []byte(id+"\x00\x01"+"\x01\x00\xFF"), fresh, proto.ErrUTF8)
	messagetest.RefusedDecode(t, []byte(id+"\x00\x01"+"\x01\x00a12345678\x02"), fresh, proto.ErrBool)

	messagetest.RefusedEncode(t, &Request{BlockSize: 3}, proto.ErrInvalid)
	messagetest.RefusedEncode(t, &Request{Files: make([]File, 256)}, proto.ErrInvalid)
	messagetest.RefusedEncode(t, &Request{Files: []File{{Name: "a\xFF"}}}, proto.ErrUTF8)
	messagetest.RefusedEncode(t, &Request{Files: []File{{Name: strings.Repeat("a", 256)}}}, proto.ErrInvalid)
}

func FuzzRequest(f *testing.F) {
	m := sampleRequest(3)
	wire, err := m.AppendBinary(nil)
	require.NoError(f, err)
	f.Add(wire)
	f.Add(wire[:len(wire)-20])
	f.Fuzz(func(t *testing.T, wire []byte) {
		messagetest.Fuzz(t, wire, func(Request, []byte) bool { return true })
	})
}

func benchmarkRequest(b *testing.B, f func(b *testing.B, m Request, wire []byte)) {
	for _, n := range []int{3, 255} {
		m := sampleRequest(n)
		wire, err := m.AppendBinary(nil)
		require.NoError(b, err)
		b.Run(fmt.Sprintf("files=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			f(b, m, wire)
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	benchmarkRequest(b, func(b *testing.B, m Request, wire []byte) {
		for b.Loop() {
			wire, _ = m.AppendBinary(wire[:0])
		}
	})
}

// BenchmarkDecode reads from a bufio.Reader.
func BenchmarkDecode(b *testing.B) {
	benchmarkRequest(b, func(b *testing.B, _ Request, wire []byte) {
		r := bytes.NewReader(nil)
		br := bufio.NewReader(r)
		d := proto.NewDecoder(br)
		for b.Loop() {
			r.Reset(wire)
			br.Reset(r)
			d.Reset(br)
			var m Request
			if err := m.DecodeFrom(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDecodePlain reads from a reader that is no bufio.Reader.
func BenchmarkDecodePlain(b *testing.B) {
	benchmarkRequest(b, func(b *testing.B, _ Request, wire []byte) {
		r := bytes.NewReader(nil)
		d := proto.NewDecoder(r)
		for b.Loop() {
			r.Reset(wire)
			d.Reset(r)
			var m Request
			if err := m.DecodeFrom(d); err != nil {
				b.Fatal(err)
			}
		}
	})
}
