package emit

import (
	"maps"
	"slices"
	"strings"
)

// helpers are functions that some files need, by name. Those for types of other
// packages let a file use such types without importing the packages.
var helpers = map[string]string{
	"appendKey": `// NAME appends the 32 bytes of a key.
func NAME(b []byte, id identity.RemoteIdentity) []byte {
	key := id.Bytes()
	return append(b, key[:]...)
}`,
	"decodeKey": `// NAME reads a key.
func NAME(d *proto.Decoder) identity.RemoteIdentity {
	var b [identity.Size]byte
	d.Fixed(b[:])
	if d.Err() != nil {
		return identity.RemoteIdentity{}
	}
	id, err := identity.FromBytes(b[:])
	if err != nil {
		d.Fail(fmt.Errorf("%w key: %w", proto.ErrInvalid, err))
	}
	return id
}`,
	"decodeAnyKey": `// NAME reads a key, or zeros for the zero RemoteIdentity.
func NAME(d *proto.Decoder) identity.RemoteIdentity {
	var b [identity.Size]byte
	d.Fixed(b[:])
	if d.Err() != nil || b == [identity.Size]byte{} {
		return identity.RemoteIdentity{}
	}
	id, err := identity.FromBytes(b[:])
	if err != nil {
		d.Fail(fmt.Errorf("%w key: %w", proto.ErrInvalid, err))
	}
	return id
}`,
	"decodeTime": `// NAME reads seconds since 1970 and nanoseconds.
func NAME(d *proto.Decoder) time.Time {
	seconds, nanos := int64(d.Uint64()), d.Uint32()
	if nanos >= 1e9 {
		d.Fail(fmt.Errorf("%w time: %d ns", proto.ErrInvalid, nanos))
	}
	return time.Unix(seconds, int64(nanos)).UTC()
}`,
	"decodeEnum": `// NAME reads an enum whose type is from another package.
func NAME[E ~uint8](v *E, d *proto.Decoder, name string, known ...E) {
	*v = proto.DecodeEnum(d, name, known...)
}`,
	"decodeListOf": `// NAME reads a list of elements whose type is from another package.
func NAME[T any](_ []T, d *proto.Decoder, n int, decode func(*T, *proto.Decoder) error) []T {
	return proto.DecodeList(d, n, decode)
}`,
	"decodeUUID": `// NAME reads 16 bytes.
func NAME[T ~[16]byte](v *T, d *proto.Decoder) error {
	*v = d.UUID()
	return d.Err()
}`,
	"decodeOther": `// NAME reads a message from another package.
func NAME[T any, M interface {
	*T
	DecodeFrom(*proto.Decoder) error
}](v *T, d *proto.Decoder) error {
	return M(v).DecodeFrom(d)
}`,
	"newOf": `// NAME returns a new value of a type from another package.
func NAME[T any](*T) *T { return new(T) }`,
	"setPresent": `// NAME makes an Optional present or empty.
func NAME[T any](v *proto.Optional[T], present bool) {
	*v = proto.Optional[T]{Present: present}
}`,
	"setZero": `// NAME sets a value of a type from another package to zero.
func NAME[T any](v *T) {
	var zero T
	*v = zero
}`,
	"setString": `// NAME sets a string of a type from another package.
func NAME[T ~string](v *T, s string) { *v = T(s) }`,
	"setBool": `// NAME sets a bool of a type from another package.
func NAME[T ~bool](v *T, b bool) { *v = T(b) }`,
	"setNumber": `// NAME sets a number of a type from another package.
func NAME[T number, N number](v *T, n N) { *v = T(n) }

type number interface {
	~uint8 | ~uint16 | ~uint32 | ~uint64 | ~int8 | ~int16 | ~int32 | ~int64 | ~float32 | ~float64
}`,
	"sizeOf": `// NAME returns the size of a message that has no method for it.
func NAME(m interface{ AppendBinary([]byte) ([]byte, error) }) int {
	b, _ := m.AppendBinary(nil)
	return len(b)
}`,
}

// writeHelpers writes the helpers that the file needs, and adds their imports.
func (g *gen) writeHelpers() {
	for _, name := range slices.Sorted(maps.Keys(g.helpers)) {
		text := helpers[name]
		if _, body, _ := strings.Cut(text, "\nfunc"); true {
			for pkg, path := range map[string]string{"identity.": identityPath, "fmt.": "fmt", "time.": "time", "proto.": protoPath} {
				if strings.Contains(body, pkg) {
					g.use(path)
				}
			}
		}
		text = strings.ReplaceAll(text, "NAME", g.free(name))
		g.p("%s\n", strings.ReplaceAll(text, "number", g.free("number")))
	}
}
