package kernel

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

const digestA = "sha256:00000000000000000000000000000000000000000000000000000000000000aa"

func builder(count *atomic.Int32, data []byte) func(context.Context, string) (Contents, error) {
	return func(_ context.Context, dir string) (Contents, error) {
		count.Add(1)
		return Contents{Image: image.Info{Format: image.FormatBzImage}}, os.WriteFile(filepath.Join(dir, KernelFile), data, 0o644)
	}
}

func TestCacheBuildsOnceAmongGoroutines(t *testing.T) {
	c := newCache(t)
	var builds atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			e, err := c.entry(context.Background(), digestA, builder(&builds, []byte("k")))
			if err != nil {
				t.Error(err)
				return
			}
			if b, err := os.ReadFile(e.path(KernelFile)); err != nil || string(b) != "k" {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	wg.Wait()
	if builds.Load() != 1 {
		t.Errorf("built %d times", builds.Load())
	}
}

func TestCacheBuildsDamagedEntriesAgain(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"file gone":         func(d string) error { return os.Remove(filepath.Join(d, KernelFile)) },
		"file cut":          func(d string) error { return os.Truncate(filepath.Join(d, KernelFile), 1) },
		"description gone":  func(d string) error { return os.Remove(filepath.Join(d, entryFile)) },
		"description wrong": func(d string) error { return os.WriteFile(filepath.Join(d, entryFile), []byte("{"), 0o644) },
		"path in description": func(d string) error {
			return os.WriteFile(filepath.Join(d, entryFile), []byte(`{"schema":1,"files":{"vmlinuz":4,"../x":0}}`), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCache(t)
			var warned []string
			c.Warn = func(s string) { warned = append(warned, s) }
			var builds atomic.Int32
			for i := range 3 {
				e, err := c.entry(context.Background(), digestA, builder(&builds, []byte("kern")))
				if err != nil {
					t.Fatal(err)
				}
				if b, _ := os.ReadFile(e.path(KernelFile)); string(b) != "kern" {
					t.Errorf("kernel %q", b)
				}
				if i == 0 {
					if err := damage(e.dir); err != nil {
						t.Fatal(err)
					}
				}
			}
			if builds.Load() != 2 || len(warned) != 1 {
				t.Errorf("built %d times, warned %q; want 2 and one warning", builds.Load(), warned)
			}
			if left, _ := os.ReadDir(filepath.Join(c.dir, "tmp")); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// A kernel is compared with its digest again when its file has changed, and after
// a day.
func TestKernelIsCheckedAgain(t *testing.T) {
	c := newCache(t)
	var builds atomic.Int32
	e, err := c.entry(context.Background(), digestA, builder(&builds, []byte("kern")))
	if err != nil {
		t.Fatal(err)
	}
	wrong := func(now time.Time) bool {
		var bad *DigestError
		err := e.check(now)
		if err != nil && !errors.As(err, &bad) {
			t.Fatal(err)
		}
		return bad != nil
	}
	now := time.Now()
	good := e.Kernel
	e.Kernel = digestA // whoever compares finds a difference
	if !wrong(now) {
		t.Error("not compared at all")
	}
	e.Kernel = good
	if wrong(now) || wrong(now.Add(2*mtimeGranularity)) {
		t.Error("a good kernel is wrong")
	}
	note := filepath.Join(e.dir, checkedFile)
	b, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	imagetest.WriteFile(t, note, bytes.ReplaceAll(b, []byte(good), []byte(digestA))) // whoever reads the file finds another digest
	if !wrong(now.Add(3 * mtimeGranularity)) {
		t.Error("read again at once")
	}
	if wrong(now.Add(2*mtimeGranularity+recheck)) || wrong(now.Add(-time.Hour)) {
		t.Error("not read again a day later, or after the clock was set back")
	}
	imagetest.WriteFile(t, e.path(KernelFile), []byte("Kern"))
	if !wrong(now.Add(3 * mtimeGranularity)) {
		t.Error("a file that changed is not compared again")
	}
	// Nor is a note of another file believed, or a damaged one.
	imagetest.WriteFile(t, note, []byte("{"))
	if !wrong(now.Add(3 * mtimeGranularity)) {
		t.Error("a damaged note is believed")
	}
}

func TestFailedBuildLeavesNothing(t *testing.T) {
	c := newCache(t)
	want := errors.New("no network")
	_, err := c.entry(context.Background(), digestA, func(_ context.Context, dir string) (Contents, error) {
		imagetest.WriteFile(t, filepath.Join(dir, "half"), []byte("x"))
		return Contents{}, want
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	for _, sub := range []string{kernelsDir, "tmp"} {
		if left, _ := os.ReadDir(filepath.Join(c.dir, sub)); len(left) != 0 {
			t.Errorf("%s holds %v", sub, left)
		}
	}
}

func TestDigestIsNoPath(t *testing.T) {
	c := newCache(t)
	for _, d := range []string{"", "sha256:", "sha256:../../x", "md5:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64)} {
		if _, err := c.entry(context.Background(), d, nil); err == nil {
			t.Errorf("digest %q was taken", d)
		}
	}
}

func TestNewCacheRemovesAbandonedFiles(t *testing.T) {
	c := newCache(t)
	imagetest.WriteFile(t, filepath.Join(c.dir, "tmp", "old", "x"), []byte("x"))
	imagetest.WriteFile(t, filepath.Join(c.dir, "tmp", "new", "x"), []byte("x"))
	old := time.Now().Add(-2 * abandoned)
	if err := os.Chtimes(filepath.Join(c.dir, "tmp", "old"), old, old); err != nil {
		t.Fatal(err)
	}
	if _, err := NewCache(c.dir); err != nil {
		t.Fatal(err)
	}
	if got, _ := filepath.Glob(filepath.Join(c.dir, "tmp", "*")); len(got) != 1 || filepath.Base(got[0]) != "new" {
		t.Errorf("left %v, want only the new one", got)
	}
}

// childDir tells a copy of the test program to take a lock, see TestMain.
const childDir = "KERNEL_TEST_LOCK_IN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		c, err := NewCache(dir)
		if err == nil {
			_, err = c.Lock(context.Background(), strings.TrimPrefix(digestA, DigestPrefix))
		}
		fmt.Println("locked", err)
		_, _ = io.Copy(io.Discard, os.Stdin) // until the parent closes it, or kills us
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestCacheWaitsForAnotherProcess(t *testing.T) {
	c := newCache(t)
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+c.dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Wait() }()
	defer func() { _ = child.Process.Kill() }()
	line := make([]byte, len("locked <nil>\n"))
	if _, err := io.ReadFull(stdout, line); err != nil || string(line) != "locked <nil>\n" {
		t.Fatalf("child: %q, %v", line, err)
	}

	var builds atomic.Int32
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_, err = c.entry(ctx, digestA, builder(&builds, []byte("k")))
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another process") {
		t.Errorf("error %v, want the deadline, and what was waited for", err)
	}
	done := make(chan error)
	go func() {
		_, err := c.entry(context.Background(), digestA, builder(&builds, []byte("k")))
		done <- err
	}()
	_ = child.Process.Kill() // a killed process lets go of its lock
	if err := <-done; err != nil || builds.Load() != 1 {
		t.Errorf("error %v, built %d times", err, builds.Load())
	}
}

func newCache(t testing.TB) *Cache {
	t.Helper()
	c, err := NewCache(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// What is found out of a file is found out again when the file or the key is
// another, after a day, and each time when it is not to be kept.
func TestRememberOf(t *testing.T) {
	dir := t.TempDir()
	path, note := filepath.Join(dir, "program"), filepath.Join(dir, "note")
	imagetest.WriteFile(t, path, []byte("one"))
	now := time.Now().Add(time.Minute)
	finds := 0
	ask := func(key string, at time.Time, keep bool) int {
		t.Helper()
		var v int
		if err := rememberOf(path, note, key, at, &v, func() (bool, error) {
			finds++
			v = finds
			return keep, nil
		}); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, tt := range []struct {
		what string
		key  string
		at   time.Time
		keep bool
		want int
	}{
		{"nothing is known", "a", now, false, 1},
		{"it was not to be kept", "a", now, true, 2},
		{"it is known", "a", now, true, 2},
		{"another key", "b", now, true, 3},
		{"a day later", "b", now.Add(recheck), true, 4},
		{"the clock was set back", "b", now.Add(-time.Second), true, 5},
	} {
		if got := ask(tt.key, tt.at, tt.keep); got != tt.want {
			t.Errorf("%s: answer %d, want %d", tt.what, got, tt.want)
		}
	}
	imagetest.WriteFile(t, path, []byte("other"))
	if got := ask("b", now, true); got != 6 {
		t.Errorf("another file: answer %d, want 6", got)
	}
	if err := rememberOf(dir, note, "b", now, new(int), func() (bool, error) { return true, nil }); err == nil {
		t.Error("a directory is a program")
	}
}
