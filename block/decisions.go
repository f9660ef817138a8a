package block

import (
	"context"
	"io"
	"maps"
	"slices"

	"github.com/zeebo/blake3"
)

// decisions are the app's decisions on the offers of a transfer, keyed by the
// number of entries in earlier offers. They must not be used concurrently.
type decisions map[int]decision

// A decision is the app's decision on an offer that it accepted.
type decision struct {
	offer    hash
	verdicts []verdict
	parts    map[int]part
}

// ask repeats the earlier decision if the offer and the totals of its transfer
// are the same, byte by byte, and asks the app otherwise. After a different
// first offer, all earlier decisions are void.
func (d decisions) ask(ctx context.Context, o *Offer, decide func(context.Context, *Offer) error) error {
	sum, err := o.sum()
	if err != nil {
		return err
	}
	if known, ok := d[o.Earlier]; ok && known.offer == sum {
		o.verdicts, o.parts = slices.Clone(known.verdicts), maps.Clone(known.parts)
		return nil
	}
	if o.Earlier == 0 {
		clear(d)
	}
	if decide != nil {
		if err := decide(ctx, o); err != nil {
			return err
		}
	}
	d[o.Earlier] = decision{sum, slices.Clone(o.verdicts), maps.Clone(o.parts)}
	return nil
}

// sum returns the hash of an offer and the totals of its transfer.
func (o *Offer) sum() (sum hash, err error) {
	h := blake3.New()
	all := entry{kind: kindOffered, totals: totals{
		files: uint32(o.Files), folders: uint32(o.Folders), leftOut: uint32(o.LeftOut), bytes: o.Bytes,
	}}
	b, err := all.AppendBinary(nil)
	if err != nil {
		return sum, err
	}
	h.Write(b)
	if _, err := io.CopyN(h, o.spool.reader(0), o.spool.size); err != nil {
		return sum, writing(err)
	}
	h.Digest().Read(sum[:])
	return sum, nil
}
