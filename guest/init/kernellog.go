package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// kernelLog tells whether the kernel printed something: on the console that lands
// in the middle of what init writes.
type kernelLog struct{ kmsg *os.File }

func openKernelLog() *kernelLog {
	// O_NONBLOCK: a read with nothing to read returns.
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &kernelLog{}
	}
	return &kernelLog{kmsg: os.NewFile(uintptr(fd), "/dev/kmsg")}
}

func (l *kernelLog) close() { l.kmsg.Close() }

// mark sets the time from which silent looks.
func (l *kernelLog) mark() {
	if l.kmsg != nil {
		_, _ = unix.Seek(int(l.kmsg.Fd()), 0, io.SeekEnd)
	}
}

// silent says that nothing was printed since mark, and false where that is unknown.
func (l *kernelLog) silent() bool {
	if l.kmsg == nil {
		return false
	}
	var one [maxKmsg]byte
	_, err := unix.Read(int(l.kmsg.Fd()), one[:])
	return errors.Is(err, unix.EAGAIN)
}

// last is what the kernel printed since mark that has a word in it: the last line
// of those, without its time; "" for none.
func (l *kernelLog) last(word string) (line string) {
	if l.kmsg == nil {
		return ""
	}
	var rec [maxKmsg]byte
	for {
		n, err := unix.Read(int(l.kmsg.Fd()), rec[:])
		if err != nil || n <= 0 {
			return line
		}
		_, text, _ := strings.Cut(string(rec[:n]), ";")
		if text, _, _ = strings.Cut(text, "\n"); strings.Contains(text, word) {
			line = text
		}
	}
}

// switches are the parameters that make the kernel print all its messages, with
// the time stamps by which the host knows them. They are opened before the payload
// starts, since that can turn them off and unmount /sys.
type switches []*os.File

func openSwitches() switches {
	var s switches
	for _, path := range []string{ignoreLoglevel, "/sys/module/printk/parameters/time"} {
		if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
			s = append(s, f)
		}
	}
	return s
}

func (s switches) on(con *serialConsole) {
	for _, f := range s {
		if _, err := f.WriteAt([]byte("Y"), 0); err != nil {
			con.logf("print all kernel messages: %v", err)
		}
	}
}

// logFollower keeps what the kernel logs.
type logFollower struct {
	kmsg *os.File
	done chan struct{}

	head, tail []byte
	lost       int
	warned     bool
	reported   bool // an error of its own, by how its line begins
}

// followLog keeps what the kernel logs from now on.
func followLog() *logFollower {
	f, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return &logFollower{}
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		f.Close()
		return &logFollower{}
	}
	l := &logFollower{kmsg: f, done: make(chan struct{})}
	// As it comes, before it is written over.
	go func() {
		defer close(l.done)
		l.readAll(f.Read)
	}()
	return l
}

const maxKmsg = 8 << 10 // the kernel's limit of a record of /dev/kmsg, in bytes

// readAll takes records until there are none.
func (l *logFollower) readAll(read func([]byte) (int, error)) {
	var rec [maxKmsg]byte
	for {
		switch n, err := read(rec[:]); {
		case errors.Is(err, unix.EPIPE): // written over before it was read
			l.lost++
		case err != nil || n <= 0:
			return
		default:
			l.take(rec[:n])
		}
	}
}

// take keeps a record of /dev/kmsg that is the kernel's own
// (Documentation/ABI/testing/dev-kmsg): "priority,number,µs,flags;text", and
// lines behind it that start with a space. A payload's has another facility,
// which is the priority without its lower three bits.
func (l *logFollower) take(rec []byte) {
	head, text, ok := bytes.Cut(rec, []byte(";"))
	fields := strings.Split(string(head), ",")
	if !ok || len(fields) < 4 {
		return
	}
	priority, err1 := strconv.ParseUint(fields[0], 10, 32)
	at, err2 := strconv.ParseUint(fields[2], 10, 64)
	if err1 != nil || err2 != nil || priority>>3 != 0 {
		return
	}
	text, _, _ = bytes.Cut(text, []byte("\n"))
	const warning = 4
	l.warned = l.warned || priority <= warning
	for _, word := range []string{"BUG: ", "WARNING: ", "INFO: ", "UBSAN: ", "[ BUG: "} {
		l.reported = l.reported || priority <= warning && bytes.HasPrefix(text, []byte(word))
	}
	line := fmt.Appendf(nil, "[%5d.%06d] %s\n", at/1e6, at%1e6, text)
	const half = wire.MaxLog / 2
	if len(l.tail) == 0 && len(l.head)+len(line) <= half {
		l.head = append(l.head, line...)
		return
	}
	l.tail = append(l.tail, line...)
	for len(l.tail) > half {
		nl := bytes.IndexByte(l.tail, '\n')
		l.tail = l.tail[nl+1:]
		l.lost++
	}
}

// stop returns what there was; nil when no warning is among it.
func (l *logFollower) stop() *wire.Log {
	if l.kmsg == nil {
		return nil
	}
	_ = l.kmsg.SetReadDeadline(time.Now())
	<-l.done
	if c, err := l.kmsg.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) {
			l.readAll(func(b []byte) (int, error) { return unix.Read(int(fd), b) })
		})
	}
	l.kmsg.Close()
	if !l.warned {
		return nil
	}
	return &wire.Log{Text: string(l.head) + string(l.tail), Lost: l.lost}
}

const ignoreLoglevel = "/sys/module/printk/parameters/ignore_loglevel"

// muteConsole keeps the kernel's messages off the console until restore is called.
// A panic or oops raises the level by itself, and a warning that is not seen
// taints the kernel, which the end record tells.
func muteConsole() (restore func()) {
	const consoleLevel = 8 // syslog(2)
	level := 7
	if f := strings.Fields(text("/proc/sys/kernel/printk")); len(f) > 0 {
		if n, err := strconv.Atoi(f[0]); err == nil && n > 0 && n <= 15 {
			level = n
		}
	}
	ignore := text(ignoreLoglevel)
	_ = os.WriteFile(ignoreLoglevel, []byte("N"), 0)
	_, _ = unix.Klogctl(consoleLevel, make([]byte, 1)) // the level is the length
	return func() {
		_, _ = unix.Klogctl(consoleLevel, make([]byte, min(level, 8)))
		if ignore == "Y" {
			_ = os.WriteFile(ignoreLoglevel, []byte("Y"), 0)
		}
	}
}
