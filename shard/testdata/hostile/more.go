package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// code ends the program with the status that an argument names.
func code(s string) error {
	n, err := strconv.Atoi(s)
	if err == nil {
		os.Exit(n)
	}
	return err
}

// note prints an error that is as good as none: what the kernel refuses does no
// harm.
func note(err error) { fmt.Println("outcome:", err) }

// more are the acts that need a few lines. It returns false for an unknown one.
func more(mode string, args []string) (known bool, err error) {
	switch mode {
	case "fork-bomb":
		n := 0
		for ; n < 1500; n++ {
			pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
			if errno != 0 {
				note(errno)
				break
			}
			if pid == 0 {
				for {
					_, _, _ = syscall.RawSyscall6(unix.SYS_PPOLL, 0, 0, 0, 0, 0, 0)
				}
			}
		}
		fmt.Println(n, "processes")
	case "fill-disk":
		f, err := os.Create("/tmp/fill")
		if err != nil {
			return true, err
		}
		n, err := io.Copy(f, zeros{})
		fmt.Println(n, "bytes")
		note(err)
	case "eat-protected":
		if err := os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0); err != nil {
			return true, err
		}
		return true, do("eat", args)
	case "signal-init":
		for s := 1; s < 32; s++ {
			if err := unix.Kill(1, syscall.Signal(s)); err != nil {
				note(err)
			}
		}
		return true, code(args[2])
	case "stop-everyone":
		if err := unix.Kill(-1, unix.SIGSTOP); err != nil {
			return true, err
		}
		return true, code(args[2])
	case "kill-parent":
		return true, unix.Kill(os.Getppid(), unix.SIGKILL)
	case "stop-parent":
		if err := unix.Kill(os.Getppid(), unix.SIGSTOP); err != nil {
			return true, err
		}
		return true, code(args[2])
	case "trace-init":
		note(unix.PtraceAttach(1))
		return true, code(args[2])
	case "limit-init":
		for _, r := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC} {
			if err := unix.Prlimit(1, r, &unix.Rlimit{}, nil); err != nil {
				return true, err
			}
		}
		return true, code(args[2])
	case "freeze-init":
		return true, freeze("1")
	case "freeze-parent":
		return true, freeze(strconv.Itoa(os.Getppid()))
	case "power":
		cmd, err := strconv.ParseInt(args[2], 0, 64)
		if err != nil {
			return true, err
		}
		return true, unix.Reboot(int(cmd))
	case "mem":
		f, err := os.OpenFile("/dev/mem", os.O_RDWR, 0)
		if err != nil {
			note(err)
			return true, nil
		}
		for at := int64(1 << 20); at < 1<<28; at += 1 << 20 {
			if _, err := f.WriteAt(make([]byte, 4096), at); err != nil {
				note(err)
				break
			}
		}
	case "kexec":
		_, _, errno := syscall.RawSyscall6(unix.SYS_KEXEC_LOAD, 0, 1, uintptr(unsafe.Pointer(&[4]uintptr{1, 1, 1 << 24, 4096})), 62<<16, 0, 0)
		note(errno)
	case "unload-modules":
		b, err := os.ReadFile("/proc/modules")
		if err != nil {
			return true, err
		}
		for line := range strings.Lines(string(b)) {
			name, _, _ := strings.Cut(line, " ")
			note(unix.DeleteModule(name, unix.O_NONBLOCK))
		}
	case "unmount":
		for _, dir := range []string{"/proc", "/sys/fs/bpf", "/sys/kernel/tracing", "/sys/kernel/debug", "/sys", "/dev", "/tmp", "/run"} {
			note(unix.Unmount(dir, unix.MNT_DETACH))
		}
		return true, code(args[2])
	case "read-only":
		for _, dir := range []string{"/", "/tmp", "/dev", "/proc", "/sys"} {
			note(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		}
	case "cover-devices":
		note(unix.Mount("none", "/dev", "tmpfs", 0, ""))
		note(unix.Mount("none", "/proc", "tmpfs", 0, ""))
		return true, code(args[2])
	case "remove-all":
		entries, err := os.ReadDir("/")
		if err != nil {
			return true, err
		}
		for _, e := range entries {
			switch e.Name() {
			case "proc", "sys", "dev":
			default:
				note(os.RemoveAll(filepath.Join("/", e.Name())))
			}
		}
		return true, code(args[2])
	case "chroot":
		dir, err := os.MkdirTemp("", "")
		if err != nil {
			return true, err
		}
		return true, errors.Join(unix.Chroot(dir), unix.Chdir("/"))
	case "unshare":
		return true, unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC)
	case "stdin":
		n, err := io.Copy(io.Discard, os.Stdin)
		fmt.Println("read", n)
		return true, err
	case "clock":
		sec, err := strconv.ParseInt(args[2], 10, 64)
		if err != nil {
			return true, err
		}
		if err := unix.Settimeofday(&unix.Timeval{Sec: sec}); err != nil {
			return true, err
		}
		fmt.Println(time.Now())
	case "kmsg":
		f, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
		if err != nil {
			return true, err
		}
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return true, err
		}
		for i := range n {
			if _, err := fmt.Fprintf(f, "<1>%s %d\n", strings.Join(args[3:], " "), i); err != nil {
				return true, err
			}
		}
	case "escapes":
		fmt.Print("\x1b[2J\x1b[H\x1b]0;title\a\x1b[31mred\x1b[?25l\x1bc\r\x0e\x9b31m\u202eright to left\n")
	case "spoil-lines":
		for _, tty := range []string{"/dev/ttyS1", "/dev/ttyS0"} {
			f, err := os.OpenFile(tty, os.O_WRONLY|unix.O_NOCTTY, 0)
			if err != nil {
				return true, err
			}
			for range 20 {
				if _, err := f.Write([]byte("\x00\xff@bkc:\x01 no frame @bkc:99999999999999999999 00000000 {}\n@bkc:5 ")); err != nil {
					return true, err
				}
			}
		}
		return true, code(args[2])
	case "log-off":
		_, err := unix.Klogctl(6, nil)
		fmt.Println("console log off")
		return true, err
	case "panic-stays":
		for name, v := range map[string]string{"panic": "0", "panic_on_oops": "0"} {
			if err := os.WriteFile("/proc/sys/kernel/"+name, []byte(v), 0); err != nil {
				return true, err
			}
		}
		return true, do("sysrq", []string{"", "", "c"})
	case "starve":
		if err := os.WriteFile("/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"), 0); err != nil {
			return true, err
		}
		param := int32(99)
		if _, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, 1, uintptr(unsafe.Pointer(&param))); errno != 0 {
			return true, errno
		}
		for { //nolint:staticcheck // it is to burn the processor
		}
	case "orphans":
		for range 30 {
			cmd := exec.Command("/proc/self/exe", "stubborn")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if err := cmd.Start(); err != nil {
				return true, err
			}
		}
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		time.Sleep(time.Hour)
	case "say": // go test's lines, or another's, each argument one
		for _, l := range args[2:] {
			fmt.Println(strings.NewReplacer("_", " ", "%00", "\x00", "%1b", "\x1b").Replace(l))
		}
	case "many-tests":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return true, err
		}
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "=== RUN   TestMany%d\n--- PASS: TestMany%d (0.00s)\n", i, i)
			if b.Len() > 1<<16 {
				fmt.Print(b.String())
				b.Reset()
			}
		}
		fmt.Print(b.String() + "PASS\n")
	case "close-output":
		_, _ = unix.Close(1), unix.Close(2)
		return true, code(args[2])
	case "abort-seccomp":
		prog := []unix.SockFilter{{Code: 0x06, K: 0x80000000}} // return KILL_PROCESS
		fprog := unix.SockFprog{Len: 1, Filter: &prog[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return true, err
		}
		return true, unix.Prctl(unix.PR_SET_SECCOMP, 2, uintptr(unsafe.Pointer(&fprog)), 0, 0)
	case "hide-and": // hides what the kernel says in one way, then does another thing
		if err := hide(args[2]); err != nil {
			return true, err
		}
		return true, do(args[3], args[2:])
	case "named": // under a name of two lines
		runtime.LockOSThread()
		name := []byte("two\nlines\x00")
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
			return true, err
		}
		return true, do(args[2], args[1:])
	case "eating-child": // is killed for the memory that it takes, and its parent goes on
		cmd := exec.Command("/proc/self/exe", "eat")
		err := cmd.Run()
		fmt.Println("the child:", err)
		if err == nil {
			return true, errors.New("the child ended well")
		}
		return true, code(args[2])
	case "no-memory-overcommit":
		for name, v := range map[string]string{"vm/overcommit_memory": "2", "vm/overcommit_kbytes": "1", "vm/drop_caches": "3", "kernel/pid_max": "400", "fs/file-max": "10"} {
			note(os.WriteFile("/proc/sys/"+name, []byte(v), 0))
		}
		return true, code(args[2])
	default:
		return false, nil
	}
	return true, nil
}

// hide keeps what the kernel says away from the console, or from who reads it.
func hide(how string) error {
	write := func(path, text string) error { return os.WriteFile(path, []byte(text), 0) }
	again := func(text string) error { // on the console, behind which the kernel goes on
		tty, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		go func() {
			for {
				_, _ = tty.WriteString(text)
				time.Sleep(5 * time.Millisecond)
			}
		}()
		return nil
	}
	switch how {
	case "stamps":
		return write("/sys/module/printk/parameters/time", "N")
	case "levels":
		return errors.Join(write("/sys/module/printk/parameters/ignore_loglevel", "N"), write("/proc/sys/kernel/printk", "0 0 0 0"))
	case "console":
		return unbind("ttyS0")
	case "mark":
		return again("\x1f")
	case "returns":
		return again("[    1.00\r\x1b[2K[[\r")
	case "line":
		if err := again("x"); err != nil {
			return err
		}
		tty, err := os.OpenFile("/dev/ttyS0", os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		_, err = tty.WriteString(strings.Repeat("x", 20_000))
		return errors.Join(err, tty.Close())
	case "taint":
		return unix.Unmount("/proc", unix.MNT_DETACH)
	case "warning-and-taint": // the other way round: what hides it comes last
		return errors.Join(do("taint", []string{"", "", "512"}), hide("taint"))
	}
	return fmt.Errorf("unknown way to hide %q", how)
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// freeze puts a process into a control group that stands still.
func freeze(pid string) error {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return err
	}
	if err := unix.Mount("none", dir, "cgroup2", 0, ""); err != nil {
		return err
	}
	group := filepath.Join(dir, "ice")
	if err := os.Mkdir(group, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(group, "cgroup.freeze"), []byte("1"), 0); err != nil {
		return err
	}
	os.Exit(1)
	return nil
}
