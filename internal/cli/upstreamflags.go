package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/service"
)

// The variables that hold secrets of the upstream themselves, for containers.
const (
	upstreamSecretVariable   = envPrefix + "UPSTREAM_API_SECRET"
	upstreamUserVariable     = envPrefix + "UPSTREAM_USER"
	upstreamPasswordVariable = envPrefix + "UPSTREAM_PASSWORD"
)

const upstreamStateFile = "upstream.state"

// upstreamFlags are the flags of `serve` about an upstream.
type upstreamFlags struct {
	upstream

	timeout time.Duration
	rotate  days
	hosts   upstreamHosts
}

// addServeFlags registers them.
func (u *upstreamFlags) addServeFlags(flags *pflag.FlagSet) {
	flags.StringVar(&u.url, "upstream", "", "be a gateway to the API at this base `URL`: local users, one session there")
	flags.StringVar(&u.apiKey, "upstream-api-key", "", "the API `KEY` at the upstream")
	flags.StringVar(&u.secretFile, "upstream-api-secret-file", "",
		"the `FILE` with its API secret; "+upstreamSecretVariable+" may hold it instead")
	flags.StringVar(&u.credentialFile, "upstream-credential-file", "",
		"the `FILE` with the upstream's user name and password (see: latchkey credential); without it they are in "+
			""+upstreamUserVariable+" and "+upstreamPasswordVariable)
	flags.StringVar(&u.identityFile, "upstream-age-key-file", "",
		"the `FILE` with the age secret key that it is encrypted with")
	flags.StringVar(&u.stateFile, "upstream-state-file", "",
		"the `FILE` with the shared state of this account (default: the credential file's name with .state appended, or "+
			""+upstreamStateFile+" in the data directory)")
	flags.StringVar(&u.caFile, "upstream-ca-file", "",
		"trust the certificates in this PEM `FILE` at the upstream, besides the system's")
	flags.StringSliceVar(&u.hosts.said, "upstream-host", nil,
		"forward /latchkey/hosts/NAME/… to this further `HOST`, NAME=URL,header=HEADER with the header of the session "+
			"token (default for the vendor's production: imp and 5gedge; none: no host)")
	flags.DurationVar(&u.timeout, "upstream-timeout", time.Minute, "wait this `TIME` for the upstream's response to begin")
	flags.Var(&u.rotate, "rotate-every", "change the upstream's password when it is this `AGE` old, as 90d (default: "+
		"never)")
	settings(flags, "upstream", "upstream-host", "upstream-api-key", "upstream-api-secret-file",
		"upstream-credential-file", "upstream-age-key-file",
		"upstream-state-file", "upstream-ca-file", "upstream-timeout", "rotate-every")
}

// check adds the mistakes in the flags to wrong.
func (u *upstreamFlags) check(cmd *cobra.Command, wrong *faults) {
	if u.url == "" {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if (strings.HasPrefix(f.Name, "upstream-") || f.Name == "rotate-every") && isSet(cmd, f.Name) {
				wrong.add("%s is of no use without --upstream", source(cmd, f.Name))
			}
		})
		return
	}
	if base, problem := parseBase(u.url, false); problem != "" {
		wrong.add("%s %s", source(cmd, "upstream"), problem)
	} else {
		u.url = base
		if problem := u.hosts.check(base); problem != "" {
			wrong.add("%s: %s", source(cmd, "upstream-host"), problem)
		}
	}
	if u.apiKey == "" {
		wrong.add("--upstream-api-key is missing")
	}
	if os.Getenv(upstreamSecretVariable) == "" && u.secretFile == "" {
		wrong.add("the upstream's API secret is missing; set %s, or name a file with --upstream-api-secret-file",
			upstreamSecretVariable)
	}
	if u.credentialFile == "" && os.Getenv(upstreamPasswordVariable) == "" {
		wrong.add("the upstream's password is missing; name a file with --upstream-credential-file, or set %s and %s",
			upstreamUserVariable, upstreamPasswordVariable)
	}
	if u.timeout <= 0 {
		wrong.add("%s %v is not above zero", source(cmd, "upstream-timeout"), u.timeout)
	}
	switch every := time.Duration(u.rotate); {
	case every != 0 && every < time.Hour:
		wrong.add("%s %v is below an hour", source(cmd, "rotate-every"), every)
	case every != 0 && u.credentialFile == "":
		wrong.add("%s needs a place for the new password: --upstream-credential-file", source(cmd, "rotate-every"))
	}
}

// settings reads the files that the flags name and returns what they say.
func (u *upstreamFlags) settings(ctx context.Context, a *app, f *serveFlags) (*service.Upstream, error) {
	source, err := u.source(ctx, a)
	if err != nil {
		return nil, err
	}
	apiSecret, err := u.apiSecret(a)
	if err != nil {
		return nil, err
	}
	up := &service.Upstream{
		URL: u.url, APIKey: u.apiKey, APISecret: apiSecret, Credential: source, RotateEvery: time.Duration(u.rotate),
		Hosts: u.hosts.byName, SessionHeaders: u.hosts.headers, Timeout: u.timeout, Clock: a.clock,
	}
	if u.caFile != "" {
		special, err := u.transport()
		if err != nil {
			return nil, err
		}
		up.TLS = special.TLSClientConfig
	}
	if !f.Shared() || u.stateFile != "" {
		up.StateFile = u.sharedPath(f.Data)
	}
	return up, nil
}

// source is where the upstream's user name and password are.
func (u *upstreamFlags) source(ctx context.Context, a *app) (credential.Source, error) {
	if u.credentialFile == "" {
		return credential.NewEnvironment(upstreamUserVariable, upstreamPasswordVariable), nil
	}
	if _, err := u.load(ctx, a); err != nil { // which says what to do
		return nil, err
	}
	return u.store(a)
}

func (u *upstreamFlags) apiSecret(a *app) (latchkey.Secret, error) {
	if value := os.Getenv(upstreamSecretVariable); value != "" {
		return latchkey.Secret(value), nil
	}
	return a.readSecretFile(u.secretFile)
}

// sharedPath is where the state is: the same place by default as for the commands
// that look at it.
func (u *upstreamFlags) sharedPath(data string) string {
	if u.credentialFile == "" {
		return cmp.Or(u.stateFile, filepath.Join(data, upstreamStateFile))
	}
	return u.statePath()
}

// host names the upstream to people.
func (u *upstreamFlags) host() string {
	if parsed, err := url.Parse(u.url); err == nil {
		return parsed.Host
	}
	return u.url
}

// days is a duration that people give in days.
type days time.Duration

// Set implements pflag.Value.
func (d *days) Set(text string) error {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return errors.New("this is no number of days; write it like 90d")
		}
		*d = days(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return errors.New("this is not a duration; write it like 90d or 36h")
	}
	*d = days(parsed)
	return nil
}

// String implements pflag.Value.
func (d *days) String() string {
	const day = 24 * time.Hour
	every := time.Duration(*d)
	switch {
	case every == 0:
		return ""
	case every%day == 0:
		return fmt.Sprintf("%dd", every/day)
	}
	return every.String()
}

// Type implements pflag.Value.
func (d *days) Type() string { return "age" }
