package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

func uname(args []string, std stdio) error {
	set, args, err := flags(args, "asnrvm")
	if err != nil || len(args) > 0 {
		return errUsage
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	var words []string
	for i, field := range [][]byte{u.Sysname[:], u.Nodename[:], u.Release[:], u.Version[:], u.Machine[:]} {
		if set['a'] || set[rune("snrvm"[i])] || len(set) == 0 && i == 0 {
			words = append(words, unix.ByteSliceToString(field))
		}
	}
	fmt.Fprintln(std.out, strings.Join(words, " "))
	return nil
}

func dmesg(args []string, std stdio) error {
	set, args, err := flags(args, "c")
	if err != nil || len(args) > 0 {
		return errUsage
	}
	size, err := unix.Klogctl(unix.SYSLOG_ACTION_SIZE_BUFFER, nil)
	if err != nil {
		return err
	}
	buf := make([]byte, size)
	action := unix.SYSLOG_ACTION_READ_ALL
	if set['c'] {
		action = unix.SYSLOG_ACTION_READ_CLEAR
	}
	n, err := unix.Klogctl(action, buf)
	if err != nil {
		return err
	}
	_, err = std.out.Write(buf[:n])
	return err
}

func ps(_ []string, std stdio) error {
	w := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PID\tPPID\tSTATE\tRSS\tCOMMAND")
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	for _, dir := range dirs {
		st, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // it has ended
		}
		field := map[string]string{}
		for line := range strings.Lines(string(st)) {
			k, v, _ := strings.Cut(line, ":")
			field[k] = strings.TrimSpace(v)
		}
		cmd, _ := os.ReadFile(dir + "/cmdline")
		text := strings.TrimSpace(strings.ReplaceAll(string(cmd), "\x00", " "))
		if text == "" {
			text = "[" + field["Name"] + "]"
		}
		state, _, _ := strings.Cut(field["State"], " ")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", field["Pid"], field["PPid"], state, field["VmRSS"], text)
	}
	return w.Flush()
}

func kill(args []string, _ stdio) error {
	sig := unix.SIGTERM
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' {
		word := strings.ToUpper(args[0][1:])
		args = args[1:]
		if n, err := strconv.Atoi(word); err == nil {
			sig = unix.Signal(n)
		} else if sig = unix.SignalNum("SIG" + strings.TrimPrefix(word, "SIG")); sig == 0 {
			return fmt.Errorf("signal %s is not known: want a number or a name such as TERM", word)
		}
	}
	if len(args) == 0 {
		return errUsage
	}
	var errs error
	for _, a := range args {
		pid, err := strconv.Atoi(a)
		if err != nil {
			return errUsage
		}
		if err := unix.Kill(pid, sig); err != nil {
			errs = errors.Join(errs, fmt.Errorf("%d: %w", pid, err))
		}
	}
	return errs
}

// mountFlags are the options that are flags of mount(2).
func mountFlags() map[string]uintptr {
	return map[string]uintptr{
		"ro": unix.MS_RDONLY, "rw": 0, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"remount": unix.MS_REMOUNT, "bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "noatime": unix.MS_NOATIME, "move": unix.MS_MOVE,
		"private": unix.MS_PRIVATE, "shared": unix.MS_SHARED, "slave": unix.MS_SLAVE,
	}
}

func mount(args []string, std stdio) error {
	var fstype string
	var flags uintptr
	var data []string
	var words []string
	for len(args) > 0 {
		switch {
		case args[0] == "--bind":
			flags |= unix.MS_BIND
		case args[0] == "-t" && len(args) > 1:
			fstype, args = args[1], args[1:]
		case args[0] == "-o" && len(args) > 1:
			args = args[1:]
			for o := range strings.SplitSeq(args[0], ",") {
				if f, ok := mountFlags()[o]; ok {
					flags |= f
				} else {
					data = append(data, o)
				}
			}
		case strings.HasPrefix(args[0], "-"):
			return errUsage
		default:
			words = append(words, args[0])
		}
		args = args[1:]
	}
	switch len(words) {
	case 0:
		b, err := os.ReadFile("/proc/self/mounts")
		if err == nil {
			_, err = std.out.Write(b)
		}
		return err
	case 2:
		if err := unix.Mount(words[0], words[1], fstype, flags, strings.Join(data, ",")); err != nil {
			return fmt.Errorf("mount %s on %s: %w", words[0], words[1], err)
		}
		return nil
	}
	return errUsage
}

func umount(args []string, _ stdio) error {
	if len(args) == 0 {
		return errUsage
	}
	for _, dir := range args {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("umount %s: %w", dir, err)
		}
	}
	return nil
}

func insmod(args []string, _ stdio) error {
	if len(args) == 0 {
		return errUsage
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	if err := unix.InitModule(data, strings.Join(args[1:], " ")); err != nil {
		return fmt.Errorf("%s: %w (dmesg may say why)", args[0], err)
	}
	return nil
}

func rmmod(args []string, _ stdio) error {
	if len(args) != 1 {
		return errUsage
	}
	return unix.DeleteModule(args[0], unix.O_NONBLOCK)
}

func chroot(args []string, _ stdio) error {
	if len(args) == 0 {
		return errUsage
	}
	argv := args[1:]
	if len(argv) == 0 {
		argv = []string{"/bin/sh"}
	}
	if err := unix.Chroot(args[0]); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	return become(argv, os.Environ())
}

// setsid runs a program where the terminal's interrupts do not reach it. It
// must not take away what is typed either.
func setsid(args []string, _ stdio) error {
	if len(args) == 0 {
		return errUsage
	}
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("make a session: %w", err)
	}
	if term.IsTerminal(0) {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		if err := unix.Dup3(int(null.Fd()), 0, 0); err != nil {
			return fmt.Errorf("give it an empty input: %w", err)
		}
	}
	return become(args, os.Environ())
}

// become replaces this program.
func become(argv, env []string) error {
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return &os.PathError{Op: "run", Path: path, Err: unix.Exec(path, argv, env)}
}

func env(args []string, std stdio) error {
	if len(args) > 0 && args[0] == "-i" {
		os.Clearenv()
		args = args[1:]
	}
	for len(args) > 0 && strings.Contains(args[0], "=") {
		k, v, _ := strings.Cut(args[0], "=")
		if err := os.Setenv(k, v); err != nil {
			return err
		}
		args = args[1:]
	}
	if len(args) > 0 {
		return become(args, os.Environ())
	}
	for _, kv := range os.Environ() {
		fmt.Fprintln(std.out, kv)
	}
	return nil
}

func sleep(args []string, _ stdio) error {
	if len(args) != 1 {
		return errUsage
	}
	word := args[0]
	if _, err := strconv.ParseFloat(word, 64); err == nil {
		word += "s"
	}
	d, err := time.ParseDuration(word)
	if err != nil {
		return errUsage
	}
	time.Sleep(d)
	return nil
}

func ln(args []string, _ stdio) error {
	set, args, err := flags(args, "sf")
	if err != nil || len(args) != 2 {
		return errUsage
	}
	if set['f'] {
		os.Remove(args[1])
	}
	if set['s'] {
		return os.Symlink(args[0], args[1])
	}
	return os.Link(args[0], args[1])
}

func sysctl(args []string, std stdio) error {
	if len(args) == 0 {
		return errUsage
	}
	for _, a := range args {
		if a == "-w" {
			continue
		}
		name, value, set := strings.Cut(a, "=")
		path := "/proc/sys/" + strings.ReplaceAll(name, ".", "/")
		if set {
			if err := os.WriteFile(path, []byte(value), 0); err != nil {
				return err
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(std.out, "%s = %s\n", name, strings.TrimSpace(string(b)))
	}
	return nil
}

// strace is nil on architectures that u-root's does not know.
var strace func(args []string, std stdio) error

// poweroff ends the session's shell; init does the rest.
func poweroff([]string, stdio) error {
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART) // QEMU ends, as it runs with -no-reboot
}
