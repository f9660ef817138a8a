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
	batchFiles = 512      // files that are placed together
	batchBytes = 16 << 20 // bytes of files that are placed together
	batchesMax = 8        // as many batches together while the disk is slow
	fewSyncs   = 8        // up to this many files are synced one by one, concurrently
)

// A placer gives complete files their final names, many small ones together:
// first all are synced to disk, then all get their names. A goroutine of its
// own, run, does that while the next files arrive. All other methods belong to
// the goroutine of the receiver, unless they say otherwise.
type placer struct {
	*transfer
	opts    *ReceiveOptions
	vol     *volume
	journal *journal
	index   *index // or nil

	batch []wholeFile
	bytes int64
	made  []newFolder // which the app is told of with the next batch
	in    chan work
	done  chan struct{}   // closed when run has returned
	fresh map[string]bool // the top folders that this attempt has made, by their local names
	chain []entry         // folders of earlier offers in which the next one may continue
	sites sites           // of run: the folder of the last file
	near  sites           // of mkdir
}

// errLost says that the disk has lost data that was written to it.
var errLost = errors.New("the disk has lost what was written")

// A newFolder is a folder that is in its place.
type newFolder struct {
	file File
	path string
}

// Work is a batch, a file to be synced before it is complete, or a request to
// report once all earlier work is done.
type work struct {
	batch  []wholeFile
	made   []newFolder
	early  *os.File
	lost   *atomic.Bool // of early
	waiter chan<- error // gets the first error of the destination as a whole
}

// here returns the path in the destination of an entry that was offered as
// path.
func (p *placer) here(path string) string {
	first, rest := top(p.vol.style.local(path))
	if name, ok := p.journal.tops[first]; ok {
		return name + rest
	}
	return first + rest
}

// mkdir makes a folder and returns its path in the destination.
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

// mkTop makes a top-level folder of the destination, under the first free name.
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

// madeTop records whether a top-level folder of the destination was made.
func (p *placer) madeTop(offered, at string, err error) {
	p.fresh[at] = err == nil
	if err == nil && p.index != nil {
		p.index.addFolder(offered, at, p.near.look(at))
	}
}

// fail records an entry that cannot be received, and tells the sender. It
// returns an error if no other entry can be received either. The goroutine of
// run may call it, too.
func (p *placer) fail(index int, path string, err error) error {
	if fatal(err) || p.vol != nil && !p.vol.here() {
		return writing(err)
	}
	if codeOf(err) == 0 {
		err = writing(err)
	}
	p.skip(path, err)
	p.say(message{kind: kindFailed, entry: uint16(index), code: codeOf(err)}) // an error means that the transfer is over
	return nil
}

// add adds a complete file.
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
		p.try(work{batch: p.batch, made: p.made}) // the larger the batch, the less each file costs
	}
}

// tellOf queues a folder, so that the app is told of it before the files in it.
func (p *placer) tellOf(f File, path string) {
	if p.opts.Received == nil {
		return
	}
	p.made = append(p.made, newFolder{f, path})
	if len(p.made) >= batchFiles {
		p.flush()
	}
}

// flush hands everything that was added to run.
func (p *placer) flush() {
	if len(p.batch) > 0 || len(p.made) > 0 {
		p.in <- work{batch: p.batch, made: p.made}
		p.batch, p.made, p.bytes = nil, nil, 0
	}
}

// try hands work to run if run is idle.
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

// early has run sync f before it is complete, so that less is left to sync at
// the end, and a power cut does not lose everything. It does nothing and
// reports false while run is busy, since the stream must not wait for the disk.
// If the sync fails, lost is set.
func (p *placer) early(f *os.File, lost *atomic.Bool) bool { return p.try(work{early: f, lost: lost}) }

// settle waits until everything that was added has been placed or has failed.
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

// finish has everything placed that was added, even if the transfer has failed,
// and ends run.
func (p *placer) finish() {
	p.flush()
	close(p.in)
	<-p.done
	p.near.leave()
}

// run does the work. It ends with finish, not with the transfer: complete files
// are placed in any case.
func (p *placer) run() {
	defer close(p.done)
	var ended error
	for w := range p.in {
		switch {
		case w.early != nil:
			if err := p.vol.sync(w.early); err != nil && !errors.Is(err, fs.ErrClosed) {
				w.lost.Store(true) // no later sync would report it
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

// place places files, in the order of steps that journal describes. It returns
// an error if the destination as a whole fails; files that were not affected
// are placed nevertheless.
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

// sync sets the permissions and times of data files, and flushes them and the
// journal to disk. It returns an error for each file, and that of the journal.
func (p *placer) sync(batch []wholeFile) ([]error, error) {
	if len(batch) > fewSyncs {
		errs := p.each(batch, false)
		ok, err := p.vol.syncAll()
		if err != nil { // any of them may be lost, and syncing one of them need not report that
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

// each finishes data files, some concurrently, and returns an error for each.
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
// system supports them, and flushes it to disk if sync is set. The new
// permissions may not allow opening the file again, but it stays open here.
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
		p.vol.partial.Remove(name) // data that can still be read need not be on disk
		return err
	}
	return nil
}

// setTime sets the time of modification that was offered, if the system call
// can represent it: with nanoseconds since 1970 as an int64, years before 1678
// and after 2262 would become others.
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

// folders sets the permissions and times of the folders of an offer, now that
// all their files are placed, and flushes the names of the files to disk. The
// next offer may continue in the folders that contain the path last: these are
// kept in chain.
func (p *placer) folders(o *Offer, last string) error {
	synced := false
	if o.totals.folders > fewSyncs {
		synced, _ = p.vol.syncAll() // files are on disk already; only their names in folders may be lost
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

// finishFolder sets the permissions and times of a folder, and flushes the
// names in it to disk.
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
