package cli

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// secretVariables lists the variables that contain secrets, with their descriptions.
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

// fromOrchestrator matches the variables that Kubernetes and Docker set for programs that
// can reach a service named latchkey.
var fromOrchestrator = regexp.MustCompile(`^[^=]*(_SERVICE_(HOST|PORT(_[^=]*)?)=|_PORT=[a-z]+://|_NAME=/|` +
	`_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR|START|END))?=|_ENV_)`)

// ofTests matches variables for the tests of latchkey and of programs that use it.
var ofTests = regexp.MustCompile(`^LATCHKEY_(TEST_|SOAK=)`)

// maxNotes bounds how many variables are listed.
const maxNotes = 10

// unknownVariables returns a warning for each variable LATCHKEY_… that is not a setting.
// Such variables are ignored, because they may belong to another version.
func (c *config) unknownVariables(environment []string) []string {
	var notes []string
	for _, pair := range environment {
		name, value, _ := strings.Cut(pair, "=")
		if len(name) < len(envPrefix) || !strings.EqualFold(name[:len(envPrefix)], envPrefix) ||
			value == "" || c.knowsVariable(name) || fromOrchestrator.MatchString(pair) || ofTests.MatchString(pair) {
			continue
		}
		setting := strings.ToLower(strings.ReplaceAll(name[len(envPrefix):], "_", "-"))
		note := fmt.Sprintf("the environment variable %s is not a setting of this version and is ignored", printable(name))
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
		notes = append(notes[:maxNotes], fmt.Sprintf("%d more environment variables are not settings", len(notes)-maxNotes))
	}
	return notes
}

// variables returns the names of everything that has a variable, written as settings.
func (c *config) variables() []string {
	names := slices.Clone(c.known)
	for _, v := range secretVariables {
		names = append(names, strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(v[0], envPrefix), "_", "-")))
	}
	return names
}

// knowsVariable reports whether a variable is a setting, or one that exec sets.
func (c *config) knowsVariable(name string) bool {
	return name == accessTokenVariable || name == sessionTokenVariable ||
		slices.ContainsFunc(c.variables(), func(setting string) bool { return variable(setting) == name })
}

// tellConfig prints the warnings from reading the settings, once.
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
		return false // reported elsewhere
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
