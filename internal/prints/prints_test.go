package prints

import (
	"bytes"
	"crypto/ecdh"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/sdp2p/p2p/identity"
	"github.com/sdp2p/p2p/internal/hidden"
	"github.com/sdp2p/p2p/library"
)

// marker is the content of each planted secret.
var marker = bytes.Repeat([]byte{0xc5, 0x3a, 0x91, 0x6e}, 8)

// traces returns the forms in which a marker may appear.
func traces() (all []string) {
	m := marker[4:16] // a part of it is enough
	decimal := strings.Trim(fmt.Sprint(m), "[]")
	all = append(all,
		string(m), hex.EncodeToString(m), strings.ToUpper(hex.EncodeToString(m)), decimal, strings.ReplaceAll(decimal, " ", ", "),
		strings.Trim(fmt.Sprintf("%#v", m), "[]byte{}"), fmt.Sprintf("% x", m), base32.StdEncoding.EncodeToString(marker)[8:24],
	)
	for shift := range 3 {
		all = append(all, base64.RawStdEncoding.EncodeToString(marker[shift:])[4:16])
	}
	return all
}

var (
	secretName = regexp.MustCompile(`(?i)secret|private|psk|seed|priv`)
	identities = reflect.TypeFor[identity.Identity]()
	secrets    = reflect.TypeFor[library.Secret]()
	hidden16   = reflect.TypeFor[hidden.Value[[16]byte]]()
	hidden32   = reflect.TypeFor[hidden.Value[[32]byte]]()
	hidden64   = reflect.TypeFor[hidden.Value[[64]byte]]()
	keys       = reflect.TypeFor[*ecdh.PrivateKey]()
	keyFuncs   = reflect.TypeFor[func() *ecdh.PrivateKey]()
)

// plant puts marked secrets in every place of a value that can hold one, and
// reports whether there was such a place.
func plant(t *testing.T, v reflect.Value, name string, depth int) (planted bool) {
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem()
	}
	id, err := identity.FromSeed(marker)
	require.NoError(t, err)
	switch v.Type() {
	case identities:
		v.Set(reflect.ValueOf(id))
		return true
	case secrets:
		v.Set(reflect.ValueOf(library.SecretOf([32]byte(marker))))
		return true
	case hidden16:
		v.Set(reflect.ValueOf(hidden.Of([16]byte(marker[:16]))))
		return true
	case hidden32:
		v.Set(reflect.ValueOf(hidden.Of([32]byte(marker))))
		return true
	case hidden64:
		v.Set(reflect.ValueOf(hidden.Of([64]byte(slices.Concat(marker, marker)))))
		return true
	case keys, keyFuncs:
		key, err := ecdh.X25519().NewPrivateKey(marker)
		require.NoError(t, err)
		if v.Type() == keys {
			v.Set(reflect.ValueOf(key))
		} else {
			v.Set(reflect.ValueOf(func() *ecdh.PrivateKey { return key }))
		}
		return true
	}
	if depth == 0 {
		return false
	}
	return plantInside(t, v, name, depth-1)
}

func plantInside(t *testing.T, v reflect.Value, name string, depth int) (planted bool) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			planted = plant(t, v.Field(i), v.Type().Field(i).Name, depth) || planted
		}
	case reflect.Array, reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if !secretName.MatchString(name) {
				return false
			}
			if v.Kind() == reflect.Slice {
				v.Set(reflect.MakeSlice(v.Type(), len(marker), len(marker)))
			}
			reflect.Copy(v, reflect.ValueOf(marker).Convert(reflect.SliceOf(v.Type().Elem())))
			return true
		}
		if v.Kind() == reflect.Slice {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		if v.Len() > 0 {
			planted = plant(t, v.Index(0), name, depth)
		}
	case reflect.Pointer:
		to := reflect.New(v.Type().Elem())
		if planted = plant(t, to.Elem(), name, depth); planted {
			v.Set(to)
		}
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		if planted = plant(t, value, name, depth); planted {
			v.Set(reflect.MakeMap(v.Type()))
			v.SetMapIndex(reflect.New(v.Type().Key()).Elem(), value)
		}
	}
	return planted
}

// TestNothingSecretPrints prints every exported type with marked secrets in it:
// by value, by pointer, and within other values, in exported fields and others.
func TestNothingSecretPrints(t *testing.T) {
	count := 0
	for _, typ := range types {
		v := reflect.New(typ)
		if !plant(t, v.Elem(), typ.Name(), 6) {
			continue
		}
		count++
		inside := reflect.New(reflect.StructOf([]reflect.StructField{
			{Name: "Open", Type: typ}, {Name: "closed", PkgPath: "prints", Type: typ}, {Name: "pointer", PkgPath: "prints", Type: v.Type()},
			{Name: "many", PkgPath: "prints", Type: reflect.SliceOf(typ)}, {Name: "named", PkgPath: "prints", Type: reflect.MapOf(reflect.TypeFor[string](), v.Type())},
		})).Elem()
		for i := range inside.NumField() {
			f := reflect.NewAt(inside.Field(i).Type(), unsafe.Pointer(inside.Field(i).UnsafeAddr())).Elem()
			switch f.Kind() {
			case reflect.Slice:
				if i == 3 {
					f.Set(reflect.Append(f, v.Elem()))
					continue
				}
				f.Set(v.Elem())
			case reflect.Map:
				if i == 4 {
					f.Set(reflect.MakeMap(f.Type()))
					f.SetMapIndex(reflect.ValueOf("x"), v)
					continue
				}
				f.Set(v.Elem())
			case reflect.Pointer:
				f.Set(v)
			default:
				f.Set(v.Elem())
			}
		}
		for _, printed := range print(v.Elem().Interface(), v.Interface(), inside.Interface(), inside.Addr().Interface()) {
			for _, trace := range traces() {
				require.NotContains(t, printed, trace, "%v", typ)
			}
		}
	}
	require.Greater(t, count, 10)
}

// print returns all texts as which values print.
func print(values ...any) (all []string) {
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q", "%d", "%c", "%o", "%20v"} {
			all = append(all, fmt.Sprintf(verb, v))
		}
		all = append(all, fmt.Errorf("it failed: %v", v).Error())
		for _, handler := range []func(b *bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("x", "v", v, slog.Group("g", "v", v))
			all = append(all, b.String())
		}
	}
	return all
}

// TestAllTypes: the list of types is complete.
func TestAllTypes(t *testing.T) {
	listed := map[string]bool{}
	for _, typ := range types {
		name, _, _ := strings.Cut(typ.Name(), "[") // without type arguments
		listed[typ.PkgPath()+"."+name] = true
	}
	const root, module = "../..", "github.com/sdp2p/p2p"
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		switch strings.Split(rel, string(filepath.Separator))[0] {
		case "internal", "cmd", "examples", "docs", "testdata", ".git", ".ci", "bench":
			return fs.SkipDir
		}
		pkg := module
		if rel != "." {
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return fs.SkipDir // another module, which this one cannot import
			}
			pkg += "/" + filepath.ToSlash(rel)
		}
		for _, name := range exported(t, path) {
			require.True(t, listed[pkg+"."+name], "%s.%s is not in types_test.go", pkg, name)
		}
		return nil
	})
	require.NoError(t, err)
}

// exported returns the exported types of a folder that can hold something.
func exported(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				s, ok := spec.(*ast.TypeSpec)
				if !ok || !s.Name.IsExported() || s.Assign.IsValid() || file.Name.Name == "main" {
					continue
				}
				switch s.Type.(type) {
				case *ast.StructType, *ast.ArrayType, *ast.MapType:
					names = append(names, s.Name.Name)
				}
			}
		}
	}
	return names
}
