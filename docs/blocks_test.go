// Package docs tests README.md and the documents beside it: every code block in them is
// run, compiled or parsed as it is printed.
package docs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A block is the code of one block, without its indentation.
type block struct {
	place string // "README.md: Try it"
	text  string
}

// A use is what a test does with a block.
type use struct {
	kind   kind
	before string      // a shell script that runs before the block; of a snippet, Go code before it
	reason string      // why the block is not run, or the file that tests or contains it
	repeat int         // of a block that is used again: its number, from 1
	edits  [][2]string // replacements in the block; each must apply
	wants  []string    // what the block has to print
}

type kind int

const (
	shell     kind = iota // commands to paste
	serve                 // commands to paste into a terminal of their own: the last one is a service
	output                // what the block before prints, in this order; "…" is any text
	program               // a Go program
	snippet               // Go declarations that have to compile
	excerpt               // part of a Go file of the tree
	document              // YAML
	elsewhere             // another test runs it
	unrun                 // no test can run it
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

// documents returns the paths of the documents whose blocks are tested.
func documents(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("*.md")
	if err != nil || len(paths) == 0 {
		t.Fatal(err, "there are no documents")
	}
	return append(paths, filepath.Join("..", "README.md"))
}

// TestEveryBlockIsTested compares the table of uses with the documents.
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

// TestDocumentsInYAMLParse parses what cannot be run here.
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

// TestExcerptsAreOfTheTree compares excerpts with the files that they are from.
func TestExcerptsAreOfTheTree(t *testing.T) {
	compared := 0
	for _, path := range documents(t) {
		_, found := blocks(t, path)
		for section, list := range found {
			each(t, section, list, func(u use, text string) {
				if u.kind != excerpt {
					return
				}
				compared++
				source, err := os.ReadFile(u.reason)
				if err != nil {
					t.Fatal(err)
				}
				if !strings.Contains(unindented(string(source)), unindented(text)) {
					t.Errorf("%s: this is not in %s:\n%s", section, u.reason, text)
				}
			})
		}
	}
	if compared == 0 {
		t.Error("there was none")
	}
}

// unindented returns text without the indentation of its lines.
func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimLeft(line, "\t"))
	}
	return b.String()
}

// TestLinksLead follows the links between the documents and to files of the tree.
func TestLinksLead(t *testing.T) {
	followed := 0
	for _, path := range append(documents(t), filepath.Join("..", "CONTRIBUTING.md"), filepath.Join("..", "SECURITY.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range link.FindAllStringSubmatch(string(text), -1) {
			name, heading, _ := strings.Cut(found[1], "#")
			if strings.Contains(name, ":") {
				continue // elsewhere
			}
			followed++
			target := filepath.Join(filepath.Dir(path), filepath.FromSlash(name))
			if name == "" {
				target = path
			}
			content, err := os.ReadFile(target)
			if info, statErr := os.Stat(target); statErr != nil || err != nil && !info.IsDir() {
				t.Errorf("%s: %s is not there", path, found[1])
			} else if heading != "" && !slices.Contains(anchors(string(content)), heading) {
				t.Errorf("%s: %s has no heading %q", path, name, heading)
			}
		}
	}
	if followed < 20 {
		t.Errorf("only %d links were followed", followed)
	}
}

var (
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingLine = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notAnchor   = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the names of the headings of a document, as links have them.
func anchors(text string) (names []string) {
	for _, heading := range headingLine.FindAllStringSubmatch(text, -1) {
		name := notAnchor.ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}

// TestEveryPackageIsInTheArchitecture compares the table of packages with the tree.
func TestEveryPackageIsInTheArchitecture(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	const module = "github.com/latchkey/latchkey"
	command := exec.CommandContext(t.Context(), "go", "list", module+"/...")
	output, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for _, row := range packageRow.FindAllString(string(text), -1) {
		for _, name := range packageName.FindAllStringSubmatch(row, -1) {
			named[name[1]] = true
		}
	}
	for importPath := range strings.FieldsSeq(string(output)) {
		name := strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/")
		if name == "" {
			name = "latchkey"
		}
		if !named[name] {
			t.Errorf("package %s is not in architecture.md", name)
		}
		delete(named, name)
	}
	for name := range named {
		t.Errorf("architecture.md has a package %s, which does not exist", name)
	}
}

var (
	packageRow  = regexp.MustCompile("(?m)^\\| `[a-z][a-z0-9/]*`[^|]*\\|")
	packageName = regexp.MustCompile("`([a-z0-9/]+)`")
)

// TestTheWaysOfRequestsExist looks for the functions of architecture.md in their files.
func TestTheWaysOfRequestsExist(t *testing.T) {
	text, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := stepRow.FindAllStringSubmatch(string(text), -1)
	if len(rows) < 30 {
		t.Errorf("only %d steps were found", len(rows))
	}
	for _, row := range rows {
		source, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(row[1])))
		if err != nil {
			t.Error(err)
			continue
		}
		for name := range strings.SplitSeq(row[2], ", ") {
			name = strings.Trim(name, "`")
			if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + name + `[\[(]`).Match(source) {
				t.Errorf("%s has no function %s", row[1], name)
			}
		}
	}
}

var stepRow = regexp.MustCompile("(?m)^\\| `([a-z0-9/]+\\.go)` \\| ([^|]+) \\|")

func (b block) String() string { return fmt.Sprintf("--\n%s", b.text) }
