package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// typist is the command on a terminal of its own, and someone who types there.
type typist struct {
	t       *testing.T
	cmd     *exec.Cmd
	master  *os.File
	slave   *os.File
	before  unix.Termios
	changed chan struct{} // output has come

	mu  sync.Mutex
	out []byte // that has come and was not expected yet
	all bytes.Buffer
}

// onTerminal starts the command on a pseudo-terminal.
func onTerminal(t *testing.T, args ...string) *typist {
	t.Helper()
	bin, err := exec.LookPath("bpf-kernel-check")
	if err != nil {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 121}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	y := &typist{t: t, master: master, slave: slave, before: *before, changed: make(chan struct{}, 1)}
	y.cmd = exec.Command(bin, args...)
	y.cmd.Env = append(os.Environ(), "TERM=xterm-test", "TMPDIR="+t.TempDir())
	y.cmd.Stdin, y.cmd.Stdout, y.cmd.Stderr = slave, slave, slave
	y.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}
	if err := y.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if y.cmd.ProcessState == nil { // the test has failed already
			_ = y.cmd.Process.Kill()
			_ = y.cmd.Wait()
		}
		if t.Failed() {
			y.mu.Lock()
			defer y.mu.Unlock()
			t.Logf("the terminal:\n%s", strings.ReplaceAll(y.all.String(), "\r", ""))
		}
	})
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			y.mu.Lock()
			// QEMU leaves it to the terminal to make a line's end of a newline,
			// and the guest's has done so already.
			y.out = append(y.out, bytes.ReplaceAll(buf[:n], []byte("\r"), nil)...)
			y.all.Write(buf[:n])
			y.mu.Unlock()
			select {
			case y.changed <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return y
}

// send types. Enter is \r.
func (y *typist) send(keys string) {
	y.t.Helper()
	if _, err := y.master.WriteString(keys); err != nil {
		y.t.Fatal(err)
	}
}

// expect waits until the text has come, carriage returns left out, and returns what came before it.
func (y *typist) expect(text string) string {
	y.t.Helper()
	deadline := time.After(5 * time.Minute)
	for {
		y.mu.Lock()
		if i := bytes.Index(y.out, []byte(text)); i >= 0 {
			before := string(y.out[:i])
			y.out = y.out[i+len(text):]
			y.mu.Unlock()
			return before
		}
		y.mu.Unlock()
		select {
		case <-y.changed:
		case <-deadline:
			y.t.Fatalf("the terminal does not show %q", text)
		}
	}
}

// end waits for the command to end, with status 0 and the terminal as it was.
func (y *typist) end() {
	y.t.Helper()
	if err := y.cmd.Wait(); err != nil {
		y.t.Errorf("it ended with %v", err)
	}
	after, err := unix.IoctlGetTermios(int(y.slave.Fd()), unix.TCGETS)
	if err != nil {
		y.t.Fatal(err)
	}
	if *after != y.before {
		y.t.Errorf("the terminal's modes are %+v, were %+v", *after, y.before)
	}
	if n, err := unix.FcntlInt(y.slave.Fd(), unix.F_GETFL, 0); err != nil || n&unix.O_NONBLOCK != 0 {
		y.t.Errorf("the terminal is left non-blocking (%#x, %v)", n, err)
	}
}
