// Package layout tests the rules of the source tree: which package may import which, and
// the language of comments, messages and documents.
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

// may lists, for each package, the packages of this module that it may import. What those
// import in turn is in their own lines. A package that is not listed fails the test, so
// that adding one is a decision.
var may = map[string][]string{
	"":             {"internal/outbound", "internal/secret", "internal/wire"},
	"api":          {},
	"cmd/latchkey": {"internal/cli", "internal/hashworker"},
	"credential": {
		"", "credential/internal/document", "credential/internal/hint", "internal/atomicfile",
	},
	"credential/awssecrets":        {"credential", "credential/internal/document"},
	"credential/credentialtest":    {"", "credential"},
	"credential/internal/document": {"", "credential/internal/hint"},
	"credential/internal/hint":     {},
	"credential/keyring": {
		"credential", "credential/internal/document", "credential/internal/hint", "internal/oskeyring",
	},
	"credential/vault": {
		"", "credential", "credential/internal/document", "internal/outbound", "internal/wire",
	},
	"deploy":               {},
	"docs":                 {},
	"docs/examples/client": {"", "internal/outbound", "internal/secret", "internal/wire"},
	"docs/examples/keeper": {"*"},
	"internal/admin":       {"internal/authority", "internal/secret", "internal/wire"},
	"internal/apitest":     {"*"},
	"internal/atomicfile":  {},
	"internal/authority":   {"internal/secret"},
	"internal/bench":       {"*"},
	"internal/cli":         {"*"},
	"internal/enginetest":  {},
	"internal/gateway": {
		"", "internal/authority", "internal/outbound", "internal/secret", "internal/wire", "keeper",
	},
	"internal/hashworker": {"internal/authority"},
	"internal/layout":     {},
	"internal/oskeyring":  {},
	"internal/outbound":   {},
	"internal/pipenet":    {},
	"internal/replicas":   {"*"},
	"internal/secret":     {},
	"internal/server":     {"api", "internal/authority", "internal/secret", "internal/wire"},
	"internal/service": {
		"", "credential", "internal/admin", "internal/atomicfile", "internal/authority", "internal/gateway",
		"internal/hashworker", "internal/secret", "internal/server", "internal/simulate", "internal/store/postgres",
		"internal/store/sqlite",
		"internal/wire", "keeper", "keeper/pgstate",
	},
	"internal/simulate": {
		"internal/admin", "internal/authority", "internal/secret", "internal/server", "internal/store/sqlite",
		"internal/wire",
	},
	"internal/store":              {"internal/authority"},
	"internal/store/postgres":     {"internal/authority", "internal/store", "internal/store/sessionindex"},
	"internal/store/sessionindex": {"internal/authority", "internal/store"},
	"internal/store/sqlite": {
		"internal/atomicfile", "internal/authority", "internal/store", "internal/store/sessionindex",
	},
	"internal/store/storetest": {"internal/authority", "internal/secret"},
	"internal/testsupport":     {},
	"internal/wire":            {},
	"keeper": {
		"", "credential", "internal/atomicfile", "internal/oskeyring", "internal/outbound", "internal/secret",
		"internal/wire", "keeper/internal/ledger",
	},
	"keeper/internal/ledger":      {},
	"keeper/internal/replicatest": {"*"},
	"keeper/internal/sharedstate": {"", "keeper"},
	"keeper/pgstate":              {"keeper", "keeper/internal/sharedstate"},
	"keeper/redisstate":           {"keeper", "keeper/internal/sharedstate"},
	"keeper/statetest":            {"", "keeper"},
	"latchtest":                   {"", "internal/authority", "internal/secret", "internal/simulate"},
	"verify":                      {"internal/outbound", "internal/wire"},
}

// publicNeeds lists, for each public package, the prefixes of the packages of other
// modules that may be compiled into a program which imports it.
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
	Imports    []string
}

// list returns what "go list" prints about packages.
func list(t *testing.T, arguments ...string) []goPackage {
	t.Helper()
	arguments = append([]string{"list", "-json=ImportPath,Standard,Imports", "-e=false"}, arguments...)
	output, err := exec.Command("go", arguments...).Output()
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

// short returns an import path without that of this module, and whether it is of this module.
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
			t.Errorf("package %q is not in the layout: list here what it may import", name)
			continue
		}
		seen++
		for _, dependency := range p.Imports {
			if ours, ok := short(dependency); ok && !slices.Contains(allowed, ours) && !slices.Contains(allowed, "*") {
				t.Errorf("package %q imports %q, which the layout does not allow", name, ours)
			}
		}
	}
	if seen < 5 {
		t.Fatalf("only %d packages were found", seen)
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
			isAllowed := func(prefix string) bool { return strings.HasPrefix(dependency, prefix) }
			if !isStandard && !ours && !slices.ContainsFunc(allowed, isAllowed) {
				t.Errorf("importing package %q compiles %s into the program", name, dependency)
			}
		}
	}
}
