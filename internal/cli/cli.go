// Package cli is the command line: every command, its flags and settings, and
// the wiring of the service. Run is all of it; main only hands it the streams
// and the signals.
//
// Files are named after the commands. config.go layers flags, environment and
// config file; admin.go reaches a running server or opens its database;
// endpoint.go and state.go are what the client commands share.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// IO is what a run of the command line is connected to.
type IO struct {
	// In is asked for secrets and confirmations where it is a terminal.
	In io.Reader
	// Out gets what a program would read on, Err everything that is said to
	// people. Both must bear concurrent writes if they are the same.
	Out, Err io.Writer
	// Now is the clock of everything, the service included. Default: time.Now.
	Now func() time.Time
}

// app is one run of the command line.
type app struct {
	IO
	root *cobra.Command
	conf config
	// clock is IO.Now; nil for the system's clock, which a keeper need not read for
	// each request.
	clock  func() time.Time
	output *output // which Out is
	// log is where a service writes to; nil for other commands. warnings is what warn
	// hands texts to; nil for the person at the terminal.
	log      *logQueue
	warnings func(text string)
	// direct is set while an admin command has the database open itself.
	direct bool
	// store is the database that an admin command acts on, and storeTold whether the
	// person was told so.
	store     string
	storeTold bool
	stores    map[*cobra.Command]*storeFlags // of the admin commands
}

// Run runs one command and answers the exit code. The end of ctx is the polite
// request to stop: a server drains, everything else gives up. The environment is
// the process's own.
func Run(ctx context.Context, streams IO, args ...string) int {
	a := &app{IO: streams, clock: streams.Now, stores: map[*cobra.Command]*storeFlags{}}
	if a.Now == nil {
		a.Now = time.Now
	}
	a.output = &output{to: a.Out}
	a.Out = a.output
	a.root = a.rootCommand()
	a.root.SetArgs(args)
	a.root.SetIn(a.In)
	a.root.SetOut(a.Out)
	a.root.SetErr(a.Err)
	a.conf.prepare(a.root)
	command, err := a.root.ExecuteContextC(ctx)
	if err == nil {
		err = a.output.err()
	}
	if err != nil {
		report(a.Err, err, wantsJSON(command))
	}
	if a.log != nil {
		a.log.close()
	}
	return exitCode(err)
}

// The groups of the root's help.
const (
	groupService = "service"
	groupAdmin   = "admin"
	groupClient  = "client"
	groupKeeper  = "keeper"
)

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "latchkey",
		Short: "Sessions for the ThingSpace Connectivity Management API",
		Long: `latchkey is sessions for the ThingSpace Connectivity Management API: a service
that speaks the API, its administration, and a client of any service that does.
It is an independent project, not one of the vendor's.

Try it without an account anywhere:  latchkey serve --demo

` + exitCodesHelp,
		Example: `  latchkey serve --demo
  latchkey user add zoe
  latchkey login --url http://127.0.0.1:8080 --api-key demo-key --user zbeeblebrox
  latchkey request GET /api/m2m/v1/accounts/0000123456-00001
  latchkey help config`,
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			err := a.conf.resolve(cmd)
			if err != nil || cmd.Name() != serveName { // whose log is open only later
				a.tellConfig()
			}
			return err
		},
		Version: buildVersion(debug.ReadBuildInfo()),
	}
	root.SetVersionTemplate(versionLine() + "\n")
	root.PersistentFlags().StringVar(&a.conf.path, "config", "", "read settings from `FILE` (default: "+defaultConfigHint+", if it is there)")
	settings(root.PersistentFlags(), "config")
	root.AddGroup(
		&cobra.Group{ID: groupService, Title: "The service:"},
		&cobra.Group{ID: groupAdmin, Title: "Its administration, on the server's host:"},
		&cobra.Group{ID: groupClient, Title: "As a client of any endpoint:"},
		&cobra.Group{ID: groupKeeper, Title: "The credential that programs share for an upstream:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add(groupService, a.serveCommand())
	add(groupAdmin, a.userCommand(), a.clientCommand(), a.sessionCommand(), a.auditCommand())
	add(groupClient, a.loginCommand(), a.logoutCommand(), a.passwordCommand(), a.statusCommand(), a.requestCommand(), a.tokenCommand())
	add(groupKeeper, a.credentialCommand(), a.rotateCommand(), a.guardCommand())
	add(groupService, a.healthCommand())
	add(groupClient, a.execCommand())
	add(groupAdmin, a.backupCommand(), a.importCommand())
	root.AddCommand(a.versionCommand(), a.configTopic(), exitCodesTopic())
	if show, _, err := root.Find([]string{"config", "show"}); err == nil {
		addEverySetting(show, root)
	}
	root.SetFlagErrorFunc(flagError)
	helpOnDemand(root)
	return root
}

func exitCodesTopic() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitCodesHelp}
}

// helpOnDemand makes commands that only hold others show their help when called
// alone, and name the nearest one when called with a word that is none of them.
func helpOnDemand(command *cobra.Command) {
	for _, child := range command.Commands() {
		helpOnDemand(child)
	}
	if !command.HasSubCommands() || command.RunE != nil { // audit does something by itself
		return
	}
	command.Args = cobra.ArbitraryArgs
	command.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return noSuchCommand(cmd, args[0])
	}
}

func noSuchCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, child := range cmd.Commands() {
		names = append(names, child.Name())
	}
	path := cmd.CommandPath()
	return usage("there is no command %q%s; see: %s --help", path+" "+word, didYouMean(word, names, path+" "), path)
}

// flagError puts pflag's complaints into our form and names the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return noSuchCommand(cmd, words[0]) // the flag belongs to the command that was meant
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return usage("%v; see: %s --help", err, cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	name := unknown.GetSpecifiedName()
	if slices.Contains(names, name+"-file") && (name == "password" || name == "api-secret") {
		return usage("there is no flag --%s, for others could read the secret in the list of processes; use --%s-file; see: %s --help", name, name, cmd.CommandPath())
	}
	return usage("there is no flag --%s%s; see: %s --help", name, didYouMean(name, names, "--"), cmd.CommandPath())
}

// didYouMean names the nearest of the names, if one is near.
func didYouMean(word string, names []string, prefix string) string {
	if name := nearest(word, names); name != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, name)
	}
	return ""
}

// nearest answers the name that differs least from word, or "" where none comes
// close.
func nearest(word string, names []string) string {
	best, least := "", max(2, len(word)/3)+1
	for _, name := range names {
		d := distance(strings.ToLower(word), name)
		if d < least || d == least && best != "" && strings.HasPrefix(name, word) {
			best, least = name, d
		}
	}
	return best
}

// distance is Levenshtein's: the edits of one letter that lead from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// exactly is cobra.ExactArgs in words: what names each argument.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing; usage: %s", names[len(args)], cmd.UseLine())
		case len(args) > len(names):
			return usage("%q is one word too many (quote what holds spaces); usage: %s", args[len(names)], cmd.UseLine())
		}
		return nil
	}
}

// atLeastOne wants one argument or more.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s is missing; usage: %s", name, cmd.UseLine())
		}
		return nil
	}
}
