// Package schema reads the messages that a package describes: structs and
// interfaces below a directive, with tags on their fields.
package schema

import (
	"go/constant"
	"go/token"
	"go/types"
)

// A Package holds the messages and unions that a Go package describes.
type Package struct {
	Name, Path, Dir string
	Messages        []*Message // in the order of the source
	Unions          []*Union
	Taken           map[string]bool // names that the package declares
	Standard        map[string]bool // packages of the standard library among its dependencies

	fset *token.FileSet
}

// Nameable reports whether a type can be written with nothing imported but
// proto, identity and the standard library.
func (p *Package) Nameable(t types.Type) bool { return nameable(t, p.Path, p.Standard) }

func nameable(t types.Type, own string, standard map[string]bool) bool {
	ok := true
	types.TypeString(t, func(p *types.Package) string {
		path := p.Path()
		ok = ok && (path == own || path == protoPkg || path == identityPkg || standard[path])
		return ""
	})
	return ok
}

// A Message is a struct below //proto:message.
type Message struct {
	Name       string
	Pos        token.Pos
	Doc        string // the first sentence of its comment
	Validate   string // a method, or ""
	Sample     string // a function, or ""
	Extensible bool
	Max        *Limit // of an extensible message's length
	Fields     []*Field
	Sizer      string   // the method that returns its size
	Seals      []string // methods that make it a case of unions
}

// A Field is an encoded field of a message.
type Field struct {
	Name    string // "_" if it is blank
	Label   string // its name in a layout, if not Name
	Note    string // its note in a layout
	Pos     token.Pos
	Type    *Type
	Const   constant.Value // not nil: always this value
	Since   int            // the version that added it, from 1
	Retired bool           // sent as zero, and ignored by receivers
}

// A Kind is a kind of type on the wire.
type Kind int

// The kinds.
const (
	Number   Kind = iota + 1
	Float         // 4 or 8 bytes
	Bool          // 1 byte
	String        // a length and UTF-8
	Bytes         // a length and bytes
	UUID          // 16 bytes
	Fixed         // Len bytes
	Key           // the 32 bytes of an identity.RemoteIdentity
	Time          // a time.Time
	Enum          // 1 byte
	List          // a count and elements
	Array         // Len elements
	Optional      // a byte, and a value if it is 1
	Nested        // a message of this package
	Foreign       // another type with AppendBinary and DecodeFrom
	Choice        // a union
)

// A Unit is a form of a time on the wire.
type Unit int

// The units.
const (
	Millis Unit = iota + 1 // 8 bytes
	Nanos                  // 8 bytes of seconds, and 4 of nanoseconds
)

// A Type is a type with the options of its tag.
type Type struct {
	Kind     Kind
	Go       types.Type
	Min, Max *Limit // of a number, or of a length or count
	Width    int    // bytes of a number, a length or a count
	Signed   bool
	Len      int // of Fixed and Array
	Elem     *Type
	Message  *Message
	Union    *Union
	Enum     *EnumType
	Unit     Unit
	Zero     bool   // a Key may be zero
	Bits     uint64 // if not 0, the number may have no other bits set
	Pointer  bool   // Optional: a pointer; else a proto.Optional, or a union that may be nil
	Validate string // a method of the type, or ""
	Sized    bool   // Foreign: it has Size
}

// A Limit is a number in a tag.
type Limit struct {
	Name  string // a constant of the package, or ""
	Value constant.Value
}

// Int returns the limit as an int, which it fits: see scanner.size.
func (l *Limit) Int() int {
	n, _ := constant.Int64Val(l.Value)
	return int(n)
}

// An EnumType is a uint8 with constants.
type EnumType struct {
	Name   string // of the type, in words
	Values []EnumValue
	Local  bool // the generated file can name the constants
}

// An EnumValue is a constant of an enum.
type EnumValue struct {
	Name  string
	Value uint8
	Note  string
}

// A Union is an interface below //proto:union.
type Union struct {
	Name  string
	Pos   token.Pos
	Doc   string
	Seal  string // its unexported method
	Cases []*Case
}

// A Case is one of the messages of a union.
type Case struct {
	Value   uint8
	Pos     token.Pos
	Message *Message
}
