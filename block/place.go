package block

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"runtime"
)

const (
	batchFiles = 512      // that are put in their places together
	batchBytes = 16 << 20 // of these
	batchesMax = 8        // as much as that together, while the disk is slow
	fewSyncs   = 8        // fewer files are synced one by one, so many at a time
)

// A placer gives files that are whole their final names, many small ones together: all are written to the disk, then all get
// their names. It works while the next ones arrive.
type placer struct {
	r     *receiver
	batch []finished
	bytes int64
	made  []made // folders, of which the app is told with the next batch
	in    chan work
	done  chan struct{}
	fresh map[string]bool // Receive's: folders that this attempt has made, by the first component of paths here
	at    *site           // run's: where the last file went, or nil
}

// A site is a folder of the destination, at hand, so that its path is not walked again for each file in it.
type site struct {
	path string
	root *os.Root
	*handle
}

// enter returns the folder that has that path, or nil if it cannot be opened.
func (p *placer) enter(path string) *site {
	if p.at != nil && p.at.path == path {
		return p.at
	}
	p.leave()
	root, err := p.r.dest.OpenRoot(path)
	if err != nil {
		return nil
	}
	h, err := newHandle(root)
	if err != nil {
		root.Close()
		return nil
	}
	p.at = &site{path, root, h}
	return p.at
}

// leave closes what is at hand: the user may move folders around.
func (p *placer) leave() {
	if p.at != nil {
		p.at.close()
		p.at.root.Close()
		p.at = nil
	}
}

// A made is a folder that is in its place.
type made struct {
	file File
	path string
}

// A finished is a file that is whole, under its number.
type finished struct {
	index  int
	entry  entry
	number uint32
	wanted string // the path that it is to get
	fresh  bool   // wanted lies in a folder that this attempt has made: where it is taken, link finds that
	path   string // that it gets
}

// Work is a batch, or a file that is to be synced already.
type work struct {
	batch []finished
	made  []made
	early *os.File
}

func newPlacer(r *receiver) *placer {
	return &placer{r: r, in: make(chan work), done: make(chan struct{}), fresh: map[string]bool{}}
}

// here returns the path here of what was offered as path.
func (p *placer) here(path string) string {
	first, rest := top(local(path, p.r.opts.Trusted))
	if name, ok := p.r.journal.tops[first]; ok {
		return name + rest
	}
	return first + rest
}

// mkdir makes a folder and returns its path here.
func (p *placer) mkdir(path string) (string, error) {
	dest := p.r.dest
	first, rest := top(local(path, p.r.opts.Trusted))
	name, ours := p.r.journal.tops[first]
	at := name + rest
	for n := 1; rest == ""; n++ {
		if !ours {
			if name = first; n > 1 {
				name = another(first, n, true)
			}
			if _, err := dest.Lstat(name); err == nil {
				continue
			}
			if err := p.r.journal.top(first, name); err != nil {
				return "", err
			}
		}
		at = name
		err := dest.Mkdir(at, 0o777)
		if !errors.Is(err, fs.ErrExist) {
			p.fresh[at] = err == nil
			return at, err
		}
		if ours {
			break
		}
	}
	err := dest.Mkdir(at, 0o777)
	if errors.Is(err, fs.ErrExist) {
		if info, err2 := dest.Lstat(at); err2 == nil && info.IsDir() {
			err = nil // an earlier attempt made it
		}
	}
	return at, err
}

// add takes a file that is whole.
func (p *placer) add(f finished) error {
	f.wanted = p.here(f.entry.path)
	first, _ := top(f.wanted)
	f.fresh = p.fresh[first]
	p.batch = append(p.batch, f)
	p.bytes += f.entry.size
	switch {
	case p.bytes < batchBytes && len(p.batch) < batchFiles:
		return nil
	case p.bytes >= batchesMax*batchBytes || len(p.batch) >= batchesMax*batchFiles:
		return p.flush()
	}
	select {
	case p.in <- work{batch: p.batch, made: p.made}:
		p.batch, p.made, p.bytes = nil, nil, 0
	default: // it is at work; the more there is, the less each file costs
	}
	return nil
}

func (p *placer) flush() error {
	if len(p.batch) == 0 && len(p.made) == 0 {
		return nil
	}
	w := work{batch: p.batch, made: p.made}
	p.batch, p.made, p.bytes = nil, nil, 0
	return p.hand(w)
}

func (p *placer) hand(w work) error {
	select {
	case p.in <- w:
		return nil
	case <-p.r.ctx.Done():
		return p.r.why()
	}
}

// early has what was written to f brought to the disk, so that there is less to wait for in the end, and a power cut does
// not take all. It reports false, and nothing happens, while the placer is at work: the stream does not wait for the disk.
func (p *placer) early(f *os.File) bool {
	select {
	case p.in <- work{early: f}:
		return true
	default:
		return false
	}
}

// finish waits until all files are in their places.
func (p *placer) finish() error {
	if err := p.flush(); err != nil {
		return err
	}
	close(p.in)
	select {
	case <-p.done:
		return nil
	case <-p.r.ctx.Done():
		return p.r.why()
	}
}

// run does the work.
func (p *placer) run() error {
	for {
		select {
		case w, ok := <-p.in:
			if !ok {
				close(p.done)
				return nil
			}
			if w.early != nil {
				w.early.Sync() // an error comes again, where it matters
				continue
			}
			for _, m := range w.made {
				p.tell(m.file, m.path)
			}
			if err := p.place(w.batch); err != nil {
				return err
			}
		case <-p.r.ctx.Done():
			return nil
		}
	}
}

// place puts files in their places, in the order that journal describes.
func (p *placer) place(batch []finished) error {
	if len(batch) == 0 {
		return nil
	}
	defer p.leave()
	r := p.r
	places := make([]place, len(batch))
	for i := range batch {
		f := &batch[i]
		p.restore(f)
		f.path = p.vacant(f, 1)
		places[i] = place{number: f.number, entry: f.entry, path: f.path}
	}
	if err := r.journal.place(places...); err != nil {
		return writing(err)
	}
	if err := p.sync(batch); err != nil {
		return writing(err)
	}
	for i := range batch {
		f := &batch[i]
		err := p.link(f)
		if err != nil {
			if err := r.fail(f.index, f.entry.path, err); err != nil {
				return err
			}
			continue
		}
		r.update(func(p *Progress, result *Result) {
			p.Files++
			result.Files++
			result.Bytes += f.entry.size
		})
		p.tell(f.entry.file(f.index), f.path)
	}
	return nil
}

func (p *placer) tell(f File, path string) {
	if p.r.opts.Received != nil {
		p.r.opts.Received(f, path)
	}
}

// restore sets permissions and times, as far as the file system takes them.
func (p *placer) restore(f *finished) {
	r := p.r
	if !r.opts.Modes && !r.opts.Times {
		return
	}
	data := r.journal.data(f.number)
	if r.opts.Modes && runtime.GOOS != "windows" {
		mode := os.FileMode(f.entry.mode)
		if !r.opts.Trusted {
			mode &^= 0o111
		}
		r.partial.Chmod(data, mode)
	}
	if r.opts.Times {
		r.partial.Chtimes(data, f.entry.modTime(), f.entry.modTime())
	}
}

// vacant returns the path for f, or from its nth name on the first that nobody has.
func (p *placer) vacant(f *finished, n int) string {
	for ; ; n++ {
		name := f.wanted
		if n > 1 {
			name = another(name, n, false)
		}
		if n == 1 && f.fresh || !p.taken(name) {
			return name
		}
	}
}

func (p *placer) taken(name string) bool {
	if dir := path.Dir(name); dir != "." {
		if at := p.enter(dir); at != nil {
			return at.has(path.Base(name))
		}
	}
	_, err := p.r.dest.Lstat(name)
	return err == nil
}

func (p *placer) record(f *finished, hold bool) error {
	return p.r.journal.place(place{number: f.number, entry: f.entry, path: f.path, hold: hold})
}

// sync brings the data of files and the journal to the disk.
func (p *placer) sync(batch []finished) error {
	if len(batch) > fewSyncs {
		if ok, err := syncAll(p.r.partial); ok || err != nil {
			return err
		}
	}
	errs := make(chan error, len(batch)+1)
	slots := make(chan struct{}, fewSyncs)
	for i := range batch {
		slots <- struct{}{}
		go func() {
			defer func() { <-slots }()
			errs <- p.syncData(&batch[i])
		}()
	}
	errs <- p.r.journal.file.Sync()
	var first error
	for range cap(errs) {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

func (p *placer) syncData(f *finished) error {
	flag := os.O_RDONLY
	if runtime.GOOS == "windows" {
		flag = os.O_RDWR
	}
	file, err := p.r.partial.OpenFile(p.r.journal.data(f.number), flag, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	return file.Sync()
}

// link gives f its final name, or the next one that is free, and removes the one in the partial folder.
func (p *placer) link(f *finished) error {
	r := p.r
	name := r.journal.data(f.number)
	for n := 2; ; n++ {
		err := p.hardLink(name, f.path)
		if err == nil {
			r.dir.remove(name)
			return nil
		}
		if !errors.Is(err, fs.ErrExist) {
			err = p.create(f, partialDir+"/"+name)
		}
		if !errors.Is(err, fs.ErrExist) {
			return err
		}
		f.path = p.vacant(f, n)
		if err := p.record(f, false); err != nil {
			return err
		}
		if err := r.journal.file.Sync(); err != nil {
			return err
		}
	}
}

// hardLink gives the data file called name the path to. It fails where something has that.
func (p *placer) hardLink(name, to string) error {
	if at := p.enter(path.Dir(to)); at != nil {
		if err := at.link(p.r.dir, name, path.Base(to)); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	return p.r.dest.Link(partialDir+"/"+name, to)
}

// create gives f its final name where there are no hard links: an empty file keeps the place until f replaces it.
func (p *placer) create(f *finished, data string) error {
	if p.taken(f.path) {
		return fs.ErrExist // an empty file of somebody else's is not to be booked as ours
	}
	if err := p.record(f, true); err != nil {
		return err
	}
	holder, err := p.r.dest.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	holder.Close()
	if err := p.r.dest.Rename(data, f.path); err != nil {
		p.r.dest.Remove(f.path)
		return err
	}
	return nil
}

// syncFolders brings the names of files to the disk. It reports false if folders are to be synced one by one.
func (p *placer) syncFolders() (bool, error) {
	if p.r.offer.Folders > fewSyncs {
		if ok, err := syncAll(p.r.dest); ok || err != nil {
			return ok, err
		}
	}
	syncFolder(p.r.dest, ".")
	return false, nil
}

// syncFolder brings the names in a folder to the disk, where the system can do that.
func syncFolder(root *os.Root, path string) {
	if d, err := root.Open(path); err == nil {
		d.Sync()
		d.Close()
	}
}
