package block

// An ident identifies a file by its metadata, and tells it from one that has
// taken its place. The file itself is not read.
type ident struct {
	device, file uint64
	size         int64
	time         int64 // of modification, in nanoseconds since 1970
	links        uint64
	kind         identKind
}

// An identKind says what kind of file a name leads to.
type identKind uint8

const (
	otherKind identKind = iota // also anything for which stat fails
	regularKind
	folderKind
)

// is reports whether now, found under a name, is the unchanged file that was
// placed with ident i.
func (i *ident) is(now *ident) bool {
	return now.kind == regularKind && i.device == now.device && i.file == now.file && i.size == now.size && i.time == now.time
}

// resembles reports the same for a file system that may have given the file
// another number since: size and time of modification have to match.
func (i *ident) resembles(now *ident) bool {
	same := *now
	same.file = i.file
	return i.is(&same)
}

// known reports whether the system identifies files.
func (i *ident) known() bool { return i.kind != otherKind && i.file != 0 }
