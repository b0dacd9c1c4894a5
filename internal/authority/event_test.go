package authority_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/latchkey/latchkey/internal/authority"
)

// TestEventKindsIsComplete compares EventKinds with the constants of the type in the source.
func TestEventKindsIsComplete(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var declared []authority.EventKind
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range file.Decls {
			if group, ok := declaration.(*ast.GenDecl); ok && group.Tok == token.CONST {
				declared = append(declared, kindsIn(t, group)...)
			}
		}
	}
	listed := slices.Sorted(slices.Values(authority.EventKinds))
	slices.Sort(declared)
	if len(declared) == 0 || !slices.Equal(listed, declared) {
		t.Errorf("EventKinds lists\n%q\nbut these are declared:\n%q", listed, declared)
	}
	if different := slices.Compact(slices.Clone(declared)); len(different) != len(declared) {
		t.Errorf("two kinds have the same text: %q", declared)
	}
}

// kindsIn returns the constants of the type EventKind in a declaration.
func kindsIn(t *testing.T, group *ast.GenDecl) (kinds []authority.EventKind) {
	t.Helper()
	for _, spec := range group.Specs {
		constant, ok := spec.(*ast.ValueSpec)
		if !ok {
			continue
		}
		if name, ok := constant.Type.(*ast.Ident); !ok || name.Name != "EventKind" {
			continue
		}
		for _, value := range constant.Values {
			literal, ok := value.(*ast.BasicLit)
			if !ok {
				t.Fatalf("the kind %s is not a literal", constant.Names[0])
			}
			kind, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, authority.EventKind(kind))
		}
	}
	return kinds
}
