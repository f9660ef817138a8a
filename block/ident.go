package block

// An ident is what tells a file from one that has taken its place, as far as
// the system says. The file itself is not read.
type ident struct {
	device, file uint64
	size         int64
	time         int64 // of modification, in nanoseconds since 1970
	links        uint64
	kind         identKind
}

// An identKind is what a name leads to.
type identKind uint8

const (
	otherKind identKind = iota // also what cannot be looked at
	regularKind
	folderKind
)

// is tells whether a file that was placed with ident i is there, unchanged,
// where a look at the name has found now.
func (i *ident) is(now *ident) bool {
	return now.kind == regularKind && i.device == now.device && i.file == now.file && i.size == now.size && i.time == now.time
}

// resembles is is for a file system that may have given the file another
// number since: size and time of modification have to do.
func (i *ident) resembles(now *ident) bool {
	same := *now
	same.file = i.file
	return i.is(&same)
}

// known tells that the system says which file one is.
func (i *ident) known() bool { return i.kind != otherKind && i.file != 0 }
