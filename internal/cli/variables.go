package cli

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// secretVariables hold secrets themselves.
var secretVariables = [][2]string{
	{apiSecretVariable, "the API secret, for client commands"},
	{upstreamSecretVariable, "the API secret at the upstream, for serve"},
	{upstreamUserVariable, "the user's name at the upstream"},
	{upstreamPasswordVariable, "and the password"},
}

func secretVariablesHelp() string {
	var b strings.Builder
	for _, v := range secretVariables {
		fmt.Fprintf(&b, "  %-32s  %s\n", v[0], v[1])
	}
	return b.String()
}

// fromOrchestrator matches what Kubernetes and Docker put into the environment of
// programs that may reach a service of the name latchkey.
var fromOrchestrator = regexp.MustCompile(`^[^=]*(_SERVICE_(HOST|PORT(_[^=]*)?)=|_PORT=[a-z]+://|_NAME=/|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?=|_ENV_)`)

// ofTests matches variables for tests: those of latchkey's own, and those that a program
// which uses latchkey may have for its own.
var ofTests = regexp.MustCompile(`^LATCHKEY_(TEST_|SOAK=)`)

// maxNotes bounds how many variables are told.
const maxNotes = 10

// unknownVariables says which variables LATCHKEY_… are no settings. They are ignored,
// because they may be of another version; the person who misspelled one should know.
func (c *config) unknownVariables(environment []string) []string {
	var notes []string
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		if len(name) < len(envPrefix) || !strings.EqualFold(name[:len(envPrefix)], envPrefix) || value == "" || c.knowsVariable(name) ||
			fromOrchestrator.MatchString(pair) || ofTests.MatchString(pair) {
			continue
		}
		setting := strings.ToLower(strings.ReplaceAll(name[len(envPrefix):], "_", "-"))
		note := fmt.Sprintf("the environment variable %s is no setting of this version, and is ignored", printable(name))
		if slices.Contains(c.flags, setting) && !slices.Contains(c.known, setting) {
			note += fmt.Sprintf("; --%s is a flag only", setting)
		} else if near := nearest(setting, c.variables()); near != "" {
			note += fmt.Sprintf("; did you mean %s?", variable(near))
		} else {
			note += "; see: latchkey help config"
		}
		notes = append(notes, note)
	}
	slices.Sort(notes)
	if len(notes) > maxNotes {
		notes = append(notes[:maxNotes], fmt.Sprintf("%d more environment variables are no settings", len(notes)-maxNotes))
	}
	return notes
}

// variables are the names of everything that has a variable, written as settings.
func (c *config) variables() []string {
	names := slices.Clone(c.known)
	for _, v := range secretVariables {
		names = append(names, strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v[0], envPrefix), "_", "-")))
	}
	return names
}

// knowsVariable reports whether a variable is a setting, or one that exec sets.
func (c *config) knowsVariable(name string) bool {
	return name == accessTokenVariable || name == sessionTokenVariable || slices.ContainsFunc(c.variables(), func(setting string) bool { return variable(setting) == name })
}

// tellConfig tells what was noticed while the settings were read, once.
func (a *app) tellConfig() {
	for _, note := range a.conf.notes {
		a.warn("%s", note)
	}
	a.conf.notes = nil
}

// holdsPassword reports whether a config file has a URL with a password in it.
func holdsPassword(text []byte) bool {
	var values map[string]any
	if yaml.Unmarshal(text, &values) != nil {
		return false // which is told elsewhere
	}
	for _, value := range values {
		address, ok := value.(string)
		if !ok || !strings.Contains(address, "://") {
			continue
		}
		parsed, err := url.Parse(address)
		if err != nil {
			return strings.Contains(address, "@")
		}
		if _, set := parsed.User.Password(); set || parsed.Query().Has("password") {
			return true
		}
	}
	return false
}
