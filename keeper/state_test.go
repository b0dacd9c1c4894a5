package keeper_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/latchkey/latchkey/keeper"
	"github.com/latchkey/latchkey/keeper/statetest"
)

func TestMemoryStateConforms(t *testing.T) {
	statetest.Run(t, func(*testing.T) statetest.Place {
		state := keeper.NewMemoryState()
		return statetest.Place{Open: func() keeper.State { return state }}
	})
}

func TestFileStateConforms(t *testing.T) {
	statetest.Run(t, func(t *testing.T) statetest.Place {
		path := filepath.Join(t.TempDir(), "state")
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		spoilers := []func(){
			func() { must(os.Truncate(path, 40)) },
			func() { must(os.Truncate(path, 0)) },
			func() { must(os.WriteFile(path, []byte("something else"), 0o600)) },
			func() { must(os.Rename(path+".key", path+".gone")) },
		}
		return statetest.Place{
			Open: func() keeper.State {
				state, err := keeper.NewFileState(path)
				must(err)
				return state
			},
			Lose: func() { must(os.Remove(path + ".lock")) },
			Spoil: func() bool {
				if len(spoilers) == 0 {
					return false
				}
				spoilers[0]()
				spoilers = spoilers[1:]
				return true
			},
		}
	})
}
