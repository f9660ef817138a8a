package block

import (
	"bufio"
	"bytes"
	"compress/flate"
	"errors"
	"io"

	"github.com/sdp2p/p2p/proto"
)

const (
	packBytes = 128 << 10 // bytes of entries after which a new pack begins
	fewBytes  = 4 << 10   // bytes of entries that are not worth packing
)

// appendPacked appends encoded entries as a packed message.
//
//	size  field
//	1     14
//	4     length  1 to 524,288; so many bytes follow, which are DEFLATE (RFC 1951) of at most 524,288
func appendPacked(b, entries []byte) ([]byte, error) {
	packed := new(bytes.Buffer)
	w, err := flate.NewWriter(packed, flate.BestSpeed)
	if err != nil {
		return b, err
	}
	if _, err = w.Write(entries); err == nil {
		err = w.Close()
	}
	if err != nil {
		return b, err
	}
	b, err = (&message{kind: kindPacked, size: uint32(packed.Len())}).AppendBinary(b)
	return append(b, packed.Bytes()...), err
}

// unpack calls visit for each entry of a pack.
func unpack(packed []byte, visit func(*entry) error) error {
	in := bytes.NewReader(packed)
	limited := &io.LimitedReader{R: flate.NewReader(in), N: maxUnpacked + 1}
	r := bufio.NewReader(limited)
	d := proto.NewDecoder(r)
	for {
		_, err := r.Peek(1)
		switch {
		case limited.N == 0:
			return violation("a pack of more than %d bytes", maxUnpacked)
		case err == io.EOF && in.Len() > 0:
			return violation("something behind a pack")
		case err == io.EOF:
			return nil
		}
		e := new(entry)
		d.Reset(r)
		if err := e.DecodeFrom(d); err != nil {
			var limit flate.CorruptInputError
			if errors.As(err, &limit) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
				return violation("a broken pack")
			}
			return decoding(err)
		}
		if e.kind == kindOffered {
			return violation("the end of an offer inside a pack")
		}
		if err := visit(e); err != nil {
			return err
		}
	}
}
