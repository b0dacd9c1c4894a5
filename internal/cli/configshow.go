package cli

import (
	"cmp"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey/internal/service"
	"github.com/latchkey/latchkey/internal/store/postgres"
)

// everySetting is the annotation of the command that has the settings of all others.
const everySetting = "latchkey/every-setting"

// shownSetting is one line of `config show`. Its field names are part of the interface.
type shownSetting struct {
	Name     string `json:"name"`
	Value    string `json:"value"`
	Source   string `json:"source"`             // flag, variable, file or default
	From     string `json:"from,omitempty"`     // the flag, the variable, or the file and the line
	Redacted bool   `json:"redacted,omitempty"` // something in the value is not shown
}

// The sources of a setting.
const (
	fromFlag     = "flag"
	fromVariable = "variable"
	fromFile     = "file"
	fromDefault  = "default"
)

func (a *app) configShowCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "show", Short: "Show every setting: what is in force, and from where", Args: exactly(),
		Long: `Show every setting that a command run here would see: its value, and whether that comes
from a flag, a variable, the config file or the default. Any setting may be given as a
flag, as to the command itself. Secrets are not shown: of a database URL only where it
leads, and of variables that hold a secret only that they are set.

latchkey serve --check checks whether the values make sense together.`,
		Example:           "  latchkey config show\n  latchkey config show --config /etc/latchkey/config.yaml --json",
		Annotations:       map[string]string{everySetting: "true"},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs: stable field names")
	settings(command.Flags(), "json")
	command.SetHelpFunc(func(cmd *cobra.Command, args []string) { a.root.HelpFunc()(cmd, args) }) // not that of the topic
	command.RunE = func(cmd *cobra.Command, _ []string) error { return a.configShow(cmd, asJSON) }
	return command
}

// addEverySetting gives a command the settings of all others. Of settings with the
// same name the first is taken.
func addEverySetting(to, from *cobra.Command) {
	add := func(flag *pflag.Flag) {
		if isSetting(flag) && flag.Name != "config" && to.Flags().Lookup(flag.Name) == nil {
			same := *flag
			same.Hidden = false
			to.Flags().AddFlag(&same)
		}
	}
	from.LocalFlags().VisitAll(add)
	for _, child := range from.Commands() {
		if child != to {
			addEverySetting(to, child)
		}
	}
}

func (a *app) configShow(cmd *cobra.Command, asJSON bool) error {
	var shown []shownSetting
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		if p, ok := flag.Value.(*pending); ok && isSetting(flag) && flag.Name != "json" {
			shown = append(shown, showSetting(flag.Name, p))
		}
	})
	for _, v := range secretVariables {
		if name := v[0]; os.Getenv(name) != "" {
			shown = append(shown, shownSetting{Name: name, Source: fromVariable, From: name, Redacted: true})
		}
	}
	if asJSON {
		return a.printJSON(shown)
	}
	rows := [][]string{{"SETTING", "VALUE", "FROM"}}
	for _, s := range shown {
		value := cmp.Or(s.Value, "-")
		if s.Value == "" && s.Redacted {
			value = "(set, not shown)"
		}
		rows = append(rows, []string{s.Name, value, cmp.Or(s.From, s.Source)})
	}
	a.table(rows, "SETTING")
	return nil
}

// showSetting returns the value of a setting and its source.
func showSetting(name string, p *pending) shownSetting {
	s := shownSetting{Name: name, Source: fromDefault}
	s.Value, s.Redacted = redacted(name, p.String())
	switch {
	case len(p.raw) == 0:
	case p.source == "--"+name:
		s.Source, s.From = fromFlag, p.source
	case p.source == variable(name):
		s.Source, s.From = fromVariable, p.source
	default:
		s.Source, s.From = fromFile, strings.TrimSuffix(p.source, ": "+name)
	}
	if name == "config" && s.Source == fromDefault {
		s.Value = configPathHere()
		if _, err := os.Stat(s.Value); err != nil {
			s.From = "default, which is not there"
		}
	}
	return s
}

// What may be secret in a URL: the part before the host, and its parameters.
var (
	userInfo   = regexp.MustCompile(`//[^\s,\]]*@`)
	parameters = regexp.MustCompile(`(://[^\s,?]*)\?[^\s,\]]*`)
)

// redacted returns the value of a setting without what may be secret in it, and whether
// anything is missing.
func redacted(name, value string) (string, bool) {
	whole := value
	switch {
	case name != "database" && name != "database-listen":
		value = parameters.ReplaceAllString(userInfo.ReplaceAllString(value, "//…@"), "$1?…")
	case postgres.IsURL(value):
		value = postgres.RedactURL(value)
	case value != "" && !strings.HasPrefix(value, service.SQLiteScheme):
		value = "" // it is not known what is in it
	}
	return value, value != whole
}
