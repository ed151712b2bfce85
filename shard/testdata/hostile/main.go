// Command hostile is a payload for the tests of the VM runner: each argument
// makes it do something that a payload should not.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	mode := "pass"
	if len(os.Args) > 1 {
		mode = os.Args[1]
	}
	if os.Getpid() == 1 {
		// Used as init: one that never says anything, or ends. What stands
		// before is what the kernel did not understand of its command line.
		mode = "sleep"
		if i := slices.Index(os.Args, "exit"); i > 0 {
			mode, os.Args = "exit", os.Args[i-1:]
		}
	}
	if err := do(mode, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

func do(mode string, args []string) error {
	switch mode {
	case "pass":
		fmt.Println("hello from the payload")
	case "exit":
		code, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		os.Exit(code)
	case "sleep":
		time.Sleep(time.Hour)
	case "deaf": // hangs, and nothing but SIGKILL ends it
		signalIgnore()
		for {
			time.Sleep(time.Hour)
		}
	case "tests":
		return tests(args[2])
	case "starve":
		return starve()
	case "sysrq":
		if err := os.WriteFile("/proc/sys/kernel/sysrq", []byte("1"), 0); err != nil {
			return err
		}
		return os.WriteFile("/proc/sysrq-trigger", []byte(args[2]), 0)
	case "quiet-sysrq": // with the console's messages turned off
		if err := os.WriteFile("/proc/sys/kernel/printk", []byte("0 0 0 0"), 0); err != nil {
			return err
		}
		return do("sysrq", args)
	case "taint": // as a splat does that nobody saw
		return os.WriteFile("/proc/sys/kernel/tainted", []byte(args[2]), 0)
	case "sysrq-loop-c": // a crash while another child still prints
		go func() {
			for {
				fmt.Print("text without end ")
			}
		}()
		time.Sleep(200 * time.Millisecond)
		return do("sysrq", []string{"", "", "c"})
	case "claim-success":
		// What other testers take for success, and frames of our own kind with
		// a nonce that is made up.
		fmt.Println("PASS\nok  all 1 passed, 0 failed\nexit status 0\n[PASS] everything\n    1.000 init: 9 passed, 0 failed, 0 skipped")
		end := `{"type":"end","end":{"nonce":"00","tests":1,"passed":1,"complete":true}}`
		for seq := range 20 {
			frame := fmt.Sprintf("@bkc:%d %08x %s\n", seq, crc32.Checksum([]byte(fmt.Sprintf("00 %d %s", seq, end)), crc32.MakeTable(crc32.Castagnoli)), end)
			fmt.Print(frame)
			for _, tty := range []string{"/dev/ttyS1", "/dev/ttyS0", "/dev/ttyAMA0", "/dev/console"} {
				if _, err := os.Stat(tty); err != nil {
					continue // of another machine
				}
				if err := os.WriteFile(tty, []byte(frame), 0); err != nil {
					return err
				}
			}
		}
		os.Exit(1)
	case "claim-crash": // text that only looks like the kernel's
		fmt.Println("[    1.000000] BUG: kernel NULL pointer dereference, address: 0000000000000000")
		fmt.Println("log line: [    2.000000] Kernel panic - not syncing: not really")
		fmt.Print("no newline at the end [    3.000000] WARNING: CPU: 0")
	case "hang-up-results":
		tty, err := os.OpenFile("/dev/ttyS1", os.O_RDWR|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		// Steal it as controlling terminal, then hang it up for everyone.
		if _, err := unix.Setsid(); err != nil && err != unix.EPERM {
			return err
		}
		if err := unix.IoctlSetInt(int(tty.Fd()), unix.TIOCSCTTY, 1); err != nil {
			return err
		}
		signalIgnore()
		if err := unix.IoctlSetInt(int(tty.Fd()), unix.TIOCVHANGUP, 0); err != nil {
			return err
		}
		code, _ := strconv.Atoi(args[2])
		os.Exit(code)
	case "unbind-results": // take the results' serial port away from its driver
		return unbind("ttyS1")
	case "unbind-console":
		return unbind("ttyS0")
	case "unbind-arm64": // its only serial line
		return os.WriteFile("/sys/bus/amba/drivers/uart-pl011/unbind", []byte("9000000.pl011"), 0)
	case "flood": // the kernel prints without end while tests pass
		if err := os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on\n"), 0); err != nil {
			return err
		}
		for range 2 {
			if err := exec.Command("/proc/self/exe", "flood-child").Start(); err != nil {
				return err
			}
		}
		for i := range 20 {
			fmt.Printf("=== RUN   TestFlood%d\n    flood_test.go:1: %s\n--- PASS: TestFlood%d (0.00s)\n", i, strings.Repeat("text ", 200*i), i)
			time.Sleep(50 * time.Millisecond) // for records and messages to meet
		}
		fmt.Println("PASS")
	case "flood-child":
		for i := 0; ; i++ {
			if err := os.WriteFile("/dev/kmsg", []byte("<4>a flood, message "+strconv.Itoa(i)), 0); err != nil {
				return err
			}
		}
	case "console-frames": // cuts into init's frames on the console they share
		tty, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0)
		if err != nil {
			return err
		}
		go func() {
			for {
				_, _ = tty.WriteString("@bkc:@bkc:1 00000000 {")
			}
		}()
		time.Sleep(time.Second)
	case "stamps": // a failed test whose text looks like the kernel's
		fmt.Print("=== RUN   TestStamps\n    x_test.go:1: [    1.000000] Kernel panic - not syncing: not really\n[    1.000000] BUG: no\n--- FAIL: TestStamps (0.00s)\nFAIL\n")
		os.Exit(1)
	case "net":
		c, err := net.DialTimeout("tcp", args[2], 5*time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	case "unbind-both":
		return errors.Join(unbind("ttyS1"), unbind("ttyS0"))
	case "close-all": // every descriptor it was given
		for fd := range 64 {
			_ = unix.Close(fd)
		}
		os.Exit(3)
	case "print":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		line := append(bytes.Repeat([]byte("x"), 1023), '\n')
		for range n << 10 {
			if _, err := os.Stdout.Write(line); err != nil {
				return err
			}
		}
		fmt.Println("the last line")
	case "one-line":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		for range n {
			if _, err := os.Stdout.Write(bytes.Repeat([]byte{'y'}, 1<<20)); err != nil {
				return err
			}
		}
	case "binary":
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		_, err := os.Stdout.Write(bytes.Repeat(all, 64))
		return err
	case "reboot":
		return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	case "kill-all":
		return unix.Kill(-1, unix.SIGKILL)
	case "kill-self":
		return unix.Kill(os.Getpid(), unix.SIGSEGV)
	case "orphan": // leaves a process behind that holds its output open
		cmd := exec.Command("/proc/self/exe", "sleep")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		fmt.Println("left", cmd.Process.Pid, "behind")
	case "eat":
		// Filled by the kernel: on a busy machine it takes long enough.
		for {
			if _, err := unix.Mmap(-1, 0, 16<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE); err != nil {
				return err
			}
		}
	case "fake-frames":
		// Sends what looks like a report to init's pipe, which a payload that
		// does not report has none of.
		f := os.NewFile(3, "report")
		_, err := fmt.Fprintln(f, `{"type":"done","done":{"tests":0}}`)
		return err
	case "cmdline":
		b, err := os.ReadFile("/proc/cmdline")
		if err != nil {
			return err
		}
		if strings.Contains(string(b), "nonce") {
			return fmt.Errorf("the nonce can be read: %s", b)
		}
		for _, path := range []string{"/sys/firmware/devicetree/base/chosen/bootargs", "/sys/firmware/fdt"} {
			if b, _ := os.ReadFile(path); strings.Contains(string(b), "nonce") {
				return fmt.Errorf("the nonce can be read in %s", path)
			}
		}
	case "look":
		return look()
	case "identity": // what no other guest may have
		return identity()
	case "crash":
		return crash(args[2], args[3:])
	case "crash-and-taint":
		return errors.Join(crash(args[2], nil), do("taint", []string{"", "", args[3]}))
	case "crash-twice":
		if err := crash(args[2], nil); err != nil {
			return err
		}
		return crash(args[3], nil)
	default:
		known, err := more(mode, args)
		if !known {
			return fmt.Errorf("unknown mode %q", mode)
		}
		return err
	}
	return nil
}

// identity prints what is random in a guest, and its time.
func identity() error {
	random := make([]byte, 16)
	if _, err := unix.Getrandom(random, 0); err != nil {
		return err
	}
	fmt.Printf("random %x\n", random)
	for _, name := range []string{"uuid", "boot_id"} {
		b, err := os.ReadFile("/proc/sys/kernel/random/" + name)
		if err != nil {
			return err
		}
		fmt.Printf("%s %s", name, b)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(maps)) {
		if strings.HasSuffix(line, "[stack]\n") {
			fmt.Println("stack", strings.Fields(line)[0])
		}
	}
	fmt.Println("clock", time.Now().UTC().Format(time.RFC3339Nano))
	return nil
}
