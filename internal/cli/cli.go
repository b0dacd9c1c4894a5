// Package cli implements the command line: every command, its flags and settings, and
// the wiring of the service. Its entry point is Run; main passes it the standard streams
// and the signals.
//
// Files are named after the commands. config.go layers flags, environment and config
// file. report.go prints errors. admin.go connects to a running server or opens its
// database. The client commands share endpoint.go and state.go.
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

// IO holds the standard streams and the clock of a run.
type IO struct {
	// In supplies piped input. If it is a terminal, the user is prompted there for
	// secrets and confirmations.
	In io.Reader
	// Out receives what other programs read, Err the messages to people. If they are
	// the same, it must accept concurrent writes.
	Out, Err io.Writer
	// Now is the clock, the service's included. Default: time.Now.
	Now func() time.Time
}

// app is one run of the command line.
type app struct {
	IO
	root *cobra.Command
	conf config
	// clock is IO.Now, or nil for the system's clock, so that a keeper need not read
	// the time for each request.
	clock  func() time.Time
	output *output // the same writer as Out
	// log is the log of a service, nil for other commands. warnings receives the texts of
	// warn; if it is nil, they are written to Err.
	log      *logQueue
	warnings func(text string)
	// direct is set while an admin command has opened the database itself.
	direct bool
	// store names the database that an admin command changes. storePrinted is set once it
	// has been printed.
	store        string
	storePrinted bool
	stores       map[*cobra.Command]*storeFlags // of the admin commands
}

// Run runs one command and returns its exit code. When ctx is canceled, a server drains
// its connections and stops, and every other command gives up. The environment is that of
// the process.
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
		Long: `latchkey manages sessions for the ThingSpace Connectivity Management API. It is a
service that implements the API, the administration of that service, and a client of any
service that implements the API. It is an independent project, not one of the vendor's.

Try it without an account:  latchkey serve --demo

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
			if err != nil || cmd.Name() != serveName { // serve opens its log later
				a.tellConfig()
			}
			return err
		},
		Version: buildVersion(debug.ReadBuildInfo()),
	}
	root.SetVersionTemplate(versionLine() + "\n")
	root.PersistentFlags().StringVar(&a.conf.path, "config", "",
		"read settings from `FILE` (default: "+defaultConfigHint+", if it exists)")
	settings(root.PersistentFlags(), "config")
	root.AddGroup(
		&cobra.Group{ID: groupService, Title: "The service:"},
		&cobra.Group{ID: groupAdmin, Title: "Administration, on the server's host:"},
		&cobra.Group{ID: groupClient, Title: "Client of any endpoint:"},
		&cobra.Group{ID: groupKeeper, Title: "The upstream credential that programs share:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, command := range commands {
			command.GroupID = group
			root.AddCommand(command)
		}
	}
	add(groupService, a.serveCommand())
	add(groupAdmin, a.userCommand(), a.clientCommand(), a.sessionCommand(), a.auditCommand())
	add(groupClient, a.loginCommand(), a.logoutCommand(), a.passwordCommand(), a.statusCommand(), a.requestCommand(),
		a.tokenCommand())
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

// helpOnDemand makes commands that only group others print their help when called without
// a subcommand, and name the nearest subcommand when called with an unknown one.
func helpOnDemand(command *cobra.Command) {
	for _, child := range command.Commands() {
		helpOnDemand(child)
	}
	if !command.HasSubCommands() || command.RunE != nil { // such as audit
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
	return usage("unknown command %q%s", path+" "+word, didYouMean(word, names, path+" ")).hint("see: %s --help", path)
}

// flagError turns an error of pflag into a failure and names the nearest flag.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 {
		return noSuchCommand(cmd, words[0]) // the flag belongs to the unknown subcommand
	}
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || len(unknown.GetSpecifiedName()) < 2 {
		return usage("%v", err).hint("see: %s --help", cmd.CommandPath())
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	name := unknown.GetSpecifiedName()
	if slices.Contains(names, name+"-file") && (name == "password" || name == "api-secret") {
		return usage("--%s is not a flag, because others could read the secret in the list of processes", name).
			hint("use --%s-file; see: %s --help", name, cmd.CommandPath())
	}
	return usage("unknown flag --%s%s", name, didYouMean(name, names, "--")).hint("see: %s --help", cmd.CommandPath())
}

// didYouMean returns a suggestion for a misspelled word, or "" if no name is similar.
func didYouMean(word string, names []string, prefix string) string {
	if name := nearest(word, names); name != "" {
		return fmt.Sprintf("; did you mean %s%s?", prefix, name)
	}
	return ""
}

// nearest returns the name that differs least from word, or "" if none is similar.
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

// distance returns the Levenshtein distance of a and b.
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

// exactly is cobra.ExactArgs with a name for each argument.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage("%s is missing", names[len(args)]).hint("usage: %s", cmd.UseLine())
		case len(args) > len(names):
			return usage("unexpected argument %q", args[len(names)]).
				hint("usage: %s (quote an argument that contains spaces)", cmd.UseLine())
		}
		return nil
	}
}

// atLeastOne requires at least one argument.
func atLeastOne(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage("%s is missing", name).hint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
