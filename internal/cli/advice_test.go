package cli_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/cli"
)

// walk calls do for each command.
func walk(command *cobra.Command, do func(*cobra.Command)) {
	do(command)
	for _, child := range command.Commands() {
		walk(child, do)
	}
}

// flagsOf are the names of the flags that a command takes.
func flagsOf(command *cobra.Command) []string {
	names := []string{"help"}
	if !command.HasParent() {
		names = append(names, "version")
	}
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	command.Flags().VisitAll(add)
	command.InheritedFlags().VisitAll(add)
	command.PersistentFlags().VisitAll(add)
	return names
}

var (
	flagWord    = regexp.MustCompile(`(?:^|[\s"'(` + "`" + `\[|/=])--([a-z][a-z0-9-]*[a-z0-9])`)
	commandLine = regexp.MustCompile(`(?:^|[\s"'(` + "`" + `/])latchkey((?: [a-z][a-z-]*)+)([^;,&|)` + "`" + `\n]*)`)
)

// checkAdvice finds the flags in a text that no command has, and those after the name
// of a command that does not have them. own may be nil.
func checkAdvice(root, own *cobra.Command, text string) (wrong []string) {
	if !strings.Contains(text, "--") {
		return nil
	}
	var all []string
	walk(root, func(c *cobra.Command) { all = append(all, flagsOf(c)...) })
	rest := text
	for _, line := range commandLine.FindAllStringSubmatch(text, -1) {
		command, _, err := root.Find(strings.Fields(line[1]))
		if err != nil || command == root {
			continue // prose about latchkey
		}
		for _, flag := range flagWord.FindAllStringSubmatch(line[2], -1) {
			if !slices.Contains(flagsOf(command), flag[1]) {
				wrong = append(wrong, fmt.Sprintf("%s has no --%s: %s", command.CommandPath(), flag[1], strings.TrimSpace(line[0])))
			}
		}
		rest = strings.Replace(rest, line[0], "", 1)
	}
	for _, flag := range flagWord.FindAllStringSubmatch(rest, -1) {
		if slices.Contains([]string{"cacert", "format"}, flag[1]) {
			continue // of curl and pg_dump
		}
		if !slices.Contains(all, flag[1]) {
			wrong = append(wrong, "no command has --"+flag[1])
		} else if own != nil && !own.HasSubCommands() && !slices.Contains(flagsOf(own), flag[1]) {
			wrong = append(wrong, own.CommandPath()+" has no --"+flag[1])
		}
	}
	return wrong
}

func TestHelpNamesOnlyExistingFlags(t *testing.T) {
	t.Parallel()
	root := cli.Tree()
	seen := 0
	walk(root, func(command *cobra.Command) {
		if command.Name() == "completion" || command.HasParent() && command.Parent().Name() == "completion" {
			return // cobra's own
		}
		texts := []string{command.Short, command.Long, command.Example}
		command.Flags().VisitAll(func(f *pflag.Flag) { texts = append(texts, f.Usage) })
		for _, text := range texts {
			seen += len(flagWord.FindAllString(text, -1))
			for _, wrong := range checkAdvice(root, command, text) {
				t.Errorf("the help of %s: %s", command.CommandPath(), wrong)
			}
		}
	})
	if seen < 50 {
		t.Errorf("only %d flags were seen", seen)
	}
}

// The advice of errors and notes is in the string literals of the program.
func TestErrorsNameOnlyExistingFlags(t *testing.T) {
	t.Parallel()
	root := cli.Tree()
	seen := 0
	top := filepath.Join("..", "..")
	err := filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := filepath.ToSlash(strings.TrimPrefix(path, top+string(filepath.Separator)))
		skipped := []string{"tools", "scripts", "internal/bench", "internal/enginetest", "deploy"}
		hidden := strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".."
		if entry.IsDir() && (hidden || slices.Contains(skipped, name)) {
			return fs.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			literal, ok := node.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Error(err)
			}
			seen += len(flagWord.FindAllString(text, -1))
			for _, wrong := range checkAdvice(root, nil, text) {
				t.Errorf("%s: %s", name, wrong)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 100 {
		t.Errorf("only %d flags were seen", seen)
	}
}

func TestDocumentsNameOnlyExistingFlags(t *testing.T) {
	t.Parallel()
	root := cli.Tree()
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(files, filepath.Join("..", "..", "README.md")) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range commandLine.FindAllString(strings.ReplaceAll(string(text), "\\\n", " "), -1) {
			for _, wrong := range checkAdvice(root, nil, line) {
				t.Errorf("%s: %s", filepath.Base(path), wrong)
			}
		}
	}
}

// help config lists every setting of every command with its variable, and nothing else.
// The config file accepts exactly the listed settings.
func TestHelpConfigListsExactlyTheSettings(t *testing.T) {
	t.Parallel()
	out, _ := run(t, 0, "", "help", "config")
	listed := map[string]string{}
	for _, row := range regexp.MustCompile(`(?m)^--(\S+) +(LATCHKEY_\S+) +(\S+) +(.*)$`).FindAllStringSubmatch(out, -1) {
		listed[row[1]] = row[4]
	}
	accepted := map[string]bool{}
	walk(cli.Tree(), func(command *cobra.Command) {
		if command.CommandPath() == "latchkey config show" {
			return // it has the settings of all others
		}
		command.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !cli.IsSetting(f) {
				if of, ok := listed[f.Name]; ok && slices.Contains(strings.Split(of, ", "), command.Name()) {
					t.Errorf("--%s of %s is listed, but is not a setting", f.Name, command.CommandPath())
				}
				return
			}
			accepted[f.Name] = true
			top, _, _ := strings.Cut(strings.TrimPrefix(command.CommandPath(), "latchkey "), " ")
			if of := strings.Split(listed[f.Name], ", "); command.HasParent() && !f.Hidden && !slices.Contains(of, top) {
				t.Errorf("--%s of %s is not listed", f.Name, command.CommandPath())
			}
		})
	})
	if len(listed) < 30 {
		t.Fatalf("only %d settings are listed:\n%s", len(listed), out)
	}
	var file strings.Builder
	for name := range listed {
		if !accepted[name] {
			t.Errorf("--%s is listed, and no command has it", name)
		}
		if name != "config" {
			fmt.Fprintf(&file, "%s: \"\"\n", name)
		}
	}
	path := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(path, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, said := run(t, 2, "", "serve", "--config", path); strings.Contains(said, "unknown setting") {
		t.Errorf("the config file does not accept what is listed:\n%s", said)
	}
	if err := os.WriteFile(path, []byte("config: x\nyes: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, said := run(t, 2, "", "serve", "--config", path)
	has(t, said, "config: unknown setting", "yes: unknown setting")
	for _, name := range cli.SecretVariables() {
		has(t, out, "  "+name+" ")
	}
	has(t, out, "--config itself is a flag and a variable only")
}
