package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/latchkey/latchkey"
)

func (a *app) versionCommand() *cobra.Command {
	var asJSON bool
	command := &cobra.Command{
		Use: "version", Short: "Print the version", Args: exactly(),
		Example: "  latchkey version\n  latchkey version --json",
	}
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, for programs")
	command.RunE = func(*cobra.Command, []string) error {
		if asJSON {
			info, ok := debug.ReadBuildInfo()
			version, commit := buildVersion(info, ok), buildSetting(info, "vcs.revision")
			at := buildSetting(info, "vcs.time")
			platform := runtime.GOOS + "/" + runtime.GOARCH
			return a.printJSON(map[string]string{
				"version": version, "commit": commit, "time": at, "go": runtime.Version(), "platform": platform,
			})
		}
		return a.print("%s", versionLine())
	}
	return command
}

// versionLine returns the output of version and --version.
func versionLine() string {
	info, ok := debug.ReadBuildInfo()
	text := "latchkey " + buildVersion(info, ok)
	if commit := buildSetting(info, "vcs.revision"); commit != "" {
		text += fmt.Sprintf(" (commit %.12s, %s)", commit, buildSetting(info, "vcs.time"))
	}
	return fmt.Sprintf("%s, %s, %s/%s", text, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildVersion returns the version of the module if the program was built as a module (go
// install …@v1.2.3), and otherwise that of the source.
func buildVersion(info *debug.BuildInfo, ok bool) string {
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return latchkey.Version
}

func buildSetting(info *debug.BuildInfo, key string) string {
	if info == nil {
		return ""
	}
	for _, setting := range info.Settings {
		if setting.Key == key {
			return setting.Value
		}
	}
	return ""
}
