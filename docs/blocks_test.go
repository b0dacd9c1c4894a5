// Package docs holds README.md and the documents beside it to the program: every code
// block in them is run, compiled or parsed by a test.
package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A block is the code of one block, without its indentation.
type block struct {
	place string // "README.md: Try it"
	text  string
}

// A use is what a test makes of a block.
type use struct {
	kind kind
	// text is a shell script that runs before the block, and reason why or where else a
	// block is tested.
	before, reason string
	repeat         int         // for a block that is used again: its number, from 1
	edits          [][2]string // what is replaced in it; each must be there
	wants          []string    // what it has to print
}

type kind int

const (
	shell     kind = iota // to be pasted
	serve                 // to be pasted into a terminal of its own: it ends with a service
	program               // a Go program
	snippet               // Go statements that have to compile
	document              // YAML
	elsewhere             // another test runs it
	unrun                 // no test can
)

// blocks returns the code blocks of a document by section, in order.
func blocks(t *testing.T, path string) (sections []string, found map[string][]block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found = map[string][]block{}
	section, blank, fenced := "", true, false
	var lines []string
	end := func() {
		code := strings.TrimRight(strings.Join(lines, "\n"), "\n")
		lines = nil
		if code == "" {
			return
		}
		if len(found[section]) == 0 {
			sections = append(sections, section)
		}
		found[section] = append(found[section], block{section, code + "\n"})
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\r\n")
		indented := strings.HasPrefix(line, "    ")
		switch {
		case strings.HasPrefix(line, "```"):
			end()
			fenced = !fenced
		case fenced:
			lines = append(lines, line)
		case indented && (blank || len(lines) > 0), line == "" && len(lines) > 0:
			lines = append(lines, strings.TrimPrefix(line, "    "))
		default:
			end()
			if mark, heading, _ := strings.Cut(line, " "); mark == "#" || mark == "##" {
				section = filepath.Base(path) + ": " + heading
			}
		}
		blank = line == ""
	}
	end()
	return sections, found
}

// documents are those whose blocks are tested.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil || len(paths) == 0 {
		t.Fatal(err, "there are no documents")
	}
	return append(paths, filepath.Join("..", "README.md"))
}

// TestEveryBlockIsTested holds the table of uses to the documents.
func TestEveryBlockIsTested(t *testing.T) {
	seen := map[string]bool{}
	for _, path := range documents(t) {
		sections, found := blocks(t, path)
		for _, section := range sections {
			seen[section] = true
			used := 0
			for _, u := range uses[section] {
				if u.repeat == 0 {
					used++
				}
			}
			if used != len(found[section]) {
				t.Errorf("%s has %d code blocks, and the table of uses says what to do with %d:\n%s",
					section, len(found[section]), used, found[section])
			}
		}
	}
	for section := range uses {
		if !seen[section] {
			t.Errorf("%s has no code blocks, but uses", section)
		}
	}
}

// TestDocumentsInYAMLParse covers what cannot be run here.
func TestDocumentsInYAMLParse(t *testing.T) {
	parsed := 0
	for _, path := range documents(t) {
		_, found := blocks(t, path)
		for section, list := range found {
			each(t, section, list, func(u use, text string) {
				if u.kind != document {
					return
				}
				parsed++
				var content map[string]any
				if err := yaml.Unmarshal([]byte(text), &content); err != nil || len(content) == 0 {
					t.Errorf("%s: %v\n%s", section, err, text)
				}
			})
		}
	}
	if parsed == 0 {
		t.Error("there was none")
	}
}

// each calls do with every use of a section and the text that is used.
func each(t *testing.T, section string, list []block, do func(u use, text string)) {
	t.Helper()
	next := 0
	for _, u := range uses[section] {
		number := next
		if u.repeat > 0 {
			number = u.repeat - 1
		} else {
			next++
		}
		if number >= len(list) {
			t.Fatalf("%s has only %d code blocks", section, len(list))
		}
		text := list[number].text
		for _, edit := range u.edits {
			if !strings.Contains(text, edit[0]) {
				t.Fatalf("%s: %q is not in\n%s", section, edit[0], text)
			}
			text = strings.ReplaceAll(text, edit[0], edit[1])
		}
		do(u, text)
	}
}

func (b block) String() string { return fmt.Sprintf("--\n%s", b.text) }
