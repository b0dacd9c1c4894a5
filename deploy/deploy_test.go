// Package deploy tests the files in its directory against the program that they start. It
// needs no network, Docker or Kubernetes. `make deploy-check` checks the files against the
// definitions of those.
package deploy

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/latchkey/latchkey/internal/cli"
	"github.com/latchkey/latchkey/internal/wire"
)

// stopLimit is how long a replica may take to stop: 20 seconds for requests in flight, and 10
// for its stores.
const stopLimit = 30 * time.Second

var (
	flagPattern     = regexp.MustCompile(`--[a-z][a-z-]+`)
	variablePattern = regexp.MustCompile(`LATCHKEY_[A-Z_]+`)
	probePattern    = regexp.MustCompile(`(?:path: |health_uri |127\.0\.0\.1:8080)(/[a-z]+)`)
)

// sources returns the text of every file that is committed.
func sources(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && entry.Name() == "secrets":
			return fs.SkipDir
		case entry.IsDir(), entry.Name() == ".env", strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		texts[filepath.ToSlash(path)] = strings.ReplaceAll(string(text), "\r\n", "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(texts) < 10 {
		t.Fatalf("only %d files were found", len(texts))
	}
	return texts
}

// documents returns the YAML documents in a file.
func documents(t *testing.T, path string) []node {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []node
	for decoder := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var document map[string]any
		if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, node{document})
	}
}

// node is a value in a YAML document.
type node struct{ any }

// at returns the value at a path of keys, or an empty node if there is none.
func (n node) at(keys ...string) node {
	for _, key := range keys {
		fields, _ := n.any.(map[string]any)
		n = node{fields[key]}
	}
	return n
}

func (n node) list() (items []node) {
	all, _ := n.any.([]any)
	for _, item := range all {
		items = append(items, node{item})
	}
	return items
}

func (n node) fields() map[string]any {
	fields, _ := n.any.(map[string]any)
	return fields
}

func (n node) text() string {
	text, _ := n.any.(string)
	return text
}

func (n node) int() int {
	number, _ := n.any.(int)
	return number
}

// help returns the output of "latchkey serve --help".
func help(t *testing.T) string {
	t.Helper()
	var out, errs bytes.Buffer
	streams := cli.IO{In: strings.NewReader(""), Out: &out, Err: &errs}
	if code := cli.Run(t.Context(), streams, "serve", "--help"); code != 0 {
		t.Fatalf("serve --help: %d, %s", code, errs.String())
	}
	return out.String()
}

func TestFlagsAndVariablesExist(t *testing.T) {
	known := help(t)
	flags, variables := flagPattern.FindAllString(known, -1), variablePattern.FindAllString(known, -1)
	seen := 0
	for path, text := range sources(t) {
		for _, variable := range variablePattern.FindAllString(text, -1) {
			seen++
			if !slices.Contains(variables, variable) {
				t.Errorf("%s: latchkey serve has no variable %s", path, variable)
			}
		}
		for line := range strings.Lines(text) {
			_, arguments, _ := strings.Cut(line, "latchkey serve ")
			for _, flag := range flagPattern.FindAllString(arguments, -1) {
				if seen++; !slices.Contains(flags, flag) {
					t.Errorf("%s: latchkey serve has no flag %s", path, flag)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d flags and variables were found", seen)
	}
}

func TestProbesUseTheHealthPaths(t *testing.T) {
	seen := 0
	for path, text := range sources(t) {
		for _, match := range probePattern.FindAllStringSubmatch(text, -1) {
			if seen++; match[1] != wire.PathHealth && match[1] != wire.PathReady {
				t.Errorf("%s: %s is not a probe of the service", path, match[1])
			}
		}
	}
	if seen < 5 {
		t.Errorf("only %d probes were found", seen)
	}
	container := latchkey(t).at("spec", "template", "spec", "containers").list()[0]
	for probe, want := range map[string]string{"livenessProbe": wire.PathHealth, "readinessProbe": wire.PathReady} {
		if got := container.at(probe, "httpGet", "path").text(); got != want {
			t.Errorf("the %s uses %q, not %q", probe, got, want)
		}
	}
}

// latchkey returns the Deployment of the replicas.
func latchkey(t *testing.T) node {
	t.Helper()
	for _, document := range documents(t, "kubernetes/latchkey.yaml") {
		if document.at("kind").text() == "Deployment" {
			return document
		}
	}
	t.Fatal("there is no Deployment")
	return node{}
}

func TestNoPortIsOpenToOtherMachines(t *testing.T) {
	services := documents(t, "compose.yaml")[0].at("services")
	published := 0
	for name := range services.fields() {
		for _, port := range services.at(name, "ports").list() {
			if published++; !strings.HasPrefix(port.text(), "127.0.0.1:") {
				t.Errorf("compose.yaml: %s is published on %q", name, port.text())
			}
		}
		if services.at(name, "network_mode").any != nil || services.at(name, "privileged").any != nil {
			t.Errorf("compose.yaml: %s is not isolated", name)
		}
	}
	if published != 1 {
		t.Errorf("compose.yaml: %d ports are published, not 1", published)
	}
	for _, path := range manifests(t) {
		for _, document := range documents(t, path) {
			switch document.at("kind").text() {
			case "Service":
				if kind := document.at("spec", "type").text(); kind != "" && kind != "ClusterIP" {
					t.Errorf("%s: a Service of type %s", path, kind)
				}
			case "Ingress", "Gateway", "HTTPRoute":
				t.Errorf("%s: a route from outside", path)
			}
		}
	}
	for path, text := range sources(t) {
		if strings.Contains(text, "hostNetwork: true") || strings.Contains(text, "hostPort") {
			t.Errorf("%s: a port of the node", path)
		}
		if !strings.HasSuffix(path, ".env") && path != "Containerfile" && !strings.HasSuffix(path, ".service") {
			continue
		}
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			_, address, ok := strings.Cut(line, "LATCHKEY_LISTEN=")
			if ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(address, "127.0.0.1:") {
				t.Errorf("%s listens on %s", path, address)
			}
		}
	}
}

// manifests returns the paths of the Kubernetes manifests.
func manifests(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("kubernetes/*.yaml")
	if err != nil || len(paths) < 5 {
		t.Fatalf("%d manifests, %v", len(paths), err)
	}
	return paths
}

func TestReplicasHaveTheTimeToStop(t *testing.T) {
	text := sources(t)["systemd/latchkey.service"]
	match := regexp.MustCompile(`\nTimeoutStopSec=(\S+)\n`).FindStringSubmatch(text)
	if match == nil || tooShort(match[1], 0) {
		t.Errorf("latchkey.service has %q", match)
	}
	services := documents(t, "compose.yaml")[0].at("services")
	for _, name := range []string{"latchkey-1", "latchkey-2", "latchkey-3"} {
		if grace := services.at(name, "stop_grace_period").text(); tooShort(grace, 0) {
			t.Errorf("compose.yaml: %s has %q", name, grace)
		}
	}
	pod := latchkey(t).at("spec", "template", "spec")
	before := pod.at("containers").list()[0].at("lifecycle", "preStop", "sleep", "seconds").int()
	if grace := pod.at("terminationGracePeriodSeconds").int(); before < 1 || tooShort(strconv.Itoa(grace)+"s", before) {
		t.Errorf("the Deployment has %d seconds, %d of them for preStop", grace, before)
	}
}

func tooShort(text string, before int) bool {
	grace, err := time.ParseDuration(text)
	return err != nil || grace < stopLimit+time.Duration(before)*time.Second
}

func TestTheBalancerHasEveryReplica(t *testing.T) {
	balancer := sources(t)["Caddyfile"]
	for name := range documents(t, "compose.yaml")[0].at("services").fields() {
		if strings.HasPrefix(name, "latchkey-") != strings.Contains(balancer, " "+name+":8080") {
			t.Errorf("compose.yaml and Caddyfile do not agree on %s", name)
		}
	}
}

func TestSecretsAreGeneratedOnceAndForTheirOwner(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no file modes")
	}
	for _, tool := range []string{"sh", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	directory := filepath.Join(t.TempDir(), "secrets")
	if output, err := exec.Command("sh", "secrets.sh", directory).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	secrets := documents(t, "compose.yaml")[0].at("secrets")
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || entry.Name() == "server.key" && info.Size() != 32 {
			t.Errorf("%s has mode %v and %d bytes", entry.Name(), info.Mode(), info.Size())
		}
		if secrets.at(entry.Name(), "file").text() != "./secrets/"+entry.Name() {
			t.Errorf("compose.yaml does not use %s", entry.Name())
		}
	}
	if len(entries) != len(secrets.fields()) {
		t.Errorf("%d secrets are generated, and compose.yaml uses %d", len(entries), len(secrets.fields()))
	}
	flags := flagPattern.FindAllString(help(t), -1)
	for name, value := range documents(t, filepath.Join(directory, "latchkey.yaml"))[0].fields() {
		if !slices.Contains(flags, "--"+name) {
			t.Errorf("latchkey serve has no setting %s", name)
		}
		host := map[string]string{"database": "@postgres:5432"}[name]
		if text, _ := value.(string); host == "" || !strings.Contains(text, host) {
			t.Errorf("%s does not name %q", name, host)
		}
	}
	if err := exec.Command("sh", "secrets.sh", directory).Run(); err == nil {
		t.Error("existing secrets were generated again")
	}
}

func TestEveryYAMLFileParses(t *testing.T) {
	for _, path := range append(manifests(t), "compose.yaml") {
		if len(documents(t, path)) == 0 {
			t.Errorf("%s is empty", path)
		}
	}
	for _, resource := range documents(t, "kubernetes/kustomization.yaml")[0].at("resources").list() {
		if _, err := os.Stat(filepath.Join("kubernetes", resource.text())); err != nil {
			t.Error(err)
		}
	}
}
