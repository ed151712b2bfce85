package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// acts is what can be done, by the first argument. Each gets the others.
func acts() map[string]func(a []string) {
	return map[string]func(a []string){
		"pass":     func([]string) { fmt.Println("hello from the payload") },
		"exit":     func(a []string) { exit(a[0]) },
		"sleep":    func([]string) { time.Sleep(time.Hour) },
		"tests":    func(a []string) { tests(a[0]) },
		"starve":   func([]string) { starve() },
		"look":     func([]string) { check(look()) },
		"leave":    func([]string) { check(leave()) },
		"find":     func([]string) { check(find()) },
		"lock":     func([]string) { check(write("/proc/sys/kernel/unprivileged_bpf_disabled", "1")) }, // for good
		"chmod":    func([]string) { check(os.Chmod(os.Args[0], 0o700)) },
		"identity": func([]string) { identity() },
		"root":     func(a []string) { check(lookAtRoot(a[0])) },
		"who":      func([]string) { who() },
		"deaf": func([]string) { // hangs, and nothing but SIGKILL ends it
			signal.Ignore(unix.SIGHUP, unix.SIGCONT)
			for {
				time.Sleep(time.Hour)
			}
		},

		// What the kernel does.
		"crash":           func(a []string) { check(crash(a[0], a[1:])) },
		"crash-and-taint": func(a []string) { check(errors.Join(crash(a[0], nil), taint(a[1]))) },
		"crash-twice": func(a []string) {
			check(crash(a[0], nil))
			check(crash(a[1], nil))
		},
		"taint": func(a []string) { check(taint(a[0])) },
		"sysrq": func(a []string) {
			check(write("/proc/sys/kernel/sysrq", "1"))
			check(write("/proc/sysrq-trigger", a[0]))
		},
		"quiet-sysrq": func(a []string) { // with the console's messages turned off
			check(write("/proc/sys/kernel/printk", "0 0 0 0"))
			do("sysrq", a...)
		},
		"sysrq-loop-c": func([]string) { // a crash while another child still prints
			endlessly(os.Stdout, "text without end ", 0)
			time.Sleep(200 * time.Millisecond)
			do("sysrq", "c")
		},
		"panic-stays": func([]string) {
			check(write("/proc/sys/kernel/panic", "0"))
			check(write("/proc/sys/kernel/panic_on_oops", "0"))
			do("sysrq", "c")
		},
		"reboot": func([]string) { check(unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)) },
		"power":  func(a []string) { check(unix.Reboot(number(a[0]))) },
		"kexec": func([]string) {
			_, _, errno := syscall.RawSyscall6(unix.SYS_KEXEC_LOAD, 0, 1, uintptr(unsafe.Pointer(&[4]uintptr{1, 1, 1 << 24, 4096})), 62<<16, 0, 0)
			note(errno)
		},
		"hide-and": func(a []string) { // hides what the kernel says in one way, then does another thing
			check(hide(a[0]))
			do(a[1], a[2:]...)
		},
		"log-off": func([]string) {
			_, err := unix.Klogctl(6, nil)
			fmt.Println("console log off")
			check(err)
		},
		"flood": func([]string) { // the kernel prints without end while tests pass
			check(write("/proc/sys/kernel/printk_devkmsg", "on\n"))
			for range 2 {
				check(self("flood-child").Start())
			}
			for i := range 20 {
				fmt.Printf("=== RUN   TestFlood%d\n    flood_test.go:1: %s\n--- PASS: TestFlood%d (0.00s)\n", i, strings.Repeat("text ", 200*i), i)
				time.Sleep(50 * time.Millisecond) // for records and messages to meet
			}
			fmt.Println("PASS")
		},
		"flood-child": func([]string) {
			for i := 0; ; i++ {
				check(write("/dev/kmsg", fmt.Sprintf("<4>a flood, message %d", i)))
			}
		},
		"kmsg": func(a []string) {
			f := open("/dev/kmsg", os.O_WRONLY)
			for i := range number(a[0]) {
				_, err := fmt.Fprintf(f, "<1>%s %d\n", strings.Join(a[1:], " "), i)
				check(err)
			}
		},

		// What the payload prints.
		"claim-success": func([]string) { claimSuccess() },
		"claim-crash": func([]string) { // text that only looks like the kernel's
			fmt.Println("[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000")
			fmt.Println("log line: [    2.000000] Kernel panic - not syncing: not really")
			fmt.Print("no newline at the end [    3.000000] WARNING: CPU: 0")
		},
		"stamps": func([]string) { // a failed test whose text looks like the kernel's
			fmt.Print("=== RUN   TestStamps\n    x_test.go:1: [    1.000000] Kernel panic - not syncing: not really\n[    1.000000] BUG: no\n--- FAIL: TestStamps (0.00s)\nFAIL\n")
			os.Exit(1)
		},
		"print": func(a []string) {
			line := append(bytes.Repeat([]byte("x"), 1023), '\n')
			for range number(a[0]) << 10 {
				_, err := os.Stdout.Write(line)
				check(err)
			}
			fmt.Println("the last line")
		},
		"one-line": func(a []string) {
			for range number(a[0]) {
				_, err := os.Stdout.Write(bytes.Repeat([]byte{'y'}, 1<<20))
				check(err)
			}
		},
		"binary": func([]string) {
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			_, err := os.Stdout.Write(bytes.Repeat(all, 64))
			check(err)
		},
		"escapes": func([]string) {
			fmt.Print("\x1b[2J\x1b[H\x1b]0;title\a\x1b[31mred\x1b[?25l\x1bc\r\x0e\x9b31m\u202eright to left\n")
		},
		"say": func(a []string) { // go test's lines, or another's, each argument one
			for _, l := range a {
				fmt.Println(strings.NewReplacer("_", " ", "%00", "\x00", "%1b", "\x1b").Replace(l))
			}
		},
		"many-tests": func(a []string) {
			var b strings.Builder
			for i := range number(a[0]) {
				fmt.Fprintf(&b, "=== RUN   TestMany%d\n--- PASS: TestMany%d (0.00s)\n", i, i)
				if b.Len() > 1<<16 {
					fmt.Print(b.String())
					b.Reset()
				}
			}
			fmt.Print(b.String() + "PASS\n")
		},
		"fake-frames": func([]string) {
			// Sends what looks like a report to init's pipe, which a payload that
			// does not report has none of.
			_, err := fmt.Fprintln(os.NewFile(3, "report"), `{"type":"done","done":{"tests":0}}`)
			check(err)
		},
		"close-all": func([]string) { // every descriptor it was given
			for fd := range 64 {
				_ = unix.Close(fd)
			}
			os.Exit(3)
		},
		"close-output": func(a []string) {
			_, _ = unix.Close(1), unix.Close(2)
			exit(a[0])
		},

		// The lines to the host.
		"hang-up-results": func(a []string) {
			tty := open("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY)
			// Steal it as controlling terminal, then hang it up for everyone.
			if _, err := unix.Setsid(); err != unix.EPERM {
				check(err)
			}
			check(unix.IoctlSetInt(int(tty.Fd()), unix.TIOCSCTTY, 1))
			signal.Ignore(unix.SIGHUP, unix.SIGCONT)
			check(unix.IoctlSetInt(int(tty.Fd()), unix.TIOCVHANGUP, 0))
			exit(a[0])
		},
		"unbind-results": func([]string) { check(unbind("ttyS1")) }, // take the results' serial port away from its driver
		"unbind-console": func([]string) { check(unbind("ttyS0")) },
		"unbind-both":    func([]string) { check(errors.Join(unbind("ttyS1"), unbind("ttyS0"))) },
		"unbind-arm64": func([]string) { // its only serial line
			check(write("/sys/bus/amba/drivers/uart-pl011/unbind", "9000000.pl011"))
		},
		"console-frames": func([]string) { // cuts into init's frames on the console they share
			endlessly(open("/dev/console", os.O_WRONLY|unix.O_NOCTTY), "@bkc:@bkc:1 00000000 {", 0)
			time.Sleep(time.Second)
		},
		"spoil-lines": func(a []string) {
			for _, tty := range []string{"/dev/ttyS1", "/dev/ttyS0"} {
				f := open(tty, os.O_WRONLY|unix.O_NOCTTY)
				for range 20 {
					_, err := f.WriteString("\x00\xff@bkc:\x01 no frame @bkc:99999999999999999999 00000000 {}\n@bkc:5 ")
					check(err)
				}
			}
			exit(a[0])
		},
		"net": func(a []string) {
			c, err := net.DialTimeout("tcp", a[0], 5*time.Second)
			check(err)
			check(c.Close())
		},
		"stdin": func([]string) {
			n, err := io.Copy(io.Discard, os.Stdin)
			fmt.Println("read", n)
			check(err)
		},
		"cmdline": func([]string) {
			b, err := os.ReadFile("/proc/cmdline")
			check(err)
			if strings.Contains(string(b), "nonce") {
				check(fmt.Errorf("the nonce can be read: %s", b))
			}
			for _, path := range []string{"/sys/firmware/devicetree/base/chosen/bootargs", "/sys/firmware/fdt"} {
				if b, _ := os.ReadFile(path); strings.Contains(string(b), "nonce") {
					check(fmt.Errorf("the nonce can be read in %s", path))
				}
			}
		},

		// Processes, init among them.
		"kill-all":    func([]string) { check(unix.Kill(-1, unix.SIGKILL)) },
		"kill-self":   func([]string) { check(unix.Kill(os.Getpid(), unix.SIGSEGV)) },
		"kill-parent": func([]string) { check(unix.Kill(os.Getppid(), unix.SIGKILL)) },
		"stop-parent": func(a []string) {
			check(unix.Kill(os.Getppid(), unix.SIGSTOP))
			exit(a[0])
		},
		"stop-everyone": func(a []string) {
			check(unix.Kill(-1, unix.SIGSTOP))
			exit(a[0])
		},
		"signal-init": func(a []string) {
			for s := 1; s < 32; s++ {
				if err := unix.Kill(1, syscall.Signal(s)); err != nil {
					note(err)
				}
			}
			exit(a[0])
		},
		"trace-init": func(a []string) {
			note(unix.PtraceAttach(1))
			exit(a[0])
		},
		"limit-init": func(a []string) {
			for _, r := range []int{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_NPROC} {
				check(unix.Prlimit(1, r, &unix.Rlimit{}, nil))
			}
			exit(a[0])
		},
		"freeze-init":   func([]string) { freeze(1) },
		"freeze-parent": func([]string) { freeze(os.Getppid()) },
		"orphan": func([]string) { // leaves a process behind that holds its output open
			cmd := self("sleep")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			check(cmd.Start())
			fmt.Println("left", cmd.Process.Pid, "behind")
		},
		"orphans": func([]string) {
			for range 30 {
				cmd := self("stubborn")
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
				check(cmd.Start())
			}
		},
		"stubborn": func([]string) {
			signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
			time.Sleep(time.Hour)
		},
		"fork-bomb": func([]string) { forkBomb() },
		"named": func(a []string) { // under a name of two lines
			runtime.LockOSThread()
			name := []byte("two\nlines\x00")
			check(unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0))
			do(a[0], a[1:]...)
		},
		"abort-seccomp": func([]string) {
			runtime.LockOSThread()                                 // the filter is this thread's: another could exit well
			prog := []unix.SockFilter{{Code: 0x06, K: 0x80000000}} // return KILL_PROCESS
			fprog := unix.SockFprog{Len: 1, Filter: &prog[0]}
			check(unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
			check(unix.Prctl(unix.PR_SET_SECCOMP, 2, uintptr(unsafe.Pointer(&fprog)), 0, 0))
		},

		// Memory.
		"eat": func([]string) {
			// Filled by the kernel: on a busy machine it takes long enough.
			for {
				_, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
				check(err)
			}
		},
		"eat-protected": func([]string) {
			check(write("/proc/self/oom_score_adj", "-1000"))
			do("eat")
		},
		"eating-child": func(a []string) { // is killed for the memory that it takes, and its parent goes on
			err := self("eat").Run()
			fmt.Println("the child:", err)
			if err == nil {
				check(errors.New("the child ended well"))
			}
			exit(a[0])
		},
		"no-memory-overcommit": func(a []string) {
			for name, v := range map[string]string{"vm/overcommit_memory": "2", "vm/overcommit_kbytes": "1", "vm/drop_caches": "3", "kernel/pid_max": "400", "fs/file-max": "10"} {
				note(write("/proc/sys/"+name, v))
			}
			exit(a[0])
		},
		"mem": func([]string) {
			f, err := os.OpenFile("/dev/mem", os.O_RDWR, 0)
			for at := int64(1 << 20); err == nil && at < 1<<28; at += 1 << 20 {
				_, err = f.WriteAt(make([]byte, 4096), at)
			}
			if err != nil {
				note(err)
			}
		},

		// Files, mounts, modules and the clock.
		"fill-disk": func([]string) {
			f, err := os.Create("/tmp/fill")
			check(err)
			n, err := io.Copy(f, zeros{})
			fmt.Println(n, "bytes")
			note(err)
		},
		"unload-modules": func([]string) {
			b, err := os.ReadFile("/proc/modules")
			check(err)
			for line := range strings.Lines(string(b)) {
				name, _, _ := strings.Cut(line, " ")
				note(unix.DeleteModule(name, unix.O_NONBLOCK))
			}
		},
		"unmount": func(a []string) {
			for _, dir := range []string{"/proc", "/sys/fs/bpf", "/sys/kernel/tracing", "/sys/kernel/debug", "/sys", "/dev", "/tmp", "/run"} {
				note(unix.Unmount(dir, unix.MNT_DETACH))
			}
			exit(a[0])
		},
		"read-only": func([]string) {
			for _, dir := range []string{"/", "/tmp", "/dev", "/proc", "/sys"} {
				note(unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
			}
		},
		"cover-devices": func(a []string) {
			note(unix.Mount("none", "/dev", "tmpfs", 0, ""))
			note(unix.Mount("none", "/proc", "tmpfs", 0, ""))
			exit(a[0])
		},
		"remove-all": func(a []string) {
			entries, err := os.ReadDir("/")
			check(err)
			for _, e := range entries {
				switch e.Name() {
				case "proc", "sys", "dev":
				default:
					note(os.RemoveAll(filepath.Join("/", e.Name())))
				}
			}
			exit(a[0])
		},
		"chroot": func([]string) {
			dir, err := os.MkdirTemp("", "")
			check(err)
			check(errors.Join(unix.Chroot(dir), unix.Chdir("/")))
		},
		"unshare": func([]string) {
			check(unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC))
		},
		"clock": func(a []string) {
			check(unix.Settimeofday(&unix.Timeval{Sec: int64(number(a[0]))}))
			fmt.Println(time.Now())
		},
	}
}

// taint sets bits as a splat does that nobody saw.
func taint(bits string) error { return write("/proc/sys/kernel/tainted", bits) }

// claimSuccess prints what other testers take for success, and frames of our own
// kind with a nonce that is made up.
func claimSuccess() {
	fmt.Println("PASS\nok  all 1 passed, 0 failed\nexit status 0\n[PASS] everything\n    1.000 init: 9 passed, 0 failed, 0 skipped")
	end := `{"type":"end","end":{"nonce":"00","tests":1,"passed":1,"complete":true}}`
	for seq := range 20 {
		frame := fmt.Sprintf("@bkc:%d %08x %s\n", seq, crc32.Checksum([]byte(fmt.Sprintf("00 %d %s", seq, end)), crc32.MakeTable(crc32.Castagnoli)), end)
		fmt.Print(frame)
		for _, tty := range []string{"/dev/ttyS1", "/dev/ttyS0", "/dev/ttyAMA0", "/dev/console"} {
			if _, err := os.Stat(tty); err == nil { // else of another machine
				check(write(tty, frame))
			}
		}
	}
	os.Exit(1)
}

// unbind takes a serial port away from its driver.
func unbind(tty string) error {
	dev, err := filepath.EvalSymlinks("/sys/class/tty/" + tty + "/device")
	if err != nil {
		return err
	}
	fmt.Println("unbind", dev)
	return write(dev+"/driver/unbind", filepath.Base(dev))
}

// hide keeps what the kernel says away from the console, or from who reads it.
func hide(how string) error {
	line := func() *os.File { return open("/dev/ttyS0", os.O_WRONLY|unix.O_NOCTTY) }
	const pause = 5 * time.Millisecond // on the console, behind which the kernel goes on
	switch how {
	case "stamps":
		return write("/sys/module/printk/parameters/time", "N")
	case "levels":
		return errors.Join(write("/sys/module/printk/parameters/ignore_loglevel", "N"), write("/proc/sys/kernel/printk", "0 0 0 0"))
	case "console":
		return unbind("ttyS0")
	case "mark":
		endlessly(line(), "\x1f", pause)
		return nil
	case "returns":
		endlessly(line(), "[    1.00\r\x1b[2K[[\r", pause)
		return nil
	case "line":
		endlessly(line(), "x", pause)
		tty := line()
		_, err := tty.WriteString(strings.Repeat("x", 20_000))
		return errors.Join(err, tty.Close())
	case "taint":
		return unix.Unmount("/proc", unix.MNT_DETACH)
	case "warning-and-taint": // the other way round: what hides it comes last
		return errors.Join(taint("512"), hide("taint"))
	}
	return fmt.Errorf("unknown way to hide %q", how)
}

func forkBomb() {
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
}

// starve takes the processor for itself, so that not even init runs. The
// kernel is well.
func starve() {
	fmt.Println("=== RUN   TestStarve")
	time.Sleep(5 * time.Second) // so that everyone hears of the test, on a busy machine too
	check(write("/proc/sys/kernel/sched_rt_runtime_us", "-1"))
	for range runtime.NumCPU() {
		go func() {
			runtime.LockOSThread()
			priority := int32(99)
			_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, uintptr(unsafe.Pointer(&priority)))
			for errno == 0 {
			}
		}()
	}
	time.Sleep(time.Hour)
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// freeze puts a process into a control group that stands still.
func freeze(pid int) {
	dir, err := os.MkdirTemp("", "")
	check(err)
	check(unix.Mount("none", dir, "cgroup2", 0, ""))
	group := filepath.Join(dir, "ice")
	check(os.Mkdir(group, 0o755))
	check(write(filepath.Join(group, "cgroup.procs"), fmt.Sprint(pid)))
	check(write(filepath.Join(group, "cgroup.freeze"), "1"))
	os.Exit(1)
}
