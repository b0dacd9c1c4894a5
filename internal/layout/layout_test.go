// Package layout holds the tree to its own rules: which package may import
// which. README.md says the same in prose.
package layout

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/latchkey/latchkey"

// may lists, for each package, every package of ours that it may depend on,
// directly or not. A package that is not listed fails the test, so that adding
// one is a decision.
var may = map[string][]string{
	"":                             {"internal/outbound", "internal/secret", "internal/wire"},
	"api":                          {},
	"cmd/latchkey":                 {"*"},
	"credential":                   {"", "credential/internal/document", "internal/atomicfile", "internal/outbound", "internal/secret", "internal/wire"},
	"credential/awssecrets":        {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/outbound", "internal/secret", "internal/wire"},
	"credential/keyring":           {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire"},
	"credential/vault":             {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/outbound", "internal/secret", "internal/wire"},
	"internal/oskeyring":           {},
	"credential/credentialtest":    {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/outbound", "internal/secret", "internal/wire"},
	"credential/internal/document": {"", "internal/atomicfile", "internal/outbound", "internal/secret", "internal/wire"},
	"deploy":                       {},
	"docs":                         {},
	"internal/apitest":             {"*"},
	"internal/atomicfile":          {},
	"internal/authority":           {"internal/secret"},
	"internal/bench":               {"*"},
	"internal/cli":                 {"*"},
	"internal/enginetest":          {},
	"internal/gateway":             {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/authority", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire", "keeper"},
	"internal/layout":              {},
	"internal/outbound":            {},
	"internal/pipenet":             {},
	"internal/replicas":            {"*"},
	"internal/secret":              {},
	"internal/server":              {"api", "internal/authority", "internal/secret", "internal/wire"},
	"internal/simulate":            simulation,
	"internal/store":               {"internal/authority", "internal/secret"},
	"internal/store/sessionindex":  {"internal/authority", "internal/secret", "internal/store"},
	"internal/store/sqlite":        {"internal/atomicfile", "internal/authority", "internal/secret", "internal/store", "internal/store/sessionindex"},
	"internal/store/postgres":      {"internal/authority", "internal/secret", "internal/store", "internal/store/sessionindex"},
	"internal/store/storetest":     {"internal/authority", "internal/secret"},
	"internal/wire":                {},
	"keeper":                       {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire"},
	"keeper/internal/replicatest":  {"*"},
	"keeper/internal/sharedstate":  {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire", "keeper"},
	"keeper/pgstate":               {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire", "keeper", "keeper/internal/sharedstate"},
	"keeper/redisstate":            {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire", "keeper", "keeper/internal/sharedstate"},
	"keeper/statetest":             {"", "credential", "credential/internal/document", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret", "internal/wire", "keeper"},
	"verify":                       {"internal/outbound", "internal/wire"},
	"latchtest":                    append([]string{"", "internal/outbound", "internal/simulate"}, simulation...),
}

// simulation is what the service in a test is made of: the real parts.
var simulation = []string{"api", "internal/atomicfile", "internal/authority", "internal/secret", "internal/server", "internal/store",
	"internal/store/sessionindex", "internal/store/sqlite", "internal/wire"}

// Only these of other people's packages may be in what a user of a public
// package compiles.
var publicNeeds = map[string][]string{
	"":                  {},
	"verify":            {},
	"keeper":            keeperNeeds,
	"keeper/pgstate":    append([]string{"github.com/jackc/"}, keeperNeeds...),
	"keeper/redisstate": append([]string{"github.com/redis/rueidis"}, keeperNeeds...),
}

var keeperNeeds = []string{
	"filippo.io/age", "filippo.io/hpke", "github.com/gofrs/flock", "github.com/zalando/go-keyring",
	"github.com/godbus/dbus", "github.com/danieljoos/wincred", "golang.org/x/",
}

type goPackage struct {
	ImportPath string
	Standard   bool
	Deps       []string
}

func list(t *testing.T, arguments ...string) []goPackage {
	t.Helper()
	command := exec.Command("go", append([]string{"list", "-json=ImportPath,Standard,Deps", "-e=false"}, arguments...)...)
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []goPackage
	for decoder := json.NewDecoder(strings.NewReader(string(output))); ; {
		var p goPackage
		if err := decoder.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

func short(importPath string) (string, bool) {
	if importPath == module {
		return "", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

func TestImportsPointInward(t *testing.T) {
	seen := 0
	for _, p := range list(t, module+"/...") {
		name, _ := short(p.ImportPath)
		allowed, known := may[name]
		if !known {
			t.Errorf("package %q is not in the layout: say here and in the README what it may import", name)
			continue
		}
		seen++
		for _, dependency := range p.Deps {
			if ours, ok := short(dependency); ok && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("package %q depends on %q, which the layout does not allow", name, ours)
			}
		}
	}
	if seen < 5 {
		t.Fatalf("saw only %d packages; the test does not look at the tree", seen)
	}
}

func TestPublicPackagesNeedLittle(t *testing.T) {
	for name, allowed := range publicNeeds {
		standard := map[string]bool{}
		for _, p := range list(t, "-deps", strings.TrimSuffix(module+"/"+name, "/")) {
			standard[p.ImportPath] = p.Standard
		}
		for dependency, isStandard := range standard {
			_, ours := short(dependency)
			if !isStandard && !ours && !slices.ContainsFunc(allowed, func(a string) bool { return strings.HasPrefix(dependency, a) }) {
				t.Errorf("importing package %q compiles %s into its user", name, dependency)
			}
		}
	}
}
