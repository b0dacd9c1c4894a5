package replicatest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/latchkey/latchkey"
	"github.com/latchkey/latchkey/credential"
	"github.com/latchkey/latchkey/internal/enginetest"
	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/latchtest"
)

// The test binary is a program that logs in when these are set, and is killed on
// the way.
const (
	urlVariable   = "REPLICATEST_URL"
	placeVariable = "REPLICATEST_PLACE"
	wordVariable  = "REPLICATEST_PASSWORD"
)

// Main is called by TestMain. open returns a state in the place that a test has named.
func Main(m *testing.M, open func(ctx context.Context, place string) (keeper.State, error)) {
	if os.Getenv(urlVariable) == "" {
		goleak.VerifyTestMain(m, enginetest.Leaks()...)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	state, err := open(ctx, os.Getenv(placeVariable))
	if err == nil {
		var k *keeper.Keeper
		password := latchkey.Secret(os.Getenv(wordVariable))
		if k, err = newKeeper(os.Getenv(urlVariable), state, keeper.Static(latchtest.User, password), nil); err == nil {
			_, err = k.Tokens(ctx)
		}
	}
	fmt.Fprintln(os.Stderr, "this program was not killed; its login ended with", err)
	os.Exit(1) //nolint:gocritic // nothing is left to be cancelled
}

func newKeeper(
	url string, state keeper.State, source credential.Source, onEvent func(keeper.Event),
) (*keeper.Keeper, error) {
	client, err := latchkey.NewClient(latchkey.Config{BaseURL: url, APIKey: latchtest.APIKey,
		APISecret: latchtest.APISecret})
	if err != nil {
		return nil, err
	}
	config := keeper.Config{
		Upstream: client, State: state, Credential: source, OnEvent: onEvent, Log: slog.New(slog.DiscardHandler),
	}
	if store, ok := source.(credential.Store); ok {
		config.Credential, config.Rotation = nil, &keeper.Rotation{Store: store, Upstream: client}
	}
	return keeper.New(config)
}

// startProgram starts it. The test must kill it.
func startProgram(t *testing.T, url, place string, password latchkey.Secret) *exec.Cmd {
	t.Helper()
	program := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this very program
	program.Env = append(os.Environ(), urlVariable+"="+url, placeVariable+"="+place, wordVariable+"="+password.Reveal())
	program.Stderr = os.Stderr
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	return program
}
