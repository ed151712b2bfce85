package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// What comes to a network is named and goes, and what was there stays.
func TestPutBackNetwork(t *testing.T) {
	ip, err := exec.LookPath("ip")
	if err != nil {
		t.Skip("there is no ip(8)")
	}
	done := make(chan struct{})
	go func() { // its thread ends with it, and the namespace
		defer close(done)
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Logf("no network namespace: %v", err)
			return
		}
		run := func(args string) {
			if out, err := exec.Command(ip, strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Errorf("ip %s: %v: %s", args, err, out)
			}
		}
		show := func() string {
			out, _ := exec.Command(ip, "addr").CombinedOutput()
			more, _ := exec.Command(ip, "rule").CombinedOutput()
			disciplines, _ := exec.Command("tc", "qdisc").CombinedOutput()
			return string(out) + string(more) + string(disciplines)
		}
		run("link set lo up")
		run("addr add 10.1.1.1/32 dev lo")
		s := &system{network: map[string]bool{}}
		for _, k := range networkKinds {
			for _, o := range k.list() {
				s.network[o.key] = true
			}
		}
		before := show()
		if s.putBackNetwork(); len(s.left) > 0 {
			t.Errorf("nothing was left, and there is %q", s.left)
		}
		run("link add left0 type veth peer name left1")
		run("addr add 10.2.2.2/24 dev left0")
		run("link set left0 up")
		run("addr add 10.3.3.3/32 dev lo")
		run("route add 10.4.4.0/24 dev lo")
		run("rule add fwmark 7 lookup 100")
		tc := exec.Command("tc", strings.Fields("qdisc add dev lo root pfifo limit 7")...)
		if out, err := tc.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		s.putBackNetwork()
		run("link set lo down")
		s.putBackNetwork()
		for _, want := range []string{"network interface left", "address 10.3.3.3", "route 10.4.4.0", "routing rule ", "queueing discipline on lo", "network interface lo was down"} {
			if !slices.ContainsFunc(s.left, func(l string) bool { return strings.HasPrefix(l, want) }) {
				t.Errorf("%s is not named: %q", want, s.left)
			}
		}
		if strings.Contains(strings.Join(s.left, "\n"), "stays") || len(s.left) > 7 || s.spoiled != "" {
			t.Errorf("%q", s.left)
		}
		if after := show(); after != before {
			t.Errorf("before:\n%s\nafter:\n%s", before, after)
		}
	}()
	<-done
}

func TestEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"old", "a", "b", ".c", "d/e"} {
		_ = os.MkdirAll(filepath.Join(dir, name), 0o755)
	}
	s := &system{entries: map[string]bool{dir + "/old": true}}
	s.empty(dir)
	if now := below(dir); !slices.Equal(now, []string{dir + "/old"}) || len(s.left) != 4 || s.left[3] != "1 more in "+dir {
		t.Errorf("%q, named %q", now, s.left)
	}
}

// New files go, and a file of the payload that is not as it was ends the VM.
func TestWorkingDirectory(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) {
		if err := os.WriteFile(file(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name    string
		change  func()
		left    []string
		spoiled string
	}{
		{"nothing", func() {}, nil, ""},
		{"a new file", func() { write("new[1]", "") }, []string{file("new[1]")}, ""},
		{"a payload's file written to", func() { write("payload", "changed") }, []string{file("payload") + " is not what it was"}, file("payload") + " is not what it was"},
		{"another file removed", func() { _ = os.Remove(file("other")) }, []string{file("other") + " is not what it was"}, file("other") + " is not what it was"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			write("payload", "")
			write("other", "")
			placed = []string{dir, file("payload")}
			defer func() { placed = nil }()
			s := &system{entries: map[string]bool{}, files: programFiles()}
			s.watch([]string{dir})
			tt.change()
			s.empty(dir)
			s.missing()
			if !slices.Equal(s.left, tt.left) || s.spoiled != tt.spoiled {
				t.Errorf("left %q, spoiled %q", s.left, s.spoiled)
			}
		})
	}
	placed = []string{"/dev/null", dir}
	for f := range programFiles() {
		if strings.HasPrefix(f, "/dev/") {
			t.Errorf("%s is no file of the payload", f)
		}
	}
	placed = []string{dir, "/proc", wire.ModulesDir}
	defer func() { placed = nil }()
	got := workplaces([]wire.Program{{Dir: ""}, {Dir: "usr"}, {Dir: "/proc/self"}, {Dir: "/none"}})
	if !slices.Contains(got, "/") || !slices.Contains(got, "/root") || slices.Contains(got, "/proc") || slices.Contains(got, "/proc/self") || slices.Contains(got, "/none") {
		t.Errorf("%q", got)
	}
}

// What cannot be put back ends the VM, and the first such thing is the reason.
func TestWhatStays(t *testing.T) {
	s := &system{}
	s.note(nil, "%s", "gone")
	s.note(unix.EPERM, "%s", "a")
	s.note(unix.EPERM, "%s", "b")
	if len(s.left) != 3 || s.spoiled != "a, which stays: operation not permitted" {
		t.Errorf("%q, %q", s.left, s.spoiled)
	}
}

func TestMountPoints(t *testing.T) {
	if !slices.ContainsFunc(mountPoints(), func(m mountPoint) bool {
		return m.path == "/proc" && m.kind == "proc" && strings.HasPrefix(m.device, "0:")
	}) {
		t.Errorf("%q", mountPoints())
	}
}

func TestGoneProbes(t *testing.T) {
	const was = "p:mine/a do_sys_open\n"
	if got := goneProbes(was, was+"r8:left/b do_sys_open arg=$retval\np:left/c vfs_read+4\n"); got != "-:left/b\n-:left/c\n" {
		t.Errorf("%q", got)
	}
	if got := goneProbes("", ""); got != "" {
		t.Errorf("%q", got)
	}
}

// A file that is written to is known, and no other.
func TestSysctlWatch(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	wd, err := unix.InotifyAddWatch(fd, dir, unix.IN_MODIFY)
	if err != nil {
		t.Fatal(err)
	}
	w := &sysctlWatch{fd: fd, dirs: map[uint32]string{uint32(wd): dir}}
	for _, name := range []string{"a", "long-name.of_a.file"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, all := w.changed()
	if slices.Sort(files); all || !slices.Equal(slices.Compact(files), []string{dir + "/a", dir + "/long-name.of_a.file"}) {
		t.Errorf("%q, %v", files, all)
	}
	if files, all := w.changed(); all || len(files) > 0 {
		t.Errorf("%q, %v, and nothing was written to", files, all)
	}
	if _, all := (&sysctlWatch{fd: -1}).changed(); !all {
		t.Error("without inotify nothing has changed")
	}
}
