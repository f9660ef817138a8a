package block

// there finds out how much of a wanted file the receiver has: the file itself
// in its place, or chunks of an earlier attempt, of which it may claim at most
// limit.
func (r *receiver) there(c *cursor, w *wish, limit int) error {
	e := &c.entry
	placed, err := r.journal.placed(r.vol.root, e)
	switch {
	case err != nil:
		return writing(err)
	case placed:
		w.verdict = verdictHave
		return nil
	case r.known(c, w):
		return nil
	}
	number, claims, err := r.journal.claims(r.ctx, e, limit)
	if err != nil {
		return r.disk(err)
	}
	if len(claims) > 0 {
		w.verdict, w.claims, r.used[number] = verdictFrom, claims, true
		r.resumes[c.index] = resume{number, claims}
	}
	return nil
}

// known decides on a file by the index of what this sender has sent before. It
// reports false if the file has to be sent.
func (r *receiver) known(c *cursor, w *wish) bool {
	if r.index == nil {
		return false
	}
	at, old := r.index.find(c.path, r.sites.look)
	switch {
	case old == nil:
		return false
	case old.unchanged(&c.entry):
		w.verdict, w.unchanged = verdictHave, true
	case r.opts.Existing == Skip:
		w.verdict = verdictNo
	default:
		r.olds[c.index] = at
		w.changed = isLarge(&c.entry)
		return false
	}
	return true
}

// disk returns the error of an operation that failed because the transfer
// ended, or because of the destination.
func (r *receiver) disk(err error) error {
	if r.ctx.Err() != nil {
		return r.why()
	}
	return writing(err)
}
