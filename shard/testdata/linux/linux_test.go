// Package linux is a payload that looks at the guest as programs do: at the
// files of a Linux system, its devices and mounts, the environment, the limits and
// the processors. What it shall find is told by its environment.
package linux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

func TestNames(t *testing.T) {
	me, err := user.Current()
	if err != nil || me.Username != "root" || me.HomeDir != "/root" {
		t.Errorf("the current user is %+v, %v", me, err)
	}
	if u, err := user.Lookup("nobody"); err != nil || u.Uid != "65534" {
		t.Errorf("nobody is %+v, %v", u, err)
	}
	for _, name := range []string{"root", "nogroup", "nobody"} {
		if _, err := user.LookupGroup(name); err != nil {
			t.Error(err)
		}
	}
	// Services of the host are not in the list that Go has built in.
	if port, err := net.LookupPort("tcp", "postgresql"); err != nil || port != 5432 {
		t.Errorf("the port of postgresql is %d, %v", port, err)
	}
	for name, want := range map[string][]string{"localhost": {"127.0.0.1", "::1"}, "guest": {"127.0.0.1", "::1"}} {
		got, err := net.DefaultResolver.LookupHost(t.Context(), name)
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s is %v, %v, want %v", name, got, err, want)
		}
	}
	if host, err := os.Hostname(); err != nil || host != "guest" {
		t.Errorf("the host's name is %q, %v", host, err)
	}
	// A name that is not known is an error at once: no server is asked for it.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := net.DefaultResolver.LookupHost(ctx, "nowhere.example"); err == nil || ctx.Err() != nil {
		t.Errorf("nowhere.example: %v", err)
	}
	if zone, offset := time.Now().Zone(); zone != "UTC" || offset != 0 {
		t.Errorf("the local time is %s%+d", zone, offset)
	}
	for _, network := range []string{"tcp", "tcp4", "tcp6"} {
		l, err := net.Listen(network, "localhost:0")
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

// What a payload brings is what it finds, whatever init has made.
func TestFiles(t *testing.T) {
	own := os.Getenv("OWN") != ""
	for _, f := range []struct{ path, has, own string }{
		{"/etc/passwd", ":/root:/bin/sh", "me:x:7:"}, {"/etc/resolv.conf", "", ""}, {"/etc/os-release", "ID=", ""},
		{"/etc/nsswitch.conf", "hosts:", ""}, {"/etc/protocols", "tcp", ""}, {"/etc/hostname", "guest", ""},
		{"/etc/mtab", " /proc ", "my own"},
	} {
		b, err := os.ReadFile(f.path)
		want := f.has
		if own && f.own != "" {
			want = f.own
		}
		if err != nil || !strings.Contains(string(b), want) || want == f.own && want != "" && strings.Contains(string(b), f.has) {
			t.Errorf("%s: %.200q, %v, want %q", f.path, b, err, want)
		}
	}
	for path, want := range map[string]os.FileMode{
		"/tmp": os.ModeDir | os.ModeSticky | 0o777, "/var/tmp": os.ModeDir | os.ModeSticky | 0o777, "/dev/shm": os.ModeDir | os.ModeSticky | 0o777,
		"/var/run/": os.ModeDir | 0o755, "/root": os.ModeDir | 0o755, "/var/lock/": os.ModeDir | os.ModeSticky | 0o777,
	} {
		info, err := os.Stat(path)
		if err != nil || info.Mode()|0o660 != want|0o660 {
			t.Errorf("%s: %v, want %v", path, err, want)
			if err == nil {
				t.Errorf("%s: is %v", path, info.Mode())
			}
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.WriteString("hello"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	again, err := os.Open("/dev/fd/" + strconv.Itoa(int(r.Fd())))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(again); err != nil || string(b) != "hello" {
		t.Errorf("/dev/fd: %q, %v", b, err)
	}
	for _, name := range []string{"stdin", "stdout", "stderr"} {
		if _, err := os.Stat("/dev/" + name); err != nil {
			t.Error(err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	for name, want := range map[string]string{"HOME": "/root", "USER": "root", "LOGNAME": "root", "TMPDIR": "/tmp"} {
		if got := os.Getenv(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if got, has := os.LookupEnv("SHELL"); has {
		t.Errorf("SHELL is %q, and there is none", got)
	}
	b, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil || strings.TrimSpace(string(b)) != "4194304" {
		t.Errorf("pid_max is %q, %v", b, err)
	}
	// Go raises the soft limit of its own process, so look at what the parent had.
	var lim unix.Rlimit
	if err := unix.Prlimit(os.Getppid(), unix.RLIMIT_NOFILE, nil, &lim); err != nil || lim.Max != 512<<10 {
		t.Errorf("open files are limited to %+v, %v", lim, err)
	}
	if err := unix.Prlimit(1, unix.RLIMIT_NOFILE, nil, &lim); err != nil || lim.Cur != 1024 || lim.Max != 512<<10 {
		t.Errorf("init's open files are limited to %+v, %v", lim, err)
	}
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &lim); err != nil || lim.Cur < 1000 {
		t.Errorf("processes are limited to %+v, %v", lim, err)
	}
}

func TestMounts(t *testing.T) {
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []struct{ fstype, target string }{
		{"hugetlbfs", "/dev/hugepages"}, {"mqueue", "/dev/mqueue"}, {"configfs", "/sys/kernel/config"},
		{"fusectl", "/sys/fs/fuse/connections"}, {"binfmt_misc", "/proc/sys/fs/binfmt_misc"},
	} {
		knows := strings.Contains(string(known), "\t"+m.fstype+"\n")
		if is := strings.Contains(string(mounts), m.fstype+" "+m.target+" "); is != knows {
			t.Errorf("%s on %s: mounted %v, and the kernel knows it: %v", m.fstype, m.target, is, knows)
		}
	}
	v1, v2 := strings.Contains(string(mounts), "cgroup /sys/fs/cgroup/pids cgroup "), strings.Contains(string(mounts), " cgroup2 ")
	if want := os.Getenv("CGROUP") == "v1"; v1 != want || v2 == want {
		t.Errorf("control groups: version 1 %v, version 2 %v, and v1 asked for: %v\n%s", v1, v2, want, mounts)
	}
}

// A node that is there has its driver, or gets it, and file systems with that:
// behind TestMounts.
func TestDevices(t *testing.T) {
	for path, want := range map[string]os.FileMode{"/dev/loop-control": 0o660, "/dev/net/tun": 0o666, "/dev/fuse": 0o666} {
		info, err := os.Stat(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		f, oerr := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil || oerr != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, %v", path, info, err, oerr)
			continue
		}
		f.Close()
	}
}

func TestProcessors(t *testing.T) {
	want, err := strconv.Atoi(os.Getenv("CPUS"))
	if err != nil {
		t.Fatal(err)
	}
	if got := runtime.NumCPU(); got != want {
		t.Errorf("%d processors, want %d", got, want)
	}
	if got, err := ebpf.PossibleCPU(); err != nil || got != want {
		t.Errorf("%d possible processors, %v, want %d", got, err, want)
	}
	runtime.LockOSThread()
	for cpu := range want {
		var set unix.CPUSet
		set.Set(cpu)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			t.Fatal(err)
		}
		var on uint32
		if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&on)), 0, 0); errno != 0 || int(on) != cpu {
			t.Errorf("runs on processor %d, %v, want %d", on, errno, cpu)
		}
	}
	counts, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.PerCPUArray, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.RawTracepoint, License: "GPL", Instructions: asm.Instructions{
		asm.Mov.Imm(asm.R0, 0),
		asm.StoreMem(asm.RFP, -4, asm.R0, asm.Word),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, 0).WithSymbol("out"),
		asm.Return(),
	}})
	if err != nil {
		t.Fatal(err)
	}
	const onCPU = 1 // BPF_F_TEST_RUN_ON_CPU
	for cpu := range want {
		for range cpu + 1 {
			if _, err := prog.Run(&ebpf.RunOptions{CPU: uint32(cpu), Flags: onCPU}); err != nil {
				t.Fatal(err)
			}
		}
	}
	var got []uint64
	if err := counts.Lookup(uint32(0), &got); err != nil {
		t.Fatal(err)
	}
	for cpu := range want {
		if len(got) != want || got[cpu] != uint64(cpu+1) {
			t.Fatalf("processors counted %v, want 1 to %d", got, want)
		}
	}
	queues, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.CPUMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(want) + 1})
	if err != nil {
		t.Fatal(err)
	}
	for cpu := range want {
		if err := queues.Put(uint32(cpu), uint32(64)); err != nil {
			t.Errorf("a queue of processor %d: %v", cpu, err)
		}
	}
	if err := queues.Put(uint32(want), uint32(64)); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.E2BIG) {
		t.Errorf("a queue of a processor that is not there: %v", err)
	}
}

// What was asked for of the kernel is in force.
func TestParameters(t *testing.T) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for param := range strings.FieldsSeq(os.Getenv("PARAMS")) {
		if !slices.Contains(strings.Fields(string(line)), param) {
			t.Errorf("%s is not in %s", param, line)
		}
		if want, ok := strings.CutPrefix(param, "lsm="); ok {
			has, err := os.ReadFile("/sys/kernel/security/lsm")
			for name := range strings.SplitSeq(want, ",") {
				if err != nil || !slices.Contains(strings.Split(string(has), ","), name) {
					t.Errorf("the kernel has the LSMs %q, %v, want %s", has, err, name)
				}
			}
		}
	}
}

// variableStack reads the stack at an offset that only the program's run tells,
// which the verifier forbids to whoever may not read past Spectre.
func variableStack(t *testing.T) error {
	t.Helper()
	prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SocketFilter, License: "GPL", Instructions: asm.Instructions{
		asm.FnGetPrandomU32.Call(),
		asm.And.Imm(asm.R0, 7),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, -16, asm.R1, asm.DWord),
		asm.Mov.Reg(asm.R1, asm.RFP),
		asm.Add.Imm(asm.R1, -16),
		asm.Add.Reg(asm.R1, asm.R0),
		asm.LoadMem(asm.R0, asm.R1, 0, asm.Byte),
		asm.Return(),
	}})
	if err == nil {
		prog.Close()
	}
	return err
}

const onlyCaps = "LINUX_TEST_CAPS"

// A program that is loaded with CAP_BPF alone is checked as on a machine with
// mitigations, unless they are off, which kernels heed from 6.7 on.
func TestOnlyCapBPF(t *testing.T) {
	switch os.Getenv(onlyCaps) {
	case "bpf":
		var release unix.Utsname
		if err := unix.Uname(&release); err != nil {
			t.Fatal(err)
		}
		off := strings.Contains(os.Getenv("PARAMS"), "mitigations=off") && !strings.HasPrefix(unix.ByteSliceToString(release.Release[:]), "6.1.")
		err := variableStack(t)
		var refused *ebpf.VerifierError
		if off && err != nil || !off && (!errors.As(err, &refused) || !strings.Contains(fmt.Sprintf("%+v", refused), "prohibited for !root")) {
			t.Errorf("mitigations off %v: %+v", off, err)
		}
		return
	case "bpf and perfmon":
		if err := variableStack(t); err != nil {
			t.Errorf("%+v", err)
		}
		return
	}
	for name, caps := range map[string][]uintptr{"bpf": {unix.CAP_BPF}, "bpf and perfmon": {unix.CAP_BPF, unix.CAP_PERFMON}} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestOnlyCapBPF$")
		cmd.Env = append(os.Environ(), onlyCaps+"="+name)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: caps}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("with %s: %v\n%s", name, err, out)
		}
	}
}
