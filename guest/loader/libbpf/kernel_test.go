package libbpf

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// inGuest skips a test anywhere but in a VM that the tests of shard start.
func inGuest(t *testing.T) {
	t.Helper()
	if _, err := os.Stat(Path); err != nil {
		t.Skip("needs a kernel of its own: shard's TestLibbpf runs it")
	}
}

func open(t *testing.T, name string, opt Options) *Object {
	t.Helper()
	o, err := Open("/objects/"+name+".bpf.o", opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func release(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	return unix.ByteSliceToString(u.Release[:])
}

const stats = 4 // BPF_LOG_STATS

// loads loads a program; want is part of its error, "" if it must load.
func loads(t *testing.T, o *Object, name, want string) {
	t.Helper()
	l, err := o.Load(name, stats, 1<<16)
	switch {
	case err == nil && want != "":
		t.Errorf("%s: loads, want %q", name, want)
	case err == nil && (!strings.Contains(l.Log, "processed ") || l.Duration <= 0):
		t.Errorf("%s: log %q, %v", name, l.Log, l.Duration)
	case err != nil && (want == "" || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %q", name, err, want)
	}
	if err == nil {
		t.Logf("%s: %v", name, l.Duration)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestKernelOnly(t *testing.T) {
	inGuest(t)
	begin := time.Now()
	o := open(t, "only", Options{})
	t.Log("open:", time.Since(begin))
	for _, p := range o.Programs() {
		want := ""
		if p.Name == "refused_section" {
			want = "missing BPF prog type, check ELF section name 'xdp/entry'"
		}
		begin := time.Now()
		loads(t, o, p.Name, want)
		t.Log(p.Name, "all:", time.Since(begin))
	}
	if fd, err := o.MapFD("odd_ring"); err != nil {
		t.Error(err)
	} else {
		unix.Close(fd)
	}
}

func TestKernelSettings(t *testing.T) {
	inGuest(t)
	maps := []wire.MapSetting{{Name: "outer", Inner: "inner_map"}, {Name: "other", MaxEntries: 1}}
	good := wire.Variant{
		{Name: "config.mode", Value: "MODE_GOOD"},
		{Name: "config.on", Value: "true"},
		{Name: "config.inner[1].name", Value: `"a"`},
		{Name: "config.inner[1].numbers[2]", Value: "-3"},
		{Name: "missing", Value: "1"},
	}
	targets := []wire.TargetOfProg{{Program: "no_target", Section: "raw_tp/sched_process_exit"}}
	o := open(t, "settings", Options{Maps: maps, Variant: good, Targets: targets})
	loads(t, o, "variables", "")
	loads(t, o, "maps", "")
	loads(t, o, "no_target", "")
	if p := o.Programs()[2]; p.Name != "no_target" || p.Type != ebpf.RawTracepoint || p.Section != targets[0].Section {
		t.Errorf("%+v", p)
	}
	if got := o.Notes(); len(got) != 1 || !strings.Contains(got[0], "empty has 0 entries") {
		t.Errorf("notes %q", got)
	}
	if got := o.Absent(); !slices.Equal(got, []string{"other", "missing"}) {
		t.Errorf("absent %q", got)
	}

	o = open(t, "settings", Options{Maps: maps, Variant: good[:3], Targets: targets})
	_, err := o.Load("variables", 2, 1<<20)
	var refused *Error
	if !errors.As(err, &refused) || refused.Program != "variables" || refused.Cut || !errors.Is(err, unix.EACCES) ||
		!strings.Contains(refused.Log, "invalid mem access") {
		t.Errorf("%#v", err)
	}
	if o.Close(); refused != nil {
		_, err = o.Load("maps", 0, 0)
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%v, want that it is closed", err)
		}
	}

	// Without an inner map nothing can be prepared, neither together nor apart.
	o = open(t, "settings", Options{})
	loads(t, o, "maps", "map 'outer': failed to create")
	loads(t, o, "variables", "map 'outer': failed to create")
	if _, err := o.MapFD("empty"); err == nil || !strings.Contains(err.Error(), "map 'outer': failed to create") {
		t.Errorf("%v, want why the maps cannot be created", err)
	}

	o = open(t, "settings", Options{Maps: maps})
	loads(t, o, "no_target", "no BTF-based attach target is specified")
}

func TestKernelWhole(t *testing.T) {
	inGuest(t)
	o := open(t, "rejected", Options{})
	_, err := o.LoadWhole([]string{"good", "endless_loop"}, 1, 1<<20)
	var refused *Error
	if !errors.As(err, &refused) || refused.Program != "endless_loop" || !strings.Contains(refused.Log, "infinite loop detected") {
		t.Errorf("%v: %#v", err, refused)
	}
	if _, err := o.Load("good", stats, 1<<16); err != nil && !errors.As(err, &refused) {
		t.Error(err)
	}
	o = open(t, "rejected", Options{})
	loaded, err := o.LoadWhole([]string{"good"}, stats, 1<<16)
	if err != nil || len(loaded) != 1 || !strings.Contains(loaded["good"].Log, "processed ") {
		t.Errorf("%v, %v", loaded, err)
	}
	// None are not all.
	o = open(t, "rejected", Options{})
	loaded, err = o.LoadWhole(nil, 1, 1<<20)
	if err != nil || len(loaded) > 0 {
		t.Errorf("%v, %v", loaded, err)
	}
	o = open(t, "rejected", Options{})
	_, err = o.Load("no_such_member", 1, 1<<20)
	if !errors.As(err, &refused) || !strings.Contains(refused.Log, "failed to resolve CO-RE relocation") {
		t.Errorf("%v: %#v", err, refused)
	}
}

// One program that cannot be prepared leaves the others alone.
func TestKernelApart(t *testing.T) {
	inGuest(t)
	b, err := os.ReadFile("/objects/rejected.bpf.o")
	if err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(t.TempDir(), "broken.bpf.o")
	if err := os.WriteFile(broken, bytes.Replace(b, []byte("\x000:1\x00"), []byte("\x000:x\x00"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	o, err := Open(broken, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	for range 2 {
		loads(t, o, "good", "")
		loads(t, o, "no_such_member", "failed to perform CO-RE relocations")
		loads(t, o, "no_such_function", "failed to find kernel BTF type ID")
		loads(t, o, "endless_loop", "load endless_loop: ")
	}
	if _, err := o.LoadWhole([]string{"good"}, 0, 0); !errors.Is(err, unix.EBUSY) {
		t.Errorf("%v, want that it is too late", err)
	}
}

func TestKernelAttach(t *testing.T) {
	inGuest(t)
	o := open(t, "trace", Options{})
	for _, p := range o.Programs() {
		l, err := o.Load(p.Name, stats, 1<<16)
		if err != nil {
			t.Error(err)
			continue
		}
		link, err := l.Attach()
		if err != nil {
			t.Error(err)
			continue
		}
		if err := errors.Join(link.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
	test, err := filepath.EvalSymlinks("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	o = open(t, "only", Options{Targets: []wire.TargetOfProg{
		{Program: "on_usdt", Section: "usdt//libbpf-loader:no_such:probe"}, {Program: "kconfig", Section: "uprobe/" + test + ":runtime.main"},
	}})
	l, err := o.Load("on_usdt", stats, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Attach(); err == nil {
		t.Error("attached to a probe that is not there")
	}
	l, err = o.Load("kconfig", stats, 1<<16)
	if err != nil {
		t.Fatal(err)
	}
	link, err := l.Attach()
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Close(); err != nil {
		t.Error(err)
	}
}

func TestKernelStructOps(t *testing.T) {
	inGuest(t)
	o := open(t, "odd", Options{})
	if release := release(t); strings.HasPrefix(release, "5.") || strings.HasPrefix(release, "6.1.") {
		// bpf_object__load creates all maps, and .struct_ops.link came with 6.4.
		loads(t, o, "last", "map 'ops': failed to create")
		if _, err := o.AttachMap("ops"); err == nil {
			t.Error("attached a map of another kernel")
		}
		return
	}
	loads(t, o, "last", "")
	loads(t, o, "of_no_map", "isn't referenced anywhere")
	link, err := o.AttachMap("ops")
	if err != nil {
		t.Fatal(err)
	}
	if err := link.Close(); err != nil {
		t.Error(err)
	}
}
