package cli

import "github.com/spf13/cobra"

// Tree is all commands, as they are before one of them runs.
func Tree() *cobra.Command {
	a := &app{stores: map[*cobra.Command]*storeFlags{}}
	root := a.rootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// IsSetting reports whether a flag has a variable and a key in the config file.
var IsSetting = isSetting

// SecretVariables are the names of the variables that hold secrets.
func SecretVariables() (names []string) {
	for _, v := range secretVariables {
		names = append(names, v[0])
	}
	return names
}

// Report is report.
var Report = report

// Fail returns a failure with advice.
func Fail(code int, hint, format string, args ...any) error {
	return fail(code, format, args...).hint("%s", hint)
}
