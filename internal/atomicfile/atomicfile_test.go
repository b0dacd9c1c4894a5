package atomicfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/latchkey/latchkey/internal/atomicfile"
)

var steps = []string{
	atomicfile.StepCreate, atomicfile.StepWrite, atomicfile.StepSync, atomicfile.StepRename, atomicfile.StepSyncDirectory,
}

func writeLocked(path string, content []byte) error {
	return atomicfile.WriteLocked(path, content, nil)
}

func check(t *testing.T, path, content string) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("the file holds %q, error %v; want %q", got, err, content)
	}
	info, err := os.Stat(path)
	if err == nil && runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("the file has mode %04o, want 0600", info.Mode().Perm())
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("the directory holds %v, error %v; want the file alone", names, err)
	}
}

func TestWriteCreatesAndReplacesAFile(t *testing.T) {
	for name, write := range map[string]func(string, []byte) error{"Write": atomicfile.Write, "WriteLocked": writeLocked} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if err := write(path, []byte("a long first content")); err != nil {
				t.Fatal(err)
			}
			check(t, path, "a long first content")
			if err := os.Chmod(path, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := write(path, []byte("second")); err != nil {
				t.Fatal(err)
			}
			check(t, path, "second")
		})
	}
}

func TestAnErrorAtEachStepKeepsTheOldFileUntilItIsRenamed(t *testing.T) {
	fault := errors.New("no space left on device")
	var seen []string
	for _, step := range steps {
		path := filepath.Join(t.TempDir(), "file")
		if err := writeLocked(path, []byte("old")); err != nil {
			t.Fatal(err)
		}
		seen = nil
		err := atomicfile.WriteLocked(path, []byte("new"), func(now string) error {
			seen = append(seen, now)
			if now == step {
				return fault
			}
			return nil
		})
		renamed := step == atomicfile.StepSyncDirectory
		if !errors.Is(err, fault) || errors.Is(err, atomicfile.ErrNotDurable) != renamed {
			t.Errorf("%s: error %v", step, err)
		}
		want := "old"
		if renamed {
			want = "new"
		}
		check(t, path, want)
	}
	if !slices.Equal(seen, steps) {
		t.Errorf("the steps are %q, want %q", seen, steps)
	}
}

func TestWriteLockedRemovesWhatACrashLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path+".tmp", []byte("much longer than the new content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeLocked(path, []byte("new")); err != nil {
		t.Fatal(err)
	}
	check(t, path, "new")
}

func TestWriteMayRunConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			if err := atomicfile.Write(path, []byte(strings.Repeat(string(rune('a'+i)), 10000))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	content, err := os.ReadFile(path)
	if err != nil || len(content) != 10000 || strings.Trim(string(content), string(content[:1])) != "" {
		t.Errorf("the file holds %d bytes of several writers, error %v", len(content), err)
	}
}

func TestWriteReportsADirectoryThatDoesNotExist(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	for name, err := range map[string]error{
		"Write": atomicfile.Write(path, nil), "WriteLocked": writeLocked(path, nil),
	} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
