package latchkey_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const modulePath = "github.com/latchkey/latchkey"

// TestImportingTheClientAddsNoOtherModule imports the client from a module of its own.
// The client must compile the standard library alone, and go.mod must require latchkey
// alone.
func TestImportingTheClientAddsNoOtherModule(t *testing.T) {
	tree, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/importer\n\ngo 1.26\n\nreplace " + modulePath + " => " + tree + "\n",
		"main.go": "package main\n\nimport \"" + modulePath + "\"\n\n" +
			"func main() { _, _ = latchkey.NewClient(latchkey.Config{}) }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(arguments ...string) string {
		t.Helper()
		command := exec.Command("go", arguments...)
		command.Dir = dir
		command.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOPROXY=off", "GOSUMDB=off", "GOWORK=off")
		output, err := command.Output()
		if err != nil {
			var failed *exec.ExitError
			if errors.As(err, &failed) {
				t.Fatalf("go %s: %v\n%s", strings.Join(arguments, " "), err, failed.Stderr)
			}
			t.Fatal(err)
		}
		return string(output)
	}
	run("mod", "tidy")
	run("build", "-o", os.DevNull, ".")

	var file struct{ Require []struct{ Path string } }
	if err := json.Unmarshal([]byte(run("mod", "edit", "-json")), &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Require) != 1 || file.Require[0].Path != modulePath {
		t.Errorf("go.mod requires %v, want %s alone", file.Require, modulePath)
	}
	seen := 0
	for line := range strings.Lines(run("list", "-deps", "-f", "{{.Standard}} {{.ImportPath}}", ".")) {
		standard, path, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case standard == "true", path == "example.com/importer":
		case path == modulePath, strings.HasPrefix(path, modulePath+"/"):
			seen++
		default:
			t.Errorf("importing the client compiles %s", path)
		}
	}
	if seen == 0 {
		t.Error("go list does not show the client: the test does not look at it")
	}
}
