package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

const root = "../.."

// turns are what the tree is not written with, and what to write instead. A turn in
// quotation marks or backquotes is a quotation and not refused.
var turns = map[string]string{
	"answers": "returns, responds, or responses", "answered": "returned or responded",
	"is told": "is notified or receives", "are told": "are notified or receive", "be told": "be notified or receive",
	"was told": "was notified or received", "hears": "receives",
	"whoever": "the caller or a client", "whomever": "the caller or a client", "somebody": "a caller or a client",
	"anybody": "any caller", "nobody": "no caller", "everybody": "every caller",
	"anew": "again", "once more": "again", "meanwhile": "in the meantime, or nothing",
	"for want of": "because there is no", "in the way of": "what happens instead", "borne": "bounded or accepted",
	"stands in for": "replaces or represents", "lies in": "is in", "belongs into": "belongs in", "as good as": "counts as",
	"behaviour": "behavior", "behaviours": "behaviors", "colour": "color", "honour": "honor", "honours": "honors",
	"honoured": "honored", "favour": "favor", "licence": "license", "centre": "center", "cancelled": "canceled",
	"cancelling": "canceling", "recognise": "recognize", "recognised": "recognized", "normalise": "normalize",
	"normalised": "normalized", "serialise": "serialize", "serialised": "serialized", "initialise": "initialize",
	"authorise": "authorize", "authorised": "authorized", "organise": "organize", "optimise": "optimize",
}

var (
	turn       = regexp.MustCompile(`\b(` + strings.Join(eitherCase(slices.Sorted(maps.Keys(turns))), "|") + `)\b`)
	quotation  = regexp.MustCompile("(?s:```.*?```)|\"[^\"\n]*\"|`[^`\n]*`|“[^”\n]*”")
	backquoted = regexp.MustCompile("`[^`\n]*`")
	docTurn    = regexp.MustCompile(`^(?:An? )?\w+ (answers|tells|says|hears)\b`)
)

// eitherCase returns patterns that match each text with a lower or an upper first letter.
func eitherCase(texts []string) (patterns []string) {
	for _, text := range texts {
		patterns = append(patterns, "["+text[:1]+strings.ToUpper(text[:1])+"]"+text[1:])
	}
	return patterns
}

// finding is a turn in a file.
type finding struct{ place, text string }

// language collects findings.
type language struct{ findings []finding }

func (l *language) add(place, found string) {
	text := strconv.Quote(found) + ": write " + turns[strings.ToLower(found)]
	l.findings = append(l.findings, finding{place, text})
}

// prose checks text, whose quotations are left out.
func (l *language) prose(place, text string) {
	for _, found := range turn.FindAllString(quotation.ReplaceAllString(text, "…"), -1) {
		l.add(place, found)
	}
}

// goFile checks the comments, the messages and the names of tests in a Go file.
func (l *language) goFile(path string, source []byte) error {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	at := func(node ast.Node) string { return path + ":" + strconv.Itoa(files.Position(node.Pos()).Line) }
	for _, group := range file.Comments {
		l.prose(at(group), group.Text())
	}
	doc := func(group *ast.CommentGroup) {
		if found := docTurn.FindString(group.Text()); found != "" {
			text := "a doc comment begins " + strconv.Quote(found) + ": write returns, reports or means"
			l.findings = append(l.findings, finding{at(group), text})
		}
	}
	doc(file.Doc)
	ast.Inspect(file, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.FuncDecl:
			doc(node.Doc)
			if strings.HasPrefix(node.Name.Name, "Test") {
				l.prose(at(node), words(node.Name.Name))
			}
		case *ast.GenDecl:
			doc(node.Doc)
		case *ast.TypeSpec:
			doc(node.Doc)
		case *ast.ValueSpec:
			doc(node.Doc)
		case *ast.Field:
			doc(node.Doc)
		case *ast.BasicLit:
			if text, err := strconv.Unquote(node.Value); err == nil && node.Kind == token.STRING && strings.Contains(text, " ") {
				l.prose(at(node), text)
			}
		}
		return true
	})
	return nil
}

// words returns the words of a name in camel case.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// textFile reports whether the prose of a file other than a Go file is checked. The
// change log is not, because it is history.
func textFile(path string) bool {
	switch filepath.Ext(path) {
	case ".md":
		return path != "CHANGELOG.md"
	case ".yaml", ".yml", ".sh", ".tmpl", ".html", ".css", ".js":
		return true
	}
	return path == "Makefile" || path == ".ci/run"
}

// check returns what is found in the files of the tree, by directory.
func check(t *testing.T) map[string][]finding {
	t.Helper()
	found := map[string][]finding{}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() {
			hidden := strings.HasPrefix(base, ".") && name != root && base != ".ci" && base != ".github"
			if hidden || base == "testdata" {
				return fs.SkipDir
			}
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		place := filepath.ToSlash(relative)
		if filepath.Ext(place) != ".go" && !textFile(place) || place == "internal/layout/language_test.go" {
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		var l language
		if filepath.Ext(place) == ".go" {
			err = l.goFile(place, source)
		} else {
			l.textFile(place, string(source))
		}
		if len(l.findings) > 0 {
			found[path.Dir(place)] = append(found[path.Dir(place)], l.findings...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// textFile checks a file of prose line by line.
func (l *language) textFile(place, text string) {
	pattern := quotation
	if path.Ext(place) != ".md" {
		pattern = backquoted // elsewhere double quotes delimit prose, too
	}
	text = pattern.ReplaceAllStringFunc(text, func(quoted string) string {
		return strings.Repeat("\n", strings.Count(quoted, "\n"))
	})
	line := 0
	for content := range strings.Lines(text) {
		line++
		for _, found := range turn.FindAllString(content, -1) {
			l.add(place+":"+strconv.Itoa(line), found)
		}
	}
}

func TestLanguage(t *testing.T) {
	found := check(t)
	for _, directory := range slices.Sorted(maps.Keys(found)) {
		for _, f := range found[directory] {
			t.Errorf("%s: %s", f.place, f.text)
		}
	}
}

func TestLanguageFindings(t *testing.T) {
	const source = `// Package p answers.
package p

import "answers here"

// X answers the number.
func X() {}

// Y tells whether; "nobody here" is a quotation.
type Y struct {
	// Z says what.
	Z int
}

var message = "whoever asks"

func TestNobodyComes() { _ = "answers" }
`
	var l language
	if err := l.goFile("p.go", []byte(source)); err != nil {
		t.Fatal(err)
	}
	l.textFile("p.yaml", "noBody: \"Nobody\"\n")
	l.textFile("p.md", "Nobody\n```\nnobody\n```\n`nobody` is told\n")
	var got []string
	for _, f := range l.findings {
		got = append(got, f.place)
	}
	slices.Sort(got)
	want := []string{"p.go:1", "p.go:15", "p.go:17", "p.go:6", "p.go:6", "p.go:9", "p.go:11",
		"p.md:1", "p.md:5", "p.yaml:1"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("findings at %q, want %q: %v", got, want, l.findings)
	}
}
