package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestMain has the test's own binary be the generators', when it is called by
// the name of one.
func TestMain(m *testing.M) {
	if name := filepath.Base(os.Args[0]); name == "generators" || table()[name] != nil {
		os.Exit(run(os.Args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// install makes a directory with the test's binary as generators and
// do_nothing in it.
func install(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"generators", "do_nothing"} {
		if err := os.Symlink(self, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// generate runs a generator and returns what it printed.
func generate(t *testing.T, dir string, args ...string) (map[string]any, int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(dir, "generators"), args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%q: %v: %s", args, err, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("%q: stderr %q", args, stderr.String())
	}
	if strings.Count(stdout.String(), "\n") != 1 {
		t.Fatalf("%q printed %q, want one line", args, stdout.String())
	}
	d := json.NewDecoder(&stdout)
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return o, cmd.Process.Pid
}

// capturedAs is the name that the captured run has for a generator.
func capturedAs(name string) string {
	switch name {
	case "ptrace", "shmget", "memfd_create_exec":
		return "poc_" + name
	}
	return name
}

// capturedKeys are the keys that the predecessor's generator printed, with
// their kinds.
func capturedKeys(t *testing.T, name string) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../testrunner/testdata/eventstrace/debian-6.12.117-cloud-amd64.generators.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var g struct{ Generator, Stdout string }
		if err := json.Unmarshal(line, &g); err != nil {
			t.Fatal(err)
		}
		var o map[string]any
		if g.Generator == capturedAs(name) && json.Unmarshal([]byte(g.Stdout), &o) == nil {
			return kinds("", o)
		}
	}
	return nil
}

func kinds(prefix string, o map[string]any) map[string]string {
	all := map[string]string{}
	for key, v := range o {
		switch v := v.(type) {
		case map[string]any:
			for k, kind := range kinds(prefix+key+".", v) {
				all[k] = kind
			}
		case string:
			all[prefix+key] = "string"
		case bool:
			all[prefix+key] = "bool"
		case float64, json.Number:
			all[prefix+key] = "number"
		}
	}
	return all
}

func TestGenerators(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	permitted, _, err := capabilities()
	if err != nil {
		t.Fatal(err)
	}
	for name := range table() {
		switch name {
		case "do_nothing", "tty_write": // see TestDoNothing and TestTTY
			continue
		case "container_child", "wait", "ptrace_attach": // children of others
			continue
		}
		t.Run(name, func(t *testing.T) {
			switch name {
			case "fork_exec":
				if permitted&0xffffffff != 0xffffffff {
					t.Skipf("this process may not have all of the capabilities 0xffffffff, only %#x", permitted)
				}
			case "tcpv6_connect":
				if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
					t.Skip("this kernel has no IPv6")
				}
			case "create_rename_delete_file_container":
				if b, err := os.ReadFile("/proc/filesystems"); err != nil || !bytes.Contains(b, []byte("\toverlay\n")) {
					t.Skip("this kernel has no overlayfs, or has not loaded it")
				}
			}
			dir := install(t)
			o, pid := generate(t, dir, name)
			got := kinds("", o)
			for key, kind := range capturedKeys(t, name) {
				if got[key] != kind {
					t.Errorf("%s is a %q, the captured generator's a %q", key, got[key], kind)
				}
			}
			for _, info := range []any{o, o["pid_info"], o["parent_info"]} {
				if i, ok := info.(map[string]any); ok && i["tgid"] != nil {
					checkPids(t, i, pid)
				}
			}
			if name == "ptrace" {
				// Both are children of the generator, so neither is the other's.
				for _, key := range []string{"ptrace_pid", "child_pid"} {
					if n, err := o[key].(json.Number).Int64(); err != nil || n == int64(pid) || n <= 0 {
						t.Errorf("%s is %v, want that of a child of %d", key, o[key], pid)
					}
				}
				if o["ptrace_pid"] == o["child_pid"] {
					t.Errorf("a process traced itself: %v", o)
				}
			}
			left, err := os.ReadDir(dir)
			if err != nil || len(left) != 2 {
				t.Errorf("left behind: %v, %v", left, err)
			}
			for _, name := range []string{"/tmp/foo.", "/tmp/bar.", "/tmp/container."} {
				if _, err := os.Lstat(name + itoa(pid)); err == nil {
					t.Errorf("%s%d was left behind", name, pid)
				}
			}
		})
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

// checkPids holds what must be true of the printed ids: the work was done by
// the process's first thread.
func checkPids(t *testing.T, info map[string]any, pid int) {
	t.Helper()
	pgid, _ := unix.Getpgid(0)
	sid, _ := unix.Getsid(0)
	for key, want := range map[string]int{"tid": pid, "tgid": pid, "ppid": os.Getpid(), "pgid": pgid, "sid": sid} {
		if got := info[key]; got != json.Number(itoa(want)) {
			t.Errorf("%s is %v, want %d", key, got, want)
		}
	}
}

func TestByName(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "fork_exit")
	if err := os.Symlink(self, name); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(name).CombinedOutput()
	if err != nil || !json.Valid(out) {
		t.Errorf("%v: %q", err, out)
	}
}

func TestDoNothing(t *testing.T) {
	out, err := exec.Command(filepath.Join(install(t), "do_nothing")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("%v, printed %q", err, out)
	}
}

func TestNoSuchGenerator(t *testing.T) {
	for _, args := range [][]string{nil, {"nosuch"}} {
		out, err := exec.Command(filepath.Join(install(t), "generators"), args...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 2 || !bytes.Contains(out, []byte("want one of container_child, ")) {
			t.Errorf("%q: %v: %q", args, err, out)
		}
	}
}

// An error is one line that says what was being done, and exit status 1.
func TestErrors(t *testing.T) {
	dir := install(t)
	empty := t.TempDir()
	for _, tt := range []struct {
		dir, want string
		args      []string
	}{
		{dir, "tty_write: open /dev/nosuch: no such file or directory\n", []string{"tty_write", "/dev/nosuch"}},
		{dir, "tty_write: ask /dev/null for its settings: inappropriate ioctl for device\n", []string{"tty_write", "/dev/null"}},
		{empty, "", []string{"fork_exec"}},
	} {
		cmd := exec.Command(filepath.Join(dir, "generators"), tt.args...)
		cmd.Dir = tt.dir
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasSuffix(string(out), tt.want) || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%q: %v: %q, want %q", tt.args, err, out, tt.want)
		}
	}
}

// What went wrong in a child is told by the child, and fails its parent.
func TestFailedChild(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, dir+"/nosuch")
	cmd.Args[0] = "container_child"
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), "container_child: ") {
		t.Errorf("%v: %q", err, out)
	}
	pid, err := startSelf("container_child", dir+"/nosuch")
	if err != nil {
		t.Fatal(err)
	}
	if err := wait(pid); err == nil || err.Error() != "the child ended with exit status 1" {
		t.Errorf("error %v", err)
	}
	if _, err := start(dir+"/nosuch", nil, nil); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("error %v", err)
	}
}

// Forking from a process with many busy threads works each time: the child
// never needs the runtime's others.
func TestForkOften(t *testing.T) {
	stop := make(chan struct{})
	defer close(stop)
	for range 4 {
		go func() {
			var sink []byte
			for {
				select {
				case <-stop:
					return
				default:
					sink = append(sink[:0:0], make([]byte, 1<<12)...)
				}
			}
		}()
	}
	for range 100 {
		if _, err := forkedAndGone(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTTY(t *testing.T) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	var unlock int32
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCSPTLCK, uintptr(unsafe.Pointer(&unlock))); e != 0 {
		t.Fatal(e)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	o, pid := generate(t, install(t), "tty_write", "/dev/pts/"+itoa(n))
	if o["pid"] != json.Number(itoa(pid)) || o["major"] != json.Number("136") || o["minor"] != json.Number(itoa(n)) {
		t.Errorf("printed %v", o)
	}
	b := make([]byte, 64)
	k, err := master.Read(b)
	if err != nil || strings.TrimRight(string(b[:k]), "\r\n") != "--- OK" {
		t.Errorf("the terminal got %q, %v", b[:k], err)
	}
}
