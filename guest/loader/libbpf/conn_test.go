package libbpf

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fake is a connection to a process that has sent packets, each with a file
// descriptor where it begins with "+", and has ended.
func fake(t testing.TB, packets ...string) *Object {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mem, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mem.WriteString("the log"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, p := range packets {
		p, fd := strings.CutPrefix(p, "+")
		var rights []byte
		if fd {
			rights = unix.UnixRights(int(mem.Fd()))
		}
		if err := unix.Sendmsg(pair[1], []byte(p), rights, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Shutdown(pair[1], unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	o := &Object{c: &conn{cmd: cmd, socket: pair[0], mem: mem}}
	t.Cleanup(func() {
		o.Close()
		unix.Close(pair[1])
	})
	return o
}

func openFDs(t testing.TB) int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(fds)
}

const (
	good   = "end\x000\x00\x000\x000\x00\x00\x00"
	loaded = "+loaded\x00p\x005\x000\x007\x00"
)

// Whatever a process sends, only a whole reply is a program that has loaded. Not
// parallel: descriptors are counted.
func TestReplies(t *testing.T) {
	for name, tt := range map[string]struct {
		packets []string
		want    error // nil: it loads
	}{
		"loads":              {[]string{loaded, good}, nil},
		"nothing":            {nil, ErrCrashed},
		"no end":             {[]string{loaded}, ErrCrashed},
		"no program":         {[]string{good}, errProtocol},
		"another program":    {[]string{strings.Replace(loaded, "p", "q", 1), good}, errProtocol},
		"twice":              {[]string{loaded, loaded, good}, errProtocol},
		"no descriptor":      {[]string{loaded[1:], good}, errProtocol},
		"no time":            {[]string{"+loaded\x00p\x00\x000\x007\x00", good}, errProtocol},
		"more fields":        {[]string{loaded + "x\x00", good}, errProtocol},
		"log out of bounds":  {[]string{"+loaded\x00p\x005\x001\x007\x00", good}, errProtocol},
		"log that overflows": {[]string{"+loaded\x00p\x005\x001\x009223372036854775807\x00", good}, errProtocol},
		"no NUL":             {[]string{loaded, strings.TrimSuffix(good, "\x00")}, errProtocol},
		"end with a program": {[]string{"+" + good}, errProtocol},
		"unknown":            {[]string{"+unknown\x00p\x005\x000\x007\x00", good}, errProtocol},
		"refused":            {[]string{loaded, "end\x0022\x00Invalid argument\x000\x007\x00p\x00libbpf: a\nlibbpf: b\n\x00"}, unix.EINVAL},
		"refused, log wrong": {[]string{"end\x0022\x00Invalid argument\x000\x008\x00p\x00\x00"}, errProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			o := fake(t, append([]string{good}, tt.packets...)...) // of preparing, and of loading
			before := openFDs(t)
			l, err := o.Load("p", 1, 8)
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || (l == nil) != (err != nil) {
				t.Fatalf("%v, %v; want %v", l, err, tt.want)
			}
			if l != nil {
				unix.Close(l.FD)
				if l.Log != "the log" || l.Duration != 5 {
					t.Errorf("%+v", l)
				}
			}
			if after := openFDs(t); after > before {
				t.Errorf("%d descriptors more", after-before)
			}
			var refused *Error
			if errors.As(err, &refused) && (refused.Log != "the log" || !refused.Cut || len(refused.Messages) != 2 || refused.Program != "p") {
				t.Errorf("%#v", refused)
			}
		})
	}
}

// What the process has no room for is not sent, and leaves it alive.
func TestLargeRequest(t *testing.T) {
	o := fake(t, good)
	for _, name := range []string{strings.Repeat("x", maxRequest), "a\x00b"} {
		if _, err := o.Load(name, 0, 0); err == nil || errors.Is(err, ErrCrashed) || o.Ended() {
			t.Errorf("%v", err)
		}
	}
}

// No packet leaves a descriptor open, and what is no end is no success.
func FuzzReply(f *testing.F) {
	f.Add("loaded\x00p\x005\x000\x007\x00", good)
	f.Add("program\x00p\x00xdp\x006\x000\x001\x00", good)
	f.Add("map\x00m\x001\x004\x001\x000\x000\x00", good)
	f.Add("link\x000\x00", good)
	f.Add("map_fd\x00", "end\x001\x00No\x000\x000\x00\x00libbpf: no\n\x00")
	f.Fuzz(func(t *testing.T, first, last string) {
		if first == "" || last == "" || len(first)+len(last) > 4096 {
			return
		}
		for _, b := range []string{first, last} {
			p, err := parsePacket([]byte(b))
			if err != nil {
				continue
			}
			e, err := parseEnd("test", p)
			if err == nil && (p.kind == "" && len(b) == 1 || e.bytes < 0) {
				t.Errorf("%q is an end: %+v", b, e)
			}
		}
		p, err := parsePacket([]byte(first))
		if err != nil {
			return
		}
		name, number, flag := p.str(), p.u32(), p.bool()
		if p.done() == nil && first != p.kind+"\x00"+name+"\x00"+first[len(p.kind)+len(name)+2:] {
			t.Errorf("%q: %q, %d, %v", first, name, number, flag)
		}
	})
}
