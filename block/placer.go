package block

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

const (
	batchFiles = 512      // that are put in their places together
	batchBytes = 16 << 20 // of these
	batchesMax = 8        // as much as that together, while the disk is slow
	fewSyncs   = 8        // fewer files are synced one by one, so many at a time
)

// A placer gives files that are whole their final names, many small ones
// together: all are written to the disk, then all get their names. That is the
// work of a goroutine of its own, run, while the next files arrive. All other
// methods belong to the goroutine of the receiver, unless they say otherwise.
type placer struct {
	*transfer
	opts    *ReceiveOptions
	vol     *volume
	journal *journal
	index   *index // or nil

	batch []wholeFile
	bytes int64
	made  []newFolder // of which the app is told with the next batch
	in    chan work
	done  chan struct{}   // closed when run has returned
	fresh map[string]bool // folders that this attempt has made, by the first component of paths here
	chain []entry         // folders of earlier offers that the next one may go on in
	sites sites           // run's: where the last file went
	near  sites           // mkdir's
}

// errLost says that the disk has lost what was written to it.
var errLost = errors.New("the disk has lost what was written")

// A newFolder is a folder that is in its place.
type newFolder struct {
	file File
	path string
}

// Work is a batch, a file that is to be synced already, or a question whether
// everything before it is done.
type work struct {
	batch  []wholeFile
	made   []newFolder
	early  *os.File
	lost   *atomic.Bool // of early
	waiter chan<- error // gets the first error of the destination as a whole
}

// here returns the path here of an entry that was offered as path.
func (p *placer) here(path string) string {
	first, rest := top(p.vol.style.local(path))
	if name, ok := p.journal.tops[first]; ok {
		return name + rest
	}
	return first + rest
}

// mkdir makes a folder and returns its path here.
func (p *placer) mkdir(path string) (string, error) {
	dest := p.vol.root
	first, rest := top(p.vol.style.local(path))
	name, ours := p.journal.tops[first]
	if !ours && rest == "" {
		if name, ours = p.before(first); ours {
			if err := p.journal.top(first, name); err != nil {
				return "", err
			}
		}
	}
	if !ours && rest == "" {
		return p.mkTop(first)
	}
	at := name + rest
	err := dest.Mkdir(at, 0o777)
	if rest == "" && !errors.Is(err, fs.ErrExist) {
		p.madeTop(first, at, err)
	}
	if errors.Is(err, fs.ErrExist) {
		if info, err2 := dest.Lstat(at); err2 == nil && info.IsDir() {
			err = nil // an earlier attempt made it
		}
	}
	return at, err
}

// mkTop makes a folder in the destination itself, under the first name that is
// free.
func (p *placer) mkTop(offered string) (name string, err error) {
	for n := 1; ; n++ {
		if name = offered; n > 1 {
			name = another(offered, n, true)
		}
		if _, err := p.vol.root.Lstat(name); err == nil {
			continue
		}
		if err := p.journal.top(offered, name); err != nil {
			return "", err
		}
		if err = p.vol.root.Mkdir(name, 0o777); !errors.Is(err, fs.ErrExist) {
			p.madeTop(offered, name, err)
			return name, err
		}
	}
}

// madeTop records whether a folder in the destination itself was made.
func (p *placer) madeTop(offered, at string, err error) {
	p.fresh[at] = err == nil
	if err == nil && p.index != nil {
		p.index.addFolder(offered, at, p.near.look(at))
	}
}

// fail records an entry that cannot be received, and tells the sender. It
// returns an error if no other entry can be received either. Run may call it,
// too.
func (p *placer) fail(index int, path string, err error) error {
	if fatal(err) || p.vol != nil && !p.vol.here() {
		return writing(err)
	}
	if codeOf(err) == 0 {
		err = writing(err)
	}
	p.skip(path, err)
	p.say(message{kind: kindFailed, entry: uint16(index), code: codeOf(err)}) // or the transfer is over
	return nil
}

// add takes a file that is whole.
func (p *placer) add(f wholeFile) {
	f.wanted = p.here(f.entry.path)
	first, _ := top(f.wanted)
	f.fresh = p.fresh[first]
	p.batch = append(p.batch, f)
	p.bytes += f.entry.size
	switch {
	case p.bytes < batchBytes && len(p.batch) < batchFiles:
	case p.bytes >= batchesMax*batchBytes || len(p.batch) >= batchesMax*batchFiles:
		p.flush()
	default:
		p.try(work{batch: p.batch, made: p.made}) // the more there is, the less each file costs
	}
}

// tellOf has the app told of a folder, before the files in it.
func (p *placer) tellOf(f File, path string) {
	if p.opts.Received == nil {
		return
	}
	p.made = append(p.made, newFolder{f, path})
	if len(p.made) >= batchFiles {
		p.flush()
	}
}

// flush has everything placed that was added.
func (p *placer) flush() {
	if len(p.batch) > 0 || len(p.made) > 0 {
		p.in <- work{batch: p.batch, made: p.made}
		p.batch, p.made, p.bytes = nil, nil, 0
	}
}

// try hands work to run if that has nothing else to do.
func (p *placer) try(w work) bool {
	select {
	case p.in <- w:
		if w.early == nil {
			p.batch, p.made, p.bytes = nil, nil, 0
		}
		return true
	default:
		return false
	}
}

// early has the bytes that were written to f brought to the disk, so that there
// is less to wait for in the end, and a power cut does not take everything. It
// reports false, and nothing happens, while run is at work: the stream does not
// wait for the disk. If that fails, lost is set.
func (p *placer) early(f *os.File, lost *atomic.Bool) bool { return p.try(work{early: f, lost: lost}) }

// settle waits until everything that was added is in its place, or has failed.
func (p *placer) settle() error {
	p.flush()
	waiter := make(chan error, 1)
	p.in <- work{waiter: waiter}
	select {
	case err := <-waiter:
		return err
	case <-p.ctx.Done():
		return p.why()
	}
}

// finish has everything placed that was added, also where the transfer has
// ended otherwise, and ends run.
func (p *placer) finish() {
	p.flush()
	close(p.in)
	<-p.done
	p.near.leave()
}

// run does the work. It ends with finish, and not with the transfer: files that
// are whole get their places in any case.
func (p *placer) run() {
	defer close(p.done)
	var ended error
	for w := range p.in {
		switch {
		case w.early != nil:
			if err := p.vol.sync(w.early); err != nil && !errors.Is(err, fs.ErrClosed) {
				w.lost.Store(true) // no later sync would say so
			}
		case w.waiter != nil:
			w.waiter <- ended
		default:
			for _, m := range w.made {
				p.tellPlaced(m.file, m.path)
			}
			if err := p.place(w.batch); err != nil && ended == nil {
				ended = err
				p.cancel(err)
			}
		}
	}
}

// place puts files in their places, in the order that journal describes. Its
// error is one of the destination as a whole; files that it does not concern
// are in their places nevertheless.
func (p *placer) place(batch []wholeFile) (ended error) {
	if len(batch) == 0 {
		return nil
	}
	defer p.sites.leave()
	places := make([]place, len(batch))
	for i := range batch {
		f := &batch[i]
		if f.swap = p.swap(f); f.swap != nil {
			f.path = f.swap.path
			if err := p.journal.swap(f.number, f.swap); err != nil {
				return writing(err)
			}
		} else {
			f.path = p.vacant(f, 1)
		}
		places[i] = place{number: f.number, entry: f.entry, path: f.path}
	}
	if err := p.journal.place(places...); err != nil {
		return writing(err)
	}
	errs, err := p.sync(batch)
	if err != nil {
		return writing(err)
	}
	p.note(batch, errs)
	for i := range batch {
		f := &batch[i]
		err := errs[i]
		if err == nil {
			err = p.give(f)
		}
		if err != nil {
			if err := p.fail(f.index, f.entry.path, err); ended == nil {
				ended = err
			}
			continue
		}
		p.update(func(now *Progress, r *Result) {
			now.Files++
			r.Files++
			r.Bytes += f.entry.size
		})
		p.tellPlaced(f.entry.file(f.index), f.path)
	}
	return ended
}

// sync gives data files their permissions and times, and brings them and the
// journal to the disk. It returns an error for each file, or one of the
// journal.
func (p *placer) sync(batch []wholeFile) ([]error, error) {
	if len(batch) > fewSyncs {
		errs := p.each(batch, false)
		ok, err := p.vol.syncAll()
		if err != nil { // any of them may be lost, and a sync of one alone need not say so
			for i := range batch {
				p.vol.partial.Remove(p.journal.data(batch[i].number))
				errs[i] = err
			}
		}
		if ok || err != nil {
			return errs, nil
		}
	}
	journal := make(chan error, 1)
	go func() { journal <- p.journal.sync() }()
	errs := p.each(batch, true)
	return errs, <-journal
}

// each finishes data files, some at the same time, and returns an error for
// each.
func (p *placer) each(batch []wholeFile, sync bool) []error {
	errs := make([]error, len(batch))
	if !sync && !p.opts.Modes && !p.opts.Times {
		for i := range batch {
			if batch[i].isLost() {
				errs[i] = p.finishData(&batch[i], false)
			}
		}
		return errs
	}
	slots := make(chan struct{}, fewSyncs)
	for i := range batch {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs[i] = p.finishData(&batch[i], sync)
		}()
	}
	for range cap(slots) {
		slots <- struct{}{}
	}
	return errs
}

// finishData sets the permissions and times of a data file, as far as the file
// system takes them, and brings it to the disk if sync says so. What
// permissions take away is no longer needed: the file stays open.
func (p *placer) finishData(f *wholeFile, sync bool) error {
	name := p.journal.data(f.number)
	if f.isLost() {
		p.vol.partial.Remove(name)
		return errLost
	}
	file, err := p.vol.open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	if p.opts.Modes && runtime.GOOS != "windows" {
		mode := os.FileMode(f.entry.mode)
		if !p.opts.Trusted {
			mode &^= 0o111
		}
		file.Chmod(mode)
	}
	if p.opts.Times {
		p.setTime(p.vol.partial, name, &f.entry)
	}
	if !sync {
		return nil
	}
	if err := p.vol.sync(file); err != nil {
		p.vol.partial.Remove(name) // what can still be read of it need not be on the disk
		return err
	}
	return nil
}

// setTime sets the time of modification of an offer, if the system call takes
// it: nanoseconds since 1970, so that years before 1678 and after 2262 would
// come out as others.
func (p *placer) setTime(in *os.Root, name string, e *entry) {
	if t := e.modTime(); time.Unix(0, t.UnixNano()).Equal(t) {
		in.Chtimes(name, t, t)
	}
}

// tellPlaced tells the app of a file or a folder that is in its place.
func (p *placer) tellPlaced(f File, path string) {
	if p.opts.Received != nil {
		p.tell(func() { p.opts.Received(f, path) })
	}
}

// folders gives the folders of an offer their permissions and times, now that
// nothing more of it comes into them, and brings the names of files to the
// disk. The next offer may go on in the folders that the path called last lies
// in.
func (p *placer) folders(o *Offer, last string) error {
	synced := false
	if o.totals.folders > fewSyncs {
		synced, _ = p.vol.syncAll() // files are on the disk; a folder that is not may lose their names
	}
	if !synced {
		p.vol.syncFolder(".")
	}
	chain := p.chain
	p.chain = nil
	finish := func(e entry) {
		p.finishFolder(e, !synced)
		local := p.vol.style.local(e.path)
		if local == last || strings.HasPrefix(last, local+"/") {
			p.chain = append(p.chain, e)
		}
	}
	for _, e := range chain {
		finish(e)
	}
	c := o.spool.all()
	for left := o.totals.folders; left > 0 && c.next(); {
		if c.kind != kindFolder {
			continue
		}
		if left--; o.verdicts[c.index] == verdictWhole {
			finish(c.entry)
		}
	}
	return writing(c.err)
}

// finishFolder gives a folder its permissions and times, and brings the names
// in it to the disk.
func (p *placer) finishFolder(e entry, sync bool) {
	path := p.here(e.path)
	if p.opts.Modes && runtime.GOOS != "windows" {
		p.vol.root.Chmod(path, os.FileMode(e.mode|0o700))
	}
	if p.opts.Times {
		p.setTime(p.vol.root, path, &e)
	}
	if sync {
		p.vol.syncFolder(path)
	}
}
