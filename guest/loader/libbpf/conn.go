package libbpf

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrCrashed is wrapped by the error of a call during or after which the
// process has ended.
var ErrCrashed = errors.New("libbpf crashed")

var errProtocol = errors.New("libbpf's process has sent what is no reply")

// maxReply is more than the C program sends at a time.
const maxReply = 64<<10 + 1

// maxRequest is what the C program has room for.
const maxRequest = 128 << 10

// maxPackets bounds one reply: a packet for each program and map of an object.
const maxPackets = 100_000

// conn is the process and the connection to it.
type conn struct {
	cmd    *exec.Cmd
	socket int
	mem    *os.File // its log and other large results
	err    error    // why it is of no more use
	buf    [maxReply]byte
}

func start(program string) (*conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "socket")
	defer theirs.Close()
	fd, err := unix.MemfdCreate("libbpf", unix.MFD_CLOEXEC)
	if err != nil {
		unix.Close(pair[0])
		return nil, fmt.Errorf("make a memory file: %w", err)
	}
	c := &conn{
		cmd:    exec.Command(cmp.Or(program, Path)),
		socket: pair[0],
		mem:    os.NewFile(uintptr(fd), "memory"),
	}
	c.cmd.ExtraFiles = []*os.File{theirs, c.mem}
	if err := c.cmd.Start(); err != nil {
		unix.Close(c.socket)
		c.mem.Close()
		return nil, fmt.Errorf("start libbpf's loader: %w", err)
	}
	return c, nil
}

func (c *conn) close() {
	if c.socket < 0 {
		return
	}
	unix.Close(c.socket)
	c.socket, c.err = -1, os.ErrClosed
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.mem.Close()
}

// memory reads what the process has left in the memory file.
func (c *conn) memory(offset, size int64) (string, error) {
	st, err := c.mem.Stat()
	if err != nil {
		return "", err
	}
	if offset > st.Size() || size > st.Size()-offset {
		return "", errProtocol
	}
	b := make([]byte, size)
	if _, err := c.mem.ReadAt(b, offset); err != nil && (size > 0 || !errors.Is(err, io.EOF)) {
		return "", err
	}
	return string(b), nil
}

// end is the last packet of a reply.
type end struct {
	bytes   int64
	refused *Error
}

// or is the error of a call: err, or the one that the process tells.
func (e end) or(err error) error {
	if err == nil && e.refused != nil {
		return e.refused
	}
	return err
}

// call sends a request, gives each packet of the reply but the last to got, and
// returns the last. timeout bounds the wait for each packet; 0: it may take what
// the kernel takes.
func (c *conn) call(doing string, timeout time.Duration, got func(packet) error, request ...string) (end, error) {
	if c.err != nil {
		return end{}, fmt.Errorf("%s: %w", doing, c.err)
	}
	text := strings.Join(request, "\x00") + "\x00"
	if len(text) >= maxRequest || strings.Count(text, "\x00") != len(request) {
		return end{}, fmt.Errorf("%s: names are too long, or hold a NUL", doing)
	}
	e, err := c.exchange(doing, timeout, got, text)
	if err != nil {
		// What comes next could be the answer to this request.
		_ = c.cmd.Process.Kill()
		c.err = err
		err = fmt.Errorf("%s: %w", doing, err)
	}
	return e, err
}

func (c *conn) exchange(doing string, timeout time.Duration, got func(packet) error, request string) (end, error) {
	tv := unix.NsecToTimeval(int64(timeout))
	if err := unix.SetsockoptTimeval(c.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
		return end{}, err
	}
	if err := unix.Sendto(c.socket, []byte(request), unix.MSG_NOSIGNAL, nil); err != nil {
		return end{}, c.ended(err)
	}
	for range maxPackets {
		p, err := c.receive()
		if err != nil {
			return end{}, err
		}
		if p.kind == "end" {
			e, err := parseEnd(doing, p)
			if err == nil && e.refused != nil {
				e.refused.Log, err = c.memory(0, e.bytes)
			}
			return e, err
		}
		if got == nil {
			err = errProtocol
		} else {
			err = got(p)
		}
		p.closeFD()
		if err != nil {
			return end{}, err
		}
	}
	return end{}, errProtocol
}

// ended says how the process has, where err is what the socket said.
func (c *conn) ended(err error) error {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	return fmt.Errorf("%w: %v (%v)", ErrCrashed, c.cmd.ProcessState, err)
}

func (c *conn) receive() (packet, error) {
	oob := make([]byte, unix.CmsgSpace(4*16))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(c.socket, c.buf[:], oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN):
			return packet{}, errors.New("libbpf does not end")
		case err != nil:
			return packet{}, c.ended(err)
		case n == 0:
			return packet{}, c.ended(io.EOF)
		}
		fds := rights(oob[:oobn])
		p, err := parsePacket(c.buf[:n])
		if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(fds) > 1 {
			err = errProtocol
		}
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
			return packet{}, err
		}
		if len(fds) == 1 {
			*p.fd = fds[0]
		}
		return p, nil
	}
}

// rights are the file descriptors of a control message.
func rights(oob []byte) []int {
	var fds []int
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if got, err := unix.ParseUnixRights(&m); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// packet is part of a reply. Its methods take its fields one after the other,
// and done says whether all were there and none is left.
type packet struct {
	kind   string
	fields *[]string
	fd     *int
	wrong  *bool
}

func parsePacket(b []byte) (packet, error) {
	if len(b) == 0 || b[len(b)-1] != 0 {
		return packet{}, errProtocol
	}
	var fields []string
	for f := range bytes.SplitSeq(b[:len(b)-1], []byte{0}) {
		fields = append(fields, string(f))
	}
	kind, fields, fd := fields[0], fields[1:], -1
	return packet{kind: kind, fields: &fields, fd: &fd, wrong: new(bool)}, nil
}

func (p packet) str() string {
	if len(*p.fields) == 0 {
		*p.wrong = true
		return ""
	}
	s := (*p.fields)[0]
	*p.fields = (*p.fields)[1:]
	return s
}

func (p packet) number(bits int) uint64 {
	n, err := strconv.ParseUint(p.str(), 10, bits)
	if err != nil {
		*p.wrong = true
		return 0
	}
	return n
}

func (p packet) u32() uint32             { return uint32(p.number(32)) }
func (p packet) i64() int64              { return int64(p.number(63)) }
func (p packet) duration() time.Duration { return time.Duration(p.i64()) }
func (p packet) bool() bool              { return p.number(1) == 1 }

// takeFD gives the packet's descriptor to the caller, or -1.
func (p packet) takeFD() int {
	fd := *p.fd
	*p.fd = -1
	return fd
}

func (p packet) closeFD() {
	if *p.fd >= 0 {
		unix.Close(*p.fd)
	}
}

func (p packet) done() error {
	if *p.wrong || len(*p.fields) > 0 {
		return errProtocol
	}
	return nil
}

// maxMessages is how many of libbpf's messages an error keeps.
const maxMessages = 200

func parseEnd(doing string, p packet) (end, error) {
	errno := p.u32()
	refused := &Error{Doing: doing, Errno: unix.Errno(errno), Reason: p.str()}
	p.duration()
	e := end{bytes: p.i64()}
	refused.Program = p.str()
	for line := range strings.Lines(p.str()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "libbpf: ")
		if line != "" && len(refused.Messages) < maxMessages {
			refused.Messages = append(refused.Messages, strings.ToValidUTF8(line, "?"))
		}
	}
	if *p.fd >= 0 {
		p.closeFD()
		return end{}, errProtocol
	}
	if errno != 0 {
		e.refused = refused
	}
	return e, p.done()
}
