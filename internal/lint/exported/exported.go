// Package exported determines, for the linters, which methods belong to an
// exported type.
package exported

import "go/ast"

// Receiver reports whether the type of a receiver is exported.
func Receiver(t ast.Expr) bool {
	switch t := t.(type) {
	case *ast.StarExpr:
		return Receiver(t.X)
	case *ast.IndexExpr:
		return Receiver(t.X)
	case *ast.IndexListExpr:
		return Receiver(t.X)
	case *ast.Ident:
		return t.IsExported()
	}
	return false
}
