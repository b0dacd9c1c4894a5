package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/latchkey/latchkey/internal/service"
)

const defaultConfigHint = "latchkey/config.yaml in the user's config directory"

// envPrefix begins the names of the variables: --idle-timeout is
// LATCHKEY_IDLE_TIMEOUT, and idle-timeout in the config file.
const envPrefix = "LATCHKEY_"

// maxConfigBytes bounds the config file. All settings together take a few hundred bytes.
const maxConfigBytes = 1 << 20

// config layers the settings: a flag overrides the environment, which overrides the config
// file, which overrides the default. Values are parsed only when all layers are known, so
// that all mistakes are reported at once.
type config struct {
	path   string
	known  []string // names of all settings of all commands
	flags  []string // names of all other flags
	notes  []string // warnings
	checks map[*cobra.Command][]func(*faults)
}

// check registers a check of the flags of a command as a whole. It runs when every flag
// has its value, and its findings are reported together with all others.
func (c *config) check(command *cobra.Command, check func(wrong *faults)) {
	if c.checks == nil {
		c.checks = map[*cobra.Command][]func(*faults){}
	}
	c.checks[command] = append(c.checks[command], check)
}

// settingMark is the annotation of flags that are settings, which can also come from the
// environment and the config file. Other flags (--yes, --follow) apply to one call, and
// it would be dangerous to set them permanently.
const settingMark = "latchkey/setting"

// settings marks flags as settings.
func settings(flags *pflag.FlagSet, names ...string) {
	for _, name := range names {
		flag := flags.Lookup(name)
		if flag.Annotations == nil {
			flag.Annotations = map[string][]string{}
		}
		flag.Annotations[settingMark] = []string{"true"}
	}
}

func isSetting(flag *pflag.Flag) bool { return flag.Annotations[settingMark] != nil }

func variable(name string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// pending holds the raw values of a flag until resolve parses them.
type pending struct {
	pflag.Value
	raw    []string
	source string // where the value came from
}

// Set implements pflag.Value. It never fails; resolve reports mistakes.
func (p *pending) Set(value string) error {
	p.raw = append(p.raw, value)
	return nil
}

// prepare wraps every flag and collects the names of the settings.
func (c *config) prepare(command *cobra.Command) {
	wrap := func(flag *pflag.Flag) {
		if _, done := flag.Value.(*pending); done || flag.Name == "help" {
			return
		}
		flag.Value = &pending{Value: flag.Value}
		if slices.Contains([]string{"0", "0s", "[]", "false"}, flag.DefValue) {
			flag.DefValue = "" // of no use in a help text
		}
		if isSetting(flag) {
			flag.Usage += " [" + variable(flag.Name) + "]"
			if !slices.Contains(c.known, flag.Name) {
				c.known = append(c.known, flag.Name)
			}
		} else {
			c.flags = append(c.flags, flag.Name)
		}
	}
	command.PersistentFlags().VisitAll(wrap)
	command.Flags().VisitAll(wrap)
	for _, child := range command.Commands() {
		c.prepare(child)
	}
}

// resolve gives every flag of the command its value, or returns everything that is wrong
// with them.
func (c *config) resolve(command *cobra.Command) error {
	var wrong faults
	flags := command.Flags()
	c.apply(flags.Lookup("config"), nil, &wrong)
	var file map[string]entry
	wanted := false
	flags.VisitAll(func(flag *pflag.Flag) { wanted = wanted || isSetting(flag) && flag.Name != "config" })
	if wanted {
		c.notes = append(c.notes, c.unknownVariables(os.Environ())...)
		var err error
		if file, err = c.readFile(&wrong); err != nil {
			return err
		}
	}
	flags.VisitAll(func(flag *pflag.Flag) {
		if flag.Name != "config" {
			c.apply(flag, file, &wrong)
		}
	})
	for _, check := range c.checks[command] {
		check(&wrong)
	}
	return wrong.err()
}

// apply sets a flag to the value of the topmost layer that has one.
func (c *config) apply(flag *pflag.Flag, file map[string]entry, wrong *faults) {
	if flag == nil {
		return
	}
	p, ok := flag.Value.(*pending)
	if !ok {
		return
	}
	if p.source = "--" + flag.Name; !flag.Changed && isSetting(flag) {
		value, inEnv := os.LookupEnv(variable(flag.Name))
		inFile, ok := file[flag.Name]
		switch {
		case inEnv && value != "": // an empty variable counts as not set
			p.source, p.raw = variable(flag.Name), []string{value}
		case ok:
			p.source, p.raw = inFile.source, []string{inFile.value}
		}
	}
	standard := p.String()
	for _, value := range p.raw {
		if err := p.Value.Set(value); err != nil {
			_ = p.Value.Set(standard) // some flags change on an error
			wrong.add("%s %q: %s", p.source, value, plainParseError(flag, err))
		}
	}
}

// plainParseError describes the form that a value should have.
func plainParseError(flag *pflag.Flag, err error) string {
	switch flag.Value.Type() {
	case "duration":
		return "not a duration; write it like 90s, 20m or 12h"
	case "int", "uint", "uint32":
		return "not a number in the valid range"
	case "bool":
		return "neither true nor false"
	}
	return err.Error()
}

// source returns where the value of a flag came from, for errors about it.
func source(command *cobra.Command, name string) string {
	if p, ok := command.Flags().Lookup(name).Value.(*pending); ok && p.source != "" {
		return p.source
	}
	return "--" + name
}

// isSet reports whether any layer sets a flag.
func isSet(command *cobra.Command, name string) bool {
	p, ok := command.Flags().Lookup(name).Value.(*pending)
	return ok && len(p.raw) > 0
}

// entry is a value of the config file and its position.
type entry struct{ value, source string }

// readFile reads the config file, if there is one. It adds mistakes in it to wrong; an
// error means that the file could not be read at all.
func (c *config) readFile(wrong *faults) (map[string]entry, error) {
	path := c.path
	if path == "" {
		directory, err := os.UserConfigDir()
		if err != nil {
			return nil, nil //nolint:nilerr // no home, so no config file there
		}
		path = filepath.Join(directory, "latchkey", "config.yaml")
	}
	text, err := readBounded(path, maxConfigBytes)
	if errors.Is(err, fs.ErrNotExist) && c.path == "" {
		return nil, nil
	}
	if info, err := os.Stat(path); err == nil && service.OthersMay(info, 0o077) && holdsPassword(text) {
		c.notes = append(c.notes, fmt.Sprintf("%s contains a password, and others may read it; fix it with: chmod 600 %s",
			path, shellQuote(path)))
	}
	if err != nil {
		return nil, usage("read the config file: %w; nothing was done", err)
	}
	var document yaml.Node
	if err := yaml.Unmarshal(text, &document); err != nil {
		problem := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", " ")
		return nil, usage("the config file %s is not YAML: %s; nothing was done", path, problem)
	}
	if len(document.Content) == 0 {
		return nil, nil // an empty file
	}
	return c.readKeys(path, document.Content[0], wrong), nil
}

func (c *config) readKeys(path string, top *yaml.Node, wrong *faults) map[string]entry {
	if top.Kind != yaml.MappingNode {
		wrong.add("%s: it must contain lines like \"listen: 127.0.0.1:8080\"", path)
		return nil
	}
	entries := map[string]entry{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		where := fmt.Sprintf("%s, line %d: %s", path, key.Line, key.Value)
		_, twice := entries[key.Value]
		switch {
		case !slices.Contains(c.known, key.Value) || key.Value == "config":
			wrong.add("%s: unknown setting%s", where, didYouMean(key.Value, c.known, ""))
		case twice:
			wrong.add("%s: set twice", where)
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			wrong.add("%s: not a single plain value", where)
		default:
			entries[key.Value] = entry{value.Value, where}
		}
	}
	return entries
}

// configTopic returns the help page that lists every setting. The list is generated from
// the flags, so it is never out of date.
func (a *app) configTopic() *cobra.Command {
	topic := &cobra.Command{Use: "config", Short: "Settings: flags, LATCHKEY_... variables and the config file"}
	topic.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		_, _ = fmt.Fprintf(cmd.OutOrStdout(), ""+
			`A setting can be a flag, a variable or a key in the config file, under one name.
A flag overrides the environment, the environment overrides the config file, and the
config file overrides the default:

  --idle-timeout 30m                flag
  LATCHKEY_IDLE_TIMEOUT=30m         environment
  idle-timeout: 30m                 config file (YAML, one setting to a line)

The config file is --config FILE. The default is %s
(here: %s). A key in it that is not a setting is
an error. --config itself is a flag and a variable only. Flags that are not listed here
apply to one call, and are flags only. A variable LATCHKEY_... that is not a setting is
ignored, with a warning. To see which settings are in effect here, and where they come
from, run: latchkey config show

Secrets are never the value of a flag. Besides files, prompts and pipes, these variables
can contain them, for CI jobs and containers:

%s
The URL of a database may contain a password in its variable or in the config file.

The administration commands also read the settings of serve for the database and its
rules, because they open the database themselves if no server runs.

Settings:

`, defaultConfigHint, configPathHere(), secretVariablesHelp())
		rows := [][]string{{"FLAG", "VARIABLE", "DEFAULT", "OF"}}
		for _, s := range a.listSettings() {
			rows = append(rows, []string{"--" + s.name, variable(s.name), cmp.Or(s.value, "-"), strings.Join(s.commands, ", ")})
		}
		a.table(rows, "FLAG", "VARIABLE")
	})
	topic.AddCommand(a.configShowCommand())
	return topic
}

func configPathHere() string {
	directory, err := os.UserConfigDir()
	if err != nil {
		return "no such directory"
	}
	return filepath.Join(directory, "latchkey", "config.yaml")
}

type settingInfo struct {
	name, value string
	commands    []string
}

// listSettings collects the settings over all commands, by name.
func (a *app) listSettings() []*settingInfo {
	found := map[string]*settingInfo{}
	var visit func(*cobra.Command)
	visit = func(command *cobra.Command) {
		if command.Annotations[everySetting] != "" {
			return
		}
		command.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if !isSetting(flag) || flag.Hidden {
				return
			}
			s := found[flag.Name]
			if s == nil {
				s = &settingInfo{name: flag.Name, value: flag.DefValue}
				found[flag.Name] = s
			}
			// The commands of one group share their settings.
			name := "all"
			if path := strings.Fields(command.CommandPath()); len(path) > 1 {
				name = path[1]
			}
			if !slices.Contains(s.commands, name) {
				s.commands = append(s.commands, name)
			}
		})
		for _, child := range command.Commands() {
			visit(child)
		}
	}
	visit(a.root)
	list := make([]*settingInfo, 0, len(found))
	for _, s := range found {
		list = append(list, s)
	}
	slices.SortFunc(list, func(x, y *settingInfo) int { return cmp.Compare(x.name, y.name) })
	return list
}

// stateDirectory returns the directory for the state of the client commands: the one that
// the system reserves for such files, or the one in XDG_STATE_HOME.
func stateDirectory() (string, error) {
	if directory := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(directory) {
		return filepath.Join(directory, "latchkey"), nil
	}
	if runtime.GOOS == "windows" || runtime.GOOS == "darwin" {
		// %LocalAppData%, or ~/Library/Application Support
		if directory := os.Getenv("LocalAppData"); directory != "" {
			return filepath.Join(directory, "latchkey"), nil
		}
		directory, err := os.UserConfigDir()
		return filepath.Join(directory, "latchkey"), err
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "latchkey"), err
}
