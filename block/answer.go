package block

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// wish decides on one entry. It may claim at most limit chunks that earlier
// attempts have left.
func (r *receiver) wish(c *cursor, limit int) (w wish, err error) {
	e := &c.entry
	v, bad := r.names.check(e, r.offer.verdicts[c.index])
	w.verdict = v
	switch {
	case e.kind == kindLeftOut:
		if v != verdictNo {
			w.verdict = verdictWhole
		}
	case v == verdictPart:
		p := r.offer.parts[c.index]
		w.start, w.end = p.start, p.end
		if p.start < 0 || p.end < p.start || p.end > e.size || e.kind != kindFile || p.to == nil {
			return w, fmt.Errorf("block: no part of %q: %d to %d of %d bytes", e.path, p.start, p.end, e.size)
		}
	case v == verdictWhole && r.vol == nil:
		return w, fmt.Errorf("block: there is no destination for %q", e.path)
	case v == verdictWhole && e.kind == kindFile:
		if err := r.there(c, &w, limit); err != nil {
			return w, err
		}
	}
	r.offer.verdicts[c.index] = w.verdict
	r.count(e, &w, bad)
	return w, nil
}

// count records the decision on an entry; bad describes what is wrong with its
// name.
func (r *receiver) count(e *entry, w *wish, bad error) {
	switch {
	case w.verdict == verdictNo:
		r.skip(printable(e.path, maxPath), ErrRefused)
		return
	case e.kind == kindLeftOut:
		r.skip(printable(e.path, maxPath), e.why())
		return
	case w.verdict == verdictName:
		r.skip(printable(e.path, maxPath), bad)
		return
	case e.kind == kindFolder:
		return
	}
	r.update(func(p *Progress, result *Result) {
		size := e.size
		switch w.verdict {
		case verdictPart:
			size = w.end - w.start
		case verdictHave:
			p.have(result, size, w.unchanged)
			result.Files++
			result.Bytes += size
		}
		p.expect(1, size)
	})
}

// ask lets the app decide on the offer.
func (r *receiver) ask() error {
	if r.decide == nil {
		return nil
	}
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	within := r.opts.AnswerWithin
	if within == 0 {
		within = answerWithin
	}
	if within > 0 {
		timer := time.AfterFunc(within, func() { r.cancel(fmt.Errorf("%w: within %v", ErrUnanswered, within)) })
		defer timer.Stop()
	}
	if err := r.decide(ctx, r.offer); err != nil {
		if r.ctx.Err() != nil {
			return r.why()
		}
		if !errors.Is(err, ErrRefused) {
			err = fmt.Errorf("%w: %w", ErrRefused, err)
		}
		return err
	}
	return r.offer.err
}
