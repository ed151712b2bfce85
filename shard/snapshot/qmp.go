package snapshot

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// socketPair returns both ends of a socket.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	c, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return c.(*net.UnixConn), theirs, nil
}

func capabilities(names ...string) map[string]any {
	var list []any
	for _, n := range names {
		list = append(list, map[string]any{"capability": n, "state": true})
	}
	return map[string]any{"capabilities": list}
}

// step is a command, and a file that goes with it.
type step struct {
	command string
	args    any
	fd      *os.File
}

// converse begins to speak QMP, and runs commands one after the other.
func converse(control *net.UnixConn, steps ...step) (*monitor, error) {
	q := &monitor{conn: control, dec: json.NewDecoder(control)}
	if _, err := q.next(func(a answer) bool { return a.QMP != nil }); err != nil {
		return nil, err
	}
	for _, s := range append([]step{{command: "qmp_capabilities"}}, steps...) {
		if err := q.run(s.command, s.args, s.fd); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// errQMP is wrapped by the error of a command that QEMU refuses.
var errQMP = errors.New("QMP")

// monitor speaks QMP.
type monitor struct {
	conn *net.UnixConn
	dec  *json.Decoder
	done string // how the migration ended, when an event said so
}

type answer struct {
	QMP    json.RawMessage
	Return json.RawMessage
	Event  string
	Data   struct{ Status string }
	Error  *struct{ Desc string }
}

// next returns the next answer that fits.
func (q *monitor) next(fits func(answer) bool) (answer, error) {
	for {
		var a answer
		if err := q.dec.Decode(&a); err != nil {
			return answer{}, fmt.Errorf("read QEMU's answer: %w", err)
		}
		if a.Event == "MIGRATION" && (a.Data.Status == "completed" || a.Data.Status == "failed" || a.Data.Status == "cancelled") {
			q.done = a.Data.Status
		}
		if fits(a) {
			return a, nil
		}
	}
}

// run runs a command, and passes a file along with it.
func (q *monitor) run(command string, args any, file *os.File) error {
	msg := map[string]any{"execute": command}
	if args != nil {
		msg["arguments"] = args
	}
	b, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	if _, _, err := q.conn.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	a, err := q.next(func(a answer) bool { return a.Return != nil || a.Error != nil })
	if err != nil {
		return fmt.Errorf("QMP %s: %w", command, err)
	}
	if a.Error != nil {
		return fmt.Errorf("%w: %s: %s", errQMP, command, a.Error.Desc)
	}
	return nil
}

// migrated waits until the migration is over and returns how it ended.
func (q *monitor) migrated() (string, error) {
	if q.done == "" {
		if _, err := q.next(func(answer) bool { return q.done != "" }); err != nil {
			return "", fmt.Errorf("QMP migrate: %w", err)
		}
	}
	return q.done, nil
}
