package shard

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/snapshot"
)

// warmRunner makes a Runner for one hostile payload that restores saved VMs.
func (l *lab) warmRunner(t *testing.T, boot Boot, args string, timeout time.Duration) *Runner {
	t.Helper()
	p, err := guest.TestPayload(t.Context(), l.hostile, strings.Fields(args), "/", "amd64", timeout)
	if err != nil {
		t.Fatal(err)
	}
	r := l.runner(t, p)
	r.Boot, r.QEMUDigest = boot, "test"
	return r
}

// image opens the lab's kernel.
func (l *lab) image(t *testing.T) *kernel.Image {
	t.Helper()
	im, err := l.entry.Source.Open(t.Context(), l.entry.Ref)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// store makes the store of a runner's snapshots.
func store(t *testing.T, r *Runner) *snapshot.Store {
	t.Helper()
	run := r.newRun()
	if err := run.prepare(); err != nil || run.snapshots == nil {
		t.Fatalf("%v, %v", run.snapshots, err)
	}
	return run.snapshots
}

// forget removes what the cache has of saved VMs for a runner's settings.
func forget(t *testing.T, r *Runner, im *kernel.Image) *snapshot.Store {
	t.Helper()
	s := store(t, r)
	if err := s.Forget(im); err != nil {
		t.Fatal(err)
	}
	return s
}

// Restored guests come from one memory image, and must not draw the same
// random numbers, nor take the time that it was saved for the present.
func TestRestoredGuestsDiffer(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	value := regexp.MustCompile(`(?m)^(random|uuid|boot_id|stack|clock) (\S+)\r$`)
	var guests []map[string]string
	for range 2 {
		began := time.Now()
		k, console := l.run(t, l.warmRunner(t, BootWarm, "identity", far))
		ended := time.Now()
		if k.Verdict != report.Pass || k.Boot != "warm" {
			t.Fatalf("%v, boot %q", k.Verdict, k.Boot)
		}
		got := map[string]string{}
		for _, m := range value.FindAllStringSubmatch(console, -1) {
			got[m[1]] = m[2]
		}
		if len(got) != 5 {
			t.Fatalf("the guest says %v", got)
		}
		if now, err := time.Parse(time.RFC3339Nano, got["clock"]); err != nil || now.Before(began.Add(-time.Second)) || now.After(ended.Add(time.Second)) {
			t.Errorf("the guest's clock says %s (%v), the host's %v to %v", got["clock"], err, began, ended)
		}
		guests = append(guests, got)
	}
	for name, v := range guests[0] {
		if v == guests[1][name] {
			t.Errorf("two guests have the same %s, %s", name, v)
		}
	}
}

// The first time a kernel is booted cold, the second time its VM is saved, and
// from the third on restored. What is damaged is made anew, and a VM that QEMU
// does not take is one more cold boot.
func TestSavedVMsOverRuns(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	im := l.image(t)
	const memory = 520 // of no other test, so that the saved VM is this one's alone
	run := func() report.Result {
		r := l.warmRunner(t, BootAuto, "pass", far)
		r.Memory = memory
		k, _ := l.run(t, r)
		if k.Verdict != report.Pass || k.Attempts != 1 {
			t.Fatalf("%v in %d attempts: %+v", k.Verdict, k.Attempts, k.Cause)
		}
		return k
	}
	first := l.warmRunner(t, BootAuto, "pass", far)
	first.Memory = memory
	saved := forget(t, first, im)
	if k := run(); k.Boot != "cold" {
		t.Errorf("the first boot is %q", k.Boot)
	}
	if k := run(); k.Boot != "warm" || k.Phases["save"] == 0 {
		t.Errorf("the second boot is %q, phases %v", k.Boot, k.Phases)
	}
	path, ok := saved.Path(im)
	if !ok {
		t.Fatal("no VM was saved")
	}
	t.Cleanup(func() { forget(t, first, im) })
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if k := run(); k.Boot != "warm" || k.Phases["save"] != 0 {
		t.Errorf("the third boot is %q, phases %v", k.Boot, k.Phases)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, good) {
		t.Errorf("a restore changed the saved VM (%v)", err)
	}

	bad := bytes.Clone(good)
	bad[len(bad)/2] ^= 1
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if k := run(); k.Boot != "warm" {
		t.Errorf("after the saved VM was damaged the boot is %q", k.Boot)
	}
	if b, err := os.ReadFile(path); err != nil || bytes.Equal(b, bad) {
		t.Errorf("the damaged VM was not replaced: %v", err)
	}

	// A digest that fits and a state that does not.
	head, rest, _ := bytes.Cut(good, []byte("\n"))
	var h map[string]any
	if err := json.Unmarshal(head, &h); err != nil {
		t.Fatal(err)
	}
	console, state := int(h["console"].(float64)), int(h["state"].(float64))
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	none := z.EncodeAll(bytes.Repeat([]byte("QEVM no such state"), 1000), nil)
	rest = slices.Concat(rest[:console], none, rest[console+state:])
	h["state"], h["digest"] = len(none), fmt.Sprintf("sha256:%x", sha256.Sum256(rest))
	if head, err = json.Marshal(h); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, slices.Concat(head, []byte("\n"), rest), 0o644); err != nil {
		t.Fatal(err)
	}
	if k := run(); !strings.HasPrefix(k.Boot, "cold after a failed restore: QEMU: exit status 1: ") {
		t.Errorf("with a state that is none the boot is %q", k.Boot)
	}
	if _, ok := saved.Path(im); ok {
		t.Error("the VM that cannot be restored is still there")
	}
}

// A guest that never gets ready is booted cold, and not tried again.
func TestVMThatCannotBeSaved(t *testing.T) {
	t.Parallel()
	l := theLab(t)
	r := l.warmRunner(t, BootAuto, "pass", far)
	b, err := os.ReadFile(l.hostile)
	if err != nil {
		t.Fatal(err)
	}
	r.InitProgram, r.Retries, r.Limits.Boot = b, 0, 8*time.Second
	im := l.image(t)
	saved := forget(t, r, im)
	t.Cleanup(func() { forget(t, r, im) })
	saved.NoteBooted(t.Context(), im)
	k, _ := l.run(t, r)
	if k.Verdict != report.NoBoot || k.Boot != "cold after a VM that cannot be saved: init was not ready within 8s" {
		t.Errorf("%v, boot %q", k.Verdict, k.Boot)
	}
	var no *snapshot.NotSupportedError
	if _, err := saved.Get(t.Context(), im, func() (string, error) { return "", errors.New("it is tried again") }); !errors.As(err, &no) {
		t.Errorf("the next run tries to save it again: %v", err)
	}
}

func TestParseBoot(t *testing.T) {
	for _, b := range []Boot{BootAuto, BootCold, BootWarm} {
		if got, err := ParseBoot(b.String()); err != nil || got != b {
			t.Errorf("%v: %v, %v", b, got, err)
		}
	}
	for _, s := range []string{"", "unknown", "hot"} {
		if _, err := ParseBoot(s); err == nil || !strings.Contains(err.Error(), "want auto, cold or warm") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
